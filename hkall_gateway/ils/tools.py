"""Services and settings for a connector."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeVar, cast

from pydantic import BaseModel

from hkall_gateway.circulation.ports import BorrowerFacts, LocalIls, LocalLoan, TellsLoans, Unreachable, Verb
from hkall_gateway.clock import Clock
from hkall_gateway.db.database import Store
from hkall_gateway.ils.adapter import NoSettings
from hkall_gateway.ils.circuit_breaker import CircuitBreaker, Trial
from hkall_gateway.ncip.http_post import HttpReply, NotSent, Post
from hkall_gateway.net.limits.timeout import left_s
from hkall_gateway.net.secrets import WrongPins
from hkall_gateway.rules.vocabulary import NOTHING, Holding, Sensitive
from hkall_gateway.sip2.client import Ask
from hkall_gateway.sip2.codec.dialects import DIALECTS, Sip2Dialect

# ---- Protects a connector against PIN guessing: after too many wrong PINs a card is not checked for a while.


class Guarded:
    """Passes every query on. `wrong` counts the wrong PINs of each card. While a card is locked, the right PIN fails too."""

    def __init__(self, ils: LocalIls, wrong: WrongPins) -> None:
        self._ils, self._wrong, self._asking = ils, wrong, Counter[str]()

    @property
    def supports(self) -> frozenset[Verb]:
        """What the adapter answers."""
        return self._ils.supports

    async def borrower(self, card: str) -> BorrowerFacts:
        """Return the facts about a borrower."""
        return await self._ils.borrower(card)

    async def copies(self, bib_id: str) -> tuple[Holding, ...] | None:
        """Return our own items of a title."""
        return await self._ils.copies(bib_id)

    async def loans(self, card: str) -> tuple[LocalLoan, ...]:
        """Return the loans of a borrower."""
        return await cast(TellsLoans, self._ils).loans(card)

    async def check_pin(self, card: str, pin: Sensitive) -> bool:
        """Whether the PIN is right, for callers that have limits of their own: a wrong one is not counted."""
        return await self._ils.verify_pin(card, pin)

    async def verify_pin(self, card: str, pin: Sensitive) -> bool:
        """Whether the PIN is right. Pending checks count as wrong, so that parallel guesses do not evade the limit."""
        if self._wrong.shut(card, pending=self._asking[card]):
            return False
        self._asking[card] += 1
        try:
            right = await self._ils.verify_pin(card, pin)
        finally:
            self._asking[card] -= 1
            self._asking += Counter()  # drops the zero counts
        if right:
            self._wrong.forget(card)
        else:
            self._wrong.count(card)
        return right


T = TypeVar("T")
S = TypeVar("S", bound=BaseModel)
VerifyPin = Callable[[str, Sensitive, Sensitive], Awaitable[bool]]


class Fetch(Protocol):
    """GETs an address for JSON, within so many seconds, with an Authorization header unless that is empty.

    It raises only `NotSent`.
    """

    async def __call__(self, url: str, timeout_s: float, authorization: str = "", /) -> HttpReply:
        """Return the response."""


async def no_fetch(_url: str, _timeout_s: float, _authorization: str = "") -> HttpReply:
    """Raise NotSent; for tools without a network."""
    raise NotSent("there is no network")


@dataclass(frozen=True, slots=True)
class ConnectorServices:
    """Services for a connector that queries another system.

    `now` returns the aware UTC instant. `line()` opens one more connection to the system's SIP2 server, logged in as ourselves,
    in `dialect`. `post` sends an NCIP document by HTTP, and `get` reads JSON. `health` records the outcomes. `password` is the
    value of the variable that `password_env` names. `clock` is a reactor's, None where no call is timed.
    """

    now: Callable[[], datetime]
    health: CircuitBreaker
    line: Callable[[], Ask]
    post: Post
    dialect: Sip2Dialect = DIALECTS["standard"]
    password: Sensitive = NOTHING
    clock: Clock | None = None
    get: Fetch = no_fetch

    async def ask(self, question: str, ask: Callable[[float], Awaitable[T]], longest_s: float, trial: Trial) -> T:
        """Ask the system unless it is down, and record the outcome. Raises Unreachable.

        Args:
            question: The name of the query in metrics and logs.
            ask: Asks within the seconds that it is given, and raises Unreachable if no usable reply came.
            longest_s: The limit of this query; less is left where the message's time budget ends before.
            trial: Asks something harmless through `record`, to learn whether the system is back. It never raises.
        """
        if not self.health.may_ask():
            self.health.record_skipped(question)
            raise Unreachable("it is down")
        return await self.record(question, ask, longest_s, trial)

    async def record(self, question: str, ask: Callable[[float], Awaitable[T]], longest_s: float, trial: Trial) -> T:
        """Ask the system even if it is down, and record the outcome. Raises Unreachable."""
        allowed_s = longest_s if self.clock is None else left_s(self.clock.seconds(), longest_s)
        if allowed_s <= 0:
            raise Unreachable("no time is left for this message")
        began = self.now()
        try:
            reply = await ask(allowed_s)
        except Unreachable as failed:
            self.health.record_failure(question, str(failed), trial=trial)
            raise
        self.health.record_reply(question, (self.now() - began).total_seconds())
        return reply


@dataclass(frozen=True, slots=True)
class ConnectorTools:
    """The store, our agency, `verify(card, stored hash, pin)` off the reactor's thread, and the adapter's settings."""

    store: Store
    agency: str
    verify: VerifyPin
    settings: BaseModel = field(default_factory=NoSettings)
    outside: ConnectorServices | None = None

    def settings_of(self, kind: type[S]) -> S:
        """Return the settings as what the adapter declared. Raises TypeError if it declared others."""
        if not isinstance(self.settings, kind):
            raise TypeError(f"{type(self.settings).__name__} holds no {kind.__name__}")
        return self.settings

    def abroad(self) -> ConnectorServices:
        """Return the services for outside queries. Raises ValueError where the gateway was given none."""
        if self.outside is None:
            raise ValueError("this connector asks another system, and was given no way to it")
        return self.outside
