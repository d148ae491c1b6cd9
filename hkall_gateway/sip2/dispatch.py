"""Dispatches terminal messages to their handlers, and handles logins and SC Status."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import floor
from typing import Final, Literal

import structlog

from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.deadline import Deadline, Undecided
from hkall_gateway.net.client_certificate import ClientCertificate, show_none
from hkall_gateway.net.limits.allow_list import NO_ADDRESS, AllowList, network_of
from hkall_gateway.net.limits.timeout import TooLate, begin_budget
from hkall_gateway.net.secrets import DECOY
from hkall_gateway.observability.log_context import log_context
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Sensitive
from hkall_gateway.sip2 import relay
from hkall_gateway.sip2.client import Login, UpstreamInterface
from hkall_gateway.sip2.codec.body import remove_hidden
from hkall_gateway.sip2.codec.dialects import DIALECTS, Sip2Dialect
from hkall_gateway.sip2.codec.lines import Sip2Message
from hkall_gateway.sip2.codec.messages import BX, RESEND
from hkall_gateway.sip2.codec.session import Refuse, Session
from hkall_gateway.sip2.exchange import NOBODY, Exchange, Handler, Reply, Sip2Services, TerminalRow, Verifier, refuse_by, reply
from hkall_gateway.sip2.handlers.items import hold, item_information, item_status_update
from hkall_gateway.sip2.handlers.loans import check_in, check_out, renew, renew_all
from hkall_gateway.sip2.handlers.patrons import block, enable, end_session, locked_out, patron_information, patron_status, pay

LoginMode = Literal["required", "optional", "by-address", "telnet"]


@dataclass(frozen=True, slots=True)
class FramingRule:
    """The dialect whose framing applies to clients at the addresses in `callers`, in both directions."""

    callers: AllowList
    dialect: Sip2Dialect


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One SIP2 port.

    Attributes:
        login: "required" (the client first sends a 93), "optional" (a client without a login acts as `terminal`), "by-address"
            (the client acts as `terminal`, or as the only login whose `allow_from` admits its address) or "telnet" (prompts
            for name and password, then SIP2).
        framing: The dialect that sets the framing, or None to use the login's dialect.
        framings: Rules that override `framing` for certain addresses; the first match applies.
        proxy_from: The load balancers that must send a PROXY header, which is stripped before the session sees any data.
    """

    login: LoginMode = "required"
    terminal: str = ""
    framing: Sip2Dialect | None = None
    framings: tuple[FramingRule, ...] = ()
    proxy_from: AllowList = NO_ADDRESS

    def framing_of(self, address: str) -> tuple[Sip2Dialect, bool]:
        """Return the dialect for a client's first line, and whether its framing stays in force after the login."""
        own = next((row.dialect for row in self.framings if row.callers.admits(address)), self.framing)
        return (own, True) if own else (DIALECTS["standard"], False)


PLAIN: Final = Listener()


__all__ = ["HANDLERS", "Refuse", "Sip2Message", "Sip2Services", "TerminalRow", "Verifier", "log_in_by_address", "respond"]

LOG = structlog.get_logger()

BEFORE_LOGIN: Final = frozenset({"93", "99"})
ASKS_NOTHING: Final = frozenset({"99"})
"""Messages that are answered even if truncated, because the reply does not depend on their fields."""

ASKS_NO_PIN: Final = frozenset({"35"})
"""Messages whose PIN is not checked, because they have no effect."""

STRUCK_OUT: Final = "struck_out"
"""The session counter for the last allowed wrong login, after which the connection is closed."""

LONGEST_NAME: Final = 100
"""Maximum length of a login name as the key for counting wrong passwords; a longer name is cut."""

OFFERS: Final[Mapping[str, tuple[str, ...]]] = {
    "checkin_ok": ("09",),
    "checkout_ok": ("11",),
    "acs_renewal_policy": ("29",),
    "status_update_ok": ("01", "25"),
}
"""The flags in 98 that summarise positions of BX, with the messages that each flag covers. Source: SIP2 2.00, ACS status."""


def _ignore_line(_line: bytes) -> None:
    """Send nothing. Used as default by callers that need only the result."""


