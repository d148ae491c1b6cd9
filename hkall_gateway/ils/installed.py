"""The installed adapters, found by name: those of this package, and those of other distributions.

Another distribution provides an `Adapter` as an entry point in GROUP. An adapter's module is only imported when the adapter is
built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from pydantic import BaseModel

from hkall_gateway.ils.adapter import FORMER_GROUP, GROUP, Adapter, Probe
from hkall_gateway.ils.settings import NcipSettings, Sip2Settings
from hkall_gateway.rules.plain_text import listed, nearest

if TYPE_CHECKING:
    from hkall_gateway.circulation.ports import LocalIls
    from hkall_gateway.ils.tools import ConnectorTools


def _build_snapshot(tools: ConnectorTools) -> LocalIls:
    from hkall_gateway.ils.snapshot import Snapshot

    return Snapshot(tools)


def _build_manual(tools: ConnectorTools) -> LocalIls:
    from hkall_gateway.ils.snapshot import Manual

    return Manual(tools)


def _build_sip2(tools: ConnectorTools) -> LocalIls:
    from hkall_gateway.ils.sip2 import Sip2

    return Sip2(tools)


def _build_ncip(tools: ConnectorTools) -> LocalIls:
    from hkall_gateway.ils.ncip import Ncip

    return Ncip(tools)


def sip2_address(settings: BaseModel) -> str:
    """Return the SIP2 server's HOST:PORT."""
    return f"{settings.host}:{settings.port}" if isinstance(settings, Sip2Settings) else ""


def shown_url(url: str) -> str:
    """Return a URL for display, without its query, which may hold a key."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _ncip_address(settings: BaseModel) -> str:
    return shown_url(settings.url) if isinstance(settings, NcipSettings) and settings.url else ""


PACKAGED: Final[Mapping[str, Adapter]] = MappingProxyType(
    {
        row.name: row
        for row in (
            Adapter(name="snapshot", build=_build_snapshot, is_live=False, probes=(Probe.LOADED,)),
            Adapter(name="manual", build=_build_manual, is_live=False, probes=(Probe.LOADED,)),
            Adapter(
                name="sip2",
                build=_build_sip2,
                settings=Sip2Settings,
                needs=("host",),
                probes=(Probe.SIP2,),
                address=sip2_address,
            ),
            Adapter(
                name="ncip",
                build=_build_ncip,
                settings=NcipSettings,
                needs=("url",),
                probes=(Probe.NCIP, Probe.CARD),
                address=_ncip_address,
            ),
        )
    }
)


class BadAdapter(Exception):
    """No adapter has this name, or it cannot be loaded."""


@cache
def find_adapter(name: str) -> Adapter:
    """Find an adapter by name. Raise BadAdapter, with an error message for the key `ils.connector`, if this fails."""
    if name in PACKAGED:  # reading the entry points of all installed distributions would take 0.1 s
        return PACKAGED[name]
    found = {one.name: one for group in (FORMER_GROUP, GROUP) for one in entry_points(group=group)}
    if name not in found:
        known = sorted({*PACKAGED, *found})
        raise BadAdapter(f"must be {listed(known)}{nearest(name, known)}")
    try:
        loaded = found[name].load()
    except Exception as failed:  # third-party code may raise anything
        raise BadAdapter(
            f"{_describe_entry_point(found[name])} cannot be loaded: {type(failed).__name__}: {failed}"
        ) from failed
    if found[name].group == FORMER_GROUP and callable(loaded):
        return Adapter(name=name, build=lambda tools: loaded(_make_former_tools(tools)))
    if not isinstance(loaded, Adapter):
        raise BadAdapter(f"{_describe_entry_point(found[name])} is no Adapter")
    return replace(loaded, name=name)


def is_former(name: str) -> bool:
    """Return whether an adapter exists only in the deprecated entry point group."""
    return name not in PACKAGED and not entry_points(group=GROUP, name=name)


def _describe_entry_point(found: EntryPoint) -> str:
    return f"{found.value} (entry point {found.name!r} of {found.group})"


def _make_former_tools(tools: ConnectorTools) -> SimpleNamespace:
    return SimpleNamespace(
        store=tools.store,
        agency=tools.agency,
        verify=tools.verify,
        settings=tools.settings.model_dump(),
        outside=tools.outside,
        abroad=tools.abroad,
    )
