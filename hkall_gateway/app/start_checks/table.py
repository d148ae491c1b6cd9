"""The table of start checks, in the order in which faults should be fixed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from hkall_gateway.app.start_checks import certificates, database, files, ports
from hkall_gateway.app.start_checks.faults import Effect, Start, StartFault
from hkall_gateway.config.loading import dotted
from hkall_gateway.rules.plain_text import listed, nearest

AT_A_COUNTER: Final = ("counter", "selfcheck")


def check_locations(start: Start) -> Iterator[StartFault]:
    """Check that terminals for loans are at a pickup location, since HKALL loans are refused everywhere else (R16)."""
    places = start.config.library.pickup_locations
    for index, row in enumerate(start.config.sip2.terminals if start.serving.protocols else ()):
        if row.role in AT_A_COUNTER and row.location not in places:
            where = dotted(("sip2", "terminals", index, "location"))
            what = f"{row.location!r} is none of library.pickup_locations{nearest(row.location, places)}"
            yield StartFault(
                check="config",
                where=where,
                what=what,
                remedy=f"name {listed(places)}, or add the location there",
                effect=Effect.TOLERATED,
            )


StartCheck = Callable[[Start], Iterator[StartFault]]

CHECKS: Final[tuple[StartCheck, ...]] = (
    check_locations,
    files.check_written,
    files.check_read,
    files.check_environment,
    certificates.check_certificates,
    ports.check_twice,
    ports.check_free,
    database.check_database,
)


def find_faults(start: Start, checks: Iterable[StartCheck] = CHECKS) -> list[StartFault]:
    """Run the checks and return the faults. If a subject fails several checks, only the first fault is returned."""
    found: dict[tuple[str, str], StartFault] = {}
    for check in checks:
        for fault in check(start):
            found.setdefault((fault.where, fault.subject), fault)
    return list(found.values())
