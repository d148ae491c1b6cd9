"""How an adapter for a local system is declared. Other distributions import this module.

`installed.py` has this package's adapters, and finds those that other distributions provide as entry points in GROUP.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel

from hkall_gateway.ils.settings import NoSettings
from hkall_gateway.observability.examination import DoctorRow, Probe, Report

if TYPE_CHECKING:
    from hkall_gateway.circulation.ports import LocalIls
    from hkall_gateway.ils.tools import ConnectorTools

__all__ = [
    "FORMER_GROUP",
    "GROUP",
    "Adapter",
    "DoctorRow",
    "NoSettings",
    "Probe",
    "Report",
    "no_examination",
]

GROUP: Final = "hkall_gateway.ils"
FORMER_GROUP: Final = "hkall_gateway.connectors"
"""The deprecated entry point group of release 0.2, for callables that take tools with a dictionary as `settings`."""


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
