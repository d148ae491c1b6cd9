"""The published rules at their boundaries, one row per case, through the circulation service."""

# ruff: noqa: E501  # a row is one line

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hkall_gateway.circulation.borrowing import CancelRequest, Requested
from hkall_gateway.circulation.fines import Waive
from hkall_gateway.circulation.lending import Paged
from hkall_gateway.circulation.loans import CheckOut
from hkall_gateway.circulation.partner_notice import ItemRenewed
from hkall_gateway.circulation.queries import SeePatron
from hkall_gateway.circulation.recalls import ItemRecalled, RecallCancelled, Recalled
from hkall_gateway.circulation.results import CheckedOut, DeliveryResult, Done, Refused, Renewed
from hkall_gateway.circulation.returning import CheckedIn, CheckIn
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.policy import Place
from hkall_gateway.rules.published_rules import PUBLISHED as PUBLISHED_RULES
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.settings import (
    Block,
    Bookdrop,
    Cancel,
    Due,
    Fine,
    FineFree,
    Notices,
    OnClosure,
    Pickup,
    Policy,
    Quota,
    Recall,
    Renewal,
    Return,
    Scope,
    Window,
)
from hkall_gateway.rules.stored_words import DeliveryKind
from hkall_gateway.rules.vocabulary import Actor, Holding, Position, Side
from tests.circulation.conftest import sent_as
from tests.readers import CATEGORY

if TYPE_CHECKING:
    from tests.circulation.conftest import DeskWorld

P = Position
SCENARIOS = Path(__file__).parents[2] / "fixtures" / "scenarios"
PUBLISHED = Policy()
YES = "requested"
OUT, MISSING, HERE = "On Loan", "Missing", "Available On Shelf"


@dataclass(frozen=True, slots=True)
class Row:
    """A rule, a day and a query; `wanted` is the reason of a refusal, a date, an amount in cents, or an outcome."""

    name: str
    do: Callable[[DeskWorld], object]
    wanted: object
    policy: Policy = PUBLISHED


def said(outcome: object) -> object:
    """A result in the notation of a row."""
    match outcome:
        case Refused():
            return outcome.why
        case Requested() | Paged():
            return YES
        case CheckedOut() | Renewed() | Recalled():
            return outcome.due and outcome.due.isoformat()
        case CheckedIn():
            return outcome.fine_cents if outcome.what == "returned" else outcome.what
        case Done():
            return outcome.position
    return outcome


# ---- what the rows do


def at(when: str) -> Callable[[DeskWorld], object]:
    return lambda library: library.go_to(when)


def wish(at: str = "2017-03-01 10:00", patron: str = "UG1", bib: str = "dune", **more: Any) -> Callable[[DeskWorld], object]:
    def do(library: DeskWorld) -> object:
        library.go_to(at)
        return library.wish(patron, bib, number=at, **more)

    return do


def as_patron(**values: Any) -> Callable[[DeskWorld], object]:
    def do(library: DeskWorld) -> object:
        library.set_patron("UG1", **values)
        return library.wish()

    return do


def known(**values: Any) -> Callable[[DeskWorld], object]:
    return lambda library: library.set_patron("UG1", **values)


def with_copies(*copies: Holding, **more: Any) -> Callable[[DeskWorld], object]:
    def do(library: DeskWorld) -> object:
        library.add_copies(copies)
        return library.wish(bib="new", **more)

    return do


def copy(agency: str, status: str = HERE, **more: Any) -> Holding:
    return replace(
        Holding(agency=agency, barcode=f"{agency}-{status}-{more.get('volume', '')}", bib_id="new", title="New", status=status),
        **more,
    )


def having(hkall: int, local: int = 0, total: int | None = 60, category: str = CATEGORY.key) -> Callable[[DeskWorld], object]:
    """The next request of a patron who has this many items."""

    def do(library: DeskWorld) -> object:
        library.set_patron("UG1", category=category, local_loans=local, total_quota=total)
        for number in range(hkall):
            library.lent_out(item_barcode=f"B{number}", bib_id=f"b{number}", wire_id=f"w{number}")
        return library.wish()

    return do


def on_shelf(
    at: str, role: str = "counter", card: str = "UG1", place: str = "HKU-MAIN-LENDING", **facts: Any
) -> Callable[[DeskWorld], object]:
    """A checkout of an item whose letter was sent on Monday, 6 March."""

    def do(library: DeskWorld) -> object:
        told = {"received_on": date(2017, 3, 6), "notified_on": date(2017, 3, 6), "pickup_last": date(2017, 3, 11)}
        library.given(P.RECEIVED, **{**told, **facts})
        library.go_to(at)
        ask = CheckOut(
            by=Actor(who="t", channel="sip2", message="11"), place=Place(role=role, location=place), card=card, barcode="C1"
        )
        return library.ask(library.circulation.execute(ask))

    return do


def loan(on: str = "2017-03-01", days: int = 15, **facts: Any) -> Callable[[DeskWorld], object]:
    return lambda library: library.lent_out(on, days, **facts)


def then(*deeds: Callable[[DeskWorld], object]) -> Callable[[DeskWorld], object]:
    """Run actions in sequence; the last one gives the result."""

    def do(library: DeskWorld) -> object:
        answer: object = None
        for deed in deeds:
            answer = deed(library)
        return answer

    return do


def renewed(when: str, **more: Any) -> Callable[[DeskWorld], object]:
    return then(at(when), lambda library: library.renew(**more))


def returned(when: str) -> Callable[[DeskWorld], object]:
    return then(at(when), lambda library: library.check_in())


def recalled(when: str, **more: Any) -> Callable[[DeskWorld], object]:
    return then(
        at(when), lambda library: library.ask(library.circulation.execute(sent_as(ItemRecalled, library.heard(**more))))
    )


def unrecalled(when: str) -> Callable[[DeskWorld], object]:
    return then(at(when), lambda library: library.ask(library.circulation.execute(sent_as(RecallCancelled, library.heard()))))


def dropped(at: str) -> Callable[[DeskWorld], object]:
    def do(library: DeskWorld) -> object:
        library.go_to(at)
        return library.ask(
            library.circulation.execute(
                CheckIn(
                    by=Actor(who="drop", channel="sip2", message="09"),
                    place=Place(role="bookdrop", location="DROP"),
                    barcode="C1",
                )
            )
        )

    return do


def scanned(when: str, **more: Any) -> Callable[[DeskWorld], object]:
    """The outcome of a check-in at the counter."""
    return then(at(when), lambda library: library.check_in(**more).what)


def undone(library: DeskWorld) -> object:
    return library.check_in(undo=True)


def act(name: str, when: str = "2017-03-20 10:00", **more: Any) -> Callable[[DeskWorld], object]:
    return then(at(when), lambda library: library.act(name, **more))


def closed(*days: str) -> Callable[[DeskWorld], object]:
    return lambda library: library.close_on("HKU", *days)


def standing(position: Position, **facts: Any) -> Callable[[DeskWorld], object]:
    return lambda library: library.given(position, **facts)


def cancelled(library: DeskWorld) -> object:
    answer = library.ask(
        library.circulation.execute(CancelRequest(by=Actor(who="D", channel="ncip"), patron="UG1", request="R1"))
    )
    return said(answer) if isinstance(answer, Refused) else library.request().position


def declined(library: DeskWorld) -> object:
    return library.say("request_cancelled", library.request())


def sent(library: DeskWorld) -> object:
    return library.say("shipped", library.request())


def told(library: DeskWorld) -> object:
    return library.told()


def letters(*kinds: Notification) -> Callable[[DeskWorld], object]:
    return lambda library: sum(library.letters(kind) for kind in kinds)


ALL_LETTERS = letters(*(send for send in Notification if send.name.startswith("LETTER_")))


