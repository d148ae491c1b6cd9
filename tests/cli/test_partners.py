"""Partners and undelivered messages, as an operator sees and settles them on the command line."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from demo import demo_setup
from hkall_gateway.circulation import borrowing
from hkall_gateway.circulation.borrowing import RequestTitle
from hkall_gateway.circulation.command import Context
from hkall_gateway.circulation.ports import BorrowerFacts
from hkall_gateway.cli import main
from hkall_gateway.clock import now
from hkall_gateway.config import gateway
from hkall_gateway.config.library import library_of, make_unit
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.outbox import Attempt
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.stored_words import DeliveryKind
from hkall_gateway.rules.vocabulary import Actor
from hkall_gateway.simulator.databases import SoleStore
from tests import databases

PORTS = demo_setup.Ports(partners={"CUHK": 1, "HKUST": 2, "LU": 3})
SECRET = demo_setup.PASSWORD


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A site where P0001's request to its first lender is a dead letter that may have arrived."""
    path = demo_setup.write_config(tmp_path, PORTS)
    databases.fill(path, demo_setup.environment(PORTS))
    site = gateway.load(path, demo_setup.environment(PORTS))
    library = library_of(site)
    engine = open_engine(site.database.url)
    store = SoleStore(engine, make_unit(library))
    store.now(lambda unit: unit.partners.write([p.plain() for p in site.partners]))
    wish = RequestTitle(by=Actor(who="test", channel="ncip"), patron="P0001", bib_id="b0001", placed_by="X", placed_id="d-1")

    def place(unit: UnitOfWork) -> None:
        borrowing.request_title(
            Context(unit, library, now()), wish, BorrowerFacts(borrower=unit.patrons.find("P0001"), source="snapshot")
        )
        unit.outbox.record_attempt(
            1, Attempt(at=now() - timedelta(hours=1), kind=DeliveryKind.UNKNOWN, problem="", detail="cut")
        )
        unit.outbox.mark_dead(1, "unknown: cut")

    store.now(place)
    store.close()
    engine.dispose()
    return path


