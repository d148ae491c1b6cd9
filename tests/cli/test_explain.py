"""explain, as staff use it: for every refusal reason the rule, the facts with source and age, and the policy keys."""

# ruff: noqa: E501  # a row is one line

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from demo import demo_setup
from docs.generate.policy_keys import names_of
from hkall_gateway.cli import main
from hkall_gateway.config import gateway
from hkall_gateway.config.library import library_of, make_unit
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.fines import charge
from hkall_gateway.db.loads.former_cards import replace_card
from hkall_gateway.db.tables import JOURNAL, METADATA
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import RenewalSync
from hkall_gateway.rules.vocabulary import Actor, Position, Request, Side
from hkall_gateway.simulator.databases import SoleStore

PORTS = demo_setup.Ports()
P = Position
OPENED = datetime(2017, 3, 1, 2, tzinfo=UTC)
POLICY = """
[quota]
unknown = "deny"
[[categories]]
key = "undergraduates"
quota = 15
loan_days = 15
[block]
max_debt_cents = 500
[[roles]]
role = "selfcheck"
checkout = true
"""
PATRONS = """barcode,name,category,study_mode,expires,blocked,local_loans,total_quota
UG,Chan,undergraduates,,,,0,60
FULL,Chan,undergraduates,,,,60,60
UNSURE,Chan,undergraduates,,,,,
ALUMNI,Chan,alumni,,,,0,60
PART,Chan,space_cdp,part_time,,,0,60
MODE,Chan,space_cdp,,,,0,60
GONE,Chan,undergraduates,,2017-02-28,,0,60
BLOCKED,Chan,undergraduates,,,yes,0,60
OWES,Chan,undergraduates,,,,0,60
FIFTEEN,Chan,undergraduates,,,,0,60
"""
HOLDINGS = """agency,bib_id,title,barcode,status,material
CUHK,b1,Dune,C1,Available On Shelf,book
CUHK,film,Dune,F1,Available On Shelf,dvd
CUHK,home,Home,H1,Available On Shelf,book
HKU,home,Home,K1,Available On Shelf,book
CUHK,out,Out,O1,On Loan,book
CUHK,again,Again,A1,Available On Shelf,book
"""


def _request(number: str, position: Position, barcode: str, **facts: Any) -> Request:
    made = Request(
        id=number, side=Side.BORROWING, position=position, title=number, bib_id=f"bib-{number}", patron="UG", partner="CUHK"
    )
    lent = {"item_agency": "CUHK", "item_barcode": barcode, "pickup_location": demo_setup.LOCATION}
    return replace(made, **{**lent, **facts})


LOAN = {"first_checkout": date(2017, 3, 1), "loan_days": 15, "due": date(2017, 3, 16), "used": True}
STANDING = (
    _request("ON-LOAN", P.ON_LOAN, "L1", **LOAN),
    _request("RECALLED", P.ON_LOAN, "L2", **LOAN, recalled_on=date(2017, 3, 4)),
    _request("TWICE", P.ON_LOAN, "L3", **LOAN, renewals=2),
    _request("LOST", P.ON_LOAN, "L4", **LOAN, lost_on=date(2017, 3, 9)),
    _request("CLAIMED", P.ON_LOAN, "L5", **LOAN, claimed_on=date(2017, 3, 9)),
    _request("DENIED", P.ON_LOAN, "L6", **LOAN, renewal_sync=RenewalSync.DENIED),
    _request("WAITING", P.RECEIVED, "W1", received_on=date(2017, 3, 6), pickup_last=date(2017, 3, 11)),
    _request("COMING", P.IN_TRANSIT, "T1", bib_id="again"),
    _request("GOING", P.RETURN_TRANSIT, "G1"),
    _request("ONE", P.ON_LOAN, "SAME", **LOAN),
    _request("OTHER", P.ON_LOAN, "SAME", **LOAN, item_agency="HKUST"),
    *(_request(f"F{n}", P.ON_LOAN, f"F-{n}", **LOAN, patron="FIFTEEN") for n in range(15)),
)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with a patron for every refusal reason; explaining changes nothing."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "patrons.csv").write_text(PATRONS)
    (folder / "holdings.csv").write_text(HOLDINGS)
    path = demo_setup.write_config(folder, PORTS, POLICY)
    demo_setup.fill_database(path, demo_setup.environment(PORTS), folder / "patrons.csv", folder / "holdings.csv")
    store = opened(path)
    for request in STANDING:
        store.now(UnitOfWork.open, request, OPENED, Actor(who="world", channel="world"))
    returned_late = _request("LATE", P.TO_RETURN, "P1", patron="OWES")
    store.now(UnitOfWork.open, returned_late, OPENED, Actor(who="world", channel="world"))
    store.now(charge, returned_late, "overdue", 600, "R40", OPENED, Actor(who="world", channel="world"))
    store.now(replace_card, "UG-OLD", "UG", OPENED, Actor(who="world", channel="world"))
    store.close()
    return path