def round_at(name: str, when: str) -> Callable[[DeskWorld], object]:
    return then(at(when), lambda library: library.round(name))


def fact(name: str) -> Callable[[DeskWorld], object]:
    return lambda library: getattr(library.request(), name)


def lent(when: str) -> Callable[[DeskWorld], object]:
    """A checkout of an item that arrived on this day."""
    return then(standing(P.RECEIVED), at(when), lambda library: library.check_out())


def comes(library: DeskWorld) -> object:
    """Ship the newest request and scan its item at our counter."""
    newest = library.requests()[-1]
    library.say("shipped", newest)
    library.check_in(library.request(newest.id).item_barcode)
    return library.request(newest.id).position


def letter_leaves(when: str) -> Callable[[DeskWorld], object]:
    """Send the pickup letter; its own day counts (R14)."""

    def do(library: DeskWorld) -> object:
        library.go_to(when)
        last = library.today() + timedelta(days=5)
        return library.delivered(
            Notification.LETTER_PICKUP, DeliveryResult(kind=DeliveryKind.ACCEPTED, sent_on=library.today(), last_day=last)
        )

    return do


def handed_in(barcode: str, role: str = "counter", place: str = "HKU-MAIN-LENDING") -> Callable[[DeskWorld], object]:
    ask = CheckIn(by=Actor(who="t", channel="sip2", message="09"), place=Place(role=role, location=place), barcode=barcode)
    return lambda library: library.ask(library.circulation.execute(ask))


def record(name: str) -> Callable[[DeskWorld], object]:
    """The first row of the patron's own record."""
    see = SeePatron(by=Actor(who="t", channel="sip2", message="63"), card="UG1")
    return lambda library: attrgetter(name)(library.ask(library.circulation.execute(see)).lines[0])


def lends(bib: str, number: str = "c-1") -> Callable[[DeskWorld], object]:
    """Let CUHK request a title of ours."""
    return lambda library: library.borrow_from_us(bib, number)


def outcomes(library: DeskWorld) -> object:
    """The outcome of each attempt, in the order in which libraries were asked."""
    return library.store.now(lambda unit: [c.outcome for c in unit.candidates.of_request("R1") if c.wire_id])


def declines(reason: str) -> Callable[[DeskWorld], object]:
    return lambda library: library.say("request_cancelled", library.request(), reason=reason)


def told_of(send: Notification, name: str) -> Callable[[DeskWorld], object]:
    """The content of the newest letter of a kind."""
    return lambda library: getattr(library.letter(send), name)


def waive(cents: int) -> Callable[[DeskWorld], object]:
    return lambda library: library.ask(
        library.circulation.execute(Waive(by=Actor(who="mei", channel="cli"), fine=1, reason="typhoon", cents=cents))
    )


def lent_by_category(key: str) -> Callable[[DeskWorld], object]:
    return then(lambda library: library.set_patron("UG1", category=key), on_shelf("2017-03-06 12:00"))


def owed(library: DeskWorld) -> object:
    return library.owed()


def lenders(library: DeskWorld) -> object:
    return library.store.now(lambda unit: [c.agency for c in unit.candidates.of_request("R1") if not c.skip])


def changed(**tables: Any) -> Policy:
    return replace(PUBLISHED, **tables)


def window(scope: Scope, day: str = "2017-03-09", partner: str = "") -> Policy:
    """A suspension on one day, for all partners or for one."""
    on = date.fromisoformat(day)
    return changed(service_windows=(Window(scope=scope, start=on, end=on, partner=partner),))


def closure(how: OnClosure) -> Policy:
    return changed(due=Due(on_closure=how))


STOPS = changed(bookdrop=Bookdrop(fine="until_drop"))
LITERAL = changed(recall=Recall(return_days=0))
A_MONTH = loan(days=30)
RENEWED = loan(due=date(2017, 3, 25), renewals=1)

