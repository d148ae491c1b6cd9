"""Maps every message that a terminal may send to its handler; handlers pass requests to the desk and results back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from math import floor
from typing import Final

import structlog

from hkall_gateway.edge.budget import budget
from hkall_gateway.edge.context import about
from hkall_gateway.edge.secrets import DECOY
from hkall_gateway.rules.vocabulary import Reason, Sensitive
from hkall_gateway.sip2 import relay
from hkall_gateway.sip2.cards import block, enable
from hkall_gateway.sip2.codec import Message
from hkall_gateway.sip2.fees import pay
from hkall_gateway.sip2.holds import hold
from hkall_gateway.sip2.items import item_information, item_status_update
from hkall_gateway.sip2.listeners import Listener
from hkall_gateway.sip2.loans import check_in, check_out, renew, renew_all
from hkall_gateway.sip2.messages import BX, RESEND
from hkall_gateway.sip2.patrons import end_session, patron_information, patron_status
from hkall_gateway.sip2.session import Refuse, Session
from hkall_gateway.sip2.turns import NOBODY, Door, Handler, Reply, TerminalRow, Turn, Verifier, refuse_by, reply
from hkall_gateway.sip2.upstream import Beyond, Login
from hkall_gateway.store.engine.db_errors import Unavailable

__all__ = ["HANDLERS", "Door", "Message", "Refuse", "TerminalRow", "Verifier", "respond", "struck_out", "welcome"]

LOG = structlog.get_logger()

BEFORE_LOGIN: Final = frozenset({"93", "99"})
ASKS_NOTHING: Final = frozenset({"99"})
"""Messages that are answered even if truncated: the reply needs none of their fields."""

ASKS_NO_PIN: Final = frozenset({"35"})
"""Messages that are answered with any PIN: they have no effect."""

STRUCK_OUT: Final = "struck_out"
"""The session's count of third wrong logins."""

LONGEST_NAME: Final = 100
"""Characters of an unknown login name that are remembered."""

OFFERS: Final[Mapping[str, tuple[str, ...]]] = {
    "checkin_ok": ("09",),
    "checkout_ok": ("11",),
    "acs_renewal_policy": ("29",),
    "status_update_ok": ("01", "25"),
}
"""The flags of 98 that repeat positions of BX, and the messages that they stand for. Source: SIP2 2.00, ACS status."""


async def respond(door: Door, session: Session, piece: Message | Refuse, peer: str, beyond: Beyond | None = None) -> bytes:
    """Returns the complete reply line to one message, ready to be written. Never raises, for any bytes of a peer.

    `peer` is the sender's address, `beyond` its connection to the local system. An exception on the way is a bug of ours or a
    store that failed: it is logged once with its traceback, the message gets its negative reply, the connection stays open.
    """
    message = piece.message if isinstance(piece, Refuse) else piece
    turn = _turn(door, session, message, peer, beyond)
    with about(**_told(turn)), budget(door.budget_until()):
        try:
            answer = await _answer(turn, piece)
            line = _line(turn, answer)
        except Unavailable:  # the store has logged the reason; the terminal's screen shows "try again"
            answer = refuse_by(turn, Reason.TRY_AGAIN)
            line = session.reply(message, turn.reply_code, answer.fields)
        except Exception:
            LOG.exception("sip2.failed", code=message.code)
            answer = refuse_by(turn, Reason.TRY_AGAIN)
            line = session.reply(message, turn.reply_code, answer.fields)
    door.soon(partial(_note, turn, answer, door.now() - turn.now))
    return line


def welcome(door: Door, session: Session, listener: Listener, peer: str) -> None:
    """Log the session in by the address `peer` if the listener identifies terminals by address; otherwise do not log it in."""
    row = _known_by_address(door, listener, peer)
    if row is not None:
        session.log_in(row.login, row.dialect)


def struck_out(session: Session) -> bool:
    """Whether this connection gave too many wrong logins and is to be closed after the reply."""
    return session.counters[STRUCK_OUT] > 0


def _line(turn: Turn, answer: Reply) -> bytes:
    if answer.body:
        return turn.session.pass_on(turn.message, answer.body)
    return turn.session.reply(turn.message, turn.reply_code, answer.fields)


def _turn(door: Door, session: Session, message: Message, peer: str, beyond: Beyond | None) -> Turn:
    terminal, now = door.terminals.get(session.terminal or "", NOBODY), door.now()
    corr = f"{terminal.login or peer}/{_second(floor(now.timestamp()))}.{now.microsecond:06}"
    return Turn(door, session, message, terminal, peer, now, corr, beyond)


@lru_cache(maxsize=4)
def _second(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%Y%m%dT%H%M%S}"


async def _answer(turn: Turn, piece: Message | Refuse) -> Reply:
    code = turn.message.code
    if turn.terminal is NOBODY and code not in BEFORE_LOGIN:
        return refuse_by(turn, Reason.LOG_IN_FIRST)
    if code not in HANDLERS or code in turn.session.dialect.withheld:
        return refuse_by(turn, Reason.NOT_SUPPORTED)
    if not turn.offers(code):
        return refuse_by(turn, Reason.NOT_AT_THIS_TERMINAL)
    if isinstance(piece, Refuse) and code not in ASKS_NOTHING:
        return refuse_by(turn, Reason.UNUSABLE_MESSAGE)
    if turn.message.get("AD") and code not in ASKS_NO_PIN:
        return await _with_pin(turn)
    return await relay.answer(turn, HANDLERS[code])


