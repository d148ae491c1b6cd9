"""What a terminal asks becomes an ask at the desk, and what the desk answers becomes the fields of the reply."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from typing import Final, Protocol

import structlog

from hkall_gateway.desk.asks import (
    CheckedIn,
    CheckedOut,
    CheckIn,
    CheckOut,
    ItemSeen,
    LoanLine,
    Outcome,
    PatronSeen,
    Place,
    Refused,
    Renew,
    Renewed,
    SeeItem,
    SeePatron,
)
from hkall_gateway.desk.desk import Desk
from hkall_gateway.edge.allow import AllowList
from hkall_gateway.edge.counters import Counters
from hkall_gateway.rules.calendar import civil, end_of, start_of
from hkall_gateway.rules.vocabulary import By, Position, Sensitive, Why
from hkall_gateway.sip2.codec import Message, Value
from hkall_gateway.sip2.dialects import DIALECTS
from hkall_gateway.sip2.fields import TAGS, date18, parse_date18
from hkall_gateway.sip2.messages import RESEND, SHAPES
from hkall_gateway.sip2.session import Refuse, Session
from hkall_gateway.sip2.words import CODES, EN, UNSAID, ZH, News, language_of, say, tell

LOG = structlog.get_logger()

P = Position
NOWHERE: Final = AllowList(())


@dataclass(frozen=True, slots=True)
class TerminalRow:
    """One login of the configuration. `role` is counter, selfcheck or bookdrop; `dialect` a row of DIALECTS."""

    login: str
    secret_hash: str = field(repr=False)
    role: str
    location: str
    dialect: str = "standard"
    allow_from: AllowList = NOWHERE
    language: str = EN


class Verifier(Protocol):
    """Whether `secret` is the one whose hash is `stored`; `edge.secrets.Secrets` is one."""

    def verify(self, subject: str, stored: str, secret: str) -> Awaitable[bool]: ...


@dataclass(frozen=True, slots=True)
class Door:
    """All that answering a terminal needs. `terminals` is by login; `now` answers the aware UTC instant."""

    desk: Desk
    terminals: Mapping[str, TerminalRow]
    secrets: Verifier
    agency: str
    library_name: str
    timezone: tzinfo
    counters: Counters
    now: Callable[[], datetime]

    def admits(self, address: str) -> bool:
        """Whether any terminal may come from this address."""
        return any(row.allow_from.admits(address) for row in self.terminals.values())


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of one terminal, and what was known when it came. Before the login `terminal` is NOBODY."""

    door: Door
    session: Session
    message: Message
    terminal: TerminalRow
    peer: str
    now: datetime

    @property
    def reply_code(self) -> str:
        return SHAPES[self.message.code].reply

    @property
    def by(self) -> By:
        """Who asks; `corr` is unlike that of any other message, since a terminal asks one thing at a time."""
        who = self.terminal.login or self.peer
        return By(who, "sip2", self.message.code, f"{who}@{self.now:%Y%m%dT%H%M%S.%f}")

    @property
    def place(self) -> Place:
        return Place(self.terminal.role, self.terminal.location)

    @property
    def pin(self) -> Sensitive:
        return Sensitive(self.message.get("AD"))

    def says(self, flag: str) -> bool:
        """Whether the terminal said Y."""
        return self.message.get(flag) == "Y"

    def language(self, patron: str = "") -> str:
        """The language to write in; English where the terminal cannot show another."""
        chosen = language_of(self.message.get("language").strip(), patron, self.terminal.language)
        return chosen if chosen == EN or _shows_chinese(self.session.dialect.encoding) else EN

    def due(self, day: date | None) -> str:
        """A due date as this terminal shows it: the last second of the day."""
        return self.session.dialect.due_text(end_of(day), self.door.timezone) if day else ""

    def happened(self, *names: str) -> datetime | None:
        """The first usable instant among these fields; one that is still to come is a wrong clock and no instant."""
        found = (parse_date18(self.message.get(name), self.door.timezone) for name in names)
        return next((instant for instant in found if instant and instant <= self.now), None)


@dataclass(frozen=True, slots=True)
class Reply:
    """The fields of an answer, and for the log whether it was a yes, why not, and about which request."""

    fields: Mapping[str, Value]
    ok: bool
    no: Refused | None = None
    request: str = ""


Handler = Callable[[Turn], Awaitable[Reply]]

NOBODY: Final = TerminalRow("", "", "", "")
BEFORE_LOGIN: Final = frozenset({"93", "99"})
STRUCK_OUT: Final = "struck_out"
"""The session's counter of connections that gave too many wrong logins."""

