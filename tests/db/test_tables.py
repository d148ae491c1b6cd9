"""The tables: instants keep their order, and the database itself refuses what must never be."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import Engine, func, insert, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import IntegrityError, StatementError

from hkall_gateway.db.tables import INBOX, METADATA, REQUESTS, UtcDateTime
from hkall_gateway.rules.lifecycle import FINAL, HOLDS_ITEM, STAGES, Stage
from hkall_gateway.rules.vocabulary import Position
from tests import databases

pytestmark = pytest.mark.sql_differs

NOON = datetime(2017, 3, 1, 12, 0, tzinfo=UTC)
HONG_KONG = timezone(timedelta(hours=8))
ZONES = st.sampled_from([UTC, HONG_KONG, timezone(timedelta(hours=-11)), timezone(timedelta(minutes=345))])
YEARS = (datetime(2, 1, 1), datetime(9998, 12, 31))  # noqa: DTZ001  # Hypothesis adds the zones
INSTANTS = st.datetimes(*YEARS, timezones=ZONES)


def _written(value: datetime) -> str:
    return str(UtcDateTime().bind_processor(sqlite.dialect())(value))


def _request(number: str, **values: Any) -> dict[str, Any]:
    stage = {"stage": STAGES[values["position"]]}
    return {"id": number, "placed_at": NOON, "moved_at": NOON, "item_agency": "CUHK", **stage, **values}


@given(INSTANTS, INSTANTS)
@example(NOON, NOON.replace(microsecond=1))
@example(NOON.replace(year=2), NOON.replace(year=1000))
def test_instants_keep_their_order_as_text_whatever_their_zone(one: datetime, other: datetime) -> None:
    assert (_written(one) < _written(other)) == (one < other)


@given(INSTANTS)
def test_an_instant_comes_back_as_the_same_instant_in_utc(instant: datetime) -> None:
    back = UtcDateTime().result_processor(sqlite.dialect(), None)(_written(instant))
    assert back == instant
    assert back.tzinfo is UTC


def test_a_naive_instant_is_refused(engine: Engine) -> None:
    row = {"agency": "CUHK", "digest": "d", "made_at": NOON, "keep_until": NOON.replace(tzinfo=None)}
    with engine.connect() as connection, pytest.raises(StatementError, match="naive"):
        connection.execute(insert(INBOX), row)


def test_the_database_compares_instants_of_different_zones(engine: Engine) -> None:
    rows = [
        {"agency": "CUHK", "digest": "earlier", "made_at": NOON, "keep_until": datetime(2017, 3, 1, 19, 59, tzinfo=HONG_KONG)},
        {"agency": "CUHK", "digest": "later", "made_at": NOON, "keep_until": datetime(2017, 3, 1, 12, 1, tzinfo=UTC)},
    ]
    with engine.connect() as connection:
        connection.execute(insert(INBOX), rows)
        found = connection.execute(select(INBOX.c.digest).where(INBOX.c.keep_until < NOON)).scalars().all()
    assert found == ["earlier"]


@pytest.mark.parametrize("position", sorted(HOLDS_ITEM))
def test_a_physical_item_is_in_one_active_request_only(engine: Engine, position: Position) -> None:
    with engine.connect() as connection:
        connection.execute(insert(REQUESTS), _request("R1", item_barcode="C1", position=Position.ON_LOAN))
        with pytest.raises(IntegrityError):
            connection.execute(insert(REQUESTS), _request("R2", item_barcode="C1", position=position))


@pytest.mark.parametrize("position", sorted(set(Position) - HOLDS_ITEM))
def test_a_request_that_holds_no_item_may_name_one_that_another_holds(engine: Engine, position: Position) -> None:
    with engine.connect() as connection:
        connection.execute(insert(REQUESTS), _request("R1", item_barcode="C1", position=Position.ON_LOAN))
        connection.execute(insert(REQUESTS), _request("R2", item_barcode="C1", position=position))
        assert connection.execute(select(func.count()).select_from(REQUESTS)).scalar() == 2


def test_the_same_barcode_of_two_libraries_is_two_items(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(insert(REQUESTS), _request("R1", item_barcode="C1", position=Position.ON_LOAN))
        connection.execute(insert(REQUESTS), _request("R2", item_barcode="C1", position=Position.ON_LOAN, item_agency="PolyU"))
        assert connection.execute(select(func.count()).select_from(REQUESTS)).scalar() == 2


def test_requests_without_an_item_are_many(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(insert(REQUESTS), [_request(f"R{n}", position=Position.IN_TRANSIT) for n in range(3)])
        assert connection.execute(select(func.count()).select_from(REQUESTS)).scalar() == 3


@pytest.mark.parametrize(("position", "stage"), [(p, s) for p in sorted(Position) for s in (*Stage, "")])
def test_a_request_is_at_the_stage_of_its_position_and_at_no_other(engine: Engine, position: Position, stage: str) -> None:
    refused = nullcontext() if stage == STAGES[position] else pytest.raises(IntegrityError)
    with engine.connect() as connection, refused:
        connection.execute(insert(REQUESTS), _request("R1", position=position, stage=stage))


def test_a_checkout_writes_the_indexes_of_what_it_changes_and_no_others() -> None:
    engine = databases.MEMORY.fresh()
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT rootpage, name FROM sqlite_master WHERE name LIKE '%requests%'")
        kept = {page: name for page, name in found}  # noqa: C416  # a Row is no pair to mypy
        lent = "UPDATE requests SET position = 'ON_LOAN', moved_at = '2017', due = '2017' WHERE id = 'R1'"
        steps = connection.exec_driver_sql(f"EXPLAIN {lent}").all()
    opened = {kept[page] for _, step, _, page, *_ in steps if step == "OpenWrite"}
    of_the_move = {"ix_requests_open_position", "ix_requests_placed_at", "ix_requests_open_due"}
    ended = {"ix_requests_closed", "ix_requests_personal"}  # looked at, and left alone: this one has not ended
    assert opened == {"requests", "sqlite_autoindex_requests_1"} | of_the_move | ended


def test_every_position_either_ends_a_request_or_is_open() -> None:
    assert set(Position) > FINAL
    assert not FINAL & HOLDS_ITEM


@pytest.mark.parametrize("table", METADATA.sorted_tables, ids=lambda t: t.name)
def test_every_table_says_what_a_row_means(table: Any) -> None:
    assert table.comment.endswith(".")
