"""Complete results of the rules: the reason, the placeholder values of its message, and the deciding facts.

The other tests of this folder check the reason; these compare the complete result, which a screen, a letter or `explain` needs.
"""
# ruff: noqa: E501  # a row is one line

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from hkall_gateway.rules.dates import over, suspended
from hkall_gateway.rules.eligibility import LocalBlocks, may_use
from hkall_gateway.rules.lenders import may_leave, may_lend
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.policy import (
    Counts,
    Place,
    RequestFacts,
    at_home,
    loan_due,
    may_borrow,
    may_cancel,
    may_renew,
    may_request,
    may_return,
    not_theirs,
    quota,
)
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.settings import (
    Block,
    Bookdrop,
    Cancel,
    Due,
    Pickup,
    Policy,
    Quota,
    Recall,
    Renewal,
    Role,
    Scope,
    Window,
)
from hkall_gateway.rules.stored_words import RenewalSync, StaffFlag
from hkall_gateway.rules.vendor_words.availability import Availability
from hkall_gateway.rules.vocabulary import Borrower, Grant, Holding, Position, Refusal, Request, Sensitive, Side
from hkall_gateway.sip2.screen_messages import LANGUAGES, UNKNOWN, say
from tests.readers import CATEGORY, POLICY

P = Position
NOW = datetime(2017, 3, 9, 2, tzinfo=UTC)
DAY = date(2017, 3, 9)
YESTERDAY = date(2017, 3, 8)
DUE, OPENS = date(2017, 3, 16), date(2017, 3, 9)
COUNTER, SELFCHECK, DROP = (
    Place(role="counter", location="MAIN"),
    Place(role="selfcheck", location="MAIN"),
    Place(role="bookdrop", location="DROP"),
)
STUDENT = Borrower(barcode="P1", name=Sensitive("Chan"), category=CATEGORY.key)
SPACE = replace(STUDENT, category="space_cdp")
WISH = RequestFacts(pickup_location="MAIN", pickup_locations=("MAIN", "LAW"), candidates=1)
COUNTS = Counts(hkall_used=3, local_loans=4, total_quota=20)
HELD = Request(
    id="R1",
    side=Side.BORROWING,
    position=P.RECEIVED,
    title="Dune",
    bib_id="b1",
    patron="P1",
    pickup_location="MAIN",
    pickup_last=OPENS,
    attempt=1,
)
LOAN = replace(HELD, position=P.ON_LOAN, first_checkout=date(2017, 3, 1), loan_days=15, due=DUE)
COPY = Holding(agency="HKU", barcode="H1", bib_id="b1", title="Dune")
CUHK = Partner(agency="CUHK", name="The Chinese University")
W = Reason


def changed(**tables: Any) -> Policy:
    return replace(POLICY, **tables)


def use(borrower: Borrower = STUDENT, policy: Policy = POLICY, blocks: LocalBlocks | None = None) -> Grant | Refusal:
    return may_use(borrower, policy, NOW, blocks or LocalBlocks())


def wish(counts: Counts = COUNTS, policy: Policy = POLICY, **facts: Any) -> Grant | Refusal:
    return may_request(STUDENT, replace(WISH, **facts), counts, policy, NOW)


def room(counts: Counts, policy: Policy = POLICY) -> Grant | Refusal:
    return quota(STUDENT, counts, policy)


def cancel(policy: Policy = POLICY, **facts: Any) -> Grant | Refusal:
    return may_cancel(replace(HELD, **facts), policy)


def lend(policy: Policy = POLICY, at: Place = COUNTER, now: datetime = NOW, **facts: Any) -> Grant | Refusal:
    return may_borrow(STUDENT, replace(HELD, **facts), COUNTS, at, policy, now)


def renew(policy: Policy = POLICY, now: datetime = NOW, **facts: Any) -> Grant | Refusal:
    return may_renew(replace(LOAN, **facts), policy, now)


def closed(scope: Scope, message: str = "", message_zh: str = "") -> Policy:
    return changed(service_windows=(Window(scope=scope, start=YESTERDAY, end=DAY, message=message, message_zh=message_zh),))


def total(most: int | None) -> Policy:
    return changed(categories=tuple(replace(row, total_quota=most) for row in POLICY.categories))


