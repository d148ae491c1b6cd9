"""How an adapter for a local system is declared, and how adapters are found by name.

This package's adapters are in `packaged.PACKAGED`. Other distributions provide an `Adapter` as an entry point in GROUP.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import SimpleNamespace
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel

from hkall_gateway.observability.examination import DoctorRow, Probe, Report
from hkall_gateway.rules.plain_text import listed, nearest

if TYPE_CHECKING:
    from hkall_gateway.circulation.ports import LocalIls
    from hkall_gateway.ils.tools import ConnectorTools

__all__ = [
    "FORMER_GROUP",
    "GROUP",
    "Adapter",
    "BadAdapter",
    "DoctorRow",
    "NoSettings",
    "Probe",
    "Report",
    "find_adapter",
    "is_former",
    "no_examination",
]

GROUP: Final = "hkall_gateway.ils"
FORMER_GROUP: Final = "hkall_gateway.connectors"
"""The deprecated entry point group of release 0.2, for callables that take tools with a dictionary as `settings`."""


class NoSettings(BaseModel):
    """The settings of an adapter without keys of its own."""


async def no_examination(_report: Report, _tools: ConnectorTools) -> None:
    """Do nothing. This is the default for adapters without checks of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """One kind of local system.

    Attributes:
        name: Value of `[ils] connector`.
        build: Creates the connector. `tools.settings` is an instance of `settings`.
        settings: Additional keys of [ils] for this adapter. Each field needs a description.
        needs: Keys that must be set although they have a default.
        check: Checks the raw [ils] table when the configuration is read, and yields (key, message) for each error.
        is_live: Whether the adapter queries a system that may be unreachable, rather than loaded files.
        probes: Built-in doctor checks to run.
        rows: The checks that `examine` reports, in order.
        examine: Runs the adapter's own doctor checks. May raise Unreachable.
        address: Returns the host or URL to show in the doctor command.
    """

    name: str
    build: Callable[[ConnectorTools], LocalIls]
    settings: type[BaseModel] = NoSettings
    needs: tuple[str, ...] = ()
    check: Callable[[Mapping[str, object]], Iterable[tuple[str, str]]] = lambda _row: ()
    is_live: bool = True
    probes: tuple[Probe, ...] = (Probe.CARD,)
    rows: tuple[DoctorRow, ...] = ()
    examine: Callable[[Report, ConnectorTools], Awaitable[None]] = no_examination
    address: Callable[[BaseModel], str] = lambda _settings: ""

    @property
    def asks_sip2(self) -> bool:
        """Return whether the adapter queries the SIP2 server to which the relay forwards messages from terminals."""
        return Probe.SIP2 in self.probes


class BadAdapter(Exception):
    """No adapter has this name, or it cannot be loaded."""


@cache
def find_adapter(name: str) -> Adapter:
    """Find an adapter by name. Raise BadAdapter, with an error message for the key `ils.connector`, if this fails."""
    from hkall_gateway.ils.packaged import PACKAGED

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
    from hkall_gateway.ils.packaged import PACKAGED

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
