"""Checkout, check-in and renewal at a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from hkall_gateway.desk.messages.commands import CheckIn, CheckOut, Renew, SeeItem, SeePatron
from hkall_gateway.desk.messages.results import CheckedIn, CheckedOut, ItemSeen, Outcome, Refused, Renewed
from hkall_gateway.desk.messages.terminal_commands import AllRenewed, RenewAll
from hkall_gateway.rules.dates.calendar import civil
from hkall_gateway.rules.vocabulary import Reason
from hkall_gateway.sip2.codec import Value
from hkall_gateway.sip2.turns import Reply, Turn, dollars, refuse, refuse_by, reply
from hkall_gateway.sip2.words import News, say, tell


@dataclass(frozen=True, slots=True)
class Route:
    """Where a checked-in copy goes: the notice, the alert type, the sort bin ("" = named for its destination)."""

    news: News
    alert: str
    bin: str = ""


# fmt: off
ROUTES: Final[Mapping[str, Route]] = {
    "received": Route(News.RECEIVED,   "01", "hold"),
    "held":     Route(News.AGAIN_HELD, "01", "hold"),
    "again":    Route(News.AGAIN,      "04"),
    "unwanted": Route(News.UNWANTED,   "04"),
    "uncollected": Route(News.UNCOLLECTED, "04"),
    "returned": Route(News.RETURNED,   "04"),
    "late":     Route(News.RETURNED_LATE, "04"),
    "paged":    Route(News.PAGED,      "04"),
    "home":     Route(News.HOME,       "00", "shelf"),
}
"""By the desk's result of the check-in. Alert types: 01 hold here, 04 to another library. Source: 3M's extension; sip2.md 2."""
# fmt: on


# ---- checkout


async def check_out(turn: Turn) -> Reply:
    """12. With BI the terminal could not finish a check-in: the loan goes on. Source: SIP2 2.00, cancel."""
    asked = turn.message
    if not (asked.get("AA") and asked.get("AB")):
        return refuse_by(turn, Reason.UNUSABLE_MESSAGE)
    if turn.says("BI"):
        return await _undo_return(turn)
    if turn.pin_missing and not turn.no_block:
        return refuse_by(turn, Reason.WRONG_PIN)
    outcome = await turn.door.desk.check_out(_checkout(turn))
    return _lent(turn, outcome) if isinstance(outcome, CheckedOut) else refuse(turn, outcome, **_fee(turn, outcome))


def _checkout(turn: Turn, *, undo: bool = False) -> CheckOut:
    told = turn.instant("nb_due_date")
    return CheckOut(
        by=turn.by,
        place=turn.place,
        card=turn.message.get("AA"),
        barcode=turn.message.get("AB"),
        pin=turn.pin,
        pin_given=bool(turn.pin),
        no_block=turn.no_block,
        renewal_allowed=turn.says("sc_renewal_policy"),
        fee_acknowledged=turn.says("BO"),
        happened_at=turn.happened("transaction_date"),
        due_told=civil(told) if told else None,
        undo=undo,
    )


def _lent(turn: Turn, out: CheckedOut) -> Reply:
    """Returns the reply for a loan. AF repeats no other field, because many terminals pause at every message."""
    language, had = turn.language(out.language), out.again or out.renewed
    texts = [tell(News.RENEWED if out.renewed else News.LENT_ALREADY, language, due=out.due)] if had else []
    texts += [tell(News.RECALLED, language)] if out.recalled else []
    texts += [tell(News.OFFLINE_CONFLICT, language)] if out.conflict else []
    return _loan(turn, out.title, out.due, texts, had=had, request=out.request)


def _fee(turn: Turn, outcome: Outcome) -> dict[str, Value]:
    """Returns the fee fields of a refusal: amount, type (04 overdue) and currency. Source: SIP2 2.00, fee acknowledged."""
    if not isinstance(outcome, Refused) or outcome.why is not Reason.FEE_NOT_ACKNOWLEDGED:
        return {}
    return {"BT": "04", "BH": turn.session.dialect.currency, "BV": str(outcome.detail.get("fee", ""))}


def _loan(turn: Turn, title: str, due: date | None, texts: Sequence[str], *, had: bool, request: str) -> Reply:
    """12 and 30 for a yes; `had`: the patron had it before."""
    said: dict[str, Value] = {
        "ok": "1",
        "renewal_ok": "Y" if had else "N",
        "desensitize": "Y",
        "AJ": title,
        "AH": turn.due(due),
        "AF": tuple(texts),
    }
    return reply(turn, said, request=request)


async def _undo_return(turn: Turn) -> Reply:
    asked = turn.message
    ask = CheckIn(turn.by, turn.place, asked.get("AB"), no_block=turn.no_block, undo=True, card=asked.get("AA"))
    outcome = await turn.door.desk.check_in(ask)
    if not isinstance(outcome, CheckedIn):
        return refuse(turn, outcome)
    seen = await turn.door.desk.see_item(SeeItem(turn.by, outcome.item.barcode, outcome.item.agency))
    due = seen.due if isinstance(seen, ItemSeen) else None
    return _loan(turn, outcome.title, due, [tell(News.RETURN_UNDONE, turn.language())], had=True, request=outcome.request)


# ---- check-in


async def check_in(turn: Turn) -> Reply:
    """10. With BI the terminal could not finish a checkout: the loan never was. Source: SIP2 2.00, cancel."""
    asked = turn.message
    if not asked.get("AB"):
        return refuse_by(turn, Reason.UNUSABLE_MESSAGE)
    if turn.says("BI"):
        return await _undo_loan(turn)
    happened = turn.happened("return_date", "transaction_date")
    ask = CheckIn(turn.by, turn.place, asked.get("AB"), no_block=turn.no_block, happened_at=happened)
    outcome = await turn.door.desk.check_in(ask)
    if not isinstance(outcome, CheckedIn):
        return refuse(turn, outcome, **_not_out(turn, outcome))
    taken = _taken(turn, outcome)
    return replace(taken, fields={**taken.fields, **await _for_the_sorter(turn, outcome)})


def _not_out(turn: Turn, outcome: Outcome) -> dict[str, Value]:
    """Returns the refusal of a copy that is not on loan, for makes that want the strip resensitized without a staff alert."""
    plain = turn.session.dialect.no_checkin == "resensitize"
    if not plain or not isinstance(outcome, Refused) or outcome.why not in (Reason.NOT_ON_LOAN, Reason.UNKNOWN_ITEM):
        return {}
    return {"resensitize": "Y", "alert": "N", "CL": "", "CV": ""}


async def _for_the_sorter(turn: Turn, taken: CheckedIn) -> dict[str, Value]:
    """Returns the fields for sorters (CS, CH) and the patron of a held copy (DA), if the terminal's dialect lists them."""
    told: dict[str, Value] = {}
    wanted = turn.session.dialect.extensions
    if "CS" in wanted:
        seen = await turn.door.desk.see_item(SeeItem(turn.by, taken.item.barcode, taken.item.agency))
        told |= {"CS": seen.call_number, "CH": seen.properties} if isinstance(seen, ItemSeen) else {}
    if "DA" in wanted and taken.held_for:
        patron = await turn.door.desk.see_patron(SeePatron(turn.by, taken.held_for))
        told["DA"] = patron.name.reveal()
    return {tag: value for tag, value in told.items() if value}