async def _with_pin(turn: Turn) -> Reply:
    """The answer to a message that brings a PIN. After too many wrong ones not even a right one is looked at."""
    guesses = turn.door.guesses
    if guesses.shut(turn.ways, turn.now):
        return refuse_by(turn, Reason.TOO_MANY_WRONG_PINS)
    answer = await relay.answer(turn, HANDLERS[turn.message.code])
    if _found_wrong(answer):
        guesses.count(turn.ways, turn.now)
        turn.door.metrics.wrong_pins.labels("sip2", turn.terminal.login).inc()
        LOG.warning("sip2.pin_wrong", code=turn.message.code, card=Sensitive(turn.message.get("AA")), peer=turn.peer)
    return answer


def _found_wrong(answer: Reply) -> bool:
    """Whether the PIN was checked and is wrong, by the refusal or by the record of a known card."""
    return answer.wrong_pin or (answer.no is not None and answer.no.why is Reason.WRONG_PIN)


def _note(turn: Turn, answer: Reply, took: timedelta) -> None:
    code, no, metrics = turn.message.code, answer.no, turn.door.metrics
    metrics.sip2_latency.labels(code).observe(took.total_seconds())
    outcome = no.why.value if no else "relayed" if answer.body else "ok"
    metrics.sip2_messages.labels(turn.terminal.login, code, outcome).inc()
    about_no = {"refused": no.why.value, "rule": no.rule} if no else {}
    LOG.info(
        "sip2.answered",
        **_told(turn),
        code=turn.reply_code,
        ok=no is None,
        ms=took // _MS,
        peer=turn.peer,
        request_id=answer.request,
        **about_no,
    )


def _told(turn: Turn) -> Mapping[str, str]:
    """Returns the fields that every log line about a message carries."""
    return {"channel": "sip2", "terminal": turn.terminal.login, "corr_id": turn.corr}


_MS: Final = timedelta(milliseconds=1)


# ---- the line itself


def _known_by_address(door: Door, listener: Listener, peer: str) -> TerminalRow | None:
    if listener.login not in ("optional", "by-address"):
        return None
    wanted = [listener.terminal] if listener.terminal else list(door.terminals) if listener.login == "by-address" else []
    rows = [door.terminals[login] for login in wanted if login in door.terminals]
    admitted = [row for row in rows if row.allow_from.admits(peer)]
    return admitted[0] if len(admitted) == 1 else None


async def _log_in(turn: Turn) -> Reply:
    """94. A correct login binds the connection to that terminal; the reply contains only success or failure."""
    row = turn.door.terminals.get(turn.message.get("CN").strip(), NOBODY)
    reason = await _login_refused(turn, row)
    if not reason:
        turn.session.log_in(row.login, row.dialect)
        _log_in_beyond(turn)
        return reply(turn, {"ok": "1"})
    LOG.warning("sip2.login_refused", login=row.login, reason=reason, peer=turn.peer)
    turn.session.counters[STRUCK_OUT] += turn.session.strike()
    return refuse_by(turn, Reason.LOG_IN_FIRST)


def _log_in_beyond(turn: Turn) -> None:
    """Sets the terminal's login on its connection to the local system, which sends it with the first message."""
    if turn.beyond is None or not turn.door.own_logins:
        return
    turn.beyond.close()
    told = turn.message
    turn.beyond.login = Login(told.get("CN").strip(), Sensitive(told.get("CO")), told.get("CP").strip())


async def _login_refused(turn: Turn, row: TerminalRow) -> str:
    """Returns why a login is wrong, for the log; "" if it is right. Only plain text is supported, no other algorithm.

    Wrong passwords count by name and address together, so that a wrong login cannot lock out a terminal at another address.
    """
    if any(turn.message.get(name).strip() not in ("", "0") for name in ("uid_algorithm", "pwd_algorithm")):
        return "algorithm"
    why = "unknown" if row is NOBODY else "" if row.allow_from.admits(turn.peer) else "address"
    # An unknown name, or a name not allowed from this address, costs a hash too: timing does not reveal existing names.
    stored, secret = DECOY if why else row.secret_hash, turn.message.get("CO")
    name = f"terminal {turn.message.get('CN').strip()[:LONGEST_NAME]} at {turn.peer}"
    right = await turn.door.logins.run(turn.peer, lambda: turn.door.secrets.verify(name, stored, secret))
    return why or ("" if right else "secret")


async def _status(turn: Turn) -> Reply:
    """98. A flag is Y where its messages are offered; whether a book may be lent here is decided book by book (R16)."""
    dialect = turn.session.dialect
    said = {
        "on_line_status": "Y",
        **{flag: "Y" if all(_offered(turn, code) for code in codes) else "N" for flag, codes in OFFERS.items()},
        "off_line_ok": "Y" if dialect.offline and turn.terminal.offline else "N",
        "timeout_period": f"{dialect.timeout_tenths}",
        "retries_allowed": f"{dialect.retries}",
        "date_time_sync": turn.date18(turn.now),
        "protocol_version": "2.00",
        "AM": turn.door.library_name,
        "BX": "".join("Y" if _offered(turn, code) else "N" for code in BX),
        "AN": turn.terminal.location,
    }
    return reply(turn, said)


def _offered(turn: Turn, code: str) -> bool:
    """Whether this terminal may send that message; 97 is answered by the session."""
    return (code in HANDLERS or code == RESEND) and turn.offers(code)


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
    "93": _log_in,
    "99": _status,
}
"""The messages that have a handler; all others are answered "not supported here"."""
# fmt: on
