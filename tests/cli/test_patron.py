"""patron export and patron erase on the command line, on a site with a database file, archives and an erasure list."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from inspect import getclosurevars
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import delete, insert

from demo import demo_setup
from hkall_gateway.cli import main
from hkall_gateway.cli.opening import open_site
from hkall_gateway.cli.options import Site
from hkall_gateway.clock import now
from hkall_gateway.db import fines, quarantine
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.privacy import erased, forgetting
from hkall_gateway.db.tables import CARD_BLOCKS, OUTBOX, PATRON_CHOICES, PATRONS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Actor, Position, Refusal, Request, Side
from hkall_gateway.simulator.databases import SoleStore
from tests import databases, remains
from tests.db.planting import CARD, EMAIL, NAME, NAME_ZH, PERSON, plant

PORTS = demo_setup.Ports(partners={"CUHK": 1, "HKUST": 2, "LU": 3})
STAFF = Actor(who="mei", channel="cli", message="test")
KEPT = "[retention]\nanonymise_days = 0\nmessages_days = 0\n"
ERASE = ("erase", CARD, "--reason", "asked by letter", "--yes")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = demo_setup.write_config(tmp_path, PORTS, KEPT, keys={"privacy": {"erased_key_env": "HKALL_ERASED_KEY"}})
    databases.fill(path, _environment())
    return path


def _environment() -> dict[str, str]:
    return {**demo_setup.environment(PORTS), "HKALL_ERASED_KEY": "a key of the site"}


def do(config: Path, work: Callable[..., Any], *args: Any) -> Any:
    engine = open_engine(f"sqlite:///{file_of(config)}")
    store = SoleStore(engine, lambda connection: UnitOfWork(connection, lambda: "R1"))
    try:
        return store.now(work, *args)
    finally:
        store.close()
        engine.dispose()


def file_of(config: Path) -> Path:
    return config.with_name("hkall.db")


def run(config: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["patron", *words, "--config", str(config)], env=_environment())


def told(config: Path, *words: str) -> list[dict[str, Any]]:
    done = run(config, *words, "--json")
    assert done.exit_code == 0, done.output
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def archive_into(config: Path, file: Path) -> None:
    words = ["purge", "--yes", "--older-than", "300", "--archive", str(file), "--config", str(config)]
    assert CliRunner().invoke(main, words, env=_environment()).exit_code == 0


def stays(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["what"]: row["why"] for row in rows if row["state"] == "stays"}


def known(unit: UnitOfWork) -> None:
    unit.execute(
        insert(PATRONS), {"barcode": CARD, "name": NAME, "name_zh": NAME_ZH, "email": EMAIL, "pin_hash": "$argon2id$x"}
    )


def placed(unit: UnitOfWork, position: Position, **facts: Any) -> Request:
    old = now() - timedelta(days=400)
    made = Request(
        id="",
        side=Side.BORROWING,
        position=position,
        title="Dune",
        bib_id="b1",
        partner="CUHK",
        patron=CARD,
        placed_at=old,
        moved_at=old,
        **facts,
    )
    return unit.open(made, old, Actor(who="test", channel="world"))


# ---- export


def test_export_has_every_row_of_every_table(config: Path) -> None:
    planted = do(config, plant)
    found = json.loads(run(config, "export", CARD).stdout)

    assert sum(map(len, found["tables"].values())) == planted
    assert set(found["tables"]) >= {"patrons", "payments", "card_blocks", "inbox", "outbox", "quarantine", "notices"}
    assert (found["archives"], found["not_read"]) == ({}, [])


def test_export_includes_archives_and_lists_unavailable_archives(config: Path, tmp_path: Path) -> None:
    do(config, placed, Position.CLOSED)
    archive_into(config, tmp_path / "old.jsonl.gz")
    found = json.loads(run(config, "export", CARD).stdout)

    (records,) = found["archives"].values()
    assert [(record["id"], record["patron"]) for record in records] == [("R1", CARD)]
    (tmp_path / "old.jsonl.gz").rename(tmp_path / "moved.jsonl.gz")
    do(config, known)
    assert json.loads(run(config, "export", CARD).stdout)["not_read"] == [str(tmp_path / "old.jsonl.gz")]


def test_export_shows_whole_requests_but_no_pin_hash(config: Path) -> None:
    do(config, known)
    do(config, placed, Position.ON_LOAN)
    found = json.loads(run(config, "export", CARD).stdout)

    assert [row["name"] for row in found["tables"]["patrons"]] == [NAME]
    assert [row["event"] for row in found["tables"]["journal"]] == ["OPEN"]
    assert "$argon2id" not in json.dumps(found)


@pytest.mark.parametrize("words", [("export",), ("erase", "--reason", "asked", "--yes")], ids=["export", "erase"])
def test_unknown_card_is_refused(config: Path, words: tuple[str, ...]) -> None:
    do(config, known)
    do(config, lambda unit: placed(unit, Position.ON_LOAN, reason="the edition of 2017"))
    wrong, also_wrong = run(config, words[0], "2017", *words[1:]), run(config, *words, CARD, "--former", "2017")

    for done in (wrong, also_wrong):
        assert (done.exit_code, done.stderr) == (1, "2017: no table and no archive knows this card; nothing was done\n")
    assert do(config, lambda unit: unit.requests.find("R1")).reason == "the edition of 2017"
    assert erased.read_file(config.with_name("hkall.db.erased")) == ()


def test_unknown_card_is_refused_even_if_a_partner_has_that_name(config: Path) -> None:
    message = {**_message(""), "kind": "ncip", "recipient": "CUHK"}
    do(config, lambda unit: unit.execute(insert(OUTBOX), message))
    assert run(config, "erase", "CUHK", "--reason", "asked", "--yes").exit_code == 1


def test_card_found_only_in_an_archive_is_erased_there(config: Path, tmp_path: Path) -> None:
    do(config, placed, Position.CLOSED)
    archive_into(config, tmp_path / "old.jsonl.gz")
    told(config, *ERASE)
    assert CARD not in _archive(tmp_path / "old.jsonl.gz")


def test_unknown_card_is_reported_with_the_unavailable_archive(config: Path, tmp_path: Path) -> None:
    do(config, placed, Position.CLOSED)
    file = tmp_path / "old.jsonl.gz"
    archive_into(config, file)
    file.rename(tmp_path / "moved.jsonl.gz")
    assert f"; {file} is not here and was not read" in run(config, *ERASE).stderr


# ---- erase


def test_erasure_leaves_no_patron_data_in_database_log_and_archive(config: Path, tmp_path: Path) -> None:
    do(config, plant)
    for table in (CARD_BLOCKS, PATRON_CHOICES):  # they would keep the requests
        do(config, lambda unit, table=table: unit.execute(delete(table)))
    file = tmp_path / "old.jsonl.gz"
    do(config, placed, Position.CLOSED)
    archive_into(config, file)
    assert min(remains.count(file_of(config), [mark]) for mark in PERSON) > 50
    assert all(mark in _archive(file) for mark in PERSON[:1])

    rows = told(config, *ERASE)

    assert stays(rows) == {}
    assert remains.count(file_of(config), PERSON) == 0
    assert not any(mark in _archive(file) for mark in PERSON)
    assert [line["id"] for line in map(json.loads, _archive(file).splitlines()) if "journal" in line].count("R1") == 1
    assert run(config, "export", CARD).exit_code == 1
    assert not any(mark.encode() in path.read_bytes() for path in tmp_path.glob("*.erased") for mark in PERSON)


def _archive(file: Path) -> str:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return lines.read()


# fmt: off
OPEN: dict[str, Callable[[UnitOfWork], object]] = {
    "request":    lambda unit: placed(unit, Position.ON_LOAN),
    "fine":       lambda unit: fines.charge(unit, placed(unit, Position.CLOSED), "overdue", 200, "R40", now(), STAFF),
    "claim":      lambda unit: placed(unit, Position.CLOSED, claimed_on=now().date()),
    "message":    lambda unit: unit.execute(insert(OUTBOX), _message(placed(unit, Position.CLOSED).id)),
    "letter":     lambda unit: unit.execute(insert(OUTBOX), _message("")),
    "quarantine": lambda unit: quarantine.keep(unit, "CUHK", "d", "ItemShipped", f"<UserId>{CARD}</UserId>", "", now()),
    "card_block": lambda unit: unit.execute(insert(CARD_BLOCKS), {"card": CARD, "at": now()}),
}
WHY = {
    "request":    ("request", "ON_LOAN: it has not ended"),
    "fine":       ("request", "CLOSED: money is open"),
    "claim":      ("request", "CLOSED: the patron claims to have returned it"),
    "message":    ("request", "CLOSED: a message about it is not sent yet"),
    "letter":     ("message", "dead: it is not sent yet"),
    "quarantine": ("quarantine", "it waits to be judged"),
    "card_block": ("card_block", "a terminal blocked the card"),
}
# fmt: on


def _message(request: str) -> dict[str, Any]:
    when = now()
    letter = {"kind": "mail", "send": "letter_pickup", "recipient": CARD, "payload": "{}", "state": "dead"}
    return {**letter, "request": request, "made_at": when, "next_at": when}


@pytest.mark.parametrize("what", OPEN)
def test_open_requests_are_kept_and_listed_with_the_reason(config: Path, what: str) -> None:
    do(config, known)
    do(config, OPEN[what])

    found = stays(told(config, *ERASE))

    kind, why = WHY[what]
    assert found == {kind: why, "patron": "open matters need name and address"}
    assert json.loads(run(config, "export", CARD).stdout)["tables"]["patrons"][0]["email"] == EMAIL


def test_erasure_mark_is_stored_in_table_and_file(config: Path) -> None:
    do(config, known)
    told(config, *ERASE)
    marks = do(config, erased.stored_marks)

    assert len(marks) == 1
    assert erased.read_file(config.with_name("hkall.db.erased")) == marks
    assert [card for card, _ in erased.match_cards([CARD, "P1"], marks, b"a key of the site")] == [CARD]


def test_unavailable_archive_is_listed(config: Path, tmp_path: Path) -> None:
    do(config, known)
    do(config, placed, Position.CLOSED)
    file = tmp_path / "old.jsonl.gz"
    archive_into(config, file)
    elsewhere = file.rename(tmp_path / "moved.jsonl.gz")

    assert stays(told(config, *ERASE)) == {"archive": "it is not here"}
    assert CARD in _archive(elsewhere)
    told(config, *ERASE, "--archive", str(elsewhere))
    assert CARD not in _archive(elsewhere)


@pytest.mark.parametrize("before", ["a look", "an erasure"])
def test_requests_archived_during_an_erasure_are_erased_in_the_archive(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    """At the latest after the archives were processed once, just before the tables are."""
    do(config, known)
    do(config, placed, Position.CLOSED)
    file = tmp_path / "old.jsonl.gz"

    with open_as(config, monkeypatch) as site:
        work = forgetting.find if before == "a look" else forgetting.forget
        purged = interrupted(site, partial(archive_into, config, file), work)
        done = CliRunner().invoke(main, ["patron", *ERASE, "--json"], obj=purged)

    assert done.exit_code == 0, done.output
    assert CARD not in _archive(file)
    assert stays(json.loads(done.stdout)) == {}


def test_rows_written_during_the_erasure_are_erased(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A self-check was refused meanwhile, which left a journal line with only the card."""
    do(config, known)

    def refuse() -> None:
        do(config, lambda unit: unit.refuse(Refusal(Reason.UNKNOWN_TITLE), now(), STAFF, patron=CARD))

    with open_as(config, monkeypatch) as site:
        done = CliRunner().invoke(main, ["patron", *ERASE], obj=interrupted(site, refuse, forgetting.forget))

    assert done.exit_code == 0, done.output
    assert remains.count(file_of(config), PERSON) == 0


