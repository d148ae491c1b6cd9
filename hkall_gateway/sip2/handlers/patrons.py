"""Handlers for patron messages: status, information, payments, and blocks."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from hkall_gateway.circulation.cards import BlockCard, EnableCard
from hkall_gateway.circulation.fines import ChargeEntry, Pay
from hkall_gateway.circulation.queries import HkallRecord, LoanEntry, PatronSeen, SeePatron
from hkall_gateway.circulation.results import Refused
from hkall_gateway.rules.overdue_fine import CURRENCY
from hkall_gateway.rules.plain_text import whole_number
from hkall_gateway.rules.positions import NOT_HERE_YET, ON_HOLD_SHELF, WITH_PATRON
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import NOTHING, Position
from hkall_gateway.sip2.client import KnownFlags
from hkall_gateway.sip2.codec.lines import Sip2Message, Value
from hkall_gateway.sip2.exchange import Exchange, Reply, dollars, refuse, refuse_by, reply
from hkall_gateway.sip2.screen_messages import ZH, Notice, notice_text, say

_AMOUNT: Final = re.compile(r"[^\d.,-]*(\d{1,9})(?:[.,](\d{1,2}))?")
"""An amount in dollars: "12", "12.5", "HKD 12.50". More than two decimals and negative amounts do not match."""


async def pay(exchange: Exchange) -> Reply:
    """Answer a Fee Paid (37) with a 38.

    A payment is recorded once for each terminal and transaction number (BK), even if the message is repeated. CG identifies one
    charge by its number in AV of 64. Without CG, the oldest charges are paid first.
    """
    message = exchange.message
    cents, fine = cents_of(message.get("BV")), whole_number(message.get("CG").strip().lstrip("#"))
    if not message.get("AA") or cents is None:
        return refuse_by(exchange, Reason.UNUSABLE_MESSAGE)
    if message.get("CG").strip() and fine is None:
        return refuse_by(exchange, Reason.UNKNOWN_FINE)
    if exchange.pin_missing:
        return refuse_by(exchange, Reason.WRONG_PIN)
    currency_given, own = message.get("currency_type").strip(), exchange.session.dialect.currency
    currency = CURRENCY if currency_given in ("", own) else currency_given  # the dialect may use another code for our currency
    command = Pay(
        by=exchange.by,
        card=message.get("AA"),
        cents=cents,
        transaction_id=message.get("BK").strip(),
        fine=fine,
        currency=currency,
        pin=exchange.pin,
    )
    number, outcome = message.get("BK"), await exchange.services.circulation.execute(command)
    if isinstance(outcome, Refused):
        return refuse(exchange, outcome, BK=number)
    sums = {"paid": dollars(outcome.cents), "owed": dollars(outcome.owed_cents), "currency": own}
    return reply(
        exchange, {"payment_accepted": "Y", "BK": number, "AF": (notice_text(Notice.PAID, exchange.language(), **sums),)}
    )


def cents_of(text: str) -> int | None:
    """Parse an amount (BV) into cents; return None if it is not an amount."""
    found = _AMOUNT.fullmatch(text.strip())
    return int(found[1]) * 100 + int((found[2] or "0").ljust(2, "0")) if found else None


P = Position

RecordEntry = LoanEntry | ChargeEntry
Record = PatronSeen | HkallRecord
Lists = Mapping[str, Sequence[RecordEntry]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A list in a 64, which the terminal requests with one position of the summary.

    Attributes:
        count: Name of the field for the number of entries.
        tag: Tag of the entries.
        positions: Positions in which a request may appear in the list.
        holds: Additional condition for an entry.
    """

    count: str
    tag: str
    positions: frozenset[Position]
    holds: Callable[[LoanEntry], bool]


def _is_recalled(line: LoanEntry) -> bool:
    return line.request.recalled_on is not None


BILLED: Final = frozenset({"replacement"})
OTHER_FEES: Final = frozenset({"processing", "damage"})
"""Kinds of charges, apart from fines and bills, that count as fees."""

LISTINGS: Final = (
    Listing(count="hold_items_count", tag="AS", positions=ON_HOLD_SHELF, holds=lambda line: not line.uncollected),
    Listing(count="overdue_items_count", tag="AT", positions=WITH_PATRON, holds=lambda line: line.overdue),
    Listing(count="charged_items_count", tag="AU", positions=WITH_PATRON, holds=lambda _line: True),
    Listing(count="fine_items_count", tag="AV", positions=frozenset(P), holds=lambda line: line.fine_cents > 0),
    Listing(count="recall_items_count", tag="BU", positions=WITH_PATRON, holds=_is_recalled),
    Listing(
        count="unavailable_holds_count",
        tag="CD",
        positions=NOT_HERE_YET,
        holds=lambda _line: True,
    ),
)
"""The lists in the order of the summary's positions. Source: SIP2 2.00, summary."""

