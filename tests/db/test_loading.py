"""Loading: the changes of a file, when rows are removed, and the state after an interrupted load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, update

from hkall_gateway.db.loads import loading
from hkall_gateway.db.loads.loading import CHUNK, LoadReport, Loss, StagedCopies, Withdrawals
from hkall_gateway.db.tables import HOLDINGS, JOBS, PATRONS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.shelving import shelving_key
from hkall_gateway.rules.vocabulary import Borrower, Holding, ItemKey, Sensitive
from hkall_gateway.simulator.databases import SoleStore

pytestmark = pytest.mark.sql_differs

CHAN = Borrower(
    barcode="P1",
    name=Sensitive("Chan Tai Man"),
    category="ug",
    name_zh=Sensitive("陳大文"),
    study_mode="full-time",
    expires=date(2017, 8, 31),
    email=Sensitive("chan@hku.test"),
    language="zh-Hant",
    blocked=True,
    local_loans=None,
    total_quota=40,
    pin_hash=Sensitive("$argon2id$1"),
)
DUNE = Holding(
    agency="CUHK",
    barcode="C1",
    bib_id="b1",
    title="Dune",
    author="Herbert",
    isbn="978",
    volume="v.1",
    call_number="PS1",
    status="On Loan",
    lendable=False,
    material="dvd",
    local_bib_id="lb1",
)


def _patrons(*cards: str) -> list[Borrower]:
    return [replace(CHAN, barcode=card) for card in cards]


def _many(count: int) -> list[Borrower]:
    return _patrons(*(f"P{n:05d}" for n in range(count)))


def _load(store: SoleStore, rows: Sequence[Any], *, full: bool = False, kind: str = "patrons") -> int:
    """Load like the command does: number, chunks, finish; return the number of removed rows."""
    number = store.now(loading.begin, kind)
    for start in range(0, len(rows), CHUNK):
        store.now(loading.write, kind, rows[start : start + CHUNK], number)
    return store.now(loading.finish, kind, number, full)


def _cards(store: SoleStore) -> list[str]:
    return store.now(lambda unit: list(unit.execute(select(PATRONS.c.barcode).order_by(PATRONS.c.barcode)).scalars()))


def _current(store: SoleStore, kind: str = "patrons") -> tuple[str, int] | None:
    """(number, rows) of the current import."""
    asked = select(JOBS.c.cursor, JOBS.c.count).where(JOBS.c.name == f"load {kind}")
    found = store.now(lambda unit: unit.execute(asked).first())
    return (found[0], found[1]) if found else None


# ---- what is written


def test_patron_round_trips_with_every_field(store: SoleStore) -> None:
    _load(store, [CHAN])
    assert store.now(lambda unit: unit.patrons.find("P1")) == CHAN


def test_item_round_trips_with_every_field(store: SoleStore) -> None:
    _load(store, [DUNE], kind="holdings")
    assert store.now(lambda unit: unit.holdings.find(ItemKey("CUHK", "C1"))) == DUNE


def test_existing_patron_is_overwritten_completely(store: SoleStore) -> None:
    _load(store, [CHAN])
    bare = Borrower(barcode="P1", name=Sensitive("Chan"), category="staff")
    _load(store, [bare])
    assert store.now(lambda unit: unit.patrons.find("P1")) == bare


def test_same_barcode_in_two_libraries_is_two_items(store: SoleStore) -> None:
    other = replace(DUNE, agency="PolyU", title="Emma")
    _load(store, [DUNE, other], kind="holdings")
    assert store.now(lambda unit: unit.holdings.find(ItemKey("CUHK", "C1"))) == DUNE
    assert store.now(lambda unit: unit.holdings.find(ItemKey("PolyU", "C1"))) == other


def test_last_row_of_a_repeated_patron_is_used(store: SoleStore) -> None:
    _load(store, [CHAN, replace(CHAN, category="staff")])
    loaded = store.now(lambda unit: unit.patrons.find("P1"))
    assert loaded is not None
    assert loaded.category == "staff"


def test_empty_file_loads_no_rows(store: SoleStore) -> None:
    _load(store, _patrons("P1"))
    assert _load(store, []) == 0
    assert _cards(store) == ["P1"]


# ---- what vanishes


def test_delta_load_keeps_rows_that_the_file_does_not_list(store: SoleStore) -> None:
    _load(store, _patrons("P1", "P2"))
    assert _load(store, _patrons("P2", "P3")) == 0
    assert _cards(store) == ["P1", "P2", "P3"]


def test_full_load_removes_rows_that_the_file_does_not_list(store: SoleStore) -> None:
    _load(store, _patrons("P1", "P2"))
    assert _load(store, _patrons("P2", "P3"), full=True) == 1
    assert _cards(store) == ["P2", "P3"]


def test_full_load_removes_rows_of_earlier_delta_loads(store: SoleStore) -> None:
    _load(store, _patrons("P1"), full=True)
    _load(store, _patrons("P2"))
    _load(store, _patrons("P3"))
    assert _load(store, _patrons("P1"), full=True) == 2
    assert _cards(store) == ["P1"]


def test_full_load_of_patrons_keeps_the_items(store: SoleStore) -> None:
    _load(store, [DUNE], kind="holdings")
    _load(store, _patrons("P1"), full=True)
    assert store.now(lambda unit: unit.holdings.find(ItemKey("CUHK", "C1"))) == DUNE


def test_old_patrons_stay_until_a_full_load_ends(store: SoleStore) -> None:
    _load(store, _patrons("P1", "P2"), full=True)
    number = store.now(loading.begin, "patrons")
    store.now(loading.write, "patrons", _patrons("P3"), number)
    assert _cards(store) == ["P1", "P2", "P3"]
    assert _current(store) == ("1", 2)


def test_finished_import_becomes_current_and_counts_its_rows(store: SoleStore) -> None:
    _load(store, _patrons("P1", "P2"), full=True)
    _load(store, _patrons("P2", "P3"), full=True)
    assert _current(store) == ("2", 2)
    assert _current(store, "holdings") is None


# ---- a load that died


class _Death(BaseException):
    """The process has crashed."""


def _dying_at(engine: Engine, commit: int) -> SoleStore:
    """A command whose process crashes just before this commit."""
    left = iter(range(1, commit))

    def before_commit() -> None:
        if next(left, None) is None:
            raise _Death

    return SoleStore(engine, lambda connection: UnitOfWork(connection, str), before_commit)


def test_interrupted_load_has_complete_chunks_and_is_not_current(engine: Engine, store: SoleStore) -> None:
    _load(store, _patrons("Q1"), full=True)
    command = _dying_at(engine, 4)  # the number, two chunks, and then
    with pytest.raises(_Death):
        _load(command, _many(3 * CHUNK), full=True)
    command.close()
    assert len(_cards(store)) == 1 + 2 * CHUNK
    assert _current(store) == ("1", 1)


def test_rows_of_an_interrupted_load_are_removed_by_the_next_full_file(store: SoleStore) -> None:
    _load(store, _patrons("P1"), full=True)
    dead = store.now(loading.begin, "patrons")
    store.now(loading.write, "patrons", _patrons("P2"), dead)
    assert store.now(loading.begin, "patrons") == dead + 1
    assert _load(store, _patrons("P1", "P3"), full=True) == 1
    assert _cards(store) == ["P1", "P3"]


def test_repeated_load_changes_no_rows(store: SoleStore) -> None:
    _load(store, _many(CHUNK + 1), full=True)
    report = store.now(loading.compare, "patrons", _many(CHUNK + 1))
    assert _load(store, _many(CHUNK + 1), full=True) == 0
    assert report == LoadReport(before=CHUNK + 1, new=0, changed=0, same=CHUNK + 1, vanishing=0)


# ---- what it would change


def test_report_counts_new_changed_unchanged_and_removed_rows(store: SoleStore) -> None:
    _load(store, _patrons("P1", "P2", "P3", "P4"))
    coming = [*_patrons("P1", "P5", "P6"), replace(CHAN, barcode="P2", email=Sensitive("new@hku.test"))]
    assert store.now(loading.compare, "patrons", coming) == LoadReport(before=4, new=2, changed=1, same=1, vanishing=2)


def test_report_identifies_items_by_library_and_barcode(store: SoleStore) -> None:
    _load(store, [DUNE], kind="holdings")
    coming = staged(replace(DUNE, agency="PolyU"), replace(DUNE, status="Available On Shelf"))
    assert store.now(loading.compare_copies, coming) == LoadReport(before=1, new=1, changed=1, same=0, vanishing=0)


def test_report_counts_removed_items_per_library(store: SoleStore) -> None:
    copies = [replace(DUNE, barcode=f"B{n}", agency=agency) for n in range(3) for agency in ("CUHK", "LU")]
    _load(store, copies, kind="holdings")
    gone = Withdrawals(copies=frozenset({("CUHK", "B0"), ("CUHK", "B1"), ("LU", "none")}))
    coming = staged(copies[2], copies[4])  # B1 and B2 of CUHK
    report = store.now(loading.compare_copies, coming, None, gone)
    assert report == LoadReport(
        before=6,
        new=0,
        changed=0,
        same=2,
        vanishing=4,
        replaced=0,
        withdrawn=1,
        losses=(
            Loss(library="CUHK", before=3, vanishing=1, withdrawn=1),
            Loss(library="LU", before=3, vanishing=3, withdrawn=0),
        ),
    )
    assert store.now(loading.compare_copies, coming, {"title"}, gone, "CUHK").losses == (
        Loss(library="CUHK", before=3, vanishing=1, withdrawn=1),
    )


def staged(*copies: Holding) -> StagedCopies:
    made = StagedCopies()
    for number, copy in enumerate(copies, 2):
        made.add(f"holdings.csv:{number}", (copy.agency, copy.barcode), copy)
    return made


def test_load_report_changes_no_rows(store: SoleStore) -> None:
    _load(store, _patrons("P1"))
    store.now(loading.compare, "patrons", _patrons("P2"))
    assert _cards(store) == ["P1"]
    assert _current(store) == ("1", 1)


@pytest.mark.parametrize(
    ("before", "vanishing", "too_many"),
    [(0, 0, False), (10, 2, False), (10, 3, True), (14, 2, False), (14, 3, True), (1, 1, True), (1000, 200, False)],
)
def test_load_is_suspicious_when_it_removes_more_than_a_fifth_of_the_rows(before: int, vanishing: int, too_many: bool) -> None:
    report = LoadReport(before=before, new=0, changed=0, same=before - vanishing, vanishing=vanishing)
    assert report.too_many_vanish(full=True) is too_many
    assert not report.too_many_vanish(full=False)


def test_withdrawn_rows_count_as_removed_without_a_full_load() -> None:
    report = LoadReport(before=10, new=0, changed=0, same=7, vanishing=3, withdrawn=3)
    assert report.too_many_vanish(full=False)


@pytest.mark.parametrize(("before", "lost", "too_many"), [(100, 20, False), (100, 21, True), (12, 10, False), (12, 11, True)])
def test_load_is_suspicious_when_it_removes_more_than_a_fifth_of_one_librarys_items(
    before: int, lost: int, too_many: bool
) -> None:
    report = LoadReport(
        before=100_000,
        new=0,
        changed=0,
        same=100_000 - lost,
        vanishing=lost,
        losses=(Loss(library="LU", before=before, vanishing=lost, withdrawn=0),),
    )
    assert report.too_many_vanish(full=True) is too_many
    assert not report.too_many_vanish(full=False)


def test_every_row_of_a_multi_chunk_file_is_written_once(store: SoleStore) -> None:
    _load(store, _many(2 * CHUNK + 1))
    assert store.now(lambda unit: unit.execute(select(func.count()).select_from(PATRONS)).scalar()) == 2 * CHUNK + 1


# ---- the order on the shelf


def _keys(store: SoleStore) -> dict[str, str]:
    asked = select(HOLDINGS.c.barcode, HOLDINGS.c.shelving_key)
    return {barcode: key for barcode, key in store.now(lambda unit: unit.execute(asked).all())}  # noqa: C416


def test_loaded_item_has_the_sort_key_of_its_call_number(store: SoleStore) -> None:
    _load(store, [replace(DUNE, call_number="QA76 .B3")], kind="holdings")
    assert _keys(store) == {"C1": shelving_key("QA76 .B3")}
    _load(store, [replace(DUNE, call_number="QA9 .B3")], kind="holdings")
    assert _keys(store) == {"C1": shelving_key("QA9 .B3")}


def test_file_without_call_numbers_keeps_stored_numbers_and_keys(store: SoleStore) -> None:
    _load(store, [replace(DUNE, call_number="QA76 .B3")], kind="holdings")
    store.now(loading.write, "holdings", [replace(DUNE, call_number="", title="Dune!")], 2, {"agency", "barcode", "title"})
    assert _keys(store) == {"C1": shelving_key("QA76 .B3")}


def _fill(unit: UnitOfWork, place: loading.Place) -> loading.Place | None:
    return loading.fill_keys(unit.connection, place, 2)


def test_missing_sort_keys_are_filled_in_batches(store: SoleStore) -> None:
    copies = [replace(DUNE, barcode=f"C{n}", call_number=f"QA{n} .B3" if n else "") for n in range(6)]
    _load(store, copies, kind="holdings")
    wanted = _keys(store)
    store.now(lambda unit: unit.execute(update(HOLDINGS).values(shelving_key="")))

    place: loading.Place | None = loading.START
    batches = 0
    while place is not None:
        place = store.now(_fill, place)
        batches += 1

    assert _keys(store) == wanted
    assert batches == 4  # five copies with a call number, two at a time, and the end
