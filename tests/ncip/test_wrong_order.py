"""Repeated, late, early and misordered messages over the wire, on both sides: each row is one scenario.

The documents are real and pass through the whole responder; terminal messages pass through the whole session. Source: the table
of repeated and misplaced messages of the life cycle (lifecycle.md 2.4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from hkall_gateway.cli import main
from hkall_gateway.cli.tools.simulations import command_line
from hkall_gateway.rules.positions import FINAL, HOLDS_ITEM, LENDING
from hkall_gateway.rules.vocabulary import Position
from hkall_gateway.simulator.scenario.runner import play

P = Position
WORLDS = Path(__file__).parents[2] / "fixtures" / "worlds"
COMMANDS = command_line(main)

Facts = Mapping[str, str]
LOAN: Facts = {
    "received_on": "2017-02-27",
    "first_checkout": "2017-03-01",
    "loan_days": "15",
    "due": "2017-03-16",
    "used": "true",
}
LATE_LOAN: Facts = {**LOAN, "first_checkout": "2017-02-20", "due": "2017-03-07"}
KNOWN: Facts = {"lender_due": "2017-04-01"}
LENT: Facts = {"lender_due": "2017-04-15"}
ALONE: Facts = {"others": "[]"}
UNWANTED: Facts = {"unwanted": "true"}
RECALLED: Facts = {**LENT, "recalled_on": "2017-03-08"}
RENEWED: Facts = {**LENT, "renewals": "1"}


@dataclass(frozen=True, slots=True)
class Row:
    """`said` arrives while R1 is `at` a position with `given` fields: the reply, the new position, and notifications.

    `then`: position and fields as in a scenario's `state`. `told`: documents as in `expect`, and letters as in `delivery`.
    `later`: if the same notification an hour later gets another reply. `also`: further lines of the scenario. A row is named
    by what arrives, the position, and `case`.
    """

    said: str
    at: Position
    answered: str
    then: str
    told: tuple[str, ...] = ()
    given: Facts | None = None
    later: str = ""
    also: tuple[str, ...] = ()
    case: str = ""

    def __str__(self) -> str:
        speaker, _, words = self.said.partition(" > ")
        return "-".join(filter(None, [speaker.split()[1], words.split()[0][:26], self.at, self.case]))


LATE = ("cli requests trace R1", "< *LATE*")
TASK = ("cli flagged", "< *R1*declined_after_shipment*")
JUDGE = ("cli flagged", "< *R1*contradicted*", "cli quarantine list", "< *contradicts_us*")
HELD = "Problem * / our own record says otherwise*"

# ---- we borrow: CUHK lends its C1 to UG1, HKUST could be asked next
SHIPS = "ncip CUHK > ItemShipped request=HKU:R1-1 item=C1 due=2017-04-20"
ACCEPTS = "ncip CUHK > AcceptItem request=HKU:R1-1 item=C1 user=HKU-INST DateForReturn=2017-04-20 RequestedActionType=Loan"
CHARGES = "ncip CUHK > ItemCheckedOut request=HKU:R1-1 item=C1 user=HKU-INST due=2017-04-20"
HAS_IT = "ncip CUHK > ItemReceived request=HKU:R1-1 item=C1"
CHECKED_IN = "ncip CUHK > ItemCheckedIn item=C1"
CHECKS_IN = "ncip CUHK > CheckInItem item=C1"
DECLINES = "ncip CUHK > ItemRequestCancelled request=HKU:R1-1 item=C1 user=HKU-INST"
REFUSES = "ncip CUHK > CancelRequestItem request=HKU:R1-1 user=HKU-INST"
RECALLS = "ncip CUHK > ItemRecalled item=C1 user=HKU-INST due=2017-03-17"
WANTS_BACK = "ncip CUHK > RecallItem item=C1 DesiredDateDue=2017-03-17"
NEEDS_NOT = "ncip CUHK > ItemRecallCancelled item=C1 user=HKU-INST"
GIVES_TIME = "ncip CUHK > ItemRenewed item=C1 user=HKU-INST due=2017-05-20"
UG1_RENEWS = "ncip HKU-DISCOVERY > RenewItem user=UG1 item=CUHK:C1"

HKUST_ASKED = ("HKUST RequestItem request=HKU:R1-2",)
HKU_HAS_IT = ("CUHK ItemReceived request=HKU:R1-1 item=CUHK:C1",)
HKU_HAS_IT_AND_UG1 = (*HKU_HAS_IT, "UG1 contains Ready for you: Dune")
NEXT = "REQUESTED partner=HKUST attempt=2"

# ---- we lend: CUHK borrows our K9 under its number w-R1
RETURNS = "ncip CUHK > ItemShipped request=w-R1 item=HKU:K9"
RECEIVES = "ncip CUHK > ItemReceived request=w-R1 item=HKU:K9"
LENDS_ON = "ncip CUHK > ItemCheckedOut item=HKU:K9 user=CUHK-INST due=2017-04-10"
TAKES_IN = "ncip CUHK > ItemCheckedIn item=HKU:K9"
WITHDRAWS = "ncip CUHK > CancelRequestItem request=w-R1 user=CUHK-INST"
WITHDRAWN = "ncip CUHK > ItemRequestCancelled request=w-R1 item=HKU:K9 user=CUHK-INST"
KEEPS = "ncip CUHK > ItemRenewed item=HKU:K9 user=CUHK-INST due=2017-04-10"
ASKS_FOR_TIME = "ncip CUHK > RenewItem item=HKU:K9 user=CUHK-INST DesiredDateDue=2017-04-10"
WISHES = "ncip CUHK > RequestItem user=CUHK-INST bib=b-lend request=w-R1"

GONE = "100*"  # no request holds the copy any more
HOME_TOLD = ("CUHK ItemReceived request=CUHK:w-R1 item=HKU:K9",)

# ---- at the counter
SCAN = "sip2 counter-1 > 09N20170310    10000020170310    100000APHKU-MAIN-LENDING|AOHKU|AB{0}|AC|"
LEND = "sip2 counter-1 > 11NN20170310    100000                  AOHKU|AA{1}|AB{0}|AC|"
PROLONG = "sip2 counter-1 > 29NN20170310    100000                  AOHKU|AAUG1|ABC1|AC|"

# fmt: off
BORROWING = (
    # ItemShipped in RECEIVED or later: a success that fills in what is missing
    Row(SHIPS,      P.REQUESTED,      "ok", "IN_TRANSIT item_barcode=C1 lender_due=2017-04-20"),
    Row(SHIPS,      P.IN_TRANSIT,     "ok", "IN_TRANSIT lender_due=2017-04-20"),
    Row(SHIPS,      P.RECEIVED,       "ok", "RECEIVED lender_due=2017-04-20"),
    Row(SHIPS,      P.RECEIVED,       "ok", "RECEIVED lender_due=2017-04-01", given=KNOWN, case="date-known"),
    Row(SHIPS,      P.ON_LOAN,        "ok", "ON_LOAN due=2017-03-16 lender_due=2017-04-20", given=LOAN),
    Row(SHIPS,      P.TO_RETURN,      "ok", "TO_RETURN lender_due=2017-04-20"),
    Row(SHIPS,      P.RETURN_TRANSIT, "ok", "RETURN_TRANSIT lender_due=2017-04-20"),
    Row(SHIPS,      P.CANCELLING,     "ok", "IN_TRANSIT unwanted=yes"),
    Row(ACCEPTS,    P.REQUESTED,      "ok", "IN_TRANSIT lender_due=2017-04-20"),
    Row(ACCEPTS,    P.RECEIVED,       "ok", "RECEIVED lender_due=2017-04-20"),
    Row(CHARGES,    P.REQUESTED,      "ok", "IN_TRANSIT lender_due=2017-04-20"),
    Row(CHARGES,    P.ON_LOAN,        "ok", "ON_LOAN due=2017-03-16 lender_due=2017-04-20", given=LOAN),
    # a copy that comes after the wish has ended goes home on a row of its own
    Row(SHIPS,      P.CANCELLED,      "ok", "CANCELLED", also=("state R2 IN_TRANSIT kind=stray unwanted=yes", "state R3 none")),
    Row(SHIPS,      P.UNFILLED,       "ok", "UNFILLED", also=("state R2 IN_TRANSIT kind=stray unwanted=yes", "state R3 none")),
    # the final check-in of what our counter has scanned: it waits for a person, unless the patron says the same as the owner
    Row(HAS_IT,     P.ON_LOAN,        HELD, "ON_LOAN returned_on=none", given=LOAN, also=JUDGE),
    Row(CHECKED_IN, P.ON_LOAN,        HELD, "ON_LOAN", given=LOAN, also=JUDGE),
    Row(CHECKS_IN,  P.ON_LOAN,        HELD, "ON_LOAN", given=LOAN, also=JUDGE),
    Row(HAS_IT,     P.RECEIVED,       HELD, "RECEIVED", also=JUDGE),
    Row(HAS_IT,     P.ON_LOAN,        "ok", "CLOSED skipped=ON_LOAN returned_on=2017-03-10",
        given={**LATE_LOAN, "claimed_on": "2017-03-10"}, also=("cli fines list", "< *overdue*600*"), case="claimed"),
    Row(HAS_IT,     P.TO_RETURN,      "ok", "CLOSED skipped=TO_RETURN"),
    Row(HAS_IT,     P.RETURN_TRANSIT, "ok", "CLOSED skipped=none"),
    Row(CHECKS_IN,  P.RETURN_TRANSIT, "ok", "CLOSED skipped=none"),
    # the final check-in before it came: the lender never sent it, and the next one is asked
    Row(HAS_IT,     P.REQUESTED,      "ok", NEXT, HKUST_ASKED),
    Row(HAS_IT,     P.IN_TRANSIT,     "ok", f"{NEXT} item_barcode=none lender_due=none", HKUST_ASKED, given=KNOWN),
    Row(CHECKS_IN,  P.IN_TRANSIT,     "ok", f"{NEXT} item_barcode=none", HKUST_ASKED),
    Row(HAS_IT,     P.IN_TRANSIT,     "ok", "UNFILLED item_barcode=none", ("UG1 contains Not available: Dune",), given=ALONE,
        case="nobody-left"),
    Row(HAS_IT,     P.IN_TRANSIT,     "ok", "CLOSED", given=UNWANTED, case="unwanted"),
    Row(HAS_IT,     P.CANCELLING,     "ok", "CANCELLED"),
    # the lender's no: before the shipment only; after it a refusal, and a task for staff
    Row(DECLINES,   P.REQUESTED,      "ok", NEXT, HKUST_ASKED),
    Row(REFUSES,    P.REQUESTED,      "ok", NEXT, HKUST_ASKED),
    Row(DECLINES,   P.REQUESTED,      "ok", "UNFILLED", ("UG1 contains Not available: Dune",), given=ALONE, case="nobody-left"),
    Row(DECLINES,   P.CANCELLING,     "ok", "CANCELLED"),
    *(Row(DECLINES, at,               "Problem Request Already Processed / R37", at, also=TASK,
          given=LOAN if at is P.ON_LOAN else None)
      for at in (P.IN_TRANSIT, P.RECEIVED, P.ON_LOAN, P.TO_RETURN, P.RETURN_TRANSIT)),
    Row(REFUSES,    P.IN_TRANSIT,     "Problem Request Already Processed / R37", "IN_TRANSIT"),
    # a recall of what is not here yet is noted; of what is on its way home or ended it is a success without an effect
    Row(RECALLS,    P.REQUESTED,      "ok", "REQUESTED recalled_on=2017-03-10"),
    Row(RECALLS,    P.IN_TRANSIT,     "ok", "IN_TRANSIT recalled_on=2017-03-10"),
    Row(RECALLS,    P.RECEIVED,       "ok", "RECEIVED recalled_on=2017-03-10"),
    Row(WANTS_BACK, P.ON_LOAN,        "ok", "ON_LOAN due=2017-03-17 recalled_on=2017-03-10", ("UG1 contains Dune",),
        given={**LOAN, "due": "2017-03-31"}),
    Row(RECALLS,    P.CANCELLING,     "ok", "CANCELLING recalled_on=none", also=LATE),
    Row(RECALLS,    P.TO_RETURN,      "ok", "TO_RETURN recalled_on=none", also=LATE),
    Row(RECALLS,    P.RETURN_TRANSIT, "ok", "RETURN_TRANSIT recalled_on=none", also=LATE),
    Row(WANTS_BACK, P.RETURN_TRANSIT, "ok", "RETURN_TRANSIT recalled_on=none", also=LATE),
    Row(RECALLS,    P.CANCELLED,      "ok", "CANCELLED recalled_on=none", also=LATE),
    Row(NEEDS_NOT,  P.RETURN_TRANSIT, "ok", "RETURN_TRANSIT", also=LATE),
    # a renewal of what is not on loan
    Row(UG1_RENEWS, P.RECEIVED,       "Problem Item Not Checked Out", "RECEIVED renewals=0"),
    Row(UG1_RENEWS, P.RETURN_TRANSIT, "Problem Item Not Checked Out", "RETURN_TRANSIT renewals=0"),
    Row(UG1_RENEWS, P.CLOSED,         "Problem *", "CLOSED renewals=0"),
    Row(GIVES_TIME, P.RETURN_TRANSIT, "Problem Item Not Checked Out", "RETURN_TRANSIT"),
    Row(GIVES_TIME, P.CLOSED,         "Problem Item Not Checked Out", "CLOSED"),
    # anything after the end: a success, a line in the journal, and no change
    *(Row(said,     P.CLOSED,         "ok", "CLOSED", also=(*LATE, "state R2 none"))
      for said in (SHIPS, ACCEPTS, CHARGES, HAS_IT, CHECKED_IN, CHECKS_IN, DECLINES, REFUSES, RECALLS, WANTS_BACK, NEEDS_NOT)),
    Row(DECLINES,   P.CANCELLED,      "ok", "CANCELLED", also=LATE),
    Row(DECLINES,   P.UNFILLED,       "ok", "UNFILLED", also=LATE),
    Row(HAS_IT,     P.CANCELLED,      "ok", "CANCELLED", also=LATE),
    Row(HAS_IT,     P.UNFILLED,       "ok", "UNFILLED", also=LATE),
)

LENDING_ROWS = (
    # ItemReceived before we said that we sent it: the loan is made
    Row(RECEIVES,   P.PAGED,          "ok", "AT_BORROWER unannounced=yes lender_due=2017-04-24"),
    Row(LENDS_ON,   P.PAGED,          "ok", "AT_BORROWER unannounced=yes lender_due=2017-04-24"),
    Row(RECEIVES,   P.SHIPPED,        "ok", "AT_BORROWER unannounced=no", given=LENT),
    Row(LENDS_ON,   P.SHIPPED,        "ok", "AT_BORROWER", given=LENT),
    Row(RECEIVES,   P.AT_BORROWER,    "ok", "AT_BORROWER", given=LENT),
    Row(RECEIVES,   P.RETURN_TRANSIT, "ok", "RETURN_TRANSIT", given=LENT),
    # the way home without ItemReceived, and from every position in which it is out
    Row(RETURNS,    P.PAGED,          "ok", "RETURN_TRANSIT skipped=PAGED unannounced=yes"),
    Row(TAKES_IN,   P.PAGED,          "ok", "RETURN_TRANSIT skipped=PAGED unannounced=yes"),
    Row(RETURNS,    P.SHIPPED,        "ok", "RETURN_TRANSIT skipped=received", given=LENT),
    Row(TAKES_IN,   P.SHIPPED,        "ok", "RETURN_TRANSIT skipped=received", given=LENT),
    Row(RETURNS,    P.AT_BORROWER,    "ok", "RETURN_TRANSIT skipped=none", given=LENT),
    Row(RETURNS,    P.AT_BORROWER,    "ok", "RETURN_TRANSIT", given=RECALLED, case="recalled"),
    Row(RETURNS,    P.AT_BORROWER,    "ok", "RETURN_TRANSIT", given=RENEWED, case="renewed"),
    Row(RETURNS,    P.RETURN_TRANSIT, "ok", "RETURN_TRANSIT", given=LENT),
    # the borrower's change of mind: before the shipment only
    Row(WITHDRAWS,  P.PAGED,          "ok", "WITHDRAWN"),
    Row(WITHDRAWN,  P.PAGED,          "ok", "WITHDRAWN"),
    Row(WITHDRAWS,  P.SHIPPED,        "Problem Request Already Processed / R34", "SHIPPED", given=LENT),
    Row(WITHDRAWN,  P.SHIPPED,        "Problem Request Already Processed / R34", "SHIPPED", given=LENT),
    Row(WITHDRAWS,  P.AT_BORROWER,    "Problem Request Already Processed / R34", "AT_BORROWER", given=LENT),
    # a renewal of what is not out, and of what a patron of ours has recalled
    Row(KEEPS,      P.PAGED,          "Problem Item Not Checked Out", "PAGED"),
    Row(ASKS_FOR_TIME, P.PAGED,       "Problem Item Not Checked Out", "PAGED"),
    Row(KEEPS,      P.RETURN_TRANSIT, "Problem Item Not Checked Out", "RETURN_TRANSIT", given=LENT),
    Row(KEEPS,      P.CLOSED,         "Problem Item Not Checked Out", "CLOSED", given=LENT),
    Row(ASKS_FOR_TIME, P.AT_BORROWER, "Problem Renewal Not Allowed* / R28", "AT_BORROWER renewals=0", given=RECALLED,
        case="recalled"),
    # the same wish again, whatever became of it
    Row(WISHES,     P.PAGED,          "ok item=HKU:K9", "PAGED", also=("state R2 none",)),
    Row(WISHES,     P.AT_BORROWER,    "ok item=HKU:K9", "AT_BORROWER", given=LENT, also=("state R2 none",)),
    # anything after the end
    *(Row(said,     at,               "ok", at, given=LENT, also=LATE)
      for said in (RECEIVES, RETURNS, WITHDRAWS, WITHDRAWN, LENDS_ON, TAKES_IN)
      for at in (P.CLOSED, P.WITHDRAWN, P.DECLINED)),
)

COUNTER = (
    # what comes: again, unannounced, unwanted
    Row(SCAN.format("C1"), P.RECEIVED,       "101*AJDune|*", "RECEIVED"),
    Row(SCAN.format("C1"), P.REQUESTED,      "101*CLhold|*", "RECEIVED unannounced=yes", HKU_HAS_IT_AND_UG1),
    Row(SCAN.format("C1"), P.CANCELLING,     "101*CLCUHK|*", "TO_RETURN unwanted=yes unannounced=yes", HKU_HAS_IT),
    Row(SCAN.format("C1"), P.IN_TRANSIT,     "101*CLCUHK|*", "TO_RETURN", HKU_HAS_IT, given=UNWANTED, case="unwanted"),
    Row(SCAN.format("C1"), P.TO_RETURN,      "101*CLCUHK|*", "TO_RETURN"),
    Row(SCAN.format("C1"), P.RETURN_TRANSIT, "101*CLCUHK|*", "RETURN_TRANSIT"),
    Row(SCAN.format("C1"), P.CLOSED,         "100*", "CLOSED"),
    # lent: again, too early, too late
    Row(LEND.format("C1", "UG1"), P.ON_LOAN,        "121*AH20170316*", "ON_LOAN due=2017-03-16", given=LOAN),
    Row(LEND.format("C1", "UG1"), P.IN_TRANSIT,     "120*", "IN_TRANSIT"),
    Row(LEND.format("C1", "UG1"), P.RETURN_TRANSIT, "120*", "RETURN_TRANSIT"),
    Row(LEND.format("C1", "UG1"), P.CLOSED,         "120*", "CLOSED"),
    # a renewal of what is not on loan
    Row(PROLONG,           P.RECEIVED,       "300*", "RECEIVED"),
    Row(PROLONG,           P.RETURN_TRANSIT, "300*", "RETURN_TRANSIT"),
    Row(PROLONG,           P.CLOSED,         "300*", "CLOSED"),
)

LENDING_COUNTER = (
    # our own copy at our own counter is home, whatever was not told; an hour later the local system lends it
    Row(SCAN.format("K9"), P.SHIPPED,        "101*CLshelf|*", "CLOSED skipped=SHIPPED", HOME_TOLD, given=LENT, later=GONE),
    Row(SCAN.format("K9"), P.AT_BORROWER,    "101*CLshelf|*", "CLOSED skipped=AT_BORROWER", HOME_TOLD, given=LENT, later=GONE),
    Row(SCAN.format("K9"), P.RETURN_TRANSIT, "101*CLshelf|*", "CLOSED skipped=none", HOME_TOLD, given=LENT, later=GONE),
    Row(SCAN.format("K9"), P.CLOSED,         "100*", "CLOSED"),
    # it has not left yet: staff hear for whom it is
    Row(SCAN.format("K9"), P.PAGED,          "101YU*CLCUHK|*", "PAGED"),
    # the partner's card: it leaves once
    Row(LEND.format("K9", "CUHK-INST"), P.PAGED,       "121*AH20170424*", "SHIPPED lender_due=2017-04-24",
        ("CUHK ItemShipped request=CUHK:w-R1 item=HKU:K9 due=2017-04-24",)),
    Row(LEND.format("K9", "CUHK-INST"), P.SHIPPED,     "121*AH20170415*", "SHIPPED lender_due=2017-04-15", given=LENT),
    Row(LEND.format("K9", "CUHK-INST"), P.AT_BORROWER, "120*", "AT_BORROWER", given=LENT),
    Row(LEND.format("K9", "HKUST-INST"), P.PAGED,      "120*", "PAGED", case="another-partners-card"),
    Row(LEND.format("K9", "CUHK-INST"), P.CLOSED,      "120*", "CLOSED", given=LENT),
)
# fmt: on

OURS = (*BORROWING, *COUNTER)
THEIRS = (*LENDING_ROWS, *LENDING_COUNTER)
ROWS = [*((row, False) for row in OURS), *((row, True) for row in THEIRS)]


def world(row: Row, *, lent: bool) -> str:
    """The world file in which R1 is at the row's position."""
    facts = {"id": '"R1"', "position": f'"{row.at}"'}
    facts |= {"side": '"lend"', "partner": '"CUHK"', "item": '"HKU:K9"'} if lent else _borrowed(row.at)
    lines = (f"{name} = {value}" for name, value in {**facts, **(row.given or {})}.items())
    based_on = f'based_on = "{WORLDS / "consortium.toml"}"\ntime = 2017-03-10T10:00:00+08:00\n'
    return "\n".join([based_on, "[[requests]]", *lines])