_AT: Final = {position: tuple(row for row in LISTINGS if position in row.positions) for position in P}
"""The lists in which a request may appear, by the position of the request."""

FACTS: Final[Mapping[str, Callable[[PatronSeen], bool]]] = {
    "barred": lambda seen: not seen.valid,
    "no renewals": lambda seen: not seen.may_renew,
    "full": lambda seen: 0 < seen.loans_limit <= sum(line.request.position is P.ON_LOAN for line in seen.lines),
    "owing": lambda seen: seen.owed_cents > 0 and _is_blocked(seen),
    "owing fees": lambda seen: _owes_charges(seen, OTHER_FEES),
    "billed": lambda seen: _owes_charges(seen, BILLED),
    "late": lambda seen: _is_blocked(seen) and any(line.overdue for line in seen.lines),
    "recall overdue": lambda seen: any(line.overdue and _is_recalled(line) for line in seen.lines),
}
"""Facts about a patron from which MARKS derives the patron status."""

MARKS: Final = {
    0: ("barred", "full"),  # charge denied
    1: ("no renewals",),  # renewal denied
    2: ("barred",),  # recall denied
    3: ("barred",),  # hold denied
    5: ("full",),  # too many items charged
    6: ("late",),  # too many items overdue
    10: ("owing",),  # excessive fines
    11: ("owing fees",),  # excessive fees
    12: ("recall overdue",),  # recall overdue
    13: ("billed",),  # too many items billed
}
"""The FACTS that set each position of the patron status to Y. Positions 6, 10, 11 and 13 give the reason for a block.

All other positions stay blank: the gateway has no limits for renewals, claims and losses, and reports a lost card as barred.
Source: SIP2 2.00, patron status.
"""

REQUESTS: Final = frozenset({"AS", "CD"})
"""Tags of the lists of requests whose item has not been collected."""

STRANGERS: Final = frozenset({Reason.UNKNOWN_BORROWER, Reason.CARD_REPLACED, Reason.TRY_AGAIN})
"""Refusals for cards without a patron record to show."""

TELL_VALIDITY: Final = frozenset({"24", "26", "64"})
"""Replies with the flag "valid patron" (BL)."""

POSITIONS: Final = 14
FINES: Final = 3
"""The position of the summary that requests the fines."""
FEES: Final = (6, 7)
"""Positions beyond SIP2 2.00, with which some terminals request fees that can be paid singly (CG). The reply lists fines."""


async def patron_status(exchange: Exchange) -> Reply:
    """Answer a Patron Status Request (23) with a 24."""
    seen = await _see_patron(exchange)
    return _patron_reply(exchange, seen, patron_status_fields(exchange, seen, entries_by_list(seen)))


async def patron_information(exchange: Exchange) -> Reply:
    """Answer Patron Information (63) with a 64: status, counts, limits and the list requested in the summary."""
    seen = await _see_patron(exchange)
    lists = entries_by_list(seen)
    fields = patron_status_fields(exchange, seen, lists)
    if _may_see_details(exchange, seen):
        fields |= {row.count: f"{len(lists[row.tag])}" for row in LISTINGS}
    if _is_known(seen):
        most = exchange.services.circulation.library.policy.block.max_debt_cents
        fields |= {"CB": f"{seen.loans_limit}", "CC": "" if most is None else dollars(most)}
        if seen.pin_ok or (seen.pin_ok is None and exchange.session.dialect.contact_without_pin):
            fields["BE"] = seen.email.reveal()
        if _may_see_details(exchange, seen):
            fields |= {
                **_list_fields(exchange, lists),
                "PA": f"{seen.expires:%Y%m%d}" if seen.expires else "",
                "PC": seen.category,
            }
    return _patron_reply(exchange, seen, fields)


def _patron_reply(exchange: Exchange, seen: PatronSeen, fields: Mapping[str, Value]) -> Reply:
    made = reply(exchange, fields, seen.refusal)
    return replace(made, wrong_pin=True) if seen.pin_ok is False and not seen.known else made


async def locked_out(exchange: Exchange) -> Reply:
    """Refuse a message because of too many wrong PINs, without checking the PIN. BL stays Y for a known card."""
    no = Refused(why=Reason.TOO_MANY_WRONG_PINS)
    if exchange.reply_code not in TELL_VALIDITY:
        return refuse(exchange, no)
    seen = await exchange.services.circulation.execute(
        SeePatron(by=exchange.by, card=exchange.message.get("AA"), pin=NOTHING, pin_given=False)
    )
    unknown = exchange.upstream is not None or _is_unknown(seen)
    valid = "Y" if _is_known(seen) else exchange.last_known(known=False).valid if unknown else "N"
    return refuse(exchange, no, BL=valid)


