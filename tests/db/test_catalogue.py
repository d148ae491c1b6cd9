"""Titles behind the items: created by a load, kept in sync with it, and completed for databases of an earlier release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, select, text, update

from hkall_gateway.db import schema
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.loads import catalogue, loading
from hkall_gateway.db.search.searching import PAGE, FoundTitles, search
from hkall_gateway.db.tables import TITLES
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.vocabulary import Holding, Title
from hkall_gateway.simulator.databases import SoleStore

pytestmark = pytest.mark.sql_differs

DUNE = Holding(
    agency="CUHK",
    barcode="C1",
    bib_id="b1",
    title="Dune",
    author="Herbert, Frank",
    isbn="0-441-01359-7",
    call_number="PS3558 .E63",
)
MARC = Title(
    bib_id="b9",
    title="Hong lou meng",
    author="Cao, Xueqin",
    isbns=("9787020002207",),
    language="chi",
    published="Beijing : Ren min, 1982",
    linked_title="紅樓夢",
    linked_author="曹雪芹",
)


def _load(store: SoleStore, rows: Sequence[Holding], *titles: Title, full: bool = False) -> None:
    number = store.now(loading.begin, "holdings")
    store.now(loading.write_copies, rows, number, None, {title.bib_id: title for title in titles})
    store.now(loading.finish, "holdings", number, full)


def _titles(store: SoleStore) -> dict[str, dict[str, Any]]:
    found = store.now(lambda unit: unit.execute(select(TITLES)).mappings().all())
    return {row["bib_id"]: dict(row) for row in found}


def found(store: SoleStore, typed: str) -> list[str]:
    result = store.now(lambda unit: search(unit.connection, typed, lambda *_facts: True))
    assert isinstance(result, FoundTitles)
    return [title.bib_id for title in result.titles]


def test_title_of_a_loaded_item_is_found(store: SoleStore) -> None:
    _load(store, [DUNE])
    row = _titles(store)["b1"]
    assert (row["title"], row["author"], row["isbns"]) == ("Dune", "Herbert, Frank", "9780441013593")
    assert [found(store, typed) for typed in ("dune", "herbert", "0441013597", "PS3558.E63")] == [["b1"]] * 4


def test_items_of_several_libraries_share_one_title(store: SoleStore) -> None:
    _load(store, [DUNE, replace(DUNE, agency="LU", barcode="L1", isbn="9780340960196", call_number="F HER")])
    row = _titles(store)["b1"]
    assert row["isbns"] == "9780441013593 9780340960196"
    assert found(store, "F HER") == found(store, "9780340960196") == ["b1"]


def test_corrected_title_is_found_only_by_its_new_words(store: SoleStore) -> None:
    _load(store, [DUNE])
    _load(store, [replace(DUNE, title="Children of Dune")])
    assert found(store, "children") == ["b1"]
    _load(store, [DUNE])
    assert found(store, "children") == []


def test_unchanged_title_is_not_rewritten(store: SoleStore) -> None:
    _load(store, [DUNE])
    store.now(lambda unit: unit.execute(update(TITLES).values(published="a mark")))
    _load(store, [DUNE])
    assert _titles(store)["b1"]["published"] == "a mark"


def test_item_moved_to_another_title_is_no_longer_found_under_the_first(store: SoleStore) -> None:
    _load(store, [DUNE])
    _load(store, [replace(DUNE, bib_id="b2")])
    assert list(_titles(store)) == ["b2"]
    assert found(store, "dune") == ["b2"]


def test_title_without_items_is_not_found_after_a_full_load(store: SoleStore) -> None:
    _load(store, [DUNE, replace(DUNE, barcode="C2", bib_id="b2", title="Emma", call_number="")])
    _load(store, [DUNE], full=True)
    assert list(_titles(store)) == ["b1"]
    assert found(store, "emma") == []


def test_full_load_deletes_the_call_number_of_a_removed_item(store: SoleStore) -> None:
    _load(store, [DUNE, replace(DUNE, agency="LU", barcode="L1", call_number="F HER")])
    _load(store, [DUNE], full=True)
    assert found(store, "F HER") == []


def test_holdings_load_keeps_data_from_marc_records(store: SoleStore) -> None:
    copy = replace(DUNE, bib_id="b9", title=MARC.title, author=MARC.author, isbn=MARC.isbns[0])
    _load(store, [copy], MARC)
    _load(store, [replace(copy, status="On Loan", call_number="PL2727")])
    row = _titles(store)["b9"]
    assert (row["linked_title"], row["language"], row["published"]) == ("紅樓夢", "chi", MARC.published)
    assert found(store, "红楼梦") == found(store, "PL2727") == ["b9"]


def test_titles_from_an_earlier_release_are_completed(store: SoleStore) -> None:
    copies = [replace(DUNE, barcode=f"C{n}", bib_id=f"b{n}", title=f"Dune {n}") for n in range(5)]
    _load(store, copies)
    before = _titles(store)
    store.now(_empty)
    assert not store.now(lambda unit: catalogue.is_filled(unit.connection))

    place: str | None = ""
    while place is not None:
        after = place
        place = store.now(lambda unit: catalogue.fill(unit.connection, after, 2))  # noqa: B023  # it runs at once

    assert store.now(lambda unit: catalogue.is_filled(unit.connection))
    strip = {"id": 0, "words": ""}
    assert [row | strip for row in _titles(store).values()] == [row | strip for row in before.values()]
    assert found(store, "dune 3") == ["b3"]


def test_upgrade_completes_titles(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'old.db'}")
    schema.upgrade(engine)
    store = SoleStore(engine, lambda connection: UnitOfWork(connection, lambda: "R1"))
    _load(store, [DUNE])
    store.now(_empty)
    schema.upgrade(engine)
    assert found(store, "dune") == ["b1"]
    store.close()
    engine.dispose()


def test_changed_word_rules_reindex_every_title(store: SoleStore) -> None:
    _load(store, [DUNE])
    assert store.now(lambda unit: catalogue.is_filled(unit.connection))
    store.now(lambda unit: unit.execute(update(TITLES).values(digest="0")))
    assert not store.now(lambda unit: catalogue.is_filled(unit.connection))


def _empty(unit: UnitOfWork) -> None:
    unit.execute(delete(TITLES))
    for table in ("title_words", "title_facet_sets", "title_facets") if unit.dialect == "sqlite" else ():
        unit.execute(text(f"DELETE FROM {table}"))  # noqa: S608  # our tables


def test_postgresql_word_statistics_are_updated_by_a_load(postgres_engine: Engine) -> None:
    store = SoleStore(postgres_engine, lambda connection: UnitOfWork(connection, lambda: "R1"))
    _load(store, [replace(DUNE, bib_id=f"b{n}", barcode=f"C{n}", title=f"Common {n}") for n in range(200)])
    query = "EXPLAIN SELECT id FROM titles WHERE words @@ CAST('common' AS tsquery)"

    def planned() -> str:
        return "\n".join(store.now(lambda unit: unit.connection.exec_driver_sql(query).scalars().all()))

    assert "rows=200 " not in planned()
    store.now(lambda unit: catalogue.settle(unit.connection))
    assert "rows=200 " in planned()
    assert len(found(store, "common")) == PAGE
    store.close()
