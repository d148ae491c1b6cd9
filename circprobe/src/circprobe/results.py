"""What became of each clause."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from circprobe.catalogue import Clause


class Outcome(StrEnum):
    """The five results of a clause."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_OFFERED = "not offered"
    NOT_TRIED = "not tried"
    UNCLEAR = "unclear"


@dataclass(frozen=True)
class Exchange:
    """What was sent, and what came back for it.

    Attributes:
        sent: the bytes as they went out, empty if the kit only listened.
        received: the bytes as they came in, empty if nothing came.
        seconds: how long the first byte of the answer took.
        note: what happened beside the bytes, such as a closed connection.
    """

    sent: bytes
    received: bytes
    seconds: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class Result:
    """The result of one clause.

    Attributes:
        detail: for a failure what was seen, else the reason.
        exchanges: the bytes on which the result rests.
    """

    clause: Clause
    outcome: Outcome
    detail: str = ""
    exchanges: tuple[Exchange, ...] = ()

    @property
    def is_failed_must(self) -> bool:
        """Say whether this result alone makes the exit code 1."""
        return self.outcome is Outcome.FAILED and self.clause.weight == "must"


@dataclass
class Report:
    """The results of a run.

    Attributes:
        role: the key of the catalogue, such as "sip2-server".
        peer: the address of the system under test, or the address that listened.
        remarks: what a reader must know beside the results, such as a loan not given back.
    """

    role: str
    peer: str
    started: str
    results: list[Result] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def count(self, outcome: Outcome) -> int:
        """Count the clauses with this outcome."""
        return sum(result.outcome is outcome for result in self.results)

    def by_area(self) -> dict[str, Counter[Outcome]]:
        """Count the outcomes of each area, in the order of the catalogue."""
        areas: dict[str, Counter[Outcome]] = {}
        for result in self.results:
            areas.setdefault(result.clause.area, Counter())[result.outcome] += 1
        return areas

    @property
    def failed_musts(self) -> list[Result]:
        """List the failures that make the exit code 1."""
        return [result for result in self.results if result.is_failed_must]