async def end_session(exchange: Exchange) -> Reply:
    """Answer End Patron Session (35) with a positive 36, since no state is kept between messages."""
    return reply(exchange, {"end_session": "Y"})


def _see_patron(exchange: Exchange) -> Awaitable[PatronSeen]:
    pin = exchange.pin
    return exchange.services.circulation.execute(
        SeePatron(by=exchange.by, card=exchange.message.get("AA"), pin=pin, pin_given=bool(pin))
    )


def entries_by_list(record: Record) -> Lists:
    """Return a record's entries by list tag. An entry may be in several lists. The list of fines begins with the charges."""
    lists: dict[str, list[RecordEntry]] = {row.tag: [] for row in LISTINGS}
    lists[LISTINGS[FINES].tag] += record.charges
    for line in record.lines:
        for row in _AT[line.request.position]:
            if row.holds(line):
                lists[row.tag].append(line)
    return lists


def patron_status_fields(exchange: Exchange, seen: PatronSeen, lists: Lists) -> dict[str, Value]:
    """Return the fields shared by 24, 26 and 64. CQ is Y only if a correct PIN was sent (NYPL circulation PR 756)."""
    language, trusted = exchange.language(seen.language), _may_see_details(exchange, seen)
    if _is_unknown(seen):
        return _fields_while_unknown(exchange, seen, language)
    if exchange.upstream is None:  # otherwise the relay caches the local system's own answer
        exchange.remember(valid=_is_known(seen), pin_ok=bool(seen.pin_ok))
    name = seen.name_zh if language == ZH and seen.name_zh else seen.name
    texts = [say(seen.refusal.why, language, seen.refusal.detail)] if seen.refusal else []
    if seen.pin_ok is False and seen.known:  # there is no hash with which the PIN could be compared
        texts.append(notice_text(Notice.PIN_UNKNOWN_NOW, language))
    elif seen.pin_ok is False:
        texts.append(say(Reason.WRONG_PIN, language, {}))
    texts += hold_texts(exchange, lists, language) if trusted else []
    return {
        "patron_status": _patron_status(tuple([fact for fact, holds in FACTS.items() if holds(seen)])),
        "language": exchange.code_of(language),
        "AE": name.reveal() if trusted else "",
        "BL": "Y" if _is_known(seen) else "N",
        "CQ": "Y" if seen.pin_ok else "N",
        "BH": exchange.session.dialect.currency,
        "BV": dollars(seen.owed_cents) if trusted else "",
        "AF": tuple(texts),
    }


@lru_cache(maxsize=256)
def _patron_status(facts: tuple[str, ...]) -> str:
    return "".join(["Y" if any(fact in facts for fact in MARKS.get(at, ())) else " " for at in range(POSITIONS)])


def _fields_while_unknown(exchange: Exchange, seen: PatronSeen, language: str) -> dict[str, Value]:
    """Return the fields for a card that cannot be looked up now: last known flags, and texts that name what is unknown."""
    flags = exchange.last_known(known=seen.known)
    assert seen.refusal is not None  # see `_is_unknown`
    return {
        "patron_status": "YYYY",  # no privilege can be granted now
        "language": exchange.code_of(language),
        "AE": "",
        "BL": flags.valid,
        "CQ": flags.pin,
        "BH": "",
        "BV": "",
        "AF": (say(seen.refusal.why, language, seen.refusal.detail), *unknown_texts(exchange, flags, language)),
    }


def unknown_texts(exchange: Exchange, flags: KnownFlags, language: str) -> list[str]:
    """Return the screen messages for a card or a PIN that cannot be checked at the moment."""
    texts = [] if flags.valid == "Y" else [notice_text(Notice.CARD_UNKNOWN_NOW, language)]
    return texts + ([notice_text(Notice.PIN_UNKNOWN_NOW, language)] if exchange.pin and flags.pin != "Y" else [])


def _is_unknown(seen: PatronSeen) -> bool:
    return seen.refusal is not None and seen.refusal.why is Reason.TRY_AGAIN


def hold_texts(exchange: Exchange, lists: Lists, language: str) -> list[str]:
    """Return the screen messages about waiting items and, if the 63 requests a list of requests, about each label (R35)."""
    waiting = len(lists["AS"])
    texts = [_waiting_text(waiting, language)] if waiting else []
    row = requested_list(exchange.message)
    if row is not None and row.tag in REQUESTS:
        texts += [f"{line.request.full_title}: {line.label}" for line in lists[row.tag] if isinstance(line, LoanEntry)]
    return texts


def requested_list(message: Sip2Message) -> Listing | None:
    """Return the list for the first Y in a 63's summary, or None if we do not offer the requested list."""
    return _list_of_summary(message.get("summary"))


