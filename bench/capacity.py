"""The table of capacity: what libraries need at their busiest, beside what one process answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.report import Records

OPEN_S: Final = 12 * 3600
"""Seconds of a working day."""
PEAK: Final = 5
"""The busiest hour against the mean."""
LIFE: Final = {"request_item": 10.0, "sip2_11": 5.0, "sip2_63": 5.0}
"""Messages in the life of a request: all of NCIP count as a RequestItem, half of SIP2 as a checkout."""
OVER: Final = {"request_item": 32, "sip2_11": 64, "sip2_63": 64, "sip2_visit": 16}
"""The number of connections over which the rate of a work is taken."""


COMPILED: Final = "gateway@compiled"


@dataclass(frozen=True, slots=True)
class Case:
    """A library or consortium: `a_second` are the answers that it needs at its busiest, by work."""

    name: str
    assumed: str
    a_second: Mapping[str, float]

    @property
    def needed(self) -> float:
        return sum(self.a_second.values())


def _of_requests(requests: int, days: int) -> Mapping[str, float]:
    """The answers a second at the peak for so many requests in so many working days."""
    peak = requests / (days * OPEN_S) * PEAK
    return {work: count * peak for work, count in LIFE.items()}


def _of_readers(a_second: float, books: int) -> Mapping[str, float]:
    """The answers for so many readers a second at self-checks that connect for each: a visit (93, 63, 35) and checkouts."""
    return {"sip2_visit": a_second, "sip2_11": books * a_second}


CASES: Final = (
    Case("HKALL, all of it at one gateway", "170,000 requests a year, in 250 days", _of_requests(170_000, 250)),
    Case("MeLCat's busiest month of 2023", "103,743 requests, in 25 days", _of_requests(103_743, 25)),
    Case("250 self-checks, all in use", "a reader every 30 s at each, with five books", _of_readers(250 / 30, 5)),
)
CARRIED: Final = {
    "sip2_63": "patrons' records (63)",
    "sip2_11": "checkouts (11)",
    "sip2_visit": "visits of self-checks that connect for each reader",
    "request_item": "RequestItem",
}
"""The works that stand above the table."""
HEAD: Final = ("library", "assumed", "needed a second", "plain Python", "compiled", "times")


def carried(records: Records) -> str:
    """A sentence: the answers a second of one process, plain and (in brackets) compiled, to the works that were measured."""
    told = []
    for work, name in CARRIED.items():
        plain, fast = _rate(records, work, "gateway"), _rate(records, work, COMPILED)
        told += [f"{plain:,.0f}{f' ({fast:,.0f})' if fast else ''} {name}"] if plain else []
    compiled = ", in brackets compiled" if any(cell["subject"] == COMPILED for cell in records["cells"]) else ""
    return f"One process on SQLite, with durable commits, answers a second{compiled}: {', '.join(told)}."


def capacity(records: Records) -> Iterator[Sequence[str]]:
    """The lines of the table, below HEAD: needed answers a second, and the rate of the same mixture of works."""
    for case in CASES:
        rates = [_mixed(case, records, subject) for subject in ("gateway", COMPILED)]
        best = max(rates) / case.needed
        told = [f"{rate:,.0f}" if rate else "not measured" for rate in rates]
        yield case.name, case.assumed, f"{case.needed:.3g}", *told, f"{best:,.0f}" if best else ""


def _mixed(case: Case, records: Records, subject: str) -> float:
    """Answers a second of the mixture by this subject; 0 if one of its works was not measured."""
    rates = {work: _rate(records, work, subject) for work in case.a_second}
    if not all(rates.values()):
        return 0.0
    return case.needed / sum(count / rates[work] for work, count in case.a_second.items())


def _rate(records: Records, work: str, subject: str) -> float:
    """Answers a second to a work; 0 if it was not measured."""
    wanted = work, OVER[work], subject
    return next((float(c["rate"]) for c in records["cells"] if (c["work"], c["connections"], c["subject"]) == wanted), 0.0)
