"""The desk: reads the facts, runs one function in one transaction, and returns its result. Free of protocols and SQL."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from hkall_gateway.desk.common.library import Library
from hkall_gateway.desk.counter_desk import CounterDesk
from hkall_gateway.desk.ils.local_system import USUAL, OfflineRules, WebPins
from hkall_gateway.desk.ils_desk import IlsDesk
from hkall_gateway.desk.partner_desk import PartnerDesk
from hkall_gateway.desk.ports import LocalIls
from hkall_gateway.desk.scan_station import ScanStation
from hkall_gateway.desk.services import DeskServices
from hkall_gateway.desk.staff_desk import StaffDesk
from hkall_gateway.store.engine.database import Store


class Desk:
    """All commands and queries of the gateway, for every protocol: one part for each kind of caller.

    `counter` is for terminals and discovery systems, `partners` for other libraries and the courier, `staff` for people,
    `ils` for messages about the library's own system, `scans` for the scan station of staff. `library` returns the library of
    this gateway (a reload may change it), `now` the aware UTC instant, `terms` the rules for deciding without the local system.
    `web_pins` check PINs from the web, by default as all others.
    """

    def __init__(
        self,
        store: Store,
        ils: LocalIls,
        library: Callable[[], Library],
        now: Callable[[], datetime],
        terms: Callable[[], OfflineRules] = lambda: USUAL,
        web_pins: WebPins | None = None,
    ) -> None:
        self.services = DeskServices(store, ils, library, now, terms, web_pins)
        self.counter = CounterDesk(self.services)
        self.partners = PartnerDesk(self.services)
        self.staff = StaffDesk(self.services)
        self.ils = IlsDesk(self.services)
        self.scans = ScanStation(self.services, self.counter)

    @property
    def library(self) -> Library:
        """The library that this gateway serves."""
        return self.services.library