@lru_cache(maxsize=64)
def _list_of_summary(summary: str) -> Listing | None:
    at = summary[: len(LISTINGS) + len(FEES)].find("Y")
    if at in FEES:
        return LISTINGS[FINES]
    return LISTINGS[at] if at >= 0 else None


@lru_cache(maxsize=64)
def _waiting_text(count: int, language: str) -> str:
    return notice_text(Notice.WAITING, language, count=count)


def _is_known(seen: PatronSeen) -> bool:
    return seen.refusal is None or seen.refusal.why not in STRANGERS


def _is_blocked(seen: PatronSeen) -> bool:
    return seen.refusal is not None and seen.refusal.why in {Reason.PATRON_BLOCKED, Reason.PATRON_OWES}


def _owes_charges(seen: PatronSeen, kinds: Collection[str]) -> bool:
    return _is_blocked(seen) and any(charge.kind in kinds and charge.left_cents > 0 for charge in seen.charges)


def _may_see_details(exchange: Exchange, seen: PatronSeen) -> bool:
    """Check whether names, titles, counts and amounts may be shown.

    They are hidden after a wrong PIN, and also without a PIN if the dialect requires one. A dialect with `disclose` "card"
    always shows them.
    """
    make = exchange.session.dialect
    return bool(seen.pin_ok) or make.disclose == "card" or (seen.pin_ok is None and not make.pin_required)


def _list_fields(exchange: Exchange, lists: Lists) -> dict[str, Value]:
    """Return the entries BP to BQ (inclusive, counted from 1) of the requested list."""
    message = exchange.message
    row = requested_list(message)
    if row is None:
        return {}
    first, last = _page_limit(message.get("BP"), 1), _page_limit(message.get("BQ"), len(lists[row.tag]))
    return {row.tag: tuple([entry_text(exchange, row, line) for line in lists[row.tag][max(first - 1, 0) : last]])}


def entry_text(exchange: Exchange, row: Listing, line: RecordEntry) -> str:
    """Format a list entry: the barcode, which the terminal may use in further messages, and the amount in the list of fines."""
    if isinstance(line, ChargeEntry):
        named, cents = _item_text(exchange, line.item.barcode if line.item else "", line.full_title), line.left_cents
        # A Fee Paid (37) refers to this number in CG.
        return " ".join(filter(None, (f"#{line.fine}", named, exchange.session.dialect.currency, dollars(cents), line.kind)))
    named = _item_text(exchange, line.request.item_barcode, line.request.full_title)
    if row is not LISTINGS[FINES]:
        return named
    return " ".join(filter(None, (named, exchange.session.dialect.currency, dollars(line.fine_cents))))


def _item_text(exchange: Exchange, barcode: str, title: str) -> str:
    if not barcode:  # no copy has been assigned to the request yet
        return title
    return f"{barcode} {title}" if title and exchange.session.dialect.list_titles else barcode


def _page_limit(text: str, otherwise: int) -> int:
    """Parse BP or BQ; return `otherwise` if the text is not a number."""
    found = whole_number(text.strip())
    return otherwise if found is None else found


async def block(exchange: Exchange) -> Reply:
    """Answer a Block Patron (01) with a 24. The gateway keeps the card blocked until a terminal or staff enable it."""
    message = exchange.message
    if not message.get("AA"):
        return refuse_by(exchange, Reason.UNUSABLE_MESSAGE)
    command = BlockCard(
        by=exchange.by, card=message.get("AA"), text=message.get("AL"), retained=exchange.is_set("card_retained")
    )
    outcome = await exchange.services.circulation.execute(command)
    if isinstance(outcome, Refused):
        return refuse(exchange, outcome)
    seen = await _see_patron(exchange)
    return reply(exchange, patron_status_fields(exchange, seen, entries_by_list(seen)))


async def enable(exchange: Exchange) -> Reply:
    """Answer a Patron Enable (25) with a 26.

    Only blocks that a terminal set at this gateway are lifted. The reply shows any remaining blocks, such as the library's own.
    """
    if not exchange.message.get("AA"):
        return refuse_by(exchange, Reason.UNUSABLE_MESSAGE)
    command = EnableCard(exchange.by, exchange.message.get("AA"), exchange.pin)
    outcome = Refused(why=Reason.WRONG_PIN) if exchange.pin_missing else await exchange.services.circulation.execute(command)
    if isinstance(outcome, Refused) and outcome.why is not Reason.WRONG_PIN:
        return refuse(exchange, outcome)
    seen = await _see_patron(exchange)
    if isinstance(outcome, Refused):  # wrong PIN: the reply still contains the card's status
        fields = patron_status_fields(exchange, seen, entries_by_list(seen))
        return refuse(exchange, outcome, **{name: fields[name] for name in ("patron_status", "AE", "BL", "CQ")})
    return replace(reply(exchange, patron_status_fields(exchange, seen, entries_by_list(seen))), no=seen.refusal)