# fmt: off
ROWS: tuple[Row, ...] = (
    # ---- the suspension
    Row("R1 the last second before it",               wish("2017-06-05 23:59:59"), YES),
    Row("R1 its first second",                        wish("2017-06-06 00:00:00"), Reason.SERVICE_SUSPENDED),
    Row("R1 its last second",                         wish("2017-07-17 23:59:59"), Reason.SERVICE_SUSPENDED),
    Row("R1 the first second after it",               wish("2017-07-18 00:00:00"), YES),
    Row("R1 renewals go on",                          then(loan("2017-06-05"), renewed("2017-06-15 10:00")), "2017-06-30"),
    Row("R1 returns and fines go on",                 then(loan("2017-06-05"), returned("2017-06-22 10:00")), 400),
    Row("R1 lending goes on",                         then(at("2017-06-10 10:00"), lambda lib: lib.borrow_from_us("lend", "c-1"), fact("position")), P.PAGED),
    Row("R1 overdue letters go on",                   then(loan("2017-06-05"), round_at("overdue", "2017-06-21 00:00")), 1),
    Row("R1 the last day, where it is not inclusive", wish("2017-07-17 10:00"), YES, changed(service_windows=(replace(PUBLISHED.service_windows[0], inclusive=False),))),
    Row("R1 checkouts suspended",                     on_shelf("2017-03-09 10:00"), Reason.SERVICE_SUSPENDED, window("checkout")),
    Row("R1 renewals suspended",                      then(loan(), renewed("2017-03-09 10:00")), Reason.SERVICE_SUSPENDED, window("renew")),
    Row("R1 lending suspended",                       then(at("2017-03-09 10:00"), lends("lend")), Reason.LENDING_SUSPENDED, window("lend_request")),
    Row("R1 a suspension of checkouts alone",         wish("2017-03-09 10:00"), YES, window("checkout")),
    Row("R1 everything suspended",                    wish("2017-03-09 10:00"), Reason.SERVICE_SUSPENDED, window("all")),
    Row("R1 with one partner: another is asked",      then(wish("2017-03-09 10:00"), lenders), ["HKUST"], window("borrow_request", partner="CUHK")),
    Row("R1 with one partner: the others may borrow", then(at("2017-03-09 10:00"), lends("lend")), YES, window("lend_request", partner="HKUST")),
    # ---- who
    Row("R2 SPACE student, full time",                as_patron(category="space_community_college", study_mode="full_time"), YES),
    Row("R2 SPACE student, part time",                as_patron(category="space_community_college", study_mode="part_time"), Reason.NOT_ELIGIBLE_PART_TIME_SPACE),
    Row("R2 SPACE student, mode unknown",             as_patron(category="space_cdp"), Reason.ELIGIBILITY_UNKNOWN),
    Row("R2 mode unknown, where it may pass",         as_patron(category="space_cdp"), YES, changed(unknown_study_mode="allow")),
    Row("R2 part-time tutor is staff",                as_patron(category="space_non_academic_staff", study_mode="part_time"), YES),
    Row("R2 alumni",                                  as_patron(category="alumni"), Reason.NOT_ELIGIBLE),
    Row("R2 no group at all",                         as_patron(category=""), Reason.NOT_ELIGIBLE),
    Row("R2 card of yesterday",                       as_patron(expires=date(2017, 2, 28)), Reason.PATRON_EXPIRED),
    Row("R2 card until today",                        as_patron(expires=date(2017, 3, 1)), YES),
    Row("R2 blocked by the local system",             as_patron(blocked=True), Reason.PATRON_BLOCKED),
    Row("R2 a card of another library",               as_patron(category="julac"), Reason.NOT_ELIGIBLE),
    Row("R2 a group that the site maps",              as_patron(category="UG-42"), YES, changed(categories=(replace(PUBLISHED.categories[5], ils_groups=("UG-42",)),))),
    Row("R2 owes eight dollars, where eight may be",  then(loan(), returned("2017-03-20 10:00"), wish("2017-03-20 11:00")), YES, changed(block=Block(max_debt_cents=800))),
    Row("R2 and where seven may be",                  then(loan(), returned("2017-03-20 10:00"), wish("2017-03-20 11:00")), Reason.PATRON_OWES, changed(block=Block(max_debt_cents=700))),
    Row("R2 keeps a recalled book over its date",     then(loan(), recalled("2017-03-04 10:00"), wish("2017-03-17 10:00", bib="solaris")), Reason.PATRON_BLOCKED, changed(block=Block(on_overdue_recall=True))),
    Row("R2 keeps it, where nobody minds",            then(loan(), recalled("2017-03-04 10:00"), wish("2017-03-17 10:00", bib="solaris")), YES),
    Row("R2 keeps a book for 29 days too long",       then(loan(), wish("2017-04-14 10:00", bib="solaris")), YES, changed(block=Block(max_long_overdue=0))),
    Row("R2 keeps a book for 30 days too long",       then(loan(), wish("2017-04-15 10:00", bib="solaris")), Reason.PATRON_BLOCKED, changed(block=Block(max_long_overdue=0))),
    Row("R3 only our own library has it",             with_copies(copy("HKU", OUT)), Reason.NO_AVAILABLE_COPY),
    Row("R4 another place of collection",             wish(pickup_location="HKU-LAW"), Reason.PICKUP_LOCATION),
    Row("R4 the counter of Lending Services",         wish(pickup_location="HKU-MAIN-LENDING"), YES),
    # ---- what
    Row("R5 a DVD",                                   with_copies(copy("CUHK", material="dvd")), Reason.MATERIAL_NOT_REQUESTABLE),
    Row("R5 a DVD of ours, for a partner",            then(with_copies(copy("HKU", material="dvd")), lends("new")), Reason.MATERIAL_NOT_REQUESTABLE),
    Row("R6 we have none",                            with_copies(copy("CUHK")), YES),
    Row("R6 both of ours are out",                    with_copies(copy("CUHK"), copy("HKU", OUT), copy("HKU", "In Transit Between Library Locations")), YES),
    Row("R6 one of two is on the shelf",              with_copies(copy("CUHK"), copy("HKU", OUT), copy("HKU")), Reason.AVAILABLE_LOCALLY),
    Row("R6 the only one is missing",                 with_copies(copy("CUHK"), copy("HKU", MISSING)), YES),
    Row("R6 the only one is in repair",               with_copies(copy("CUHK"), copy("HKU", "In Process")), YES),
    Row("R6 the only one is kept in the reserve",     with_copies(copy("CUHK"), copy("HKU", "Not Available")), YES),
    Row("R6 the volume at home is another one",       with_copies(copy("CUHK", volume="2"), copy("HKU", volume="1"), volume="2"), YES),
    Row("R7 nobody has one on the shelf",             with_copies(copy("CUHK", OUT), copy("HKUST", MISSING)), Reason.NO_AVAILABLE_COPY),
    Row("R7 one of three is there",                   then(with_copies(copy("CUHK", OUT), copy("HKUST"), copy("POLYU", OUT)), lenders), ["HKUST"]),
    Row("R8 only the wanted volume counts",           then(with_copies(copy("CUHK", volume="1"), copy("HKUST", volume="2"), volume="2"), lenders), ["HKUST"]),
    Row("R8 nobody has that volume",                  with_copies(copy("CUHK", volume="1"), volume="2"), Reason.NO_AVAILABLE_COPY),
    Row("R8 its decline is final",                    then(with_copies(copy("CUHK", volume="1"), copy("HKUST", volume="2"), volume="1"), declined, fact("position")), P.UNFILLED),
    Row("R8 another library has that volume too",     then(with_copies(copy("CUHK", volume="1"), copy("HKUST", volume="1"), volume="1"), declined, fact("partner")), "HKUST"),
    Row("R9 our own patron, borrowing as a partner",  then(with_copies(copy("HKU")), lends("new")), YES),
    Row("R11 one lender is asked",                    then(wish(), told), ["CUHK ask_lender"]),
    Row("R11 each attempt is recorded",               then(wish(), declines("not_on_shelf"), declines("too fragile"), outcomes), ["declined: not_on_shelf", "declined: too fragile"]),
    Row("R11a requested already",                     then(wish(), wish("2017-03-02 10:00")), Reason.DUPLICATE_REQUEST),
    Row("R11a on loan already",                       then(loan(), wish()), Reason.DUPLICATE_REQUEST),
    Row("R11a given back, and on its way home",       then(loan(), returned("2017-03-02 10:00"), wish("2017-03-02 11:00")), YES),
    Row("R11a cancelled, and not yet confirmed",      then(wish(), cancelled, wish("2017-03-02 11:00")), YES),
    Row("R11a another reader",                        then(wish(), wish("2017-03-02 10:00", "UG2")), YES),
    Row("R11a where the site allows it",              then(wish(), wish("2017-03-02 10:00")), YES, changed(duplicates="allow")),
    Row("R11a waiting on the hold shelf",             then(standing(P.RECEIVED, pickup_last=date(2017, 3, 11)), wish("2017-03-11 23:59:59")), Reason.DUPLICATE_REQUEST),
    Row("R11a not collected in time",                 then(standing(P.RECEIVED, pickup_last=date(2017, 3, 11)), wish("2017-03-12 00:00:00")), YES),
    Row("R11a given more time",                       then(standing(P.RECEIVED, pickup_last=date(2017, 3, 11)), act("extend", "2017-03-12 09:00", on=date(2017, 3, 13), reason="x"), wish("2017-03-13 10:00")), Reason.DUPLICATE_REQUEST),
    Row("R11a another volume of it",                  then(with_copies(copy("CUHK", volume="1"), copy("HKUST", volume="2"), volume="1"), wish("2017-03-02 10:00", bib="new", volume="2")), YES),
    Row("R11a staff may place it twice",              then(wish(), wish("2017-03-02 10:00", staff=True)), YES),
    # ---- the hold shelf
    Row("R12 scanned twice, one letter",              then(standing(P.IN_TRANSIT), returned("2017-03-06 10:00"), returned("2017-03-06 10:01"), letters(Notification.LETTER_PICKUP)), 1),
    Row("R13 another reader",                         on_shelf("2017-03-07 10:00", card="UG2"), Reason.NOT_REQUESTER),
    Row("R13 not yet arrived",                        then(standing(P.IN_TRANSIT), lambda lib: lib.check_out()), Reason.NOT_YET_ARRIVED),
    Row("R13 at its lender still",                    then(wish(), lambda lib: lib.check_out()), Reason.UNKNOWN_ITEM),
    Row("R13 lent to somebody else",                  then(loan(), lambda lib: lib.check_out("UG2")), Reason.ON_LOAN_TO_ANOTHER),
    Row("R13 lent to the same reader",                then(loan(), lambda lib: lib.check_out()), "2017-03-16"),
    Row("R14 the last second of the fifth day",       on_shelf("2017-03-11 23:59:59"), "2017-03-26"),
    Row("R14 the sixth day, at the counter",          on_shelf("2017-03-12 00:00:00"), "2017-03-27"),
    Row("R14 the sixth day, expired, at the counter", on_shelf("2017-03-12 10:00", expired_pickup=True), "2017-03-27"),
    Row("R14 the sixth day, where nobody is late",    on_shelf("2017-03-12 00:00:00"), Reason.PICKUP_EXPIRED, changed(pickup=Pickup(late_pickup="deny"))),
    Row("R14 on the fifth day nothing expires",       then(standing(P.RECEIVED, pickup_last=date(2017, 3, 11)), round_at("pickup_expiry", "2017-03-11 23:59:59")), 0),
    Row("R14 at midnight of the sixth it does",       then(standing(P.RECEIVED, pickup_last=date(2017, 3, 11)), round_at("pickup_expiry", "2017-03-12 00:00:00")), 1),
    Row("R14 scanned in the last second, without a card", then(standing(P.RECEIVED, pickup_last=date(2017, 3, 11)), scanned("2017-03-11 23:59:59")), "again"),
    Row("R14 scanned a second later",                 then(standing(P.RECEIVED, pickup_last=date(2017, 3, 11)), scanned("2017-03-12 00:00:00")), "uncollected"),
    Row("R14 scanned on the sixth day, given more time", then(standing(P.RECEIVED, pickup_last=date(2017, 3, 11)), act("extend", "2017-03-12 09:00", on=date(2017, 3, 12), reason="x"), scanned("2017-03-12 10:00")), "again"),
    Row("R14 and its letter left late",               then(standing(P.IN_TRANSIT), scanned("2017-03-06 10:00"), letter_leaves("2017-03-08 10:00"), scanned("2017-03-13 10:00")), "again"),
    Row("R14 scanned off line on the sixth day",      then(standing(P.RECEIVED, pickup_last=date(2017, 3, 11)), scanned("2017-03-13 10:00", no_block=True)), "again"),
    Row("R15 it is on its way home",                  then(standing(P.RECEIVED, pickup_last=date(2017, 3, 11)), scanned("2017-03-12 10:00"), fact("position")), P.RETURN_TRANSIT),
    Row("R15 where its dispatch is told by hand",     then(standing(P.RECEIVED, pickup_last=date(2017, 3, 11)), scanned("2017-03-12 10:00"), fact("position")), P.TO_RETURN, changed(return_=Return("on_dispatch"))),
    Row("R15 without a letter",                       then(standing(P.RECEIVED, pickup_last=date(2017, 3, 11)), scanned("2017-03-12 10:00"), ALL_LETTERS), 0),
    Row("R14 scanned again, it is on its way already", then(standing(P.RECEIVED, pickup_last=date(2017, 3, 11)), scanned("2017-03-12 10:00"), scanned("2017-03-12 10:01")), "again"),
    Row("R14 in the record until its last second",    then(standing(P.RECEIVED, pickup_last=date(2017, 3, 11)), at("2017-03-11 23:59:59"), record("uncollected")), False),
    Row("R14 in the record a second later",           then(standing(P.RECEIVED, pickup_last=date(2017, 3, 11)), at("2017-03-12 00:00:00"), record("uncollected")), True),
    Row("R14 in the record, expired and not extended", then(standing(P.RECEIVED, pickup_last=date(2017, 3, 11), expired_pickup=True), at("2017-03-11 10:00"), record("uncollected")), True),
    Row("R14 in the record, no last day, fifth day",  then(standing(P.RECEIVED, received_on=date(2017, 3, 6)), at("2017-03-11 23:59:59"), record("uncollected")), False),
    Row("R14 in the record, no last day, sixth day",  then(standing(P.RECEIVED, received_on=date(2017, 3, 6)), at("2017-03-12 00:00:00"), record("uncollected")), True),
    Row("R14 in the record, the fifth day is closed", then(closed("2017-03-11"), standing(P.RECEIVED, received_on=date(2017, 3, 6)), at("2017-03-12 10:00"), record("uncollected")), False),
    Row("R14 received on a Monday",                   then(standing(P.IN_TRANSIT), returned("2017-03-06 23:59:00"), fact("pickup_last")), date(2017, 3, 11)),
    Row("R14 received two minutes later",             then(standing(P.IN_TRANSIT), returned("2017-03-07 00:01:00"), fact("pickup_last")), date(2017, 3, 12)),
    Row("R14 the fifth day is closed",                then(closed("2017-03-11"), standing(P.IN_TRANSIT), returned("2017-03-06 10:00"), fact("pickup_last")), date(2017, 3, 12)),
    Row("R14 where a closed day stays the last",      then(closed("2017-03-11"), standing(P.IN_TRANSIT), returned("2017-03-06 10:00"), fact("pickup_last")), date(2017, 3, 11), changed(pickup=Pickup(last_day_closed="keep"))),
    Row("R14 where the letter's day counts",          then(standing(P.IN_TRANSIT), returned("2017-03-06 10:00"), fact("pickup_last")), date(2017, 3, 10), changed(pickup=Pickup(count_notice_day=True))),
    Row("R14 the letter leaves two days later",       then(standing(P.IN_TRANSIT), returned("2017-03-06 10:00"), letter_leaves("2017-03-08 10:00"), fact("pickup_last")), date(2017, 3, 13)),
    Row("R14 the sixth day, where everybody may",     on_shelf("2017-03-12 00:00:00"), "2017-03-27", changed(pickup=Pickup(late_pickup="allow"))),
    Row("R14 it takes back no day that staff have given",   then(standing(P.IN_TRANSIT), returned("2017-03-06 10:00"), act("extend", "2017-03-06 11:00", on=date(2017, 3, 20), reason="x"), letter_leaves("2017-03-08 10:00"), fact("pickup_last")), date(2017, 3, 20)),
    Row("R14 lent by hand, where no patron is late",  then(standing(P.RECEIVED, pickup_last=date(2017, 3, 11)), act("lend", "2017-03-12 10:00")), "2017-03-27", changed(pickup=Pickup(late_pickup="staff_only"))),
    Row("R14 lent by hand, where nobody is late",     then(standing(P.RECEIVED, pickup_last=date(2017, 3, 11)), act("lend", "2017-03-12 10:00")), Reason.PICKUP_EXPIRED, changed(pickup=Pickup(late_pickup="deny"))),
    Row("R13 lent by hand before it came",            then(standing(P.IN_TRANSIT), act("lend")), Reason.WRONG_POSITION),
    Row("R13 lent by hand twice",                     then(standing(P.RECEIVED), act("lend", "2017-03-07 10:00"), act("lend", "2017-03-07 10:01"), fact("due")), date(2017, 3, 22)),
    Row("R21 lent by hand, but the quota is full",    then(standing(P.RECEIVED), known(local_loans=60), act("lend")), Reason.QUOTA_TOTAL),
    Row("R15 nobody is told before it goes back",     then(standing(P.RECEIVED, pickup_last=date(2017, 3, 11)), round_at("pickup_expiry", "2017-03-12 00:00"), act("return_unused", "2017-03-12 10:00"), ALL_LETTERS), 0),
    Row("R15 its lender is told",                     then(standing(P.RECEIVED), act("return_unused"), told), ["CUHK tell_lender_on_its_way"]),
    Row("R15 a letter where the site wants one",      then(standing(P.RECEIVED, pickup_last=date(2017, 3, 11)), round_at("pickup_expiry", "2017-03-12 00:00"), ALL_LETTERS), 1, changed(notices=Notices(pickup_expired=True))),
    Row("R15 its place is free again",                then(having(14), comes, lambda lib: lib.act("return_unused", "R15"), wish("2017-03-02 10:00", bib="solaris")), YES),
    Row("R15 while it waits its place is taken",      then(having(14), comes, wish("2017-03-02 10:00", bib="solaris")), Reason.QUOTA_HKALL),
    # ---- the counter
    Row("R16 a self-check lends none",                on_shelf("2017-03-07 10:00", role="selfcheck"), Reason.COUNTER_ONLY),
    Row("R16 a counter elsewhere lends none",         on_shelf("2017-03-07 10:00", place="HKU-LAW"), Reason.COUNTER_ONLY),
    Row("R16 a self-check takes none back",           then(loan(), handed_in("C1", "selfcheck")), Reason.COUNTER_ONLY),
    Row("R16 a counter elsewhere takes none back",    then(loan(), handed_in("C1", place="HKU-LAW")), Reason.COUNTER_ONLY),
    Row("R16 the counter takes it back",              then(loan(), handed_in("C1")), 0),
    Row("R17 the drop ends no loan",                  then(loan(), dropped("2017-03-16 22:00")), Reason.NOT_IN_BOOK_DROP),
    Row("R17 it is a task for staff",                 then(loan(), dropped("2017-03-16 22:00"), dropped("2017-03-16 22:01"), fact("flags")), "HKALL_IN_BOOKDROP"),
    Row("R17 until the counter has it",               then(loan(), dropped("2017-03-16 22:00"), returned("2017-03-17 09:00"), fact("flags")), ""),
    Row("R17 which is a day late",                    then(loan(), dropped("2017-03-16 22:00"), returned("2017-03-17 09:00")), 200),
    Row("R17 unless staff date it back",              then(loan(), dropped("2017-03-16 22:00"), act("return", "2017-03-17 09:00", on=date(2017, 3, 16), reason="drop"), owed), 0),
    Row("R17 until the next second",                  then(loan(), dropped("2017-03-16 22:00"), returned("2017-03-16 23:59:59")), 0),
    Row("R17 since which day",                        then(loan(), dropped("2017-03-16 22:00"), dropped("2017-03-17 00:00"), fact("dropped_on")), date(2017, 3, 16)),
    Row("R17 the counter has it",                     then(loan(), dropped("2017-03-16 22:00"), returned("2017-03-17 09:00"), fact("dropped_on")), None),
    Row("R17 where the fine stops at the drop",       then(loan(), dropped("2017-03-16 23:59:59"), returned("2017-03-20 09:00")), 0, STOPS),
    Row("R17 a second later it costs a day",          then(loan(), dropped("2017-03-17 00:00:00"), returned("2017-03-20 09:00")), 200, STOPS),
    Row("R17 nor does the terminal show more",        then(loan(), dropped("2017-03-17 08:00"), at("2017-03-20 09:00"), record("fine_cents")), 200, STOPS),
    Row("R17 no overdue letter from the drop on",     then(loan(), dropped("2017-03-16 22:00"), round_at("overdue", "2017-03-17 00:00"), ALL_LETTERS), 0),
    Row("R17 nor for a recall",                       then(loan(), dropped("2017-03-16 22:00"), recalled("2017-03-17 10:00"), ALL_LETTERS), 0),
    Row("R17 the counter had it, and undid it: letters again", then(loan(), dropped("2017-03-16 22:00"), returned("2017-03-17 09:00"), undone, round_at("overdue", "2017-03-18 00:00"), ALL_LETTERS), 1),
    Row("R17 settled as not there: letters again",    then(loan(), dropped("2017-03-16 22:00"), act("seen", "2017-03-17 10:00", reason="not there"), round_at("overdue", "2017-03-18 00:00"), ALL_LETTERS), 1),
    Row("R17 and that of a recall, with its old date", then(loan(), dropped("2017-03-16 22:00"), recalled("2017-03-16 23:00"), act("seen", "2017-03-17 10:00", reason="not there"), lambda lib: lib.letter(Notification.LETTER_RECALLED).old_due), date(2017, 3, 16)),
    Row("R17 where the drop takes it",                then(loan(), dropped("2017-03-16 22:00")), 0, changed(bookdrop=Bookdrop("accept_and_flag"))),
    Row("R17 it is flagged there too",                then(loan(), dropped("2017-03-16 22:00"), fact("flags")), "HKALL_IN_BOOKDROP", changed(bookdrop=Bookdrop("accept_and_flag"))),
    # ---- quotas and periods
    *(Row(f"R19 {c.label}, {c.loan_days} days",       lent_by_category(c.key) if not c.study_mode_required else then(known(study_mode="full_time"), lent_by_category(c.key)), (date(2017, 3, 6) + timedelta(days=c.loan_days)).isoformat()) for c in PUBLISHED.categories),
    Row("R19 the checkout day is day 0",              on_shelf("2017-03-06 12:00"), "2017-03-21"),
    Row("R19 a closed due date moves on",             then(closed("2017-03-21", "2017-03-22"), on_shelf("2017-03-06 12:00")), "2017-03-23"),
    Row("R19 a category changed during the loan",     then(loan(), known(category="postgraduates"), renewed("2017-03-09 10:00")), "2017-03-24"),
    Row("R18 the 15th book of an undergraduate",      having(14), YES),
    Row("R18 the 16th",                               having(15), Reason.QUOTA_HKALL),
    Row("R18 the 30th book of academic staff",        having(29, category="academic_staff"), YES),
    Row("R18 the 31st",                               having(30, category="academic_staff"), Reason.QUOTA_HKALL),
    *(Row(f"R18 {c.label}, one more",                 then(known(study_mode="full_time"), having(c.quota - 1, category=c.key)), YES) for c in PUBLISHED.categories),
    *(Row(f"R18 {c.label}, and no further",           then(known(study_mode="full_time"), having(c.quota, category=c.key)), Reason.QUOTA_HKALL) for c in PUBLISHED.categories),
    Row("R20 ten and ten of twenty",                  having(10, local=10, total=20), Reason.QUOTA_TOTAL),
    Row("R20 none and fifteen of twenty",             having(15, local=0, total=20), Reason.QUOTA_HKALL),
    Row("R21 fifteen and four of twenty: one more",   having(4, local=15, total=20), YES),
    Row("R21 and no further",                         then(having(4, local=15, total=20), wish("2017-03-02 10:00", bib="solaris")), Reason.QUOTA_TOTAL),
    Row("R21 counted there already",                  having(4, local=19, total=20), YES, changed(quota=Quota(ils_counts_hkall=True))),
    Row("R21 nobody knows the total: flagged",        then(having(0, total=None), fact("flags")), "quota_check:unknown"),
    Row("R21 nobody knows the total: no",             having(0, total=None), Reason.QUOTA_UNKNOWN, changed(quota=Quota(unknown="deny"))),
    Row("R20 the book itself is not counted twice",   then(having(14), lambda lib: lib.say("shipped", lib.request("R15")), lambda lib: lib.check_in("C1"), lambda lib: lib.check_out()), "2017-03-16"),
    Row("R21 free at our check-in",                   then(having(15), lambda lib: lib.check_in("B0"), wish("2017-03-02 10:00")), YES),
    Row("R21 free when its lender has it",            then(having(15), lambda lib: lib.check_in("B0"), wish("2017-03-02 10:00")), Reason.QUOTA_HKALL, changed(quota=Quota(release_at="lender_checkin"))),
    Row("R21 a wish takes a place",                   then(having(14), wish("2017-03-02 10:00", bib="solaris")), Reason.QUOTA_HKALL),
    Row("R21 where only a checkout does",             then(having(14), wish("2017-03-02 10:00", bib="solaris")), YES, changed(quota=Quota(count_from="checkout"))),
    Row("R21 counted again at the checkout",          then(wish(), comes, known(local_loans=60), lambda lib: lib.check_out()), Reason.QUOTA_TOTAL),
    Row("R20 counted again at the checkout",          then(wish(), comes, having(15), lambda lib: lib.check_out()), Reason.QUOTA_HKALL),
    Row("R21 cancelled: free at once",                then(having(14), lambda lib: lib.ask(lib.circulation.execute(CancelRequest(by=Actor(who="D", channel="ncip"), patron="UG1", request="R15"))), wish("2017-03-02 10:00", bib="solaris")), YES),
    Row("R22 nobody queues for what is out",          with_copies(copy("CUHK", OUT), hold=True), Reason.HOLDS_NOT_ALLOWED),
    # ---- recalls
    Row("R23 another library",                        then(loan(), recalled("2017-03-10 10:00", partner="HKUST")), Reason.AGENCY_NOT_OWNER),
    Row("R23 on the day of the checkout",             then(A_MONTH, recalled("2017-03-01 12:00")), "2017-03-16"),
    Row("R23 on its way to us: noted",                then(standing(P.IN_TRANSIT), recalled("2017-03-10 10:00"), fact("recalled_on")), date(2017, 3, 10)),
    Row("R23 on the hold shelf: noted",               then(standing(P.RECEIVED), recalled("2017-03-10 10:00"), fact("recalled_on")), date(2017, 3, 10)),
    Row("R23 after two renewals",                     then(loan(due=date(2017, 4, 15), renewals=2), recalled("2017-04-01 10:00")), "2017-04-08"),
    Row("R23 on its way home: nothing changes",       then(standing(P.RETURN_TRANSIT), recalled("2017-03-10 10:00"), fact("recalled_on")), None),
    Row("R24 one letter",                             then(A_MONTH, recalled("2017-03-04 10:00"), recalled("2017-03-05 10:00"), letters(Notification.LETTER_RECALLED)), 1),
    Row("R24 with the old date",                      then(A_MONTH, recalled("2017-03-04 10:00"), lambda lib: lib.letter(Notification.LETTER_RECALLED).old_due), date(2017, 3, 31)),
    Row("R24 none before the loan",                   then(standing(P.RECEIVED), recalled("2017-03-04 10:00"), ALL_LETTERS), 0),
    Row("R24 before the loan it may go back",         then(standing(P.RECEIVED), recalled("2017-03-04 10:00"), fact("position")), P.TO_RETURN, changed(recall=Recall(before_pickup="return"))),
    Row("R24 none on the way to us",                  then(standing(P.IN_TRANSIT), recalled("2017-03-04 10:00"), ALL_LETTERS), 0),
    Row("R24 the counter is warned when it lends it", then(standing(P.RECEIVED), recalled("2017-03-04 10:00"), lambda lib: lib.check_out().recalled), True),
    Row("R24 on the way: it goes home on arrival",    then(standing(P.IN_TRANSIT), recalled("2017-03-04 10:00"), handed_in("C1")), "unwanted", changed(recall=Recall(before_pickup="return"))),
    Row("R25 15 days, recalled on day 3",             then(loan(), recalled("2017-03-04 10:00")), "2017-03-16"),
    Row("R25 30 days, day 3",                         then(A_MONTH, recalled("2017-03-04 10:00")), "2017-03-16"),
    Row("R25 30 days, day 10",                        then(A_MONTH, recalled("2017-03-11 10:00")), "2017-03-18"),
    Row("R25 30 days, day 15",                        then(A_MONTH, recalled("2017-03-16 10:00")), "2017-03-23"),
    Row("R25 30 days, day 20",                        then(A_MONTH, recalled("2017-03-21 10:00")), "2017-03-28"),
    Row("R26 30 days, day 27: never later",           then(A_MONTH, recalled("2017-03-28 10:00")), "2017-03-31"),
    Row("R33 renewed on day 10, recalled on 16",      then(RENEWED, recalled("2017-03-17 10:00")), "2017-03-24"),
    Row("R25 literal: 15 days, day 3",                then(loan(), recalled("2017-03-04 10:00")), "2017-03-16", LITERAL),
    Row("R25 literal: 30 days, day 3",                then(A_MONTH, recalled("2017-03-04 10:00")), "2017-03-16", LITERAL),
    Row("R25 literal: 30 days, day 10",               then(A_MONTH, recalled("2017-03-11 10:00")), "2017-03-16", LITERAL),
    Row("R25 literal: 30 days, day 15",               then(A_MONTH, recalled("2017-03-16 10:00")), "2017-03-16", LITERAL),
    Row("R25 literal: 30 days, day 20",               then(A_MONTH, recalled("2017-03-21 10:00")), "2017-03-21", LITERAL),
    Row("R26 literal: 30 days, day 27",               then(A_MONTH, recalled("2017-03-28 10:00")), "2017-03-28", LITERAL),
    Row("R33 literal: renewed, day 16",               then(RENEWED, recalled("2017-03-17 10:00")), "2017-03-17", LITERAL),
    Row("R26 overdue already: the date stays",        then(loan(), recalled("2017-03-20 10:00")), "2017-03-16"),
    Row("R26 the lender names a later day",           then(A_MONTH, recalled("2017-03-04 10:00", due=date(2017, 3, 25))), "2017-03-25"),
    Row("R26 the lender names too early a day",       then(A_MONTH, recalled("2017-03-04 10:00", due=date(2017, 3, 6))), "2017-03-16"),
    Row("R26 recalled again, with an earlier day",    then(A_MONTH, recalled("2017-03-04 10:00", due=date(2017, 3, 25)), recalled("2017-03-05 10:00", due=date(2017, 3, 20))), "2017-03-20"),
    Row("R26 recalled again, with a later day",       then(A_MONTH, recalled("2017-03-04 10:00", due=date(2017, 3, 20)), recalled("2017-03-05 10:00", due=date(2017, 3, 25))), "2017-03-20"),
    Row("R26 onto a closed day",                      then(closed("2017-03-18"), A_MONTH, recalled("2017-03-11 10:00")), "2017-03-19"),
    Row("R26 onto closed days up to the old date",    then(closed("2017-03-29", "2017-03-30", "2017-03-31"), A_MONTH, recalled("2017-03-22 10:00")), "2017-03-31"),
    Row("R26 taken back, where it stays short",       then(A_MONTH, recalled("2017-03-04 10:00"), unrecalled("2017-03-06 10:00")), "2017-03-16", changed(recall=Recall(restore_on_cancel=False))),
    Row("R26 taken back",                             then(A_MONTH, recalled("2017-03-04 10:00"), unrecalled("2017-03-06 10:00")), "2017-03-31"),
    Row("R26 taken back, and renewed",                then(loan(), recalled("2017-03-04 10:00"), unrecalled("2017-03-06 10:00"), renewed("2017-03-09 10:00")), "2017-03-24"),
    # ---- renewals
    Row("R27 the second",                             then(loan(renewals=1), renewed("2017-03-09 10:00")), "2017-03-24"),
    Row("R27 the third",                              then(loan(renewals=2), renewed("2017-03-09 10:00")), Reason.RENEWAL_LIMIT),
    Row("R27 the longest loan in all",                then(loan(), renewed("2017-03-16 10:00")), "2017-03-21", changed(renewal=Renewal(max_total_days=20))),
    Row("R27 the third, by staff",                    then(loan(renewals=2), act("renew", "2017-03-09 10:00")), Reason.RENEWAL_LIMIT),
    Row("R28 recalled, by staff",                     then(loan(), recalled("2017-03-04 10:00"), act("renew", "2017-03-10 10:00")), Reason.RECALLED),
    Row("R28 recalled",                               then(loan(), recalled("2017-03-04 10:00"), renewed("2017-03-10 10:00")), Reason.RECALLED),
    Row("R29 eight days before",                      then(loan(), renewed("2017-03-08 23:59:59")), Reason.RENEWAL_TOO_SOON),
    Row("R29 seven days before",                      then(loan(), renewed("2017-03-09 00:00:00")), "2017-03-24"),
    Row("R29 the last second of the due date",        then(loan(), renewed("2017-03-16 23:59:59")), "2017-03-31"),
    Row("R29 the first second after it",              then(loan(), renewed("2017-03-17 00:00:00")), Reason.RENEWAL_OVERDUE),
    Row("R29 overdue, by staff",                      then(loan(), act("renew", "2017-03-18 10:00")), "2017-04-02"),
    Row("R29 overdue, by staff: the fine stands",     then(loan(), act("renew", "2017-03-18 10:00"), owed), 400),
    Row("R29 overdue, where anybody may",             then(loan(), renewed("2017-03-18 10:00", fee_acknowledged=True)), "2017-04-02", changed(renewal=Renewal(overdue="allow"))),
    Row("R29 overdue, where nobody may",              then(loan(), act("renew", "2017-03-18 10:00")), Reason.RENEWAL_OVERDUE, changed(renewal=Renewal(overdue="deny"))),
    Row("R29 eight days before, by staff",            then(loan(), act("renew", "2017-03-08 10:00")), Reason.RENEWAL_TOO_SOON),
    Row("R30 no letter, by staff",                    then(loan(), act("renew", "2017-03-18 10:00"), ALL_LETTERS), 0),
    Row("R30 no letter, by its owner",                then(loan(), lambda lib: lib.ask(lib.circulation.execute(sent_as(ItemRenewed, lib.heard(due=date(2017, 4, 1))))), ALL_LETTERS), 0),
    Row("R31 the record says so at once",             then(loan(), renewed("2017-03-09 10:00"), record("request.due")), date(2017, 3, 24)),
    Row("R32 a renewal never shortens",               then(loan(), renewed("2017-03-01 12:00")), Reason.RENEWAL_DENIED, changed(renewal=Renewal(window_days=30))),
    Row("R32 past the lender's date",                 then(loan(lender_due=date(2017, 3, 20)), renewed("2017-03-09 10:00")), "2017-03-24"),
    Row("R32 past a lender's date before the due date", then(loan(lender_due=date(2017, 3, 10)), renewed("2017-03-09 10:00")), "2017-03-24"),
    Row("R32 onto a closed day",                      then(closed("2017-03-24"), loan(), renewed("2017-03-09 10:00")), "2017-03-25"),
    Row("R30 no letter",                              then(loan(), renewed("2017-03-09 10:00"), ALL_LETTERS), 0),
    Row("R32 twice at the earliest",                  then(loan(), renewed("2017-03-09 10:00"), renewed("2017-03-17 10:00")), "2017-04-01"),
    Row("R32 twice on the last day",                  then(loan(), renewed("2017-03-16 10:00"), renewed("2017-03-31 10:00")), "2017-04-15"),
    Row("R32 from the due date",                      then(loan(), renewed("2017-03-09 10:00")), "2017-03-31", changed(renewal=Renewal(base="due_date"))),
    Row("R32 never past the lender's date, where it says so", then(loan(lender_due=date(2017, 3, 20)), renewed("2017-03-09 10:00")), "2017-03-20", changed(renewal=Renewal(cap_to_lender_due=True))),
    Row("R32 never past the card, where it says so",  then(loan(), known(expires=date(2017, 3, 20)), renewed("2017-03-09 10:00")), "2017-03-20", changed(due=replace(PUBLISHED.due, cap_to_patron_expiry=True))),
    Row("R32 the card does not matter otherwise",     then(loan(), known(expires=date(2017, 3, 20)), renewed("2017-03-09 10:00")), "2017-03-24"),
    # ---- a due date on a closed day
    Row("R19 Saturday, 1 July, open",                 lent("2017-06-16 10:00"), "2017-07-01"),
    Row("R19 Saturday, 1 July, closed",               then(closed("2017-07-01"), lent("2017-06-16 10:00")), "2017-07-02"),
    Row("R19 the Sunday after it closed too",         then(closed("2017-07-01", "2017-07-02"), lent("2017-06-16 10:00")), "2017-07-03"),
    Row("R19 where a closed day stays",               then(closed("2017-07-01"), lent("2017-06-16 10:00")), "2017-07-01", closure("keep")),
    Row("R19 where the day before is taken",          then(closed("2017-07-01"), lent("2017-06-16 10:00")), "2017-06-30", closure("roll_back")),
    Row("R19 a lender's date stops no roll",          then(closed("2017-07-01"), standing(P.RECEIVED, lender_due=date(2017, 7, 1)), at("2017-06-16 10:00"), lambda lib: lib.check_out()), "2017-07-02"),
    Row("R19 a lender's date shortens no loan",       then(standing(P.RECEIVED, lender_due=date(2017, 3, 10)), at("2017-03-07 10:00"), lambda lib: lib.check_out()), "2017-03-22"),
    Row("R25 nor with a recall",                      then(standing(P.RECEIVED, lender_due=date(2017, 3, 8)), at("2017-03-07 10:00"), lambda lib: lib.check_out(), recalled("2017-03-07 12:00")), "2017-03-22"),
    Row("R19 lent at 23:59:59",                       lent("2017-03-06 23:59:59"), "2017-03-21"),
    Row("R19 lent at 00:00:00",                       lent("2017-03-07 00:00:00"), "2017-03-22"),
    Row("R19 a closure that comes later moves nothing", then(loan(), closed("2017-03-16"), fact("due")), date(2017, 3, 16)),
    # ---- cancellations
    Row("R34 REQUESTD",                               then(wish(), cancelled), P.CANCELLING),
    Row("R34 REQUESTD from another library",          then(wish(), declined, cancelled), P.CANCELLING),
    Row("R34 TRANSFERRED",                            then(standing(P.IN_TRANSIT), cancelled), Reason.TOO_LATE_TO_CANCEL),
    Row("R34 HKALL RECVD",                            then(standing(P.RECEIVED), cancelled), Reason.TOO_LATE_TO_CANCEL),
    Row("R34 on loan",                                then(loan(), cancelled), Reason.TOO_LATE_TO_CANCEL),
    Row("R34 cancelled, and it comes all the same",   then(standing(P.CANCELLING), sent, lambda lib: lib.check_in(), ALL_LETTERS), 0),
    Row("R34 from another library, where it may not", then(wish(), declined, cancelled), Reason.TOO_LATE_TO_CANCEL, changed(cancel=Cancel(in_rerequested=False))),
    Row("R34 by somebody else",                       then(wish(), lambda lib: lib.ask(lib.circulation.execute(CancelRequest(by=Actor(who="D", channel="ncip"), patron="UG2", request="R1")))), Reason.UNKNOWN_REQUEST),
    Row("R34 sent before it was cancelled",           then(wish(), sent, cancelled), Reason.TOO_LATE_TO_CANCEL),
    Row("R35 asked for",                              then(wish(), record("label")), "HKALL REQUESTD"),
    Row("R35 asked of another library",               then(wish(), declined, record("label")), "HKALL REQUESTD"),
    Row("R35 sent",                                   then(wish(), sent, record("label")), "TRANSFERRED"),
    Row("R35 here",                                   then(wish(), comes, record("label")), "HKALL RECVD"),
    Row("R37 a lender declines: no letter",           then(wish(), declined, ALL_LETTERS), 0),
    Row("R37 after the shipment it cannot",           then(standing(P.IN_TRANSIT), declined), Reason.ALREADY_SHIPPED),
    Row("R37 another is asked",                       then(wish(), declines("checked_out_locally"), fact("partner")), "HKUST"),
    Row("R38 the letter says what the last one said", then(wish(), declines("not_on_shelf"), declines("not_suitable"), told_of(Notification.LETTER_UNFILLED, "reason")), "not_suitable"),
    Row("R38 its place is free again",                then(having(14), lambda lib: lib.say("request_cancelled", lib.request("R15")), lambda lib: lib.say("request_cancelled", lib.request("R15")), wish("2017-03-02 10:00", bib="solaris")), YES),
    Row("R38 the last one declines: one letter",      then(wish(), declined, declined, letters(Notification.LETTER_UNFILLED)), 1),
    Row("R38 each no, where the site wants it",       then(wish(), declined, letters(Notification.LETTER_DECLINED)), 1, changed(notices=Notices(each_decline=True))),
    # ---- overdue
    Row("R39 on the due date",                        then(loan(), round_at("overdue", "2017-03-16 23:59:59")), 0),
    Row("R39 at midnight after it",                   then(loan(), round_at("overdue", "2017-03-17 00:00:00")), 1),
    Row("R39 three days without a gateway: one",      then(loan(), round_at("overdue", "2017-03-20 08:00"), round_at("overdue", "2017-03-21 00:00"), letters(Notification.LETTER_OVERDUE)), 1),
    Row("R39 academic staff too",                     then(known(category="academic_staff"), loan(), round_at("overdue", "2017-03-17 00:00"), letters(Notification.LETTER_OVERDUE)), 1),
    Row("R39 a recalled loan too",                    then(loan(), recalled("2017-03-04 10:00"), round_at("overdue", "2017-03-17 00:00")), 1),
    Row("R39 renewed, and late again: another",       then(loan(), round_at("overdue", "2017-03-17 00:00"), act("renew", "2017-03-17 10:00"), round_at("overdue", "2017-04-02 00:00"), letters(Notification.LETTER_OVERDUE)), 2),
    Row("R40 the last second of the due date",        then(loan(), returned("2017-03-16 23:59:59")), 0),
    Row("R40 one second past midnight",               then(loan(), returned("2017-03-17 00:00:01")), 200),
    Row("R40 three days",                             then(loan(), returned("2017-03-19 10:00")), 600),
    Row("R40 three books, three days",                then(loan(), loan(item_barcode="C2", wire_id="w2"), loan(item_barcode="C3", wire_id="w3"), at("2017-03-19 10:00"), handed_in("C1"), handed_in("C2"), handed_in("C3"), owed), 1800),
    Row("R40 over the Chinese New Year",              then(closed("2017-01-27", "2017-01-28", "2017-01-29", "2017-01-30", "2017-01-31"), loan("2017-01-11"), returned("2017-01-31 10:00")), 1000),
    Row("R40 the way home costs nothing",             then(loan(), returned("2017-03-16 10:00"), at("2017-03-25 10:00"), lambda lib: lib.say("received", lib.request()), owed), 0),
    Row("R40 renewed when late, and late again",      then(loan(), act("renew", "2017-03-18 10:00"), returned("2017-04-04 10:00"), owed), 800),
    Row("R40 waived in part",                         then(loan(), returned("2017-03-19 10:00"), waive(400), owed), 200),
    Row("R40 closed days cost",                       then(closed("2017-03-17", "2017-03-18"), loan(), returned("2017-03-21 10:00")), 1000),
    Row("R40 where closed days are free",             then(closed("2017-03-17", "2017-03-18"), loan(), returned("2017-03-21 10:00")), 600, changed(fine=Fine(count_closed_days=False))),
    Row("R41 recalled to day 15, back on day 18",     then(A_MONTH, recalled("2017-03-04 10:00"), returned("2017-03-19 10:00")), 1200),
    Row("R41 recalled when overdue: split by day",    then(loan(), recalled("2017-03-20 10:00"), returned("2017-03-23 10:00")), 2000),
    Row("R41 recalled when overdue: whole period",    then(loan(), recalled("2017-03-20 10:00"), returned("2017-03-23 10:00")), 2800, changed(fine=Fine(recall_scope="whole_period"))),
    Row("R41 a recall that moved no date",            then(loan(), recalled("2017-03-04 10:00"), returned("2017-03-17 10:00")), 400),
    Row("R41 where only a moved date costs more",     then(loan(), recalled("2017-03-04 10:00"), returned("2017-03-17 10:00")), 200, changed(fine=Fine(recalled_requires_shortening=True))),
    Row("R41 taken back: normal from that day",       then(loan(), recalled("2017-03-04 10:00"), unrecalled("2017-03-18 10:00"), returned("2017-03-19 10:00")), 800),
    Row("R41 the most for one book",                  then(loan(), returned("2017-03-26 10:00")), 1500, changed(fine=Fine(max_per_item_cents=1500))),
    Row("R41 fine-free days",                         then(loan(), returned("2017-03-19 10:00")), 200, changed(fine_free=(FineFree(start=date(2017, 3, 17), end=date(2017, 3, 18)),))),
    Row("R41 the last second of the recall's own day", then(loan(), recalled("2017-03-18 09:00"), returned("2017-03-18 23:59:59")), 400),
    Row("R41 the first second of the next",           then(loan(), recalled("2017-03-18 09:00"), returned("2017-03-19 00:00:00")), 800),
    Row("R41 recalled on the day it comes back",      then(loan(), recalled("2017-03-19 09:00"), returned("2017-03-19 10:00")), 600),
    Row("R41 lost: no further day",                   then(loan(), act("lost", "2017-03-18 10:00", cents=0), act("settle", "2017-03-30 10:00", reason="x"), lambda lib: [f for f in lib.fines() if f[0] == "overdue"]), [("overdue", 400)]),
    Row("R41 claimed: no further day",                then(loan(), act("claim", "2017-03-18 10:00", on=date(2017, 3, 17)), returned("2017-03-25 10:00")), 200),
    Row("R42 without an address it is lent",          then(known(email=""), on_shelf("2017-03-07 10:00")), "2017-03-22"),
    # ---- loss, damage, overseas
    Row("R43 its owner's leave is kept",              then(loan(), act("overseas", "2017-03-03 10:00", on=date(2017, 3, 10), reason="CUHK, by telephone"), lambda lib: lib.journal()[-1]["rule"]), "R43"),
    Row("R43 not for what we lend",                   then(standing(P.SHIPPED, side=Side.LENDING), act("overseas", reason="x")), Reason.WRONG_POSITION),
    Row("R45 lost: replacement and fee",              then(loan(), act("lost", "2017-03-10 10:00"), lambda lib: lib.fines()), [("replacement", 30_000), ("processing", 10_000)]),
    Row("R45 found within its owner's days",          then(loan(), act("lost", "2017-03-10 10:00"), returned("2017-03-15 10:00"), owed), 10_000),
    Row("R45 found when its owner's days are over",   then(loan(), act("lost", "2017-03-10 10:00"), returned("2017-04-10 10:00"), owed), 40_000),
    Row("R45 found on the last of them",              then(loan(), act("lost", "2017-03-10 10:00"), returned("2017-04-09 10:00"), owed), 10_000),
    Row("R45 its owner names a price",                then(loan(), act("lost", "2017-03-10 10:00", cents=12_300), lambda lib: lib.fines()), [("replacement", 12_300), ("processing", 10_000)]),
    Row("R45 nobody knows its owner's prices",        then(loan(partner="NOWHERE"), act("lost", "2017-03-10 10:00"), fact("flags")), "owner_unknown no_price:lost"),
    Row("R44 lost on the way home: not the reader's", then(loan(), returned("2017-03-10 10:00"), act("lost", "2017-03-20 10:00"), owed), 0),
    Row("R45 damaged",                                then(loan(), act("damaged", "2017-03-10 10:00"), owed), 5_000),
)
# fmt: on


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_result_at_each_boundary_follows_its_rule(row: Row, make_library: Callable[..., DeskWorld]) -> None:
    assert said(row.do(make_library(row.policy))) == row.wanted


def test_boundary_cases_are_unique() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)


AT_THE_DOOR = {
    "R10": "r10-who-asks-is-known-first.txt",
    "R36": "r36-cancelled-in-the-patrons-own-record.txt",
}
"""Rules enforced outside the circulation service, each with the scenario that tests it."""


def test_every_published_rule_has_boundary_cases() -> None:
    assert {row.name.partition(" ")[0] for row in ROWS} | AT_THE_DOOR.keys() == PUBLISHED_RULES.keys()
    assert all((SCENARIOS / name).exists() for name in AT_THE_DOOR.values())