def opened(path: Path) -> SoleStore:
    config = gateway.load(path, demo_setup.environment(PORTS))
    return SoleStore(open_engine(config.database.url), make_unit(library_of(config)))


def run(config: Path, words: str, *more: str) -> Result:
    return CliRunner().invoke(
        main, ["explain", *words.split(), *more, "--config", str(config)], env=demo_setup.environment(PORTS)
    )


def explained(config: Path, words: str) -> Mapping[str, Any]:
    done = run(config, words, "--json")
    assert done.exit_code in {0, 1}, done.output
    (said,) = json.loads(done.stdout)
    assert done.exit_code == (said["answer"] == "no")
    found: Mapping[str, Any] = said
    return found


@dataclass(frozen=True, slots=True)
class Row:
    """A reason, a query that gives it, and one fact that the result must contain, with its source."""

    why: Reason
    words: str
    fact: str
    source: str

    def __str__(self) -> str:
        return self.why


LATER = "2017-03-12T10:00+08:00"
NOW = "--at 2017-03-10T10:00+08:00"
JUNE = "--at 2017-06-06T00:00+08:00"

# fmt: off
ROWS = (
    Row(Reason.SERVICE_SUSPENDED,            f"request --patron UG --bib b1 {JUNE}",              "category",       "snapshot"),
    Row(Reason.UNKNOWN_BORROWER,             f"request --patron NOBODY --bib b1 {NOW}",           "card NOBODY",    "snapshot"),
    Row(Reason.CARD_REPLACED,                f"request --patron UG-OLD --bib b1 {NOW}",           "card UG-OLD",    "our record"),
    Row(Reason.NOT_ELIGIBLE,                 f"request --patron ALUMNI --bib b1 {NOW}",           "category",       "snapshot"),
    Row(Reason.NOT_ELIGIBLE_PART_TIME_SPACE, f"request --patron PART --bib b1 {NOW}",             "study_mode",     "snapshot"),
    Row(Reason.ELIGIBILITY_UNKNOWN,          f"request --patron MODE --bib b1 {NOW}",             "study_mode",     "snapshot"),
    Row(Reason.PATRON_EXPIRED,               f"request --patron GONE --bib b1 {NOW}",             "expires",        "snapshot"),
    Row(Reason.PATRON_BLOCKED,               f"request --patron BLOCKED --bib b1 {NOW}",          "blocked",        "snapshot"),
    Row(Reason.PATRON_OWES,                  f"request --patron OWES --bib b1 {NOW}",             "owed_cents",     "our record"),
    Row(Reason.PICKUP_LOCATION,              f"request --patron UG --bib b1 --pickup LAW {NOW}",  "category",       "snapshot"),
    Row(Reason.MATERIAL_NOT_REQUESTABLE,     f"request --patron UG --bib film {NOW}",             "copy CUHK/F1",   "snapshot"),
    Row(Reason.UNKNOWN_TITLE,                f"request --patron UG --bib none {NOW}",             "title none",     "snapshot"),
    Row(Reason.AVAILABLE_LOCALLY,            f"request --patron UG --bib home {NOW}",             "copy HKU/K1",    "snapshot"),
    Row(Reason.NO_AVAILABLE_COPY,            f"request --patron UG --bib out {NOW}",              "copy CUHK/O1",   "snapshot"),
    Row(Reason.HOLDS_NOT_ALLOWED,            f"request --patron UG --bib out --hold {NOW}",       "copy CUHK/O1",   "snapshot"),
    Row(Reason.DUPLICATE_REQUEST,            f"request --patron UG --bib again {NOW}"     ,      "hkall_used",     "our record"),
    Row(Reason.QUOTA_HKALL,                  f"request --patron FIFTEEN --bib b1 {NOW}",          "hkall_used",     "our record"),
    Row(Reason.QUOTA_TOTAL,                  f"request --patron FULL --bib b1 {NOW}",             "local_loans",    "snapshot"),
    Row(Reason.QUOTA_UNKNOWN,                f"request --patron UNSURE --bib b1 {NOW}",           "total_quota",    "snapshot"),
    Row(Reason.NOT_REQUESTER,                f"borrow --patron FULL --item W1 {NOW}",             "patron",         "our record WAITING"),
    Row(Reason.NOT_YET_ARRIVED,              f"borrow --patron UG --item T1 {NOW}",               "position",       "our record COMING"),
    Row(Reason.PICKUP_EXPIRED,               f"borrow --patron UG --item W1 --role selfcheck --at {LATER}", "pickup_last", "our record WAITING"),
    Row(Reason.COUNTER_ONLY,                 f"borrow --patron UG --item W1 --role bookdrop {NOW}", "position",     "our record WAITING"),
    Row(Reason.AMBIGUOUS_ITEM,               f"borrow --patron FULL --item SAME {NOW}",           "position",       "our record OTHER"),
    Row(Reason.UNKNOWN_ITEM,                 f"borrow --patron UG --item NONE {NOW}",             "copy NONE",      "our record"),
    Row(Reason.ON_LOAN_TO_ANOTHER,           f"borrow --patron FULL --item L1 {NOW}",             "patron",         "our record ON-LOAN"),
    Row(Reason.WRONG_POSITION,               f"borrow --patron UG --item G1 {NOW}",               "position",       "our record GOING"),
    Row(Reason.NOT_ON_LOAN,                  f"renew --item W1 {NOW}",                            "position",       "our record WAITING"),
    Row(Reason.RENEWAL_TOO_SOON,             "renew --item L1 --at 2017-03-08T23:59:59+08:00",    "due",            "our record ON-LOAN"),
    Row(Reason.RENEWAL_OVERDUE,              "renew --item L1 --at 2017-03-17T00:00:00+08:00",    "due",            "our record ON-LOAN"),
    Row(Reason.RENEWAL_LIMIT,                f"renew --item L3 {NOW}",                            "renewals",       "our record TWICE"),
    Row(Reason.BOOK_LOST,                    f"renew --item L4 {NOW}",                            "lost_on",        "our record LOST"),
    Row(Reason.CLAIMED_RETURNED,             f"renew --item L5 {NOW}",                            "claimed_on",     "our record CLAIMED"),
    Row(Reason.RENEWAL_DENIED,               f"renew --item L6 {NOW}",                            "renewal_sync",   "our record DENIED"),
    Row(Reason.RECALLED,                     f"renew --item L2 {NOW}",                            "recalled_on",    "our record RECALLED"),
    Row(Reason.AGENCY_NOT_OWNER,             f"recall --item CUHK/L1 --by LU {NOW}",              "position",       "our record ON-LOAN"),
)