def _taken(turn: Turn, taken: CheckedIn) -> Reply:
    route = ROUTES[_way(taken)]
    goes_to = "" if route.bin == "shelf" else taken.destination
    texts = [_way_on(turn, route.news, goes_to, taken.fine_cents)]
    texts += [tell(News.RECALLED, turn.language())] if taken.recalled and taken.held_for else []
    texts += [tell(News.OFFLINE_CONFLICT, turn.language())] if taken.conflict else []
    alert = bool(taken.alert or taken.conflict)
    said: dict[str, Value] = {
        "ok": "1",
        "resensitize": "Y",
        "alert": "Y" if alert else "N",
        "AQ": taken.item.agency,
        "AJ": taken.title,
        "CL": route.bin or goes_to,
        "CT": goes_to,
        "CV": route.alert if alert or turn.session.dialect.alerts == "always" else "",
        "CY": taken.held_for,
        "AF": tuple(texts),
    }
    return reply(turn, said, request=taken.request)


def _way_on(turn: Turn, news: News, destination: str, fine_cents: int) -> str:
    currency = turn.session.dialect.currency
    return tell(news, turn.language(), destination=destination, fine=dollars(fine_cents), currency=currency)


def _way(taken: CheckedIn) -> str:
    """The row of ROUTES."""
    if taken.what == "again" and taken.held_for:
        return "held"
    return "late" if taken.what == "returned" and taken.fine_cents else taken.what