@dataclass(frozen=True, slots=True)
class No:
    """A refused call of a rule, and the complete refusal."""

    told: str
    answer: Callable[[], object]
    wanted: Refusal


LATE = datetime(2017, 3, 17, 2, tzinfo=UTC)
ASK_STAFF = {"start": YESTERDAY, "end": DAY, "message": "please ask at the counter", "message_zh": "請向櫃檯查詢"}
PLACES = {"place": "MAIN, LAW"}
FULL = {"left": 12, "quota": 15, "hkall_used": 3}
DENY = changed(quota=Quota(unknown="deny"))
SELF_LENDING = changed(roles=(Role(role="selfcheck", checkout=True, checkin=False, messages=("11",)),))
STRICT = changed(pickup=Pickup(late_pickup="deny"))
BACK = changed(recall=Recall(before_pickup="return"))
TWICE = changed(cancel=Cancel(in_rerequested=False))
SHORT = changed(due=Due(cap_to_patron_expiry=True))

OWES = Refusal(W.PATRON_OWES, detail={"owed": "5.01", "limit": "5.00"}, facts={"block": "debt"})

# fmt: off
NOES = (
    # ---- suspension of the service
    No("nobody wrote a message",     lambda: suspended("renew", closed("renew"), NOW),                     Refusal(W.SERVICE_SUSPENDED, detail=ASK_STAFF)),
    No("an English message",         lambda: suspended("renew", closed("all", message="use ILL"), NOW),    Refusal(W.SERVICE_SUSPENDED, detail=ASK_STAFF | {"message": "use ILL", "message_zh": "use ILL"})),
    No("a message in both",          lambda: suspended("renew", closed("all", message="use ILL", message_zh="館際互借"), NOW), Refusal(W.SERVICE_SUSPENDED, detail=ASK_STAFF | {"message": "use ILL", "message_zh": "館際互借"})),
    No("lending suspended",          lambda: suspended("lend_request", closed("lend_request"), NOW),       Refusal(W.LENDING_SUSPENDED, detail=ASK_STAFF)),
    No("a day that is over",         lambda: over(YESTERDAY, NOW),                                         Refusal(W.WRONG_DATE, detail={"on": YESTERDAY})),
    # ---- the patron
    No("alumni",                     lambda: use(replace(STUDENT, category="alumni")),                     Refusal(W.NOT_ELIGIBLE, facts={"category": "alumni"})),
    No("alumni ask for room",        lambda: quota(replace(STUDENT, category="alumni"), COUNTS, POLICY),   Refusal(W.NOT_ELIGIBLE, facts={"category": "alumni"})),
    No("part time",                  lambda: use(replace(SPACE, study_mode="PT")),                         Refusal(W.NOT_ELIGIBLE_PART_TIME_SPACE, facts={"study_mode": "part_time"})),
    No("a mode that nobody knows",   lambda: use(replace(SPACE, study_mode="evening")),                    Refusal(W.ELIGIBILITY_UNKNOWN, facts={"study_mode": "evening"})),
    No("yesterday's card",           lambda: use(replace(STUDENT, expires=YESTERDAY)),                     Refusal(W.PATRON_EXPIRED, detail={"expires": YESTERDAY})),
    No("a block at home",            lambda: use(replace(STUDENT, blocked=True)),                          Refusal(W.PATRON_BLOCKED, facts={"block": "local system"})),
    No("debt",                       lambda: use(STUDENT, changed(block=Block(max_debt_cents=500)), LocalBlocks(owed_cents=501)), OWES),
    No("keeps a recalled book",      lambda: use(STUDENT, changed(block=Block(on_overdue_recall=True)), LocalBlocks(overdue_recalls=1)), Refusal(W.PATRON_BLOCKED, facts={"block": "overdue recall"})),
    No("keeps books for long",       lambda: use(STUDENT, changed(block=Block(max_long_overdue=2)), LocalBlocks(long_overdue=3)), Refusal(W.PATRON_BLOCKED, facts={"block": "long overdue"})),
    # ---- the requested title
    No("no such place",              lambda: wish(pickup_location="MED"),                                  Refusal(W.PICKUP_LOCATION, detail=PLACES)),
    No("no such title",              lambda: wish(known_title=False),                                      Refusal(W.UNKNOWN_TITLE)),
    No("a DVD",                      lambda: wish(materials=("dvd",)),                                     Refusal(W.MATERIAL_NOT_REQUESTABLE, facts={"materials": ("dvd",)})),
    No("asked for already",          lambda: wish(duplicate=True),                                         Refusal(W.DUPLICATE_REQUEST)),
    No("wanted until yesterday",     lambda: wish(need_before=YESTERDAY),                                  Refusal(W.WRONG_DATE, detail={"on": YESTERDAY})),
    No("on our own shelf",           lambda: wish(statuses_at_home=("Available On Shelf",)),               Refusal(W.AVAILABLE_LOCALLY)),
    No("our shelf unknown",          lambda: wish(policy=changed(local_availability_unknown="deny"), statuses_at_home=None), Refusal(W.AVAILABILITY_UNKNOWN)),
    No("a hold",                     lambda: wish(hold=True),                                              Refusal(W.HOLDS_NOT_ALLOWED)),
    No("nobody has it",              lambda: wish(candidates=0),                                           Refusal(W.NO_AVAILABLE_COPY)),
    # ---- quotas
    No("fifteen books",              lambda: room(Counts(hkall_used=15, local_loans=0, total_quota=20)),                                      Refusal(W.QUOTA_HKALL, detail={"limit": 15}, facts={"hkall_used": 15})),
    No("twenty in all",              lambda: room(Counts(hkall_used=3, local_loans=17, total_quota=20)),                                      Refusal(W.QUOTA_TOTAL, detail={"limit": 20}, facts=FULL | {"left": 0, "total": 20, "used": 20})),
    No("the policy's own total",     lambda: room(Counts(hkall_used=3, local_loans=6, total_quota=99), total(8)),                             Refusal(W.QUOTA_TOTAL, detail={"limit": 8}, facts=FULL | {"left": -1, "total": 8, "used": 9})),
    No("local loans unknown",        lambda: room(Counts(hkall_used=3, local_loans=None, total_quota=20), DENY),                              Refusal(W.QUOTA_UNKNOWN, facts=FULL)),
    No("the total unknown",          lambda: room(Counts(hkall_used=3, local_loans=4, total_quota=None), DENY),                               Refusal(W.QUOTA_UNKNOWN, facts=FULL)),
    # ---- cancellation
    No("cancels what is here",       lambda: cancel(),                                                     Refusal(W.TOO_LATE_TO_CANCEL, detail={"position": "HKALL RECVD"})),
    No("cancels a second attempt",   lambda: cancel(TWICE, position=P.REQUESTED, attempt=2),               Refusal(W.TOO_LATE_TO_CANCEL, detail={"position": "HKALL REQUESTD"})),
    No("no label for it",            lambda: cancel(changed(labels={})),                                   Refusal(W.TOO_LATE_TO_CANCEL, detail={"position": "RECEIVED"})),
    # ---- checkout and return at the counter
    No("checkouts suspended",        lambda: lend(closed("checkout")),                                     Refusal(W.SERVICE_SUSPENDED, detail=ASK_STAFF)),
    No("at a self-check",            lambda: lend(at=SELFCHECK),                                           Refusal(W.COUNTER_ONLY, detail={"place": "MAIN"})),
    No("somebody else's book",       lambda: not_theirs(replace(STUDENT, barcode="P2"), HELD),             Refusal(W.NOT_REQUESTER)),
    No("somebody else's loan",       lambda: not_theirs(replace(STUDENT, barcode="P2"), LOAN),             Refusal(W.ON_LOAN_TO_ANOTHER)),
    No("not here yet",               lambda: lend(position=P.CANCELLING),                                  Refusal(W.NOT_YET_ARRIVED, facts={"position": P.CANCELLING})),
    No("gone home",                  lambda: lend(position=P.CLOSED),                                      Refusal(W.WRONG_POSITION, facts={"position": P.CLOSED})),
    No("too late to collect",        lambda: lend(STRICT, pickup_last=YESTERDAY),                          Refusal(W.PICKUP_EXPIRED, detail={"pickup_last": YESTERDAY})),
    No("recalled on the shelf",      lambda: lend(BACK, recalled_on=YESTERDAY),                            Refusal(W.RECALLED)),
    No("returns into the drop",      lambda: may_return(DROP, POLICY),                                     Refusal(W.NOT_IN_BOOK_DROP)),
    No("returns at a self-check",    lambda: may_return(SELFCHECK, POLICY),                                Refusal(W.COUNTER_ONLY, detail={"place": ""})),
    No("returns at another counter", lambda: may_return(Place(role="counter", location="MED"), POLICY, ("MAIN", "LAW")), Refusal(W.COUNTER_ONLY, detail={"place": "MAIN"})),
    # ---- renewal
    No("not on loan",                lambda: renew(position=P.RECEIVED),                                   Refusal(W.NOT_ON_LOAN)),
    No("renewals suspended",         lambda: renew(closed("renew")),                                       Refusal(W.SERVICE_SUSPENDED, detail=ASK_STAFF)),
    No("recalled",                   lambda: renew(recalled_on=YESTERDAY),                                 Refusal(W.RECALLED, detail={"due": DUE}, facts={"recalled_on": YESTERDAY})),
    No("lost",                       lambda: renew(lost_on=YESTERDAY),                                     Refusal(W.BOOK_LOST, facts={"lost_on": YESTERDAY})),
    No("said to be back",            lambda: renew(claimed_on=YESTERDAY),                                  Refusal(W.CLAIMED_RETURNED, facts={"claimed_on": YESTERDAY})),
    No("its lender said no",         lambda: renew(renewal_sync=RenewalSync.DENIED),                                 Refusal(W.RENEWAL_DENIED, detail={"due": DUE}, facts={"renewal_sync": "denied"})),
    No("twice renewed",              lambda: renew(renewals=2),                                            Refusal(W.RENEWAL_LIMIT, detail={"limit": 2, "due": DUE})),
    No("a day too soon",             lambda: renew(now=datetime(2017, 3, 8, 2, tzinfo=UTC)),               Refusal(W.RENEWAL_TOO_SOON, detail={"from": OPENS, "due": DUE})),
    No("a day too late",             lambda: renew(now=LATE),                                              Refusal(W.RENEWAL_OVERDUE, detail={"due": DUE})),
    No("no day to gain",             lambda: renew(changed(renewal=Renewal(max_total_days=15))),           Refusal(W.RENEWAL_DENIED, detail={"due": DUE}, facts={"latest": DUE})),
    No("the card ends first",        lambda: may_renew(LOAN, SHORT, NOW, borrower=replace(STUDENT, expires=OPENS)), Refusal(W.RENEWAL_DENIED, detail={"due": DUE}, facts={"latest": DUE})),
    # ---- lending our own items
    No("not a partner",              lambda: may_lend(None, [COPY], POLICY, NOW),                          Refusal(W.AGENCY_NOT_ALLOWED)),
    No("lending suspended for all",  lambda: may_lend(CUHK, [COPY], closed("lend_request"), NOW),          Refusal(W.LENDING_SUSPENDED, detail=ASK_STAFF)),
    No("a title that is not ours",   lambda: may_lend(CUHK, [], POLICY, NOW, known=False),                 Refusal(W.UNKNOWN_TITLE)),
    No("all copies held",            lambda: may_lend(CUHK, [], POLICY, NOW),                              Refusal(W.NO_AVAILABLE_COPY)),
    No("a map",                      lambda: may_leave(replace(COPY, material="map"), POLICY),             Refusal(W.MATERIAL_NOT_REQUESTABLE, detail={"material": "map"})),
    No("not for loan",               lambda: may_leave(replace(COPY, lendable=False), POLICY),             Refusal(W.ITEM_NOT_LENDABLE)),
    No("on loan at home",            lambda: may_leave(replace(COPY, status="On Loan"), POLICY),           Refusal(W.NO_AVAILABLE_COPY, detail={"status": "On Loan"})),
)

