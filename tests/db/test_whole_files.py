"""A file takes effect as a whole or not at all, whatever transaction its load dies before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, func, select

from hkall_gateway.db.loads import loading, whole_files
from hkall_gateway.db.loads.loading import StagedCopies, Withdrawals
from hkall_gateway.db.loads.whole_files import LoadOptions, Step
from hkall_gateway.db.privacy import forgetting, persons
from hkall_gateway.db.tables import HOLDINGS, PATRONS, STAGED_LOADS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.vocabulary import Actor, Borrower, Holding, Sensitive
from hkall_gateway.simulator.databases import SoleStore
from tests.db.test_loading import CHAN

pytestmark = pytest.mark.sql_differs

NOON = datetime(2017, 3, 1, 12, 0, tzinfo=UTC)
BY = Actor(who="mei", channel="cli", message="load")
FULL = LoadOptions(full=True, by=BY)
OLD = [Borrower(barcode=card, name=Sensitive("Chan"), category="ug") for card in ("P1", "P2", "P3")]
NEW = [
    *(Borrower(barcode=f"N{n:04}", name=Sensitive("Lee"), category="staff") for n in range(700)),
    Borrower(barcode="P1", name=Sensitive("Chan"), category="staff"),
]


class _Death(BaseException):
    """The process has crashed."""


def _store_steps(store: SoleStore, kind: str, options: LoadOptions, steps: Sequence[Step]) -> int:
    load = store.now(whole_files.begin, kind, options, NOON)
    for start in range(0, len(steps), 100):
        store.now(whole_files.add_steps, load, start + 1, steps[start : start + 100], NOON)
    store.now(whole_files.seal, load, NOON)
    return load


def _load_patrons(store: SoleStore, rows: Sequence[Borrower]) -> None:
    _store_steps(store, "patrons", FULL, list(whole_files.patron_steps(rows, {}, ())))
    _carry_out(store, "patrons")


def _carry_out(store: SoleStore, kind: str) -> None:
    while store.now(whole_files.take_step, kind, NOON):
        pass


def _categories(store: SoleStore) -> dict[str, str]:
    query = select(PATRONS.c.barcode, PATRONS.c.category)
    return {row.barcode: row.category for row in store.now(lambda unit: unit.execute(query).all())}


def _staged(store: SoleStore) -> int:
    return store.now(lambda unit: unit.execute(select(func.count()).select_from(STAGED_LOADS)).scalar_one())


def _dying_before(engine: Engine, commit: int) -> SoleStore:
    left: Iterator[int] = iter(range(1, commit))

    def before_commit() -> None:
        if next(left, None) is None:
            raise _Death

    return SoleStore(engine, lambda connection: UnitOfWork(connection, str), before_commit)


def _resume(store: SoleStore, now: datetime) -> int:
    """Do what the gateway's round does, and return the number of steps."""
    kind = store.now(whole_files.resume, now)
    steps = 0
    while kind is not None:
        steps += 1
        kind = store.now(whole_files.resume, now, kind)
    return steps


SEALED_AT = 1 + 8 + 1
"""Transactions until the file is sealed: its header, 8 times 100 steps, and the seal."""


@pytest.mark.parametrize("commit", range(1, SEALED_AT + 5))
def test_load_that_dies_leaves_all_of_the_old_rows_or_all_of_the_new(engine: Engine, store: SoleStore, commit: int) -> None:
    _load_patrons(store, OLD)
    before = _categories(store)
    command = _dying_before(engine, commit)

    with suppress(_Death):
        _load_patrons(command, NEW)
    command.close()
    _resume(store, NOON + timedelta(minutes=3))

    after = {row.barcode: row.category for row in NEW}
    assert _categories(store) == (before if commit <= SEALED_AT else after)


def test_stored_file_has_no_effect_before_it_is_sealed(store: SoleStore) -> None:
    _load_patrons(store, OLD)
    load = store.now(whole_files.begin, "patrons", FULL, NOON)
    store.now(whole_files.add_steps, load, 1, list(whole_files.patron_steps(NEW[:3], {}, ())), NOON)

    assert store.now(whole_files.take_step, "patrons", NOON) is False
    assert set(_categories(store)) == {"P1", "P2", "P3"}


