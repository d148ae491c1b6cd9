"""Interfaces between the service layer and the local system."""

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
    """Queries that an adapter may support.

    LOANS: The adapter implements `TellsLoans`. LOADED: Units of work read borrowers from the rows that `load` wrote.
    """

    BORROWER = auto()
    VERIFY_PIN = auto()
    COPIES = auto()
    LOANS = auto()
    LOADED = auto()


class Unreachable(Exception):
    """The local system did not answer in time. Adapters raise it, and the service applies the policy for this case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BorrowerFacts:
    """What is known about a borrower, and from which source.

    Attributes:
        source: Origin of the data: snapshot, sip2, ncip or manual.
        as_of: Time of the data.
        reachable: Whether a source could answer. The answer may be that the borrower is unknown.
        flag: Flag for a request that was decided without the local system.
        looked: Whether the statuses of our copies were looked up.
        at_home: Our own copies with their statuses, or None if the look-up failed.
        replaced: Whether the card is out of use, because its owner has a newer card.
        former: Earlier cards of the borrower, according to the local system.
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


AWAY = BorrowerFacts(borrower=None, source="", reachable=False)
"""Facts if the local system is unreachable and there is no fallback."""
NO_PATRON = BorrowerFacts(borrower=None, source="snapshot")
"""Facts for a question about a copy, in which no patron is named."""


@dataclass(frozen=True, slots=True)
class CopyStatus:
    """A copy's status at the time `at`, in the wording of its library."""

    status: str
    at: datetime


@dataclass(frozen=True, slots=True)
class LiveStatuses:
    """Copy statuses of a title, as answered by the libraries. `asking` means that more answers may arrive soon."""

    statuses: Mapping[ItemKey, CopyStatus] = field(default_factory=dict)
    asking: bool = False


class LocalIls(Protocol):
    """The adapter of a local system. Every method may raise `Unreachable`, and no other exception."""

    @property
    def supports(self) -> frozenset[Verb]:
        """The queries that this adapter answers."""

    async def borrower(self, card: str) -> BorrowerFacts:
        """Look up the borrower with this card."""

    async def verify_pin(self, card: str, pin: Sensitive) -> bool | None:
        """Check a PIN. None means that the system answered without saying whether the PIN is right."""

    async def copies(self, bib_id: str) -> tuple[Holding, ...] | None:
        """Return our own copies of a title with their statuses, or None if the system does not provide them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalLoan:
    """A patron's loan in the local system. Missing data are None or ""."""

    barcode: str
    title: str = ""
    due: date | None = None


class TellsLoans(Protocol):
    """A local system that lists a borrower's loans. It may raise `Unreachable`, and no other exception."""

    async def loans(self, card: str) -> tuple[LocalLoan, ...]:
        """Return the borrower's loans in the local system."""


@dataclass(frozen=True, slots=True)
class Identified:
    """A borrower and the PIN check. `pin_ok` is None if no PIN was given, `unsure` is set if it cannot be checked now."""

    facts: BorrowerFacts
    pin_ok: bool | None = None
    unsure: bool = False


@dataclass(frozen=True, slots=True)
class Gathered(Generic[Read]):
    """The facts for a command, gathered before the command's transaction.

    Attributes:
        read: Returns the facts inside the transaction: the local system's answer, or the loaded rows under the locks.
        card: The patron's current card if it differs from the card in the command, else "".
    """

    read: Callable[[UnitOfWork], Read]
    card: str = ""


class LocalSystem(Protocol):
    """The service layer's interface to the local system, independent of the adapter and of whether the system is reachable.

    Methods that return `Gathered` collect the facts for a command. All other methods are queries outside of transactions.
    """

    async def owner(self, card: str, pin: Sensitive = NOTHING) -> Gathered[BorrowerFacts] | Refused:
        """Gather the facts about the owner of a card. Refuse a wrong PIN."""

    async def for_checkout(self, card: str, pin: Sensitive) -> Gathered[BorrowerFacts] | Refused:
        """Gather the facts about the patron who borrows. A partner's card has no facts."""

    async def for_request(self, card: str, bib_id: str) -> Gathered[BorrowerFacts] | Refused:
        """Gather the facts about the patron, and the statuses of our own copies of the title."""

    async def identify(self, card: str, pin: Sensitive, pin_given: bool) -> Gathered[Identified]:
        """Gather the borrower and the result of the PIN check."""

    async def pin_refused(self, card: str, pin: Sensitive) -> Refused | None:
        """Return the refusal for a wrong PIN, or None if the PIN is right."""

    async def unsaid_pin_ok(self, card: str, pin: Sensitive) -> bool | None:
        """Decide about a PIN if the local system answered without saying whether it is right. None means unknown."""

    async def facts(self, card: str) -> BorrowerFacts:
        """Return the facts about a borrower. If the card was replaced, first move our records to the current card."""

    async def known(self, card: str, bib_id: str = "") -> BorrowerFacts:
        """Return the facts for deciding a request: the borrower, and the statuses of our own copies."""

    async def authenticate(self, card: str, pin: Sensitive) -> Borrower | Refused:
        """Check a card and PIN entered on the web, and return the patron."""

    async def patron(self, card: str) -> Borrower | Refused:
        """Return the patron of a card that an identity provider has named."""

    @property
    def loaded(self) -> bool:
        """Whether borrowers are in our own database, so that no other system has to be asked."""

    @property
    def checks_web_pins(self) -> bool:
        """Whether a PIN from the web can be checked."""

    @property
    def compares_web_pins(self) -> bool:
        """Whether a PIN from the web is compared with the loaded hash."""

    async def own_loans(self, card: str) -> tuple[LocalLoan, ...] | None:
        """Return the patron's loans in the local system, or None if the system does not list loans."""

    def forget_loans(self, card: str) -> None:
        """Remove the cached loans of a borrower who logs out."""