YESES = (
    ("a borrower",                   lambda: use(),                                         Grant(facts={"category": CATEGORY.key})),
    ("room for twelve, for 13 in all", lambda: room(COUNTS),                                Grant(facts=FULL | {"total": 20, "used": 7})),
    ("room for one in all",          lambda: room(Counts(hkall_used=3, local_loans=16, total_quota=20)),                       Grant(facts=FULL | {"left": 1, "total": 20, "used": 19})),
    ("no total in the policy",       lambda: room(Counts(hkall_used=3, local_loans=90, total_quota=20), total(None)),          Grant(facts=FULL)),
    ("local loans unknown",          lambda: room(Counts(hkall_used=3, local_loans=None, total_quota=20)),                     Grant(facts=FULL | {"quota_check": "unknown"})),
    ("a wish",                       lambda: wish(),                                        Grant(facts=FULL | {"category": CATEGORY.key, "total": 20, "used": 7})),
    ("a wish nobody could check",    lambda: wish(statuses_at_home=None),                   Grant(facts=FULL | {"category": CATEGORY.key, "total": 20, "used": 7, "local_check": "unknown"})),
    ("a cancellation before any library was asked", lambda: cancel(TWICE, position=P.NEW),  Grant()),
    ("a cancellation",               lambda: cancel(TWICE, position=P.REQUESTED),           Grant()),
    ("a checkout",                   lambda: lend(),                                        Grant(date(2017, 3, 24), FULL | {"total": 20, "used": 7})),
    ("a return",                     lambda: may_return(COUNTER, POLICY, ("LAW", "MAIN")),  Grant()),
    ("a book in the drop",           lambda: may_return(DROP, changed(bookdrop=Bookdrop("accept_and_flag"))), Grant(facts={"flag": StaffFlag.IN_BOOK_DROP})),
    ("a renewal",                    lambda: renew(),                                       Grant(date(2017, 3, 24))),
    ("a copy of ours",               lambda: may_leave(COPY, POLICY),                       Grant()),
)
# fmt: on


