"""After an erasure no table, no byte of the database file and no archive record names the patron."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, delete, insert, select

from hkall_gateway.db import web_sessions
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.loads.former_cards import replace_card
from hkall_gateway.db.privacy import archive, forgetting, persons
from hkall_gateway.db.privacy.forgetting import ErasureResult
from hkall_gateway.db.privacy.persons import EVERY, NOT_A_PERSON, Person, person, personal
from hkall_gateway.db.tables import CARD_BLOCKS, JOURNAL, METADATA, PATRONS, REQUESTS, VOCABULARY, create_all
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.db.web_sessions import LONGEST, PATRON, WebSession
from hkall_gateway.rules.vocabulary import Actor, Position, Request, Side
from hkall_gateway.simulator.databases import SoleStore
from tests import remains
from tests.db.planting import CARD, EMAIL, NAME, NAME_ZH, PERSON, plant

pytestmark = pytest.mark.sql_differs

CLERK = Actor(who="mei", channel="cli", message="erase")
TABLES = METADATA.sorted_tables


@pytest.fixture
def store(shared_engine: Engine, make_unit: Callable[[Connection], UnitOfWork]) -> Iterator[SoleStore]:
    opened = SoleStore(shared_engine, make_unit)
    yield opened
    opened.close()


def erase(store: SoleStore, now: datetime, card: str = CARD) -> ErasureResult:
    who = store.now(person, card)
    found = store.now(forgetting.find, who)
    return store.now(forgetting.forget, who, found, (), f"asked by {NAME}", now, CLERK)


def naming(store: SoleStore) -> list[tuple[str, Any]]:
    """All rows of all tables that contain one of the marks."""

    def look(unit: UnitOfWork) -> list[tuple[str, Any]]:
        rows = ((table.name, dict(row)) for table in TABLES for row in unit.execute(select(table)).mappings())
        return [(name, row) for name, row in rows if any(mark in str(row) for mark in PERSON)]

    return store.now(look)


# ---- everywhere


def test_patron_data_is_removed_from_every_column(store: SoleStore, now: datetime) -> None:
    planted = store.now(plant)
    assert len(naming(store)) == planted > 500

    done = erase(store, now)

    stays = [one.what for one in done.stays]
    assert set(stays) == {"card_block", "former_card", "patron"}
    assert {name for name, _ in naming(store)} == {"card_blocks", "former_cards", "patrons"}

    store.now(lambda unit: unit.execute(delete(CARD_BLOCKS)))
    assert erase(store, now).stays == ()
    assert naming(store) == []


def test_erasure_ends_the_patrons_sessions(store: SoleStore, now: datetime) -> None:
    def log_in(unit: UnitOfWork, token: str, card: str) -> None:
        web_sessions.begin(
            unit,
            WebSession(
                token_hash=token,
                kind=PATRON,
                login="",
                patron=card,
                name="",
                role="",
                source="pin",
                csrf="x",
                created_at=now,
                seen_at=now,
                ends_at=now + LONGEST,
            ),
            now,
        )

    store.now(plant)
    store.now(log_in, "mine", CARD)
    store.now(log_in, "theirs", "UG2")
    erase(store, now)
    assert store.now(web_sessions.find, "mine") is None
    assert store.now(web_sessions.find, "theirs") is not None


def test_database_file_and_log_contain_no_patron_data_after_a_vacuum(
    tmp_path: Path, make_unit: Callable[[Connection], UnitOfWork], now: datetime
) -> None:
    engine = _file(tmp_path)
    file = forgetting.file_of(engine)
    assert file is not None
    store = SoleStore(engine, make_unit)
    store.now(plant)
    assert min(remains.count(file, [mark]) for mark in PERSON) > 100
    store.now(lambda unit: unit.execute(delete(CARD_BLOCKS)))
    erase(store, now)
    store.close()

    assert forgetting.vacuum(engine)

    assert remains.count(file, PERSON) == 0
    assert b"ERASE_PATRON" in file.read_bytes()
    engine.dispose()


def _file(folder: Path) -> Engine:
    engine = open_engine(f"sqlite:///{folder / 'hkall.db'}")
    create_all(engine)
    return engine


def test_every_column_listed_as_impersonal_exists() -> None:
    for name, columns in NOT_A_PERSON.items():
        assert set(columns) - {EVERY} <= set(METADATA.tables[name].c.keys()), name


def test_word_of_a_title_that_is_also_a_patrons_name_is_kept(store: SoleStore, now: datetime) -> None:
    store.now(lambda unit: unit.execute(insert(VOCABULARY), [{"word": "suharto"}]))
    store.now(lambda unit: unit.execute(insert(PATRONS), [{"barcode": CARD, "name": "Suharto"}]))
    rows = store.now(lambda unit: list(persons.rows_about(unit, person(unit, CARD))))
    assert [table.name for table, _row in rows] == ["patrons"]
    erase(store, now)
    assert store.now(lambda unit: unit.execute(select(VOCABULARY.c.word)).scalars().all()) == ["suharto"]


@pytest.mark.parametrize("column", ["patrons.barcode", "requests.patron", "payments.transaction_id", "quarantine.document"])
def test_columns_that_may_contain_a_card_are_searched(column: str) -> None:
    table, _, name = column.partition(".")
    assert name in [found.name for found in personal(METADATA.tables[table])]


# ---- who it is


def test_patron_whose_card_contains_the_erased_card_is_kept(store: SoleStore, now: datetime) -> None:
    rows = [{"barcode": CARD}, {"barcode": CARD + "5"}, {"barcode": "1" + CARD}]
    store.now(lambda unit: unit.execute(insert(PATRONS), rows))
    erase(store, now)

    assert sorted(card for card in store.now(lambda unit: list(persons.cards(unit)))) == ["1" + CARD, CARD + "5"]


def test_same_name_of_another_patron_is_kept(store: SoleStore, now: datetime) -> None:
    rows = [{"barcode": CARD, "name": NAME, "email": EMAIL}, {"barcode": "2", "name": NAME.upper(), "email": ""}]
    store.now(lambda unit: unit.execute(insert(PATRONS), rows))
    who = store.now(person, CARD)

    assert (who.words, who.shared) == ((EMAIL,), (NAME,))


@pytest.mark.parametrize(
    ("column", "theirs", "another"),
    [
        ("name", "Chan", "Chan Tai Man"),
        ("name_zh", "李明", "李明德"),
        ("email", "chan@example.hk", "t.chan@example.hk"),
        ("email", "chan@example.hk", "t.chan@example.hk.example"),
        ("name", CARD, f"{CARD} (temporary)"),
    ],
)
def test_patron_with_a_longer_name_or_address_is_kept(
    store: SoleStore, now: datetime, column: str, theirs: str, another: str
) -> None:
    blank = {"name": "", "name_zh": "", "email": ""}
    rows = [{**blank, "barcode": CARD, column: theirs}, {**blank, "barcode": "2", column: another}]
    store.now(lambda unit: unit.execute(insert(PATRONS), rows))
    who = store.now(person, CARD)
    assert [row["barcode"] for _, row in store.now(lambda unit: list(persons.rows_about(unit, who)))] == [CARD]

    erase(store, now)

    kept = store.now(lambda unit: unit.execute(select(PATRONS.c.barcode, PATRONS.c[column])).all())
    assert [tuple(row) for row in kept] == [("2", another)]
    assert theirs in who.shared or theirs == CARD


def test_data_under_a_former_card_is_erased(store: SoleStore) -> None:
    store.now(lambda unit: unit.execute(insert(PATRONS), {"barcode": "new", "name": NAME}))
    assert store.now(person, "new", ["old"]) == Person(cards=("new", "old"), words=(NAME,))


@pytest.mark.parametrize("card", ["new", "old", "older"])
def test_data_under_replaced_cards_is_erased(store: SoleStore, now: datetime, card: str) -> None:
    store.now(lambda unit: unit.execute(insert(PATRONS), {"barcode": "new", "name": NAME}))
    store.now(replace_card, "older", "old", now, CLERK)
    store.now(replace_card, "old", "new", now, CLERK)
    who = store.now(person, card)
    assert (sorted(who.cards), who.words) == (["new", "old", "older"], (NAME,))

    assert erase(store, now, card).stays == ()

    assert store.now(lambda unit: list(persons.cards(unit))) == []


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (CARD, ""),
        (f"called {NAME.upper()}, {EMAIL}", "called •, •"),
        (f"請電{NAME_ZH}女士", "請電•女士"),
        (f'{{"patron":"{CARD}","title":"Letters of {NAME}","n":1}}', f'{{"patron":"","title":"Letters of {NAME}","n":1}}'),
        (f'{{"title":"{NAME}"}}', f'{{"title":"{NAME}"}}'),
        (f'{{"broken": "{CARD}"', '{"broken": "•"'),
        (f"X{CARD}", f"X{CARD}"),
    ],
)
def test_patron_is_removed_from_free_text(text: str, left: str) -> None:
    assert Person(cards=(CARD,), words=(NAME, NAME_ZH, EMAIL)).without(text) == left


def test_journal_records_user_and_reason_but_not_the_patron(store: SoleStore, now: datetime) -> None:
    store.now(lambda unit: unit.execute(insert(PATRONS), {"barcode": CARD, "name": NAME}))
    erase(store, now)
    (line,) = store.now(lambda unit: [dict(row) for row in unit.execute(select(JOURNAL)).mappings()])

    assert (line["event"], line["who"], line["patron"]) == ("ERASE_PATRON", "mei", "")
    assert line["detail"] == '{"because":"asked by •","requests":0,"rows":1,"stays":0}'


def test_card_columns_match_whole_values_and_text_columns_match_words(store: SoleStore, now: datetime) -> None:
    another = f"{CARD}-5"
    store.now(lambda unit: unit.execute(insert(PATRONS), [{"barcode": CARD}, {"barcode": another}]))
    loan = Request(
        id="",
        side=Side.BORROWING,
        position=Position.CLOSED,
        title="Dune",
        bib_id="b1",
        patron=another,
        reason=f"lost by {CARD}, found",
    )
    store.now(UnitOfWork.open, loan, now, Actor(who="test", channel="world"))
    store.now(lambda unit: unit.execute(insert(CARD_BLOCKS), {"card": another, "at": now}))
    store.now(replace_card, "older", another, now, CLERK)
    journal = store.now(lambda unit: [dict(row) for row in unit.execute(select(JOURNAL)).mappings()])

    assert erase(store, now).stays == ()

    assert set(store.now(lambda unit: list(persons.cards(unit)))) == {another, "older"}
    (kept,) = store.now(lambda unit: unit.execute(select(REQUESTS.c.patron, REQUESTS.c.reason)).all())
    assert tuple(kept) == (another, "lost by •, found")
    after = store.now(lambda unit: [dict(row) for row in unit.execute(select(JOURNAL)).mappings()])
    assert [line["patron"] for line in after[: len(journal)]] == [line["patron"] for line in journal]
    assert all(f'"patron":"{another}"' in line["detail"] for line in after if line["event"] == "OPEN")


@pytest.mark.parametrize("key", ["patron", "card", "institutional_card", "former", "present", "recipient"])
def test_card_in_json_must_match_completely(key: str) -> None:
    who = Person(cards=(CARD,))
    assert who.without(f'{{"{key}_name":"{CARD} at the desk"}}') == f'{{"{key}_name":"• at the desk"}}'
    assert who.without(f'{{"{key}":"{CARD}-5"}}') == f'{{"{key}":"{CARD}-5"}}'
    assert who.without(f'{{"{key}":["{CARD}"]}}') == f'{{"{key}":[""]}}'


# ---- the archive


def test_archive_keeps_its_records_without_the_patron(tmp_path: Path) -> None:
    file = tmp_path / "old.jsonl.gz"
    parts = {"journal": [_line(CARD)], "candidates": [], "notices": [], "fines": [], "outbox": [{"recipient": CARD}]}
    mine = {"id": "R1", "patron": CARD, "title": "Dune", "reason": "", "moved_at": "2017-03-01T02:00:00+00:00", **parts}
    other = {**mine, "id": "R2", "patron": "UG2", "reason": f"ask {NAME}", "journal": [], "outbox": []}
    alone = _line(CARD) | {"request": ""}
    archive.append(file, [mine, other])
    archive.append(file, [{**other, "id": "R3", "reason": ""}])
    archive.append(file, [alone])
    who = Person(cards=(CARD,), words=(NAME,))
    assert [record["id"] for record in forgetting.in_archive(file, who)] == ["R1", "R2", 7]

    assert forgetting.forget_in_archive(file, who) == 3

    found = list(archive.records(file))
    assert [(r["id"], r["patron"]) for r in found] == [("R1", ""), ("R2", "UG2"), ("R3", "UG2"), (7, "")]
    assert (found[0]["title"], found[0]["anonymised"], found[0]["outbox"]) == ("Dune", True, [])
    assert [line["event"] for line in found[0]["journal"]] == ["OPEN"]
    assert found[1]["reason"] == "ask •"
    assert not any(mark in str(found) for mark in PERSON)
    assert forgetting.forget_in_archive(file, who) == 0


def _line(card: str) -> dict[str, Any]:
    return {
        "id": 7,
        "at": "2017-03-01T02:00:00+00:00",
        "request": "R1",
        "patron": card,
        "event": "OPEN",
        "detail": f'{{"p":"{card}"}}',
    }


def test_archive_is_cleaned_of_all_patrons_erased_later_in_one_pass(tmp_path: Path) -> None:
    file = tmp_path / "old.jsonl.gz"
    archive.append(
        file, [_ended("R1", "P1", 1, "lent by P3"), _ended("R2", "P2", 1), _ended("R3", "P1", 3), _ended("R4", "P9", 1)]
    )
    erasures = [("P1", _day(2)), ("P2", _day(1)), ("P3", _day(4)), ("P9-1", _day(4))]

    assert forgetting.forget_again_in_archive(file, erasures) == 1

    found = [(record["id"], record["patron"], record["reason"]) for record in archive.records(file)]
    assert found == [("R1", "", ""), ("R2", "P2", ""), ("R3", "P1", ""), ("R4", "P9", "")]


def _day(number: int) -> datetime:
    return datetime(2017, 3, number, tzinfo=UTC)


def _ended(number: str, card: str, day: int, reason: str = "") -> dict[str, Any]:
    parts: dict[str, list[Any]] = {"journal": [], "candidates": [], "notices": [], "fines": [], "outbox": []}
    return {"id": number, "patron": card, "reason": reason, "moved_at": _day(day).isoformat(), **parts}


def test_open_requests_of_the_patron_are_kept_complete(store: SoleStore, now: datetime) -> None:
    store.now(lambda unit: unit.execute(insert(PATRONS), {"barcode": CARD, "name": NAME}))
    for position in (Position.ON_LOAN, Position.CLOSED):
        store.now(
            UnitOfWork.open,
            Request(id="", side=Side.BORROWING, position=position, title="Dune", bib_id="b1", patron=CARD),
            now,
            Actor(who="test", channel="world"),
        )

    done = erase(store, now)

    assert [(one.what, one.which) for one in done.stays] == [("request", "R1"), ("patron", "")]
    assert done.requests == 1
    assert store.now(lambda unit: unit.execute(select(REQUESTS.c.patron).order_by(REQUESTS.c.id)).scalars().all()) == [CARD, ""]
    lines = store.now(lambda unit: unit.execute(select(JOURNAL.c.request, JOURNAL.c.patron).order_by(JOURNAL.c.id)).all())
    assert [tuple(line) for line in lines] == [("R1", CARD), ("R2", ""), ("", "")]