NEVER_ASKED: Mapping[Reason, str] = {
    Reason.WRONG_PIN:            "explain asks for no PIN",
    Reason.LOG_IN_FIRST:         "a terminal's",
    Reason.UNUSABLE_MESSAGE:     "a terminal's or a partner's",
    Reason.NOT_THEIR_COPY:       "a partner's",
    Reason.CONTRADICTS_US:       "a partner's",
    Reason.BELONGS_ELSEWHERE:    "a check-in's",
    Reason.NOT_SUPPORTED:        "a terminal's or a partner's",
    Reason.NOT_AT_THIS_TERMINAL: "a terminal's",
    Reason.TOO_MANY_WRONG_PINS:  "a terminal's or a partner's",
    Reason.TRY_AGAIN:            "a line is down",
    Reason.AVAILABILITY_UNKNOWN: "a local system that cannot be asked; explain reads what was loaded",
    Reason.NOT_IN_BOOK_DROP:     "a return's",
    Reason.UNKNOWN_REQUEST:      "a cancellation's, or a partner's",
    Reason.TOO_LATE_TO_CANCEL:   "a cancellation's",
    Reason.ALREADY_SHIPPED:      "a lender's",
    Reason.AGENCY_NOT_ALLOWED:   "a partner's",
    Reason.ITEM_NOT_LENDABLE:    "a partner's wish",
    Reason.LENDING_SUSPENDED:    "a partner's wish",
    Reason.FEE_NOT_ACKNOWLEDGED: "a terminal's, until its patron agrees; explain says yes, and what it costs",
    Reason.NOT_OWED:             "a payment's",
    Reason.TRANSACTION_REUSED:   "a payment's",
    Reason.UNKNOWN_FINE:         "a payment's",
    Reason.REASON_NEEDED:        "a deed's",
    Reason.WRONG_DATE:           "a deed's",
}
"""Reasons that none of the five queries can give, and where they occur."""
# fmt: on


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_every_refusal_shows_rule_facts_with_source_and_age_and_deciding_keys(config: Path, row: Row) -> None:
    said = explained(config, row.words)

    assert (said["answer"], said["why"], said["rule"]) == ("no", row.why, row.why.rule)
    (fact,) = [f for f in said["facts"] if f["fact"] == row.fact and f["source"] == row.source]
    assert fact["as_of"].endswith("+00:00")
    assert said["rules"] == [said["rule"]] if said["rule"] else len(said["rules"]) > 1
    named = {name.partition(".")[0] for name in names_of(said["rules"])}
    assert {key.partition(".")[0].partition("[")[0] for key in said["policy"]} <= named
    assert row.why in run(config, row.words).output


