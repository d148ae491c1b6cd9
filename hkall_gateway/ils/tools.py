"""Services and settings for a connector."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from hkall_gateway.circulation.ports import BorrowerFacts, LocalIls, LocalLoan, TellsLoans, Verb
from hkall_gateway.db.engine.database import Store
from hkall_gateway.ils.circuit_breaker import CircuitBreaker
from hkall_gateway.ncip.http_post import Post
from hkall_gateway.net.secrets import WrongPins
from hkall_gateway.rules.vocabulary import NOTHING, Holding, Sensitive
from hkall_gateway.sip2.codec.dialects import DIALECTS, Sip2Dialect
from hkall_gateway.sip2.upstream.client import Ask, ReactorClock

# ---- Protects a connector against PIN guessing: after too many wrong PINs a card is not checked for a while.


class Guarded:
    """Passes every query on; `wrong` counts the wrong PINs of each card. While a card is locked, the right PIN fails too."""

    def __init__(self, ils: LocalIls, wrong: WrongPins) -> None:
        self._ils, self._wrong, self._asking = ils, wrong, Counter[str]()

    @property
    def supports(self) -> frozenset[Verb]:
        return self._ils.supports

    async def borrower(self, card: str) -> BorrowerFacts:
        return await self._ils.borrower(card)

    async def copies(self, bib_id: str) -> tuple[Holding, ...] | None:
        return await self._ils.copies(bib_id)

    async def loans(self, card: str) -> tuple[LocalLoan, ...]:
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


VerifyPin = Callable[[str, Sensitive, Sensitive], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class ConnectorServices:
    """Services for a connector that queries another system.

    `now` returns the aware UTC instant; `line()` opens one more connection to the system's SIP2 server, logged in as ourselves,
    in `dialect`; `post` sends a document by HTTP; `health` records the outcomes; `password` is the value of the variable that
    `password_env` names; `clock` is a reactor's, None where no call is timed.
    """

    now: Callable[[], datetime]
    health: CircuitBreaker
    line: Callable[[], Ask]
    post: Post
    dialect: Sip2Dialect = DIALECTS["standard"]
    password: Sensitive = NOTHING
    clock: ReactorClock | None = None


@dataclass(frozen=True, slots=True)
class ConnectorTools:
    """The store, our agency, `verify(card, stored hash, pin)` off the reactor's thread, and the [ils] table's own keys."""

    store: Store
    agency: str
    verify: VerifyPin
    settings: Mapping[str, Any] = field(default_factory=dict)
    outside: ConnectorServices | None = None

    def abroad(self) -> ConnectorServices:
        """The services for outside queries. Raises ValueError where the gateway was given none."""
        if self.outside is None:
            raise ValueError("this connector asks another system, and was given no way to it")
        return self.outside


Connector = Callable[[ConnectorTools], LocalIls]