def run(config: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--config", str(config)], env=demo_setup.environment(PORTS))


def listed(config: Path, *words: str) -> Any:
    return json.loads(run(config, *words, "--json").stdout)


def lender(config: Path) -> str:
    return str(listed(config, "requests", "list")[0]["partner"])


def test_dead_letter_is_listed_with_its_error(config: Path) -> None:
    (row,) = listed(config, "outbox", "list", "--dead")
    assert (row["id"], row["state"], row["last_error"]) == (1, "dead", "unknown: cut")


def test_outbox_row_is_shown_with_attempts_document_and_effects(config: Path) -> None:
    done = run(config, "outbox", "show", "1")
    assert done.exit_code == 0
    assert "RequestItem>" in done.stdout
    assert "cut" in done.stdout
    assert "the next lender is asked" in done.stdout


@pytest.mark.parametrize("words", [("show", "1"), ("retry", "1")])
def test_message_written_by_a_newer_version_is_not_shown(config: Path, words: tuple[str, ...]) -> None:
    _spoil(config)
    done = run(config, "outbox", *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "row 1 of the outbox is spoilt, or was written by a newer version of this program\n"


def test_unreadable_rows_are_counted_and_can_be_dropped(config: Path) -> None:
    _spoil(config)
    done = run(config, "outbox", "list")
    assert done.exit_code == 0
    assert done.stderr == "this version of the program cannot read 1 more: 1\n"
    assert run(config, "outbox", "drop", "1", "--reason", "spoilt").exit_code == 0
    assert run(config, "outbox", "list").stderr == ""
    number = listed(config, "requests", "list")[0]["id"]
    (line,) = [one for one in listed(config, "requests", "trace", number) if one["event"] == "OUTBOX_DROPPED"]
    assert "spoilt" in str(line)


def _spoil(config: Path) -> None:
    engine = open_engine(gateway.load(config, demo_setup.environment(PORTS)).database.url)
    with engine.connect() as line:
        line.exec_driver_sql("UPDATE outbox SET send = 'tell_lender_of_tomorrow', state = 'waiting'")
    engine.dispose()


def test_no_secret_is_shown(config: Path) -> None:
    done = run(config, "outbox", "show", "1")
    assert f">{SECRET}<" not in done.stdout
    assert ">•<" in done.stdout


def test_outbox_row_is_retried(config: Path) -> None:
    assert run(config, "outbox", "retry", "1").exit_code == 0
    (row,) = listed(config, "outbox", "list")
    assert (row["state"], row["attempts"]) == ("unsure", 0)


@pytest.mark.parametrize("how", [("1",), ("--partner", "CUHK"), ("--error", "CUT")])
def test_dropped_request_goes_to_the_next_lender(config: Path, how: tuple[str, ...]) -> None:
    assert lender(config) == "CUHK"
    assert run(config, "outbox", "drop", *how, "--reason", "the copy is gone").exit_code == 0
    assert lender(config) != "CUHK"


def test_manually_delivered_request_stays_with_its_lender(config: Path) -> None:
    assert run(config, "outbox", "done", "1", "--reason", "told by telephone").exit_code == 0
    assert (lender(config), listed(config, "outbox", "list")) == ("CUHK", [])


@pytest.mark.parametrize("what", ["done", "drop"])
def test_settling_requires_a_reason(config: Path, what: str) -> None:
    assert run(config, "outbox", what, "1").exit_code == 2
    assert run(config, "outbox", what, "1", "--reason", " ").exit_code == 1


@pytest.mark.parametrize("words", [("retry", "17"), ("show", "17"), ("drop", "17", "--reason", "x")])
def test_missing_row_is_reported_in_one_line(config: Path, words: tuple[str, ...]) -> None:
    done = run(config, "outbox", *words)
    assert (done.exit_code, len(done.output.strip().splitlines())) == (1, 1)


def test_partners_command_shows_waiting_and_dead_messages(config: Path) -> None:
    lines = {line["partner"]: line for line in listed(config, "partners")}
    assert lines.keys() == {"CUHK", "HKUST", "LU"}
    assert (lines["CUHK"]["dead"], lines["LU"]["dead"]) == (1, 0)
    assert (lines["CUHK"]["breaker"], lines["CUHK"]["asked"]) == ("closed", 1)


def test_reconcile_lists_differences_and_applies_corrections_with_a_reason(config: Path, tmp_path: Path) -> None:
    (request,) = listed(config, "requests", "list")
    file = tmp_path / "theirs.csv"
    file.write_text(f"request_id,position,barcode\nHKU:{request['wire_id']},SHIPPED,C00001\n")
    (pair,) = listed(config, "reconcile", "CUHK", "--file", str(file))
    assert (pair["ours"], pair["theirs"], pair["mend"]) == ("REQUESTED", "SHIPPED", "take it as shipped")
    assert run(config, "reconcile", "CUHK", "--file", str(file), "--apply", "--reason", "May").exit_code == 0
    assert listed(config, "requests", "list")[0]["position"] == "IN_TRANSIT"
    assert listed(config, "reconcile", "CUHK", "--file", str(file)) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("request_id\nHKU:1\n", ":1: no column position"),
        ("request_id,position\nHKU:1,LOST\n", ":2: position: 'LOST'"),
        ("request_id,position\n1,PAGED\n", ":2: request_id: '1'"),
    ],
)
def test_invalid_partner_list_is_reported_by_line(config: Path, tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "theirs.csv"
    file.write_text(text)
    done = run(config, "reconcile", "CUHK", "--file", str(file))
    assert done.exit_code == 2
    assert f"theirs.csv{said}" in done.output


def test_reconcile_requires_a_list_from_a_partner_without_lookups(config: Path) -> None:
    done = run(config, "reconcile", "CUHK")
    assert (done.exit_code, "--file" in done.output) == (2, True)


def test_applying_corrections_requires_a_reason(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "theirs.csv"
    file.write_text("request_id,position\n")
    assert run(config, "reconcile", "CUHK", "--file", str(file), "--apply").exit_code == 2


def test_simulation_reports_that_no_message_was_lost() -> None:
    words = ["simulate", "--libraries", "2", "--days", "1", "--loss", "0"]
    done = CliRunner().invoke(main, words)
    assert (done.exit_code, done.output.strip().splitlines()[-1]) == (0, "nothing was lost")
