"""Interfaces to the world outside the service layer: a clock, and the local system."""

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
    """The queries that an adapter may support.

    LOANS: it is a `TellsLoans`. LOADED: its borrowers are the rows that `load` wrote, so that a unit of work reads them itself.
    """

    BORROWER = auto()
    VERIFY_PIN = auto()
    COPIES = auto()
    LOANS = auto()
    LOADED = auto()


class Unreachable(Exception):
    """The local system did not answer in time. Only adapters raise it; the service turns it into policy."""


@dataclass(frozen=True, slots=True)
class BorrowerFacts:
    """A borrower and the origin of the facts: `source` (snapshot, sip2, ncip, manual) and their instant.

    `reachable` False: no source can answer at the moment, which differs from "unknown". `flag` is the flag of a request that
    was decided without the local system. `looked`: the shelves were looked up, and `at_home` are our own copies with their
    statuses; None where they could not be seen. `replaced`: the card is out of use, and its owner has another one. `former` are
    cards that the borrower had before, by the local system.
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
    """A copy's status at the instant `at`, in its library's own word."""

    status: str
    at: datetime


@dataclass(frozen=True, slots=True)
class LiveStatuses:
    """The statuses of copies of a title from their libraries. `asking`: more answers may come in a moment."""

    statuses: Mapping[ItemKey, CopyStatus] = field(default_factory=dict)
    asking: bool = False


class LocalIls(Protocol):
    """The adapter of a local system. Every method may raise `Unreachable`, and no other exception."""

    @property
    def supports(self) -> frozenset[Verb]:
        """Return the queries that this adapter answers."""

    async def borrower(self, card: str) -> BorrowerFacts:
        """Look up the borrower with this card."""

    async def verify_pin(self, card: str, pin: Sensitive) -> bool:
        """Check a PIN."""

    async def copies(self, bib_id: str) -> tuple[Holding, ...] | None:
        """Return our own copies of a title with their statuses; None if the system cannot say."""


@dataclass(frozen=True, slots=True)
class LocalLoan:
    """A patron's loan in the local system. Fields that it does not give are None or ""."""

    barcode: str
    title: str = ""
    due: date | None = None


class TellsLoans(Protocol):
    """A local system that lists a borrower's loans. It may raise `Unreachable`, and no other exception."""

    async def loans(self, card: str) -> tuple[LocalLoan, ...]:
        """Return the borrower's loans in the local system."""


@dataclass(frozen=True, slots=True)
class Identified:
    """A borrower and the result of the PIN check: None where no PIN came. `unsure`: it cannot be checked now."""

    facts: BorrowerFacts
    pin_ok: bool | None = None
    unsure: bool = False


@dataclass(frozen=True, slots=True)
class Gathered(Generic[Read]):
    """The facts of a command, gathered before its transaction.

    Attributes:
        read: Returns the facts inside the transaction: the local system's answer, or the loaded rows under the locks.
        card: The patron's present card where the local system knows another one than the command names; "" for the same.
    """

    read: Callable[[UnitOfWork], Read]
    card: str = ""


class LocalSystem(Protocol):
    """The local system for decisions, whichever adapter stands behind it, and whether or not it can be reached.

    The first methods gather the facts of a command. All others are questions without a transaction.
    """

    async def owner(self, card: str, pin: Sensitive = NOTHING) -> Gathered[BorrowerFacts] | Refused:
        """Gather the facts about the owner of a card. A PIN that comes with the command must be right."""

    async def for_checkout(self, card: str, pin: Sensitive) -> Gathered[BorrowerFacts] | Refused:
        """Gather the facts about the patron who borrows. A partner's card has none."""

    async def for_request(self, card: str, bib_id: str) -> Gathered[BorrowerFacts] | Refused:
        """Gather the facts about the patron, and the statuses of our own copies of the title."""

    async def identify(self, card: str, pin: Sensitive, pin_given: bool) -> Gathered[Identified]:
        """Gather the borrower and the result of the PIN check."""

    async def pin_refused(self, card: str, pin: Sensitive) -> Refused | None:
        """Return the refusal of a wrong PIN; None for a right one."""

    async def facts(self, card: str) -> BorrowerFacts:
        """Return the facts about a borrower, after moving our records to the present card."""

    async def known(self, card: str, bib_id: str = "") -> BorrowerFacts:
        """Return the facts that decide a request: about a borrower, and the statuses of our own copies."""

    async def authenticate(self, card: str, pin: Sensitive) -> Borrower | Refused:
        """Return the patron with this card and PIN, from the web."""

    async def patron(self, card: str) -> Borrower | Refused:
        """Return the patron of a card that an identity provider has named."""

    @property
    def checks_web_pins(self) -> bool:
        """Return whether a PIN from the web can be checked."""

    @property
    def compares_web_pins(self) -> bool:
        """Return whether a PIN from the web is compared with the loaded hash."""

    async def own_loans(self, card: str) -> tuple[LocalLoan, ...] | None:
        """Return the patron's loans in the local system; None if it lists none."""

    def forget_loans(self, card: str) -> None:
        """Forget the kept loans of a borrower who logs out."""