async def respond(
    services: Sip2Services,
    session: Session,
    piece: Sip2Message | Refuse,
    peer: str,
    upstream: UpstreamInterface | None = None,
    deadline: Deadline | None = None,
    send: Callable[[bytes], object] = _ignore_line,
    certificate: Callable[[], ClientCertificate] = show_none,
) -> bytes:
    """Process one message and return the complete reply line.

    `peer` is the terminal's address, `upstream` its connection to the local system (None if messages are not relayed), and
    `deadline` the time by which this message must be answered. `send` is called with the reply line before the message is
    counted and logged, so that the terminal does not wait for that. `certificate`
    returns what the terminal shows over TLS. An unexpected exception is a bug or a failed database. It
    is logged once with its traceback, the message gets its negative reply, and the connection stays open.

    Raises:
        Undecided: It is unknown whether the command was executed, so neither a positive nor a negative reply would be correct.
    """
    message = piece.message if isinstance(piece, Refuse) else piece
    terminal, now = services.terminals.get(session.terminal or "", NOBODY), services.now()
    corr = f"{terminal.login or peer}/{_format_second(floor(now.timestamp()))}.{now.microsecond:06}"
    exchange = Exchange(services, session, message, terminal, peer, now, corr, upstream, certificate)
    if services.budget_until is not None:
        begin_budget(services.budget_until())
    with log_context(channel="sip2", terminal=terminal.login, corr_id=corr):
        try:
            work = _dispatch_message(exchange, piece)
            answer = await (services.timeout.run(work, deadline) if services.timeout else work)
            if answer.body:
                line = session.relay(message, remove_hidden(answer.body, session.dialect))
            else:
                line = session.reply(message, exchange.reply_code, answer.fields)
        except Undecided:
            LOG.error("sip2.undecided", code=message.code)
            raise
        except (Unavailable, TooLate):  # the reason has already been logged
            answer = refuse_by(exchange, Reason.TRY_AGAIN)
            line = session.reply(message, exchange.reply_code, answer.fields)
        except Exception:
            LOG.exception("sip2.failed", code=message.code)
            answer = refuse_by(exchange, Reason.TRY_AGAIN)
            line = session.reply(message, exchange.reply_code, answer.fields)
    took = services.now() - exchange.now
    try:
        send(line)
    finally:
        _record_answer(exchange, answer, took)
    return line


def log_in_by_address(services: Sip2Services, session: Session, listener: Listener, peer: str) -> None:
    """Log the session in by the client's address, if the listener identifies terminals by address.

    A terminal that must show a certificate is never identified by its address: no certificate is known before the handshake.
    """
    if listener.login not in ("optional", "by-address"):
        return
    wanted = [listener.terminal] if listener.terminal else list(services.terminals) if listener.login == "by-address" else []
    rows = [services.terminals[login] for login in wanted if login in services.terminals]
    admitted = [row for row in rows if row.allow_from.admits(peer) and not row.certificate]
    if len(admitted) == 1:
        session.log_in(admitted[0].login, admitted[0].dialect)


@lru_cache(maxsize=4)
def _format_second(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%Y%m%dT%H%M%S}"


async def _dispatch_message(exchange: Exchange, piece: Sip2Message | Refuse) -> Reply:
    code = exchange.message.code
    if exchange.terminal is NOBODY and code not in BEFORE_LOGIN:
        return refuse_by(exchange, Reason.LOG_IN_FIRST)
    if code not in HANDLERS or code in exchange.session.dialect.withheld:
        return refuse_by(exchange, Reason.NOT_SUPPORTED)
    if not exchange.offers(code):
        return refuse_by(exchange, Reason.NOT_AT_THIS_TERMINAL)
    if isinstance(piece, Refuse) and code not in ASKS_NOTHING:
        return refuse_by(exchange, Reason.UNUSABLE_MESSAGE)
    if exchange.message.get("AD") and code not in ASKS_NO_PIN:
        return await _answer_with_pin(exchange)
    return await (HANDLERS[code](exchange) if exchange.upstream is None else relay.answer(exchange, HANDLERS[code]))


async def _answer_with_pin(exchange: Exchange) -> Reply:
    """Answer a message that contains a PIN. After too many wrong PINs, no PIN is checked, not even a correct one."""
    guesses = exchange.services.guesses
    if guesses.shut(exchange.guess_sources, exchange.now):
        return await locked_out(exchange)
    answer = await relay.answer(exchange, HANDLERS[exchange.message.code])
    if answer.wrong_pin or (answer.no is not None and answer.no.why is Reason.WRONG_PIN):
        guesses.count(exchange.guess_sources, exchange.now)
        exchange.services.metrics.wrong_pins.labels("sip2", exchange.terminal.login).inc()
        LOG.warning(
            "sip2.pin_wrong", code=exchange.message.code, card=Sensitive(exchange.message.get("AA")), peer=exchange.peer
        )
    return answer


