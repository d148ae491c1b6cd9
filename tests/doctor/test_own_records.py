"""Tables that contradict each other: doctor names each disagreement, and the command that settles it."""

from __future__ import annotations

import re
import shlex
from datetime import datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Executable, Insert, delete, insert, update

from hkall_gateway.cli import main
from hkall_gateway.cli.doctor import own_gateway
from hkall_gateway.cli.doctor.findings import Sheet
from hkall_gateway.cli.doctor.own_records import MOST_LISTED, describe, judge_records
from hkall_gateway.clock import now
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.queries.consistency import Disagreement, Mismatch
from hkall_gateway.db.tables import FINES, JOURNAL, OUTBOX, PAYMENTS, REQUESTS
from hkall_gateway.rules.positions import STAGES
from hkall_gateway.rules.vocabulary import Position, Side
from tests.doctor.conftest import Site, finding
from tests.doctor.test_own_gateway import ready

WRONG = Disagreement(kind=Mismatch.POSITION_UNPROVEN, request="R-1", row=7, stands="ON_LOAN", expected="RECEIVED")
LINE = {"request": "R-1", "outcome": "ok", "source": "ON_LOAN", "target": "ON_LOAN"}
LATER = now() + timedelta(seconds=1)


def journal(event: str, **cells: Any) -> Insert:
    return insert(JOURNAL).values({**LINE, "at": now(), "event": event, **cells})


def paid(cents: int, at: datetime) -> Insert:
    payment = {"patron": "P1", "who": "kiosk", "cents": cents, "currency": "HKD", "at": at, "outcome": ""}
    return insert(PAYMENTS).values(payment)


def message(request: str) -> Insert:
    row = {"kind": "ncip", "send": "ask_lender", "recipient": "CUHK", "request": request, "state": "waiting"}
    return insert(OUTBOX).values(**row, made_at=now(), next_at=now())


def plant(site: Site, *statements: Executable) -> None:
    """A loan whose patron has paid 40 cents of 100, and then the statements."""
    file = ready(site)
    engine = open_engine(f"sqlite:///{file}")
    at = now()
    position = Position.ON_LOAN
    request = {
        "id": "R-1",
        "side": Side.BORROWING.value,
        "position": position.value,
        "stage": STAGES[position].value,
        "patron": "P1",
    }
    charge = {"request": "R-1", "patron": "P1", "kind": "damage", "cents": 100, "paid_cents": 40, "currency": "HKD"}
    with engine.begin() as connection:
        connection.execute(insert(REQUESTS).values(**request, placed_at=at, moved_at=at))
        connection.execute(journal("OPEN", source="", at=at))
        connection.execute(insert(FINES).values(**charge, at=at))
        connection.execute(journal("PAY", detail='{"fine": 1, "cents": 40}', at=at))
        connection.execute(paid(40, at))
        for statement in statements:
            connection.execute(statement)
    engine.dispose()


def test_tables_that_agree_pass(site: Site) -> None:
    plant(site)
    assert finding(site.examine("gateway"), "consistency").status.value == "ok"


WAIVED_TWICE = journal("WAIVE", detail='{"fine": 1, "cents": 100, "because": "x"}')
ANOTHER_PAYMENT = (paid(80, LATER), journal("PAY", detail='{"fine": 1, "cents": 80}', at=LATER))