# fmt: off
NEGATIVE: Final[Mapping[str, Mapping[str, Value]]] = {
    # What a no says beyond the codec's own: flags that nobody set are N, bits and numbers 0.
    "10": {"alert": "Y", "CL": "exception", "CV": "99"},
    "18": {"circulation_status": "01", "fee_type": "01"},
    "24": {"patron_status": "YYYY", "BL": "N", "CQ": "N"},
    "26": {"patron_status": "YYYY", "BL": "N", "CQ": "N"},
    "64": {"patron_status": "YYYY", "BL": "N", "CQ": "N"},
    "98": {"protocol_version": "2.00", "BX": "N" * 16},
    "20": {"item_properties_ok": "0"},
}

BX: Final = ("23", "11", "09", "01", "99", "97", "93", "63", "35", "37", "17", "19", "25", "15", "29", "65")
"""The positions of BX. Source: SIP2 2.00, supported messages."""


@dataclass(frozen=True, slots=True)
class Listing:
    """One position of the summary: its count in 64, the tag of its lines, and which lines of the record it means."""

    count: str
    tag: str
    holds: Callable[[LoanLine], bool]


LISTINGS: Final = (
    Listing("hold_items_count",        "AS", lambda line: line.position is P.RECEIVED),
    Listing("overdue_items_count",     "AT", lambda line: line.overdue),
    Listing("charged_items_count",     "AU", lambda line: line.position is P.ON_LOAN),
    Listing("fine_items_count",        "AV", lambda line: line.fine_cents > 0),
    Listing("recall_items_count",      "BU", lambda line: line.position is P.ON_LOAN and line.recalled),
    Listing("unavailable_holds_count", "CD", lambda line: line.position in {P.NEW, P.REQUESTED, P.IN_TRANSIT}),
)
"""In the order of the summary's positions. Source: SIP2 2.00, summary."""

MARKS: Final[Mapping[int, Callable[[PatronSeen], bool]]] = {
    0:  lambda seen: not seen.valid or _full(seen),                               # charge denied
    1:  lambda seen: not _known(seen),                                            # renewal denied
    2:  lambda seen: not seen.valid,                                              # recall denied
    3:  lambda seen: not seen.valid,                                              # hold denied
    5:  lambda seen: _full(seen),                                                 # too many items charged
    12: lambda seen: any(line.recalled and line.overdue for line in seen.lines),  # recall overdue
}
"""Which positions of the patron status are Y; nobody here knows of the others. Source: SIP2 2.00, patron status."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where a copy goes that was taken in: what to say, the alert type, and the sort bin ("" = named by its destination)."""

    news: News
    alert: str
    bin: str = ""


ROUTES: Final[Mapping[str, Route]] = {
    "received": Route(News.RECEIVED,   "01", "hold"),
    "held":     Route(News.AGAIN_HELD, "01", "hold"),
    "again":    Route(News.AGAIN,      "04"),
    "unwanted": Route(News.UNWANTED,   "04"),
    "returned": Route(News.RETURNED,   "04"),
    "home":     Route(News.HOME,       "00", "shelf"),
}
"""By what the desk did; `held` is `again` on the hold shelf. Alert types: 3M's extension, reference page sip2.md 2."""

AT_POSITION: Final[Mapping[Position, str]] = {
    P.NEW:            "02",
    P.REQUESTED:      "02",
    P.CANCELLING:     "10",
    P.IN_TRANSIT:     "10",
    P.RECEIVED:       "08",
    P.ON_LOAN:        "04",
    P.TO_RETURN:      "10",
    P.RETURN_TRANSIT: "10",
    P.PAGED:          "06",
    P.SHIPPED:        "10",
    P.AT_BORROWER:    "04",
}
"""The circulation status of a copy by where its request stands. Source: SIP2 2.00, circulation status."""

ON_SHELF: Final[Mapping[str, str]] = {
    "on order":                                "02",
    "available on shelf":                      "03",
    "on loan":                                 "04",
    "in process":                              "06",
    "recalled":                                "07",
    "available for pickup":                    "08",
    "waiting to be reshelved":                 "09",
    "in transit between library locations":    "10",
    "claimed returned or never borrowed":      "11",
    "lost":                                    "12",
    "missing":                                 "13",
}
"""The same by NCIP's CirculationStatus, for copies in no request."""
# fmt: on