def _record_answer(exchange: Exchange, answer: Reply, took: timedelta) -> None:
    code, no, metrics = exchange.message.code, answer.no, exchange.services.metrics
    metrics.sip2_latency.labels(code).observe(took.total_seconds())
    outcome = no.why.value if no else "relayed" if answer.body else "ok"
    metrics.sip2_messages.labels(exchange.terminal.login, code, outcome).inc()
    if exchange.terminal is not NOBODY:
        exchange.services.activity.heard(exchange.terminal.login, code, exchange.now)
    about_no = {"refused": no.why.value, "rule": no.rule} if no else {}
    LOG.info(
        "sip2.answered",
        channel="sip2",
        terminal=exchange.terminal.login,
        corr_id=exchange.corr,
        code=exchange.reply_code,
        ok=no is None,
        ms=took // _MS,
        peer=exchange.peer,
        request_id=answer.request,
        **about_no,
    )


_MS: Final = timedelta(milliseconds=1)


async def _answer_login(exchange: Exchange) -> Reply:
    """Answer a login (93) with a 94 that reports only success or failure. After a success, bind the session to the terminal."""
    row = exchange.services.terminals.get(exchange.message.get("CN").strip(), NOBODY)
    reason = await _find_login_fault(exchange, row)
    if not reason:
        exchange.session.log_in(row.login, row.dialect)
        if exchange.upstream is not None and exchange.services.own_logins:  # sent when the first message is relayed
            message = exchange.message
            exchange.upstream.close()
            exchange.upstream.login = Login(message.get("CN").strip(), Sensitive(message.get("CO")), message.get("CP").strip())
        return reply(exchange, {"ok": "1"})
    LOG.warning("sip2.login_refused", login=row.login, reason=reason, peer=exchange.peer)
    exchange.services.activity.refused(row.login, reason, exchange.now)
    exchange.session.counters[STRUCK_OUT] += exchange.session.strike()
    return refuse_by(exchange, Reason.LOG_IN_FIRST)


async def _find_login_fault(exchange: Exchange, row: TerminalRow) -> str:
    """Return the reason for refusing a login, worded for the log, or "" if the login is valid.

    Only plain-text passwords are supported. Wrong passwords are counted by name and network, so that wrong logins from one
    network cannot lock out a terminal in another network.
    """
    if any(exchange.message.get(name).strip() not in ("", "0") for name in ("uid_algorithm", "pwd_algorithm")):
        return "algorithm"
    why = ""
    if row is NOBODY:
        why = "unknown"
    elif not row.allow_from.admits(exchange.peer):
        why = "address"
    elif row.certificate and not exchange.certificate().is_bound_to(row.certificate):
        why = "certificate"
    # A hash is also computed for an unknown name, address or certificate, so that the response time does not reveal which names
    # exist.
    stored, secret = DECOY if why else row.secret_hash, exchange.message.get("CO")
    name = f"terminal {exchange.message.get('CN').strip()[:LONGEST_NAME]} at {network_of(exchange.peer)}"
    right = await exchange.services.logins.run(exchange.peer, lambda: exchange.services.secrets.verify(name, stored, secret))
    return why or ("" if right else "secret")


async def _answer_status(exchange: Exchange) -> Reply:
    """Answer an SC Status (99) with a 98, in which each flag tells whether this terminal may send certain messages."""
    dialect = exchange.session.dialect
    fields = {
        "on_line_status": "Y",
        **{flag: "Y" if all(_is_offered(exchange, code) for code in codes) else "N" for flag, codes in OFFERS.items()},
        "off_line_ok": "Y" if dialect.offline and exchange.terminal.offline else "N",
        "timeout_period": f"{dialect.timeout_tenths}",
        "retries_allowed": f"{dialect.retries}",
        "date_time_sync": exchange.date18(exchange.now),
        "protocol_version": "2.00",
        "AM": exchange.services.library_name,
        "BX": "".join("Y" if _is_offered(exchange, code) else "N" for code in BX),
        "AN": exchange.terminal.location,
    }
    return reply(exchange, fields)


def _is_offered(exchange: Exchange, code: str) -> bool:
    """Check whether this terminal may send a message. 97 has no handler because the session answers it."""
    return (code in HANDLERS or code == RESEND) and exchange.offers(code)


# fmt: off
HANDLERS: Final[Mapping[str, Handler]] = {
    "01": block,
    "09": check_in,
    "11": check_out,
    "15": hold,
    "17": item_information,
    "19": item_status_update,
    "23": patron_status,
    "25": enable,
    "29": renew,
    "35": end_session,
    "37": pay,
    "63": patron_information,
    "65": renew_all,
    "93": _answer_login,
    "99": _answer_status,
}
"""The handler for each message; any other message is answered with NOT_SUPPORTED."""
# fmt: on