def _borrowed(at: Position) -> dict[str, str]:
    held = at in HOLDS_ITEM or at is P.CLOSED
    return {"patron": '"UG1"', "item" if held else "copy": '"CUHK:C1"', "others": '["HKUST:S1"]'}


def scenario(row: Row) -> str:
    """The message, its exact repetition, and an hour later a different wording: one effect, and one notification."""
    state = f"state R1 {row.then}"
    told = [f"{'mail' if ' contains ' in one else 'expect ncip'} {one}" for one in row.told]
    first = [row.said, f"< {row.answered}", state, *told, *row.also]
    again = [row.said, f"< {row.answered}", state, *row.also]
    later = [row.said, f"< {row.later or row.answered}", state, *row.also]
    return "\n".join(["world row.toml", *first, *again, "wait 1h", *later])


@pytest.mark.parametrize(("row", "lent"), ROWS, ids=[f"{'lend' if lent else 'borrow'}-{row}" for row, lent in ROWS])
def test_notification_out_of_order_is_applied_once(row: Row, lent: bool, tmp_path: Path) -> None:
    (tmp_path / "row.toml").write_text(world(row, lent=lent), "utf-8")
    (tmp_path / "row.txt").write_text(scenario(row), "utf-8")
    at_the_end = play(tmp_path / "row.txt", command_line=COMMANDS)
    assert at_the_end.request("R1").position == row.then.split()[0]
    at_the_end.close()


def test_every_position_of_both_sides_is_in_the_table() -> None:
    assert {row.at for row in OURS} >= set(P) - LENDING - {P.NEW} | {P.RETURN_TRANSIT, P.CLOSED}
    assert {row.at for row in THEIRS} == LENDING


def test_every_final_position_is_in_the_table() -> None:
    assert {row.at for row, _ in ROWS} >= FINAL