def test_round_leaves_a_load_alone_whose_command_works_on_it(store: SoleStore) -> None:
    _store_steps(store, "patrons", FULL, list(whole_files.patron_steps(NEW, {}, ())))
    assert _resume(store, NOON + timedelta(minutes=1)) == 0
    assert _resume(store, NOON + timedelta(minutes=3)) > 1
    assert len(_categories(store)) == len(NEW)


def test_rows_of_a_file_that_was_never_whole_are_deleted(store: SoleStore) -> None:
    store.now(whole_files.begin, "patrons", FULL, NOON)
    _resume(store, NOON + timedelta(minutes=59))
    kept = _staged(store)
    _resume(store, NOON + timedelta(minutes=61))
    assert (kept, _staged(store)) == (1, 0)


def test_interrupted_load_is_finished_before_a_later_one(store: SoleStore) -> None:
    _store_steps(store, "patrons", FULL, list(whole_files.patron_steps(NEW, {}, ())))
    store.now(whole_files.take_step, "patrons", NOON)
    _load_patrons(store, OLD)

    assert set(_categories(store)) == {"P1", "P2", "P3"}
    assert store.now(loading.current, "patrons") == 2


def _copies(count: int) -> StagedCopies:
    staged = StagedCopies()
    for n in range(count):
        copy = Holding(agency="CUHK", barcode=f"C{n:05}", bib_id=f"b{n:05}", title="Dune")
        staged.add(f"f.csv:{n}", (copy.agency, copy.barcode), copy)
    return staged


def test_interrupted_full_load_of_copies_is_finished_with_the_removal(engine: Engine, store: SoleStore) -> None:
    old = list(whole_files.copy_steps(_copies(1_300), {}, Withdrawals(), full=True))
    _store_steps(store, "holdings", FULL, old)
    _carry_out(store, "holdings")
    new = list(whole_files.copy_steps(_copies(600), {}, Withdrawals(), full=True))
    _store_steps(store, "holdings", FULL, new)
    command = _dying_before(engine, 4)  # two chunks, the first step of the removal, and then

    with pytest.raises(_Death):
        _carry_out(command, "holdings")
    command.close()
    halfway = store.now(lambda unit: unit.execute(select(func.count()).select_from(HOLDINGS)).scalar_one())
    _resume(store, NOON + timedelta(minutes=3))

    count = store.now(lambda unit: unit.execute(select(func.count()).select_from(HOLDINGS)).scalar_one())
    assert (halfway > 600, count, _staged(store)) == (True, 600, 0)


def test_withdrawn_copies_are_removed(store: SoleStore) -> None:
    _store_steps(store, "holdings", FULL, list(whole_files.copy_steps(_copies(3), {}, Withdrawals(), full=True)))
    _carry_out(store, "holdings")
    gone = Withdrawals(copies=frozenset({("CUHK", "C00001")}), titles=frozenset({("", "b00002")}))
    _store_steps(store, "holdings", replace(FULL, full=False), list(whole_files.copy_steps(_copies(0), {}, gone, full=False)))
    _carry_out(store, "holdings")

    left = store.now(lambda unit: list(unit.execute(select(HOLDINGS.c.barcode)).scalars()))
    assert left == ["C00000"]


def test_patron_who_is_erased_while_a_file_waits_is_not_loaded_from_it(store: SoleStore) -> None:
    _store_steps(store, "patrons", replace(FULL, full=False), list(whole_files.patron_steps(OLD, {}, ())))

    def erase(unit: UnitOfWork) -> None:
        who = persons.person(unit, "P2")
        forgetting.forget(unit, who, forgetting.find(unit, who), [], "asked", NOON, BY)

    store.now(erase)
    _carry_out(store, "patrons")

    assert set(_categories(store)) == {"P1", "P3"}


def test_all_fields_of_a_patron_pass_through_a_stored_file(store: SoleStore) -> None:
    _store_steps(store, "patrons", FULL, list(whole_files.patron_steps([CHAN], {}, ())))
    _carry_out(store, "patrons")
    assert store.now(lambda unit: unit.patrons.find("P1")) == CHAN