@pytest.mark.walks_a_table
def test_every_reason_is_explained_or_listed_as_out_of_scope() -> None:
    assert {row.why for row in ROWS} | NEVER_ASKED.keys() == set(Reason)
    assert len({row.why for row in ROWS}) == len(ROWS)


def test_r29_renewal_a_second_too_soon_is_refused(config: Path) -> None:
    soon = explained(config, "renew --item L1 --at 2017-03-08T23:59:59+08:00")
    yes = explained(config, "renew --item L1 --at 2017-03-09T00:00:00+08:00")

    assert (soon["answer"], soon["rule"], soon["policy"]["renewal.window_days"]) == ("no", "R29", 7)
    assert (yes["answer"], yes["due"], "R32" in yes["rules"]) == ("yes", "2017-03-24", True)


def test_keys_are_those_of_the_patrons_category(config: Path) -> None:
    said = explained(config, f"request --patron FIFTEEN --bib b1 {NOW}")
    assert {key: value for key, value in said["policy"].items() if "[" in key} == {}
    said = explained(config, f"borrow --patron UG --item W1 {NOW}")
    assert said["due"] == "2017-03-25"
    assert (said["policy"]["categories[undergraduates].loan_days"], said["policy"]["roles[counter].checkout"]) == (15, True)
    assert not [key for key in said["policy"] if "postgraduates" in key or "bookdrop" in key]


def test_grant_names_the_lenders_that_would_be_asked(config: Path) -> None:
    said = explained(config, f"request --patron UG --bib b1 {NOW}")
    assert [f["value"] for f in said["facts"] if f["fact"] == "lender 1"] == ["CUHK/C1: priority 10, balance 0.00, declines 0%"]
    assert "request" not in said


def test_grant_is_short_and_the_all_option_shows_every_key_used(config: Path) -> None:
    short = run(config, "request --patron UG --bib b1").output.splitlines()
    whole = run(config, "request --patron UG --bib b1", "--all").output.splitlines()
    assert len(short) <= 15 < len(whole)
    assert not any(line.split()[-1] == "policy" for line in short)
    assert any(re.match(r"local_loans +0 ", line) for line in short)  # zero is a value, so the fact is shown
    assert any(line.startswith("quota.count_from") for line in whole)
    assert any(line.startswith("study_mode ") for line in whole)


def test_refusal_shows_the_keys_of_its_rule(config: Path) -> None:
    said = run(config, "request --patron FULL --bib b1").output
    assert "categories[undergraduates].total_quota" in said


def test_overdue_renewal_by_staff_is_granted_with_its_fine(config: Path) -> None:
    said = explained(config, "renew --item L1 --staff --at 2017-03-17T00:00+08:00")
    assert (said["answer"], said["fine_cents"], said["due"]) == ("yes", 200, "2017-04-01")


def test_explain_changes_nothing(config: Path) -> None:
    def rows() -> dict[str, int]:
        store = opened(config)
        counts = store.now(lambda unit: {t.name: len(unit.execute(t.select()).all()) for t in METADATA.sorted_tables})
        store.close()
        return counts

    before = rows()
    assert before[JOURNAL.name] == len(STANDING) + 3  # the late return, its charge and the replaced card
    for words in (f"request --patron UG --bib b1 {NOW}", f"borrow --patron UG --item W1 {NOW}", f"recall --item CUHK/L1 {NOW}"):
        explained(config, words)
    assert rows() == before
