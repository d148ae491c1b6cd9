"""Interfaces to the world outside the desk: a clock, and a local library system with queries in library terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum, auto
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import NOTHING, Borrower, Holding, ItemKey, Sensitive

if TYPE_CHECKING:
    from hkall_gateway.circulation.results import Refused
    from hkall_gateway.db.unit_of_work import UnitOfWork

Read = TypeVar("Read", covariant=True)


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


@dataclass(frozen=True, slots=True)
class Gathered(Generic[Read]):
    """The facts of a command, gathered before its transaction.

    Attributes:
        read: Returns the facts inside the transaction: the answer that the local system gave before, or the loaded rows as they
            are under the locks.
        card: The present card of the patron where the local system knows another one than the command names; "" = the same.
    """

    read: Callable[[UnitOfWork], Read]
    card: str = ""


class LocalSystem(Protocol):
    """The library's own system for decisions, whatever stands behind it, and whether or not it can be reached.

    The first methods gather the facts of a command. All others are questions without a transaction.
    """

    async def owner(self, card: str, pin: Sensitive = NOTHING) -> Gathered[BorrowerFacts] | Refused: ...

    async def for_checkout(self, card: str, pin: Sensitive) -> Gathered[BorrowerFacts] | Refused: ...

    async def for_request(self, card: str, bib_id: str) -> Gathered[BorrowerFacts] | Refused: ...

    async def identify(self, card: str, pin: Sensitive, pin_given: bool) -> Gathered[Identified]: ...

    async def pin_refused(self, card: str, pin: Sensitive) -> Refused | None: ...

    async def facts(self, card: str) -> BorrowerFacts: ...

    async def known(self, card: str, bib_id: str = "") -> BorrowerFacts: ...

    async def authenticate(self, card: str, pin: Sensitive) -> Borrower | Refused: ...

    async def patron(self, card: str) -> Borrower | Refused: ...

    @property
    def checks_web_pins(self) -> bool: ...

    @property
    def compares_web_pins(self) -> bool: ...

    async def own_loans(self, card: str) -> tuple[LocalLoan, ...] | None: ...

    def forget_loans(self, card: str) -> None: ...
