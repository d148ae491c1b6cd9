"""Databases of released versions, with open requests, are upgraded to the current revision and used.

The files are in fixtures/databases; its README describes them.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, insert, inspect, select, text
from sqlalchemy.exc import IntegrityError

from hkall_gateway import __version__
from hkall_gateway.circulation.command import Library, in_context
from hkall_gateway.circulation.find_request import StaffCommand
from hkall_gateway.circulation.staff import actions
from hkall_gateway.db import schema
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.outbox import OutboxRow
from hkall_gateway.db.tables import HOLDINGS, METADATA, REQUESTS, stage_condition
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.positions import FINAL, STAGES, Stage
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.shelving import shelving_key
from hkall_gateway.rules.vocabulary import Actor, Position, Request
from hkall_gateway.simulator.databases import SoleStore
from tests.db.releases import RELEASES, VERSIONS, on_postgresql

CLERK = Actor(who="mei", channel="cli", message="request")
HKU = Library(agency="HKU", name="HKU Libraries", policy=Policy(), pickup_locations=("HKU-MAIN-LENDING",))
NEXT_DAY = datetime(2017, 3, 21, 2, 0, tzinfo=UTC)
ON_THE_HOLD_SHELF = "C00020"
WAITING = [
    ("ask_lender", "CUHK"),
    ("tell_lender_on_its_way", "CUHK"),
    ("tell_lender_received", "CUHK"),
    ("letter_pickup", "P0009"),
]


@pytest.fixture(params=[(version, database) for version in VERSIONS for database in ("sqlite", "postgresql")], ids="-".join)
def released(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database of a released version."""
    version, database = request.param
    if database == "sqlite":
        file = tmp_path / "hkall.db"
        file.write_bytes(gzip.decompress((RELEASES / f"{version}.db.gz").read_bytes()))
        engine = open_engine(f"sqlite:///{file}")
        yield engine
        engine.dispose()
        return
    programs, url = request.getfixturevalue("postgres_programs"), request.getfixturevalue("postgres_url")
    with on_postgresql(url, programs, version) as engine:
        yield engine


@pytest.fixture
def upgraded(released: Engine) -> Iterator[SoleStore]:
    """The same database, upgraded to the current revision and opened."""
    schema.upgrade(released)
    store = SoleStore(released, lambda connection: UnitOfWork(connection, lambda: "R-NEW"))
    yield store
    store.close()