async def respond(door: Door, session: Session, piece: Message | Refuse, peer: str) -> bytes:
    """The whole answer to one message, to be written as it is. Never raises for anything that a peer sent.

    `peer` is the address that it came from. An exception is a bug of ours: it is logged once, answered politely by the
    message's own negative reply, and the line stays.
    """
    message = piece.message if isinstance(piece, Refuse) else piece
    row = door.terminals.get(session.terminal or "", NOBODY)
    turn = Turn(door, session, message, row, peer, door.now())
    with structlog.contextvars.bound_contextvars(channel="sip2", terminal=row.login, corr_id=turn.by.corr):
        try:
            reply = await _answer(turn, piece)
            line = session.reply(message, turn.reply_code, reply.fields)
        except Exception:
            LOG.exception("sip2.failed", code=message.code)
            reply = _no(turn, Refused(Why.TRY_AGAIN))
            line = session.reply(message, turn.reply_code, reply.fields)
        _note(turn, reply)
    return line


def struck_out(session: Session) -> bool:
    """Whether the terminal gave too many wrong logins, so that the connection is to be closed after the reply."""
    return session.counters[STRUCK_OUT] > 0


async def _answer(turn: Turn, piece: Message | Refuse) -> Reply:
    code = turn.message.code
    if turn.terminal is NOBODY and code not in BEFORE_LOGIN:
        return _no(turn, Refused(Why.LOG_IN_FIRST))
    if code not in HANDLERS:
        return _no(turn, Refused(Why.NOT_SUPPORTED))
    if isinstance(piece, Refuse) and code != "99":  # a status asks for nothing that could be missing
        return _no(turn, Refused(Why.UNUSABLE_MESSAGE))
    return await HANDLERS[code](turn)


def _note(turn: Turn, reply: Reply) -> None:
    took = turn.door.now() - turn.now
    turn.door.counters.observe("sip2_latency_seconds", took.total_seconds(), turn.message.code)
    LOG.info(
        "sip2.answered",
        code=turn.reply_code,
        ok=reply.ok,
        ms=took // timedelta(milliseconds=1),
        refused=reply.no.why.value if reply.no else "",
        rule=reply.no.rule if reply.no else "",
        request_id=reply.request,
        peer=turn.peer,
    )


# ---- replies


def _reply(turn: Turn, said: Mapping[str, Value], no: Refused | None = None, request: str = "") -> Reply:
    """A reply with what every reply repeats, and of `said` what this reply has a place for."""
    asked, language = turn.message, turn.message.get("language").strip()
    common: dict[str, Value] = {
        "transaction_date": date18(turn.now, turn.door.timezone),
        "language": CODES[turn.language()] if language in UNSAID else language,
        "AO": turn.door.agency,
        "AA": asked.get("AA"),
        "AB": asked.get("AB"),
    }
    fields = {name: value for name, value in {**common, **said}.items() if _has_place(turn.reply_code, name, value)}
    return Reply(fields, no is None, no, request)


def _has_place(code: str, name: str, value: Value) -> bool:
    shape = SHAPES[code]
    if name in shape.required or any(part.name == name for part in shape.fixed):
        return True
    return bool(value) and (name in shape.optional or (name in TAGS and TAGS[name].extension))


def _no(turn: Turn, outcome: Outcome | ItemSeen, **said: Value) -> Reply:
    """The message's own negative reply. An outcome that is no refusal is one that nobody expected: TypeError."""
    if not isinstance(outcome, Refused):
        raise TypeError(f"{turn.message.code} was answered by {type(outcome).__name__}")
    words = say(outcome.why, turn.language(outcome.language), outcome.detail)
    return _reply(turn, {**NEGATIVE.get(turn.reply_code, {}), **said, "AF": (words,)}, outcome)


def _shows_chinese(encoding: str) -> bool:
    try:
        return bool("還書".encode(encoding))
    except UnicodeEncodeError:
        return False


def _dollars(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02}"


# ---- the line


async def _log_in(turn: Turn) -> Reply:
    asked = turn.message
    row = turn.door.terminals.get(asked.get("CN").strip(), NOBODY)
    reason = await _login_refused(turn, row)
    if not reason:
        turn.session.log_in(row.login, DIALECTS[row.dialect])
        return _reply(turn, {"ok": "1"})
    LOG.warning("sip2.login_refused", login=row.login, reason=reason, peer=turn.peer)
    if turn.session.strike():
        turn.session.counters[STRUCK_OUT] += 1
    return _no(turn, Refused(Why.LOG_IN_FIRST))


