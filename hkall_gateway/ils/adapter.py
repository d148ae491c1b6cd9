"""What an adapter for a local system declares of itself, and how an adapter is found by its name.

An adapter of the package is a row of `packaged.PACKAGED`. Any other is an `Adapter` that an installed distribution offers as an
entry point of the group GROUP.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import SimpleNamespace
from typing import TYPE_CHECKING, Final, Protocol

from pydantic import BaseModel

from hkall_gateway.rules.plain_text import listed, nearest

if TYPE_CHECKING:
    from hkall_gateway.circulation.ports import LocalIls
    from hkall_gateway.ils.tools import ConnectorTools

GROUP: Final = "hkall_gateway.ils"
FORMER_GROUP: Final = "hkall_gateway.connectors"
"""The group of 0.2: callables that take `ConnectorTools` with a dictionary as `settings`. This release still reads it."""


class NoSettings(BaseModel):
    """The settings of an adapter without keys of its own."""


class Probe(StrEnum):
    """Examinations that doctor brings along. CARD asks the adapter itself about a card that cannot exist."""

    LOADED = "loaded"
    SIP2 = "sip2"
    NCIP = "ncip"
    CARD = "card"


class Report(Protocol):
    """Doctor's sheet of findings about the local system. `check` is the name of one of the adapter's rows."""

    def ok(self, check: str, detail: str) -> None:
        """Record that a check passed."""

    def warn(self, check: str, detail: str, advice: str = "") -> None:
        """Record a warning."""

    def fail(self, check: str, detail: str, advice: str = "") -> None:
        """Record that a check failed."""


@dataclass(frozen=True, slots=True)
class DoctorRow:
    """A check of doctor that only this adapter has: its stable name, what it does, and the advice when it fails."""

    name: str
    tries: str
    advice: str


async def no_examination(_report: Report, _tools: ConnectorTools) -> None:
    """Examine nothing; for an adapter without doctor rows of its own."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """One kind of local system.

    Attributes:
        name: The value of `[ils] connector`.
        build: Makes the object that answers. `tools.settings` is an instance of `settings`.
        settings: The keys of [ils] that this adapter has beside those of every adapter. Each field has a description.
        needs: Keys with a default that this adapter cannot do without.
        check: Checks the raw [ils] table when the configuration is read; yields (key, message).
        is_live: Whether it asks a system that may be away, rather than what was loaded from files.
        probes: Doctor's own examinations that apply.
        rows: The checks that `examine` reports, in this order.
        examine: Runs these checks. It may raise Unreachable.
        address: The address that doctor shows.
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
        """Whether it asks the SIP2 server to which the relay sends terminals' lines."""
        return Probe.SIP2 in self.probes


class BadAdapter(Exception):
    """There is no adapter of this name, or it cannot be loaded."""


@cache
def find_adapter(name: str) -> Adapter:
    """Return the adapter of a name. Raises BadAdapter with a message for the key `ils.connector`."""
    from hkall_gateway.ils.packaged import PACKAGED

    if name in PACKAGED:  # the installed distributions are not read, which takes a tenth of a second
        return PACKAGED[name]
    found = {one.name: one for group in (FORMER_GROUP, GROUP) for one in entry_points(group=group)}
    if name not in found:
        known = sorted({*PACKAGED, *found})
        raise BadAdapter(f"must be {listed(known)}{nearest(name, known)}")
    try:
        loaded = found[name].load()
    except Exception as failed:  # code of another distribution, which may raise anything
        raise BadAdapter(
            f"{_describe_entry_point(found[name])} cannot be loaded: {type(failed).__name__}: {failed}"
        ) from failed
    if found[name].group == FORMER_GROUP and callable(loaded):
        return Adapter(name, lambda tools: loaded(_make_former_tools(tools)))
    if not isinstance(loaded, Adapter):
        raise BadAdapter(f"{_describe_entry_point(found[name])} is no Adapter")
    return replace(loaded, name=name)


def is_former(name: str) -> bool:
    """Return whether an adapter is found in the former group alone."""
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