def _counts(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        there = set(connection.dialect.get_table_names(connection)) & set(METADATA.tables)
        return {name: connection.execute(select(func.count()).select_from(text(name))).scalar_one() for name in sorted(there)}


def test_test_databases_cover_every_release_on_sqlite_and_postgresql() -> None:
    assert (VERSIONS[0], VERSIONS[-1]) == ("0.1.0", __version__)
    assert sorted(file.name.removesuffix(".db.gz") for file in RELEASES.glob("*.db.gz")) == VERSIONS


def test_upgrade_keeps_every_row_and_gives_the_current_tables(released: Engine) -> None:
    before = _counts(released)
    assert min(before[name] for name in ("requests", "journal", "outbox", "inbox", "fines", "quarantine")) > 0

    schema.upgrade(released)

    after = _counts(released)
    assert {name: after[name] for name in before} == before
    assert (schema.revision(released), schema.drift(released)) == (schema.head(), [])


def test_open_requests_and_their_history_are_readable_after_the_upgrade(upgraded: SoleStore) -> None:
    found = upgraded.now(lambda unit: unit.requests.open_list())

    assert {request.position for request in found} >= {
        Position.REQUESTED,
        Position.RECEIVED,
        Position.ON_LOAN,
        Position.RETURN_TRANSIT,
        Position.PAGED,
        Position.AT_BORROWER,
    }
    assert all(upgraded.now(lambda unit: unit.journal.history(request.id)) for request in found)  # noqa: B023  # it runs at once
    assert not {request.position for request in found} & FINAL


def test_open_requests_get_the_original_script_of_their_title_from_the_catalogue(released: Engine) -> None:
    with released.begin() as connection:
        columns = {column["name"] for column in inspect(connection).get_columns("requests")}
        has_titles = connection.dialect.has_table(connection, "titles")
        is_filled = has_titles and "linked_title" not in columns  # the upgrade that adds the column fills it, no later one
        bib_id = connection.execute(text("SELECT bib_id FROM requests WHERE position = 'RECEIVED'")).scalars().first()
        if has_titles:
            connection.execute(text("DELETE FROM titles WHERE bib_id = :bib"), {"bib": bib_id})
            linked = "INSERT INTO titles (id, bib_id, linked_title) VALUES (999999, :bib, '城南舊事')"
            connection.execute(text(linked), {"bib": bib_id})

    schema.upgrade(released)

    with released.connect() as connection:
        found = connection.execute(select(REQUESTS.c.bib_id, REQUESTS.c.stage, REQUESTS.c.linked_title)).all()
    linked_ones = [(bib, stage != Stage.ENDED) for bib, stage, linked in found if linked]
    assert set(linked_ones) == ({(bib_id, True)} if is_filled else set())
    assert len(linked_ones) == (sum(bib == bib_id and stage != Stage.ENDED for bib, stage, _ in found) if is_filled else 0)


def _add_parked(engine: Engine, stage: str) -> None:
    """Put a request into a position that a later version has."""
    row = {"id": f"parked-{stage}", "position": "PARKED", "stage": stage, "placed_at": NEXT_DAY, "moved_at": NEXT_DAY}
    with engine.begin() as connection:
        connection.execute(insert(REQUESTS), row)


def test_position_can_be_added_to_a_released_database(released: Engine) -> None:
    schema.upgrade(released)
    before = _counts(released)
    with pytest.raises(IntegrityError):
        _add_parked(released, Stage.IN_HAND)

    with released.begin() as connection:  # as a revision does
        condition = stage_condition([*STAGES.items(), ("PARKED", Stage.IN_HAND)])
        schema.replace_check(connection, "requests", "ck_requests_stage", condition)

    _add_parked(released, Stage.IN_HAND)
    with pytest.raises(IntegrityError):
        _add_parked(released, Stage.ENDED)
    assert _counts(released) == {**before, "requests": before["requests"] + 1}


def test_undelivered_messages_are_delivered_after_the_upgrade(upgraded: SoleStore) -> None:
    taken = _told(upgraded) + _told(upgraded)
    assert [(row.send.value, row.recipient) for row in sorted(taken, key=lambda row: row.id)] == WAITING


def _told(store: SoleStore) -> tuple[OutboxRow, ...]:
    """The messages sent next: the first one of each request and recipient, and those behind it."""

    def leave(unit: UnitOfWork) -> tuple[OutboxRow, ...]:
        rows = unit.outbox.claim(NEXT_DAY, "gw-2", 60, 100)
        for row in rows:
            unit.outbox.mark_sent(row.id, NEXT_DAY)
        return rows

    return store.now(leave)


def test_item_on_the_hold_shelf_is_lent_and_returned_after_the_upgrade(upgraded: SoleStore) -> None:
    assert _position_after(upgraded, "lend") == Position.ON_LOAN
    assert _position_after(upgraded, "return") == Position.RETURN_TRANSIT


def _position_after(store: SoleStore, deed: str) -> Position:
    store.now(in_context(actions.act, HKU, NEXT_DAY, StaffCommand(by=CLERK, barcode=ON_THE_HOLD_SHELF), deed))
    found: tuple[Request, ...] = store.now(lambda unit: unit.requests.open_list())
    return next(request.position for request in found if request.item_barcode == ON_THE_HOLD_SHELF)


def test_items_from_an_earlier_release_get_their_sort_keys(upgraded: SoleStore) -> None:
    asked = select(HOLDINGS.c.call_number, HOLDINGS.c.shelving_key).where(HOLDINGS.c.call_number != "")
    found = upgraded.now(lambda unit: unit.execute(asked).all())
    assert found
    assert [key for _, key in found] == [shelving_key(number) for number, _ in found]
