"""What doctor says of tables that contradict each other: each disagreement, with a command that exists."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner
from sqlalchemy import insert, update

from hkall_gateway.cli import main
from hkall_gateway.cli.doctor import own_gateway
from hkall_gateway.cli.doctor.findings import Sheet
from hkall_gateway.cli.doctor.own_records import MOST_LISTED, describe, judge_records
from hkall_gateway.clock import now
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.queries.consistency import Disagreement, Mismatch
from hkall_gateway.db.tables import FINES, JOURNAL, OUTBOX, REQUESTS
from tests.doctor.conftest import Site, finding
from tests.doctor.test_own_gateway import ready

WRONG = Disagreement(kind=Mismatch.POSITION_UNPROVEN, request="R-1", row=7, stands="ON_LOAN", expected="RECEIVED", cents=25)


def plant(site: Site, *statements: object) -> None:
    file = ready(site)
    engine = open_engine(f"sqlite:///{file}")
    at = now()
    request = {"id": "R-1", "side": "borrowing", "position": "ON_LOAN", "stage": "in_hand", "patron": "P1"}
    line = {"at": at, "request": "R-1", "outcome": "ok"}
    charge = {"request": "R-1", "patron": "P1", "kind": "damage", "cents": 100, "paid_cents": 40, "currency": "HKD"}
    with engine.begin() as connection:
        connection.execute(insert(REQUESTS).values(**request, placed_at=at, moved_at=at))
        connection.execute(insert(JOURNAL).values(**line, event="OPEN", source="", target="ON_LOAN"))
        connection.execute(insert(FINES).values(**charge, at=at))
        paid = '{"fine": 1, "cents": 40}'
        connection.execute(insert(JOURNAL).values(**line, event="PAY", source="ON_LOAN", target="ON_LOAN", detail=paid))
        for statement in statements:
            connection.execute(statement)  # type: ignore[call-overload]
    engine.dispose()


def test_tables_that_agree_pass(site: Site) -> None:
    plant(site)
    assert finding(site.examine("gateway"), "consistency").status.value == "ok"


@pytest.mark.parametrize(
    ("planted", "detail", "command"),
    [
        (
            update(FINES).values(paid_cents=15),
            "charge 1 of R-1 counts 15 cents as paid, the journal 40",
            "`hkall-gateway fines waive 1 --cents 25 --reason 'paid, but not on the charge'`",
        ),
        (
            update(REQUESTS).values(position="RECEIVED"),
            "R-1 is RECEIVED, and its last move in the journal leads to ON_LOAN",
            "`hkall-gateway requests trace R-1`, then `hkall-gateway request force R-1` to where the book is.",
        ),
        (
            insert(OUTBOX).values(
                kind="ncip", send="ask_lender", recipient="CUHK", request="R-2", state="waiting", made_at=now(), next_at=now()
            ),
            "message 1 (ask_lender to CUHK) is about R-2, which does not exist",
            "`hkall-gateway outbox drop 1 --reason 'no such request'`",
        ),
    ],
)
def test_disagreement_is_one_line_with_the_command_that_settles_it(
    site: Site, planted: object, detail: str, command: str
) -> None:
    plant(site, planted)
    found = finding(site.examine("gateway"), "consistency")
    assert (found.status.value, found.detail, found.advice) == ("fail", detail, command)


@pytest.mark.parametrize("kind", Mismatch)
def test_every_kind_names_commands_that_exist(kind: Mismatch) -> None:
    detail, advice = describe(Disagreement(kind=kind, request="R-1", row=7, stands="1", expected="2", cents=3))
    commands = re.findall(r"`hkall-gateway ([a-z]+) ([a-z]+)", advice)
    assert commands
    assert "\n" not in detail + advice
    for words in commands:
        shown = CliRunner().invoke(main, [*words, "--help"])
        assert shown.exit_code == 0, words


def test_many_disagreements_are_counted() -> None:
    sheet = Sheet("gateway", own_gateway.PLAN, lambda: 0.0, 10)
    judge_records(sheet, (WRONG,) * (MOST_LISTED + 5))
    assert len(sheet.found) == MOST_LISTED + 1
    assert sheet.found[-1].detail == "5 more"