async def _login_refused(turn: Turn, row: TerminalRow) -> str:
    """Why a login is wrong, for the log; "" if it is right."""
    if any(turn.message.get(name).strip() not in ("", "0") for name in ("uid_algorithm", "pwd_algorithm")):
        return "algorithm"
    if row is NOBODY:
        return "unknown"
    if not row.allow_from.admits(turn.peer):
        return "address"
    right = await turn.door.secrets.verify(f"terminal {row.login}", row.secret_hash, turn.message.get("CO"))
    return "" if right else "secret"


async def _status(turn: Turn) -> Reply:
    """98. Checkin and checkout are Y at every terminal: whether a book may be lent here is decided book by book (R16)."""
    dialect = turn.session.dialect
    said = {
        "on_line_status": "Y",
        "checkin_ok": "Y",
        "checkout_ok": "Y",
        "acs_renewal_policy": "Y",
        "status_update_ok": "N",
        "off_line_ok": "Y",
        "timeout_period": f"{dialect.timeout_tenths}",
        "retries_allowed": f"{dialect.retries}",
        "date_time_sync": date18(turn.now, turn.door.timezone),
        "protocol_version": "2.00",
        "AM": turn.door.library_name,
        "BX": "".join("Y" if code in HANDLERS or code == RESEND else "N" for code in BX),
        "AN": turn.terminal.location,
    }
    return _reply(turn, said)


# ---- patrons


async def _patron_status(turn: Turn) -> Reply:
    seen = await _see_patron(turn)
    return _reply(turn, _standing(turn, seen), seen.refusal)


async def _patron_information(turn: Turn) -> Reply:
    seen = await _see_patron(turn)
    counts = {row.count: f"{sum(map(row.holds, seen.lines))}" for row in LISTINGS}
    details: dict[str, Value] = {"CB": f"{seen.loans_limit}", "PC": seen.category}
    if _trusted(turn, seen):
        details |= _asked_lines(turn, seen)
        details["PA"] = f"{seen.expires:%Y%m%d}" if seen.expires else ""
    if seen.pin_ok or (turn.session.dialect.contact_without_pin and seen.pin_ok is None):
        details["BE"] = seen.email.reveal()
    return _reply(turn, {**_standing(turn, seen), **counts, **(details if _known(seen) else {})}, seen.refusal)


async def _see_patron(turn: Turn) -> PatronSeen:
    return await turn.door.desk.see_patron(SeePatron(turn.by, turn.message.get("AA"), turn.pin, bool(turn.pin)))


def _standing(turn: Turn, seen: PatronSeen) -> dict[str, Value]:
    """What 24 and 64 share. CQ is Y for a PIN that was given and right, and for nothing else: see NYPL circulation PR 756."""
    language = turn.language(seen.language)
    name = seen.name_zh if language == ZH and seen.name_zh else seen.name
    return {
        "patron_status": "".join("Y" if position in MARKS and MARKS[position](seen) else " " for position in range(14)),
        "language": turn.message.get("language") if turn.message.get("language").strip() not in UNSAID else CODES[language],
        "AE": name.reveal() if _trusted(turn, seen) else "",
        "BL": "Y" if _known(seen) else "N",
        "CQ": "Y" if seen.pin_ok else "N",
        "BH": turn.session.dialect.currency,
        "BV": _dollars(seen.owed_cents),
        "AF": _notices(turn, seen, language),
    }


def _notices(turn: Turn, seen: PatronSeen, language: str) -> tuple[str, ...]:
    waiting = sum(line.position is P.RECEIVED for line in seen.lines)
    texts = [say(seen.refusal.why, language, seen.refusal.detail)] if seen.refusal else []
    texts += [say(Why.WRONG_PIN, language, {})] if seen.pin_ok is False else []
    texts += [tell(News.WAITING, language, count=waiting)] if waiting and _trusted(turn, seen) else []
    return tuple(texts)


def _known(seen: PatronSeen) -> bool:
    return seen.refusal is None or seen.refusal.why is not Why.UNKNOWN_BORROWER


def _full(seen: PatronSeen) -> bool:
    return 0 < seen.loans_limit <= sum(line.position is P.ON_LOAN for line in seen.lines)


def _trusted(turn: Turn, seen: PatronSeen) -> bool:
    """Whether names and titles may be shown: not after a wrong PIN, nor without one where the terminal asks for it."""
    return bool(seen.pin_ok) or (seen.pin_ok is None and not turn.session.dialect.pin_required)


