"""Services and settings for a connector."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from hkall_gateway.circulation.ports import LocalIls
from hkall_gateway.db.engine.database import Store
from hkall_gateway.ils.circuit_breaker import CircuitBreaker
from hkall_gateway.ncip.http_post import Post
from hkall_gateway.rules.vocabulary import NOTHING, Sensitive
from hkall_gateway.sip2.codec.dialects import DIALECTS, Sip2Dialect
from hkall_gateway.sip2.upstream.client import Ask, ReactorClock

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