async def _undo_loan(turn: Turn) -> Reply:
    outcome = await turn.door.desk.check_out(_checkout(turn, undo=True))
    if not isinstance(outcome, CheckedOut):
        return refuse(turn, outcome)
    said: dict[str, Value] = {
        "ok": "1",
        "resensitize": "Y",
        "AQ": outcome.item.agency,
        "AJ": outcome.title,
        "CL": "hold",
        "CV": "01",
        "AF": (tell(News.LOAN_UNDONE, turn.language(outcome.language)),),
    }
    return reply(turn, said, request=outcome.request)


# ---- renewal


async def renew(turn: Turn) -> Reply:
    """30. AB identifies the book, or AJ if AB is missing; if both are given, AB counts."""
    asked = turn.message
    if not (asked.get("AA") and (asked.get("AB") or asked.get("AJ"))):
        return refuse_by(turn, Reason.UNUSABLE_MESSAGE)
    if turn.pin_missing:
        return refuse_by(turn, Reason.WRONG_PIN)
    outcome = await turn.door.desk.renew(_renewal(turn))
    if isinstance(outcome, Renewed):
        return _renewed(turn, outcome)
    return refuse(turn, outcome, AH=turn.due(_due_still(outcome)), **_fee(turn, outcome))


def _due_still(outcome: Outcome) -> date | None:
    """The due date of a loan that was not renewed; none where it is a loan no more."""
    return outcome.due if isinstance(outcome, Refused) and outcome.why is not Reason.NOT_ON_LOAN else None


def _renewal(turn: Turn) -> Renew:
    asked = turn.message
    return Renew(
        turn.by,
        asked.get("AA"),
        asked.get("AB"),
        title=asked.get("AJ"),
        pin=turn.pin,
        pin_given=bool(turn.pin),
        fee_acknowledged=turn.says("BO"),
    )


def _renewed(turn: Turn, done: Renewed) -> Reply:
    """A renewal that the lender must grant first is none yet: not ok, with the old date and the reason."""
    language = turn.language(done.language)
    text = tell(News.RENEWAL_ASKED if done.pending else News.RENEWED, language, due=done.due)
    loan = _loan(turn, done.title, done.due, [text], had=True, request=done.request)
    flags = {"ok": "0", "renewal_ok": "N", "desensitize": "N"} if done.pending else {}
    fee = {"BT": "04", "BH": turn.session.dialect.currency, "BV": dollars(done.fine_cents)} if done.fine_cents else {}
    return replace(loan, fields={**loan.fields, **flags, **fee, "AB": done.item.barcode})


async def renew_all(turn: Turn) -> Reply:
    """66. Every loan is listed in BM or in BN, and AF gives the reason for each entry in BN."""
    asked = turn.message
    if not asked.get("AA"):
        return refuse_by(turn, Reason.UNUSABLE_MESSAGE)
    if turn.pin_missing:
        return refuse_by(turn, Reason.WRONG_PIN)
    outcome = await turn.door.desk.renew_all(RenewAll(turn.by, asked.get("AA"), turn.pin, turn.says("BO")))
    return refuse(turn, outcome) if isinstance(outcome, Refused) else _all_renewed(turn, outcome)


def _why(turn: Turn, no: Refused, language: str) -> str:
    return say(no.why, language, {"currency": turn.session.dialect.currency, **no.detail})


def _all_renewed(turn: Turn, done: AllRenewed) -> Reply:
    """A renewal that its lender must grant first counts among those that are not."""
    language = turn.language(done.language)
    yes = [one for one in done.renewed if not one.pending]
    noes = [(one.item.barcode, tell(News.RENEWAL_ASKED, language, due=one.due)) for one in done.renewed if one.pending]
    noes += [(one.item.barcode if one.item else "", _why(turn, one, language)) for one in done.refused]
    said: dict[str, Value] = {
        "ok": "1",
        "renewed_count": f"{len(yes)}",
        "unrenewed_count": f"{len(noes)}",
        "BM": tuple(one.item.barcode for one in yes),
        "BN": tuple(barcode for barcode, _ in noes),
        "AF": (
            tell(News.ALL_RENEWED, language, count=len(yes)),
            *(tell(News.NOT_RENEWED, language, item=barcode, why=why) for barcode, why in noes),
        ),
    }
    return reply(turn, said)