@contextmanager
def open_as(config: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Open the site as the command does."""
    for name, value in _environment().items():
        monkeypatch.setenv(name, value)
    site = open_site(config)
    yield site
    assert site.engine is not None
    site.engine.dispose()


def interrupted(site: Site, other: Callable[[], object], work: object) -> Site:
    """Return the site, with another process running `other` just before the first `work`."""
    left = [other]

    def before(do: Callable[..., Any], asked: Callable[..., Any], *locks: Any) -> Any:
        bound = getclosurevars(asked).nonlocals.get("work", asked)  # `bind` wraps the function in a closure
        if bound is work and left:
            left.pop()()
        return do(asked, *locks)

    store: Any = SimpleNamespace(write_now=partial(before, site.store.write_now), read_now=partial(before, site.store.read_now))
    return replace(site, store=store)


def test_warning_is_shown_when_no_vacuum_ran(config: Path) -> None:
    do(config, known)
    assert stays(told(config, *ERASE, "--no-vacuum")) == {"file": "its free space may hold older copies of rows"}


def test_vacuum_prevented_by_another_writer_is_reported(config: Path) -> None:
    do(config, known)
    engine = open_engine(f"sqlite:///{file_of(config)}")
    with engine.connect() as reading:
        reading.exec_driver_sql("BEGIN")
        reading.exec_driver_sql("SELECT count(*) FROM patrons").all()
        assert stays(told(config, *ERASE)) == {"file": "its free space may hold older copies of rows"}
    engine.dispose()


def test_erasure_without_confirmation_needs_yes(config: Path) -> None:
    do(config, known)
    done = run(config, *ERASE[:-1])
    assert (done.exit_code, done.stderr) == (2, "--yes is needed if standard input is no terminal\n")
    assert run(config, "export", CARD).exit_code == 0


def test_card_of_a_partner_is_not_a_patron(config: Path) -> None:
    do(
        config,
        lambda unit: unit.partners.write([Partner(agency="CUHK", name="Chinese University", institutional_card="CUHK-INST")]),
    )
    done = run(config, "erase", "CUHK-INST", "--reason", "x", "--yes")
    assert done.exit_code == 1
    assert "stands for CUHK" in done.stderr


def test_unwritable_erasure_file_stops_the_erasure_at_the_start(config: Path) -> None:
    do(config, known)
    config.with_name("hkall.db.erased").write_text("notes\n")
    done = run(config, *ERASE)
    assert done.exit_code == 1
    assert "nothing was erased" in done.stderr
    assert run(config, "export", CARD).exit_code == 0


def test_erased_patron_loaded_again_has_no_history(config: Path) -> None:
    do(config, known)
    do(config, placed, Position.CLOSED)
    told(config, *ERASE)
    do(config, known)
    assert set(json.loads(run(config, "export", CARD).stdout)["tables"]) == {"patrons"}


@pytest.mark.parametrize("words", [("",), (" ",), (CARD, "--former", "")])
def test_empty_card_is_refused(config: Path, words: tuple[str, ...]) -> None:
    do(config, known)
    erasing = run(config, "erase", *words, "--reason", "asked", "--yes")
    showing = run(config, "export", *words)

    assert [(done.exit_code, "empty" in done.output) for done in (erasing, showing)] == [(2, True)] * 2
    assert do(config, lambda unit: unit.patrons.find(CARD)) is not None