def _asked_lines(turn: Turn, seen: PatronSeen) -> dict[str, Value]:
    """The lines of the one list that the summary asks for."""
    asked = turn.message.get("summary")[: len(LISTINGS)].find("Y")
    if asked < 0:
        return {}
    row = LISTINGS[asked]
    lines = [line for line in seen.lines if row.holds(line)]
    return {row.tag: tuple(_line(line, row.tag) for line in _page(turn.message, lines))}


def _line(line: LoanLine, tag: str) -> str:
    text = line.item.barcode if line.item else line.title  # nobody knows yet which copy will come
    return f"{text} HKD {_dollars(line.fine_cents)}" if tag == "AV" else text


def _page(asked: Message, lines: Sequence[LoanLine]) -> Sequence[LoanLine]:
    """BP to BQ, counted from 1, both included; what is no number asks for no limit."""
    first, last = (asked.get(tag).strip() for tag in ("BP", "BQ"))
    start = int(first) - 1 if first.isascii() and first.isdecimal() and len(first) < 9 else 0
    stop = int(last) if last.isascii() and last.isdecimal() and len(last) < 9 else len(lines)
    return lines[max(start, 0) : stop]


async def _end_session(turn: Turn) -> Reply:
    return _reply(turn, {"end_session": "Y"})


# ---- items


async def _item_information(turn: Turn) -> Reply:
    seen = await turn.door.desk.see_item(SeeItem(turn.by, turn.message.get("AB")))
    if not isinstance(seen, ItemSeen):
        return _no(turn, seen)
    zone, status = turn.door.timezone, _circulation(seen, civil(turn.now))
    said = {
        "circulation_status": status,
        "fee_type": "01",
        "AH": turn.due(seen.due),
        "CJ": date18(start_of(seen.recalled_on), zone) if seen.recalled_on else "",
        "CM": date18(end_of(seen.pickup_last), zone) if seen.pickup_last and seen.position is P.RECEIVED else "",
        "AJ": seen.title,
        "BG": seen.owner,
        "CK": "001",
        "AQ": seen.owner,
        "CT": seen.destination if status == "10" else "",
        "CS": seen.call_number,
    }
    return _reply(turn, said, request=seen.request)


def _circulation(seen: ItemSeen, today: date) -> str:
    if seen.lost or seen.claimed:
        return "12" if seen.lost else "11"
    if seen.position is None:
        return ON_SHELF.get(seen.status.lower(), "01")
    status = AT_POSITION.get(seen.position, "01")
    if status != "04":
        return status
    if seen.recalled_on:
        return "07"
    return "05" if seen.earliest_recall and today < seen.earliest_recall else "04"


# ---- loans


async def _check_out(turn: Turn) -> Reply:
    asked, offline = turn.message, turn.says("no_block")
    if not (asked.get("AA") and asked.get("AB")):
        return _no(turn, Refused(Why.UNUSABLE_MESSAGE))
    if turn.says("BI"):
        return await _undo_return(turn)
    if not offline and _pin_missing(turn):
        return _no(turn, Refused(Why.WRONG_PIN))
    due = parse_date18(asked.get("nb_due_date"), turn.door.timezone) if offline else None
    ask = CheckOut(
        by=turn.by,
        place=turn.place,
        card=asked.get("AA"),
        barcode=asked.get("AB"),
        pin=turn.pin,
        pin_given=bool(turn.pin),
        no_block=offline,
        renewal_allowed=turn.says("sc_renewal_policy"),
        happened_at=turn.happened("transaction_date"),
        due_told=civil(due) if due else None,
    )
    outcome = await turn.door.desk.check_out(ask)
    return _lent(turn, outcome) if isinstance(outcome, CheckedOut) else _no(turn, outcome)


def _lent(turn: Turn, out: CheckedOut) -> Reply:
    """12 for a yes. AF says only what the other fields do not: many a terminal stops at every text."""
    language, had = turn.language(out.language), out.again or out.renewed
    texts = [tell(News.RENEWED if out.renewed else News.LENT_ALREADY, language, due=out.due)] if had else []
    texts += [tell(News.OFFLINE_CONFLICT, language)] if out.conflict else []
    return _loan(turn, out.title, out.due, had, texts, out.request)


def _loan(turn: Turn, title: str, due: date | None, renewal: bool, texts: Sequence[str], request: str) -> Reply:
    said: dict[str, Value] = {"ok": "1", "renewal_ok": "Y" if renewal else "N", "desensitize": "Y", "AF": tuple(texts)}
    return _reply(turn, {"AA": "", **_who(turn), "AJ": title, "AH": turn.due(due), **said}, request=request)


def _pin_missing(turn: Turn) -> bool:
    return turn.session.dialect.pin_required and not turn.pin