# fmt: off
PLANTED: dict[str, tuple[tuple[Executable, ...], str]] = {
    "a payment is missing on its charge": (
        (update(FINES).values(paid_cents=15),),
        "charge 1 of R-1 counts 15 cents as paid, the journal 40"),
    "a charge counts what nobody paid": (
        (update(FINES).values(paid_cents=50),),
        "charge 1 of R-1 counts 50 cents as paid and waived, the journal 40"),
    "a charge counts what nobody waived": (
        (update(FINES).values(waived_cents=10),),
        "charge 1 of R-1 counts 50 cents as paid and waived, the journal 40"),
    "two clerks waive a charge at once": (
        (update(FINES).values(paid_cents=0, waived_cents=100), update(JOURNAL).where(JOURNAL.c.event == "PAY").values(
            event="WAIVE", detail='{"fine": 1, "cents": 100, "because": "x"}'), WAIVED_TWICE, delete(PAYMENTS)),
        "charge 1 of R-1 counts 100 cents as paid and waived, the journal 200"),
    "a charge counts more than it is": (
        (update(FINES).values(paid_cents=105),),
        "charge 1 of R-1 is 100 cents, and 105 were taken or waived"),
    "more was paid than was charged": (
        (update(FINES).values(paid_cents=80), *ANOTHER_PAYMENT),
        "charge 1 of R-1 is 100 cents, and 120 were taken or waived"),
    "a charge was waived after it was paid": (
        (update(FINES).values(waived_cents=100), WAIVED_TWICE),
        "charge 1 of R-1 is 100 cents, and 140 were taken or waived"),
    "a payment reached no charge": (
        (paid(37, LATER),),
        "payment 2 is 37 cents, and 0 went to charges at that moment"),
    "a payment exceeds what is owed": (
        (paid(70, LATER),),
        "payment 2 is 70 cents, and 0 went to charges at that moment"),
    "a payment is of a patron who owes nothing": (
        (paid(70, LATER), update(PAYMENTS).where(PAYMENTS.c.cents == 70).values(patron="P2")),
        "payment 2 is 70 cents, and 0 went to charges at that moment"),
    "a charge was given more than was paid": (
        (update(PAYMENTS).values(cents=30),),
        "payment 1 is 30 cents, and 40 went to charges at that moment"),
    "money was given back that nobody owed": (
        (paid(-20, LATER),),
        "payment 2 is -20 cents, and 0 went to charges at that moment"),
    "a request moved without the journal": (
        (update(REQUESTS).values(position="TO_RETURN"),),
        "R-1 is TO_RETURN, and its last move in the journal leads to ON_LOAN"),
    "a request has no journal": (
        (delete(JOURNAL).where(JOURNAL.c.event == "OPEN"),),
        "R-1 is ON_LOAN, and its last move in the journal leads to no position"),
    "a message is about no request": (
        (message("R-2"),),
        "message 1 (ask_lender to CUHK) is about R-2, which does not exist"),
    "a message is of no use": (
        (message("R-1"), update(REQUESTS).values(position="CANCELLED", stage="ended")),
        "message 1 (ask_lender to CUHK) is not sent, and R-1 is CANCELLED"),
    "a message was never queued": (
        (journal("RETURN", target="TO_RETURN"), update(REQUESTS).values(position="TO_RETURN")),
        "R-1 is TO_RETURN, and its message tell_lender_returned was never queued"),
}
"""What contradicts -> the statements, and what doctor says of it."""
# fmt: on


@pytest.mark.parametrize("contradiction", PLANTED)
def test_command_that_doctor_names_settles_the_disagreement(site: Site, contradiction: str) -> None:
    statements, detail = PLANTED[contradiction]
    plant(site, *statements)
    found = finding(site.examine("gateway"), "consistency")
    assert (found.status.value, found.detail) == ("fail", detail)
    (command, *_) = re.findall(r"`hkall-gateway ([^`]+)`", found.advice)

    run = CliRunner(env={"HKALL_CONFIG": str(site.path)}).invoke(main, shlex.split(command))

    assert run.exit_code == 0, run.output
    assert finding(site.examine("gateway"), "consistency").status.value == "ok"


@pytest.mark.parametrize("kind", Mismatch)
def test_every_kind_of_disagreement_is_planted(kind: Mismatch) -> None:
    detail, _advice = describe(Disagreement(kind=kind, request="REQUEST", row=4711, stands="STANDS", expected="EXPECTED"))
    pattern = re.sub("REQUEST|4711|STANDS|EXPECTED", ".+", re.escape(detail))
    assert [1 for _statements, said in PLANTED.values() if re.fullmatch(pattern, said)]


def test_many_disagreements_are_counted() -> None:
    sheet = Sheet("gateway", own_gateway.PLAN, lambda: 0.0, 10)
    judge_records(sheet, (WRONG,) * (MOST_LISTED + 5))
    assert len(sheet.found) == MOST_LISTED + 1
    assert sheet.found[-1].detail == "5 more"
