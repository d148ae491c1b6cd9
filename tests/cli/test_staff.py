"""Staff commands and queries on the command line, on a database with a request in every important position."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from demo import demo_setup
from hkall_gateway.cli import main
from hkall_gateway.clock import now
from hkall_gateway.config import gateway
from hkall_gateway.config.library import library_of, make_unit
from hkall_gateway.db import rounds
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.rules import dates
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.vocabulary import Actor, Position, Request, Side
from hkall_gateway.simulator.databases import SoleStore
from tests import databases

PORTS = demo_setup.Ports()
P = Position
WORLD = Actor(who="test", channel="world")


def today() -> date:
    return dates.civil(now())


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = demo_setup.write_config(tmp_path, PORTS)
    databases.fill(path, demo_setup.environment(PORTS))
    config = gateway.load(path, demo_setup.environment(PORTS))
    store = SoleStore(open_engine(config.database.url), make_unit(library_of(config)))
    store.now(lambda unit: unit.partners.write([Partner(agency="CUHK", name="CUHK"), Partner(agency="LU", name="LU")]))
    for request in _requests():
        store.now(lambda unit: unit.open(request, now(), WORLD))  # noqa: B023  # it runs at once
    store.close()
    return path


def _requests() -> list[Request]:
    late = today() - timedelta(days=3)
    lent = {"first_checkout": late - timedelta(days=15), "loan_days": 15, "due": late, "used": True}
    return [
        _ours("R-LOAN", P.ON_LOAN, "C1", **lent),
        _ours("R-SHELF", P.RECEIVED, "C2", received_on=late, expired_pickup=True, pickup_last=late),
        _ours("R-COMING", P.IN_TRANSIT, "C3", linked_title="沙丘"),
        Request(
            id="R-PAGE",
            side=Side.LENDING,
            position=P.PAGED,
            title="我城",
            bib_id="b1",
            partner="LU",
            wire_agency="LU",
            wire_id="x-1",
            item_agency="HKU",
            item_barcode="X1",
            moved_at=datetime(2020, 1, 1, tzinfo=UTC),
        ),
    ]


def _ours(number: str, position: Position, barcode: str, **facts: Any) -> Request:
    return Request(
        id=number,
        side=Side.BORROWING,
        position=position,
        title="Dune",
        bib_id="b9",
        patron="P0001",
        partner="CUHK",
        wire_agency="HKU",
        wire_id=f"{number}-1",
        item_agency="CUHK",
        item_barcode=barcode,
        **facts,
    )


def run(config: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--config", str(config)], env=demo_setup.environment(PORTS))


def listed(config: Path, *words: str) -> list[dict[str, Any]]:
    done = run(config, *words, "--json")
    assert done.exit_code == 0, done.output
    found: list[dict[str, Any]] = json.loads(done.output)
    return found


@pytest.mark.parametrize(
    ("question", "numbers"),
    [
        ("pull-list", ["R-PAGE"]),
        ("expected", ["R-COMING"]),
        ("expired-pickups", ["R-SHELF"]),
        ("overdues", ["R-LOAN"]),
        ("recalls", []),
        ("stuck", ["R-PAGE"]),
    ],
)
def test_work_lists_show_their_requests(config: Path, question: str, numbers: list[str]) -> None:
    assert [row["id"] for row in listed(config, question)] == numbers


def test_request_is_shown_with_its_title_in_both_scripts(config: Path) -> None:
    text = run(config, "requests", "show", "R-COMING").output
    assert "Dune" in text
    assert "沙丘" in text
    (found,) = json.loads(run(config, "requests", "show", "R-COMING", "--json").output)
    assert (found["title"], found["linked_title"]) == ("Dune", "沙丘")


def test_rows_that_rounds_could_not_process_are_counted_and_listed(config: Path) -> None:
    site = gateway.load(config, demo_setup.environment(PORTS))
    store = SoleStore(open_engine(site.database.url), make_unit(library_of(site)))
    store.now(
        rounds.set_aside, rounds.FailedRequest(round="overdue", request="R-LOAN", at=now(), error="IntegrityError: broken")
    )
    store.close()

    counted = [line for line in json.loads(run(config, "status", "--json").output) if line["what"] == "set aside"]
    named = {row["id"]: row["set_aside"] for row in json.loads(run(config, "stuck", "--json").output)}

    assert [(line["which"], line["count"]) for line in counted] == [("overdue", 1)]
    assert named == {"R-LOAN": "overdue: IntegrityError: broken", "R-PAGE": ""}


def test_status_shows_last_run_result_and_delay_of_each_round(config: Path) -> None:
    site = gateway.load(config, demo_setup.environment(PORTS))
    store = SoleStore(open_engine(site.database.url), make_unit(library_of(site)))
    before, due = now() - timedelta(days=2), now() - timedelta(days=1)
    mine = store.now(rounds.claim, "overdue", "gateway-1", before, 300)
    assert mine is not None
    store.now(rounds.done, mine, "gateway-1", 7, before, due)
    store.now(rounds.claim, "silence", "gateway-2", now(), 300)
    store.close()

    told = {line["which"]: line for line in json.loads(run(config, "status", "--json").output) if line["what"] == "job"}

    overdue = told["round overdue"]
    assert (overdue["state"], overdue["count"], overdue["lag_s"] // 3600) == ("late", 7, 24)
    assert (overdue["last_run"], overdue["next_run"]) == tuple(at.isoformat(timespec="seconds") for at in (before, due))
    assert (told["round silence"]["state"], told["round silence"]["detail"]) == ("running", "by gateway-2")
    assert told["round purge"]["state"] == "never ran"
    assert told["load patrons"]["count"] == 120
    assert re.search(r"864\d\d s late", run(config, "status").output)


def test_staff_receive_an_unannounced_item_and_see_its_owner(config: Path) -> None:
    run(config, "request", "place", "--patron", "P0002", "--bib", "b9001")
    (asked,) = [r for r in json.loads(run(config, "requests", "list", "--json").output) if r["position"] == "REQUESTED"]

    wrong = run(config, "request", "receive", asked["id"], "--item", "NOWHERE/X1")
    done = run(config, "request", "receive", asked["id"], "--item", f"{asked['partner']}/X1")

    assert (wrong.exit_code, done.exit_code) == (1, 0)
    assert "received" in done.output


def test_manual_return_charges_the_fine_and_starts_the_return_transit(config: Path) -> None:
    (done,) = listed(config, "request", "return", "C1")
    assert done["request"] == "R-LOAN"
    (charge,) = listed(config, "fines", "list", "--patron", "P0001")
    assert (charge["left_cents"], charge["request"]) == (600, "R-LOAN")
    assert json.loads(run(config, "requests", "show", "R-LOAN", "--json").output)[0]["position"] == "RETURN_TRANSIT"


def test_backdated_return_requires_a_reason(config: Path) -> None:
    before = str(today() - timedelta(days=3))
    assert run(config, "request", "return", "C1", "--on", before).exit_code == 1
    assert run(config, "request", "return", "C1", "--on", before, "--reason", "found in the drop").exit_code == 0
    assert listed(config, "fines", "list") == []


def test_fine_is_paid_once_per_transaction_and_the_remainder_waived(config: Path) -> None:
    run(config, "request", "return", "C1")
    for _ in range(2):
        assert listed(config, "fines", "pay", "P0001", "200", "--transaction", "T1")[0]["owed_cents"] == 400
    (charge,) = listed(config, "fines", "list")
    assert run(config, "fines", "waive", str(charge["id"]), "--reason", "typhoon").exit_code == 0
    assert listed(config, "fines", "list") == []


def test_paged_copy_is_shipped_or_declined_with_a_reason(config: Path) -> None:
    assert run(config, "request", "decline", "X1").exit_code == 1
    assert run(config, "request", "ship", "HKU/X1").exit_code == 0
    assert listed(config, "pull-list") == []


def test_uncollected_item_is_returned(config: Path) -> None:
    assert run(config, "request", "return-unused", "R-SHELF").exit_code == 0
    assert listed(config, "expired-pickups") == []


def test_force_requires_a_reason_and_an_existing_position(config: Path) -> None:
    assert run(config, "request", "force", "R-LOAN", "--to", "CLOSED").exit_code == 1
    assert run(config, "request", "force", "R-LOAN", "--to", "NOWHERE", "--reason", "x").exit_code == 2
    assert run(config, "request", "force", "R-LOAN", "--to", "CLOSED", "--reason", "settled by telephone").exit_code == 0
    assert "settled by telephone" in run(config, "requests", "trace", "R-LOAN").output


def test_request_placed_by_staff_is_checked_by_the_rules(config: Path) -> None:
    assert listed(config, "request", "place", "--patron", "P0002", "--bib", "b9001")[0]["patron"] == "P0002"
    refused = run(config, "request", "place", "--patron", "P0002", "--bib", "b9002")
    assert (refused.exit_code, "(R6)" in refused.output) == (1, True)


def test_letters_are_listed_without_email_addresses(config: Path) -> None:
    run(config, "request", "receive", "C3")
    (letter,) = listed(config, "notices")
    assert (letter["kind"], letter["state"], letter["request"]) == ("letter_pickup", "queued", "R-COMING")
    assert listed(config, "notices", "--failed") == []


def test_closures_are_loaded_day_by_day_and_move_a_due_date(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "closures.csv"
    file.write_text(f"agency,from,to,reason\nHKU,{today()},{today() + timedelta(days=2)},typhoon\n")
    assert "3 closed days of 1 libraries" in run(config, "load", "closures", str(file)).output
    file.write_text("agency,from,to,reason\nHKU,2017-07-03,2017-07-01,wrong\n")
    assert run(config, "load", "closures", str(file)).exit_code == 2


def test_open_requests_are_imported_once(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "requests.csv"
    head = "side,request_id,partner,patron,barcode,title,bib_id,position"
    head += ",placed,received,first_checkout,due,lender_due,renewals,recalled"
    row = "borrow,OLD-1,CUHK,P0003,C77,Dune,b9,ON_LOAN,2017-06-01,2017-06-03,2017-06-05,2017-06-20,2017-07-20,1,"
    file.write_text(f"{head}\n{row}\n")
    assert "1 rows, 1 new" in run(config, "load", "requests", str(file)).output
    assert "1 rows, 0 new" in run(config, "load", "requests", str(file)).output
    (found,) = json.loads(run(config, "requests", "show", "OLD-1", "--json").output)
    assert (found["item_agency"], found["loan_days"], found["renewals"]) == ("CUHK", 15, 1)


def test_imported_book_on_the_hold_shelf_gets_a_last_day_to_collect(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "requests.csv"
    head = "side,request_id,partner,patron,barcode,title,bib_id,position,placed,received"
    head += ",first_checkout,due,lender_due,renewals,recalled"
    file.write_text(f"{head}\nborrow,OLD-2,CUHK,P0003,C78,Dune,b9,RECEIVED,2017-06-01,2017-06-03,,,,,\n")
    run(config, "load", "requests", str(file))
    (found,) = json.loads(run(config, "requests", "show", "OLD-2", "--json").output)
    assert found["pickup_last"] >= str(today() + timedelta(days=5))
    assert "OLD-2" not in run(config, "expired-pickups").output


def test_partner_is_loaded_into_the_directory(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "partners.csv"
    file.write_text(
        "agency,name,url,dialect,secret_env,priority,institutional_card,timezone\nPOLYU,PolyU,http://127.0.0.1:1/ncip,,,7,,\n"
    )
    assert run(config, "load", "partners", str(file)).exit_code == 0
    (found,) = listed(config, "partners", "POLYU")
    assert (found["partner"], found["line"], found["waiting"]) == ("POLYU", "up", 0)


def test_unknown_partner_is_reported(config: Path) -> None:
    done = run(config, "partners", "NOBODY")
    assert (done.exit_code, done.stderr) == (1, "NOBODY: not in the directory\n")


def test_invalid_policy_is_reported_with_every_error(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text("[renewal]\nmax_count = -1\nmax_cuont = 3\n[fine]\noverdue_cents = 'two'\n")
    done = CliRunner().invoke(main, ["policy", "check", str(file)])
    assert done.exit_code == 2
    for where in ("renewal.max_count", "renewal.max_cuont", "fine.overdue_cents"):
        assert where in done.output
    file.write_text("[renewal]\nmax_count = 3\n")
    assert CliRunner().invoke(main, ["policy", "check", str(file)]).exit_code == 0


def test_explain_shows_rule_facts_and_deciding_keys(config: Path) -> None:
    at = f"{today()}T12:00:00+08:00"
    done = run(config, "explain", "renew", "--item", "C1", "--at", at, "--json")
    (said,) = json.loads(done.output)
    assert (said["answer"], said["rule"], said["policy"]["renewal.overdue"]) == ("no", "R29", "staff_only")
    (said,) = json.loads(run(config, "explain", "request", "--patron", "P0001", "--bib", "b9001", "--json").output)
    (category,) = [fact for fact in said["facts"] if fact["fact"] == "category"]
    assert (category["value"], category["source"], category["as_of"] is not None) == ("undergraduates", "snapshot", True)


def test_explain_covers_recalls_and_returns(config: Path) -> None:
    (said,) = json.loads(run(config, "explain", "recall", "--item", "CUHK/C1", "--json").output)
    assert (said["answer"], said["policy"]["recall.min_use_days"]) == ("yes", 15)
    (said,) = json.loads(run(config, "explain", "fine", "--item", "C1", "--json").output)
    assert (said["cents"], said["policy"]["fine.overdue_cents"]) == (600, 200)
    assert listed(config, "recalls") == []


@pytest.mark.parametrize("deed", ["cancel", "return", "recall", "lost"])
def test_unknown_number_and_barcode_are_reported(config: Path, deed: str) -> None:
    number, barcode = (run(config, "request", deed, what) for what in ("R-NO", "NOWHERE"))
    assert (number.exit_code, number.output) == (1, "R-NO: no request with this number\n")
    assert (barcode.exit_code, barcode.output) == (1, "NOWHERE: This is not an HKALL book\n")


@pytest.mark.parametrize(
    "words",
    [
        ("return", "R-LOAN", "--cents", "100"),
        ("claim", "R-LOAN", "--cents", "100"),
        ("lost", "R-LOAN", "--to", "CLOSED"),
        ("dispatch", "R-SHELF", "--item", "CUHK/C2"),
    ],
)
def test_option_not_applicable_to_the_command_is_a_usage_error(config: Path, words: tuple[str, ...]) -> None:
    done = run(config, "request", *words)
    assert (done.exit_code, f"No such option '{words[2]}'" in done.output) == (2, True)
