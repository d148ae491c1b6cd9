"""Settings of one listening port: the way of login, the framing, and the load balancers that send PROXY headers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from hkall_gateway.net.limits.allow_list import NO_ADDRESS, AllowList
from hkall_gateway.sip2.codec.dialects import DIALECTS, Sip2Dialect

Login = Literal["required", "optional", "by-address", "telnet"]


@dataclass(frozen=True, slots=True)
class FramingRule:
    """Clients at these addresses use the framing of this dialect, for reading and writing."""

    callers: AllowList
    dialect: Sip2Dialect


@dataclass(frozen=True, slots=True)
class Listener:
    """One port.

    `login`: required (a 93 comes first), optional (a client without a login acts as `terminal`), by-address (the client is
    `terminal`, or the one login that its address allows), telnet (prompts for name and password, then SIP2). `framing` None:
    the login's dialect sets the framing; `framings` are addresses with a framing of their own, the first match counts.
    `proxy_from` are the load balancers that must send a PROXY header; it is read below the terminal's connection.
    """

    login: Login = "required"
    terminal: str = ""
    framing: Sip2Dialect | None = None
    framings: tuple[FramingRule, ...] = ()
    proxy_from: AllowList = NO_ADDRESS

    def framing_of(self, address: str) -> tuple[Sip2Dialect, bool]:
        """The dialect with which a caller's first line is read, and whether its framing outlasts the login."""
        own = next((row.dialect for row in self.framings if row.callers.admits(address)), self.framing)
        return (own, True) if own else (DIALECTS["standard"], False)


PLAIN: Final = Listener()