@pytest.mark.parametrize("no", NOES, ids=lambda no: f"{no.wanted.why}: {no.told}")
def test_refusal_has_its_placeholder_values_and_deciding_facts(no: No) -> None:
    assert no.answer() == no.wanted


@pytest.mark.parametrize(("answer", "wanted"), [row[1:] for row in YESES], ids=[row[0] for row in YESES])
def test_grant_has_its_date_and_the_deciding_facts(answer: Callable[[], object], wanted: Grant) -> None:
    assert answer() == wanted


NOTHING_TO_NAME = ("recalled on the shelf", "returns at a self-check")
"""A book never lent has no due date, and a site without a return location has none to name."""


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("no", [no for no in NOES if no.told not in NOTHING_TO_NAME], ids=lambda no: no.told)
def test_refusal_fills_every_placeholder_of_its_screen_message(no: No, language: str) -> None:
    answer = no.answer()
    assert isinstance(answer, Refusal)
    assert UNKNOWN not in say(answer.why, language, answer.detail)


def test_r2_checkout_considers_debts() -> None:
    policy = changed(block=Block(max_debt_cents=500))
    answer = may_borrow(STUDENT, HELD, COUNTS, COUNTER, policy, NOW, blocks=LocalBlocks(owed_cents=501))
    assert answer == OWES


