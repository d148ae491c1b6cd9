"""Interfaces to the world outside the desk: a clock, and a local library system with queries in library terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum, auto
from typing import Protocol

from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Borrower, Holding, ItemKey, Sensitive


class ScheduledCall(Protocol):
    """A call that a clock makes later: Twisted's IDelayedCall."""

    def active(self) -> bool: ...

    def cancel(self) -> None: ...

    def reset(self, seconds: float, /) -> None: ...


class Clock(Protocol):
    """The part of a reactor that has a timer; a test's clock has it too."""

    def callLater(self, delay: float, call: Callable[..., object], /) -> ScheduledCall: ...  # noqa: N802  # Twisted's own name

    def seconds(self) -> float: ...


def cancel(call: ScheduledCall | None) -> None:
    """Cancel a call that has not been made yet. Safe for one that has, and for None."""
    if call is not None and call.active():
        call.cancel()


class Verb(StrEnum):
    """The queries that a connector may support.

    LOANS: it is a `TellsLoans`. LOADED: its borrowers are the rows that `load` wrote, so that a unit of work reads them itself.
    """

    BORROWER = auto()
    VERIFY_PIN = auto()
    COPIES = auto()
    LOANS = auto()
    LOADED = auto()


class Unreachable(Exception):
    """The local system did not answer in time. Only connectors raise it; the desk turns it into policy."""


@dataclass(frozen=True, slots=True)
class BorrowerFacts:
    """A borrower and the origin of the facts: `source` (snapshot, sip2, ncip, manual) and their instant.

    `reachable` False: no source can answer at the moment, which differs from "unknown". `flag` is the flag of a request that
    was decided without the local system. `looked`: its shelves were looked up, and `at_home` are our own copies with their
    statuses; None where they could not be seen. `replaced`: the card is out of use, and its owner has another one. `former` are
    cards that the local system says the borrower had before.
    """

    borrower: Borrower | None
    source: str
    as_of: datetime | None = None
    reachable: bool = True
    flag: str = ""
    looked: bool = False
    at_home: tuple[Holding, ...] | None = None
    replaced: bool = False
    former: tuple[str, ...] = ()

    @property
    def stranger(self) -> Reason:
        """The reason for a missing borrower: the card was replaced, or it is unknown."""
        return Reason.CARD_REPLACED if self.replaced else Reason.UNKNOWN_BORROWER


AWAY = BorrowerFacts(None, "", reachable=False)
"""The local system is away, without a fallback."""


@dataclass(frozen=True, slots=True)
class CopyStatus:
    """A copy's status as its library said it at `at`, in that library's own word."""

    status: str
    at: datetime


@dataclass(frozen=True, slots=True)
class LiveStatuses:
    """The statuses of copies of a title as their libraries gave them. `asking`: more answers may come in a moment."""

    statuses: Mapping[ItemKey, CopyStatus] = field(default_factory=dict)
    asking: bool = False


class LocalIls(Protocol):
    """The library's own system. Every method may raise `Unreachable`, and no other exception."""

    @property
    def supports(self) -> frozenset[Verb]: ...

    async def borrower(self, card: str) -> BorrowerFacts: ...

    async def verify_pin(self, card: str, pin: Sensitive) -> bool: ...

    async def copies(self, bib_id: str) -> tuple[Holding, ...] | None: ...


@dataclass(frozen=True, slots=True)
class LocalLoan:
    """A book of the library's own that a borrower has, as the local system tells it; None and "" where it gives none."""

    barcode: str
    title: str = ""
    due: date | None = None


class TellsLoans(Protocol):
    """A local system that lists a borrower's loans. It may raise `Unreachable`, and no other exception."""

    async def loans(self, card: str) -> tuple[LocalLoan, ...]: ...


@dataclass(frozen=True, slots=True)
class Identified:
    """A borrower as a terminal names it. `pin_ok` is None where no PIN came; `unsure`: the PIN cannot be checked now."""

    facts: BorrowerFacts
    pin_ok: bool | None = None
    unsure: bool = False
