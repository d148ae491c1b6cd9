"""The services and settings passed to a connector, and the protection of connectors against PIN guessing."""

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
from hkall_gateway.ils.settings import NoSettings
from hkall_gateway.net.circuit_breaker import CircuitBreaker, Trial
from hkall_gateway.net.http_post import HttpReply, NotSent, Post
from hkall_gateway.net.limits.timeout import left_s
from hkall_gateway.net.secrets import WrongPins
from hkall_gateway.rules.vocabulary import NOTHING, Holding, Sensitive
from hkall_gateway.sip2.client import Ask
from hkall_gateway.sip2.codec.dialects import DIALECTS, Sip2Dialect


class Guarded:
    """Wraps a connector, and locks a card for some time after too many wrong PINs, even against the right PIN."""

    def __init__(self, ils: LocalIls, wrong: WrongPins) -> None:
        self._ils, self._wrong, self._asking = ils, wrong, Counter[str]()

    @property
    def supports(self) -> frozenset[Verb]:
        """Return the queries that the wrapped connector supports."""
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

    async def check_pin(self, card: str, pin: Sensitive) -> bool | None:
        """Check a PIN without counting wrong PINs, for callers with their own limits."""
        return await self._ils.verify_pin(card, pin)

    async def verify_pin(self, card: str, pin: Sensitive) -> bool | None:
        """Check a PIN. Pending checks count as wrong PINs, so that parallel guesses cannot evade the limit.

        A PIN about which the system says nothing (None) is no wrong PIN.
        """
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
        elif right is False:
            self._wrong.count(card)
        return right


T = TypeVar("T")
S = TypeVar("S", bound=BaseModel)
VerifyPin = Callable[[str, Sensitive, Sensitive], Awaitable[bool]]


class Fetch(Protocol):
    """Fetches JSON from a URL within a timeout, with an Authorization header unless it is empty. Raises only NotSent."""

    async def __call__(self, url: str, timeout_s: float, authorization: str = "", /) -> HttpReply:
        """Return the response."""


async def no_fetch(_url: str, _timeout_s: float, _authorization: str = "") -> HttpReply:
    """Raise NotSent. This is the default without network access."""
    raise NotSent("there is no network")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorServices:
    """Services for a connector that queries another system.

    Attributes:
        now: Returns the current time, aware, in UTC.
        health: Circuit breaker that records the outcomes of queries.
        line: Opens a new connection to the system's SIP2 server, with `dialect` and our login.
        post: Sends an NCIP document by HTTP.
        password: Value of the environment variable that `password_env` names. Reveal it for each use, because a reload may
            change it.
        clock: Clock of the reactor; None to query without time limits.
        get: Fetches JSON by HTTP.
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
        """Query the system unless it is down, and record the outcome.

        Args:
            question: Name of the query in metrics and logs.
            ask: Sends the query with the given timeout. Raises Unreachable if there is no usable reply.
            longest_s: Timeout of this query in seconds, shortened if less time is left for the current message.
            trial: Sends a harmless query through `record`, to find out whether the system is back. Never raises an exception.
        """
        if not self.health.may_ask():
            self.health.record_skipped(question)
            raise Unreachable("it is down")
        return await self.record(question, ask, longest_s, trial)

    async def record(self, question: str, ask: Callable[[float], Awaitable[T]], longest_s: float, trial: Trial) -> T:
        """Query the system even if it is down, and record the outcome. Raise Unreachable if there is no usable reply."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorTools:
    """The tools for building a connector. `verify(card, stored hash, pin)` runs in a thread. `agency` is our AgencyId."""

    store: Store
    agency: str
    verify: VerifyPin
    settings: BaseModel = field(default_factory=NoSettings)
    outside: ConnectorServices | None = None

    def settings_of(self, kind: type[S]) -> S:
        """Return the settings with the type declared by the adapter. Raise TypeError if they have another type."""
        if not isinstance(self.settings, kind):
            raise TypeError(f"{type(self.settings).__name__} holds no {kind.__name__}")
        return self.settings

    def abroad(self) -> ConnectorServices:
        """Return the services for querying another system. Raise ValueError if the connector has no such services."""
        if self.outside is None:
            raise ValueError("this connector asks another system, and was given no way to it")
        return self.outside