def test_r14_self_check_does_not_count_as_staff() -> None:
    assert may_borrow(STUDENT, replace(HELD, pickup_last=YESTERDAY), COUNTS, SELFCHECK, SELF_LENDING, NOW) == Refusal(
        W.PICKUP_EXPIRED, detail={"pickup_last": YESTERDAY}
    )


def test_r14_missing_last_pickup_day_is_computed_with_closed_days_at_checkout() -> None:
    told = replace(HELD, pickup_last=None, notified_on=date(2017, 3, 3))
    open_all_days = may_borrow(STUDENT, told, COUNTS, COUNTER, STRICT, NOW)
    closed_on_the_last = may_borrow(STUDENT, told, COUNTS, COUNTER, STRICT, NOW, frozenset({YESTERDAY}))
    assert open_all_days == Refusal(W.PICKUP_EXPIRED, detail={"pickup_last": None})
    assert isinstance(closed_on_the_last, Grant)


def test_r19_offline_loan_without_any_category_ends_on_its_own_day() -> None:
    assert loan_due(replace(STUDENT, category="alumni"), HELD, changed(categories=()), NOW) == DAY


def test_r6_title_is_unavailable_when_all_items_are_out() -> None:
    assert at_home(("On Loan", "Missing"), POLICY) is Availability.OUT
    assert at_home((), POLICY) is Availability.OUT


def test_r2_patron_without_a_group_matches_no_category_even_with_an_empty_code() -> None:
    rows = tuple(replace(row, ils_groups=("",)) for row in POLICY.categories)
    assert use(replace(STUDENT, category=""), changed(categories=rows)) == Refusal(W.NOT_ELIGIBLE, facts={"category": ""})
