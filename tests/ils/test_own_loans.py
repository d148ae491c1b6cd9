"""A patron's loans at the own library are queried once a minute, and discarded at logout."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hkall_gateway.circulation.ports import LocalLoan
from hkall_gateway.db.database import finished
from hkall_gateway.ils.local_system import LOANS_ROOM as ROOM
from hkall_gateway.ils.local_system import OwnLoans

BEGIN = datetime(2017, 3, 1, 2, tzinfo=UTC)


@dataclass
class System:
    """A local system that counts its queries, and a clock that is set manually."""

    away: bool = False
    now: datetime = BEGIN
    asked: list[str] = field(default_factory=list)

    async def loans(self, card: str) -> tuple[LocalLoan, ...] | None:
        self.asked.append(card)
        return None if self.away else (LocalLoan(barcode=f"B{len(self.asked)}"),)

    def open(self) -> OwnLoans:
        return OwnLoans(self.loans, lambda: self.now)


def test_loans_of_a_patron_are_cached_for_a_minute() -> None:
    system = System()
    own = system.open()
    assert finished(own.of("P1")) == finished(own.of("P1")) == (LocalLoan(barcode="B1"),)
    assert finished(own.of("P2")) == (LocalLoan(barcode="B2"),)
    system.now += timedelta(seconds=59)
    assert finished(own.of("P1")) == (LocalLoan(barcode="B1"),)
    system.now += timedelta(seconds=1)
    assert finished(own.of("P1")) == (LocalLoan(barcode="B3"),)
    assert system.asked == ["P1", "P2", "P1"]


def test_discarded_loans_are_queried_again() -> None:
    system = System()
    own = system.open()
    finished(own.of("P1"))
    own.forget("P1")
    own.forget("NOBODY")
    assert finished(own.of("P1")) == (LocalLoan(barcode="B2"),)


def test_outage_is_not_cached() -> None:
    system = System(away=True)
    own = system.open()
    assert finished(own.of("P1")) is None
    system.away = False
    assert finished(own.of("P1")) == (LocalLoan(barcode="B2"),)


def test_cache_is_bounded() -> None:
    system = System()
    own = system.open()
    for number in range(ROOM + 1):
        finished(own.of(f"P{number}"))
    finished(own.of(f"P{ROOM}"))
    assert len(system.asked) == ROOM + 1
    finished(own.of("P0"))
    assert len(system.asked) == ROOM + 2
