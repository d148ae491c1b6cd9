"""The tables: timestamps sort correctly, and the database refuses impossible rows."""

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
from hkall_gateway.rules.positions import FINAL, HOLDS_ITEM, STAGES, Stage
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
def test_timestamps_sort_as_text_regardless_of_time_zone(one: datetime, other: datetime) -> None:
    assert (_written(one) < _written(other)) == (one < other)


@given(INSTANTS)
def test_timestamp_round_trips_in_utc(instant: datetime) -> None:
    back = UtcDateTime().result_processor(sqlite.dialect(), None)(_written(instant))
    assert back == instant
    assert back.tzinfo is UTC


def test_naive_timestamp_is_refused(engine: Engine) -> None:
    row = {"agency": "CUHK", "digest": "d", "made_at": NOON, "keep_until": NOON.replace(tzinfo=None)}
    with engine.connect() as connection, pytest.raises(StatementError, match="naive"):
        connection.execute(insert(INBOX), row)


def test_database_compares_timestamps_of_different_zones(engine: Engine) -> None:
    rows = [
        {"agency": "CUHK", "digest": "earlier", "made_at": NOON, "keep_until": datetime(2017, 3, 1, 19, 59, tzinfo=HONG_KONG)},
        {"agency": "CUHK", "digest": "later", "made_at": NOON, "keep_until": datetime(2017, 3, 1, 12, 1, tzinfo=UTC)},
    ]
    with engine.connect() as connection:
        connection.execute(insert(INBOX), rows)
        found = connection.execute(select(INBOX.c.digest).where(INBOX.c.keep_until < NOON)).scalars().all()
    assert found == ["earlier"]


@pytest.mark.parametrize("position", sorted(HOLDS_ITEM))
def test_item_is_in_at_most_one_active_request(engine: Engine, position: Position) -> None:
    with engine.connect() as connection:
        connection.execute(insert(REQUESTS), _request("R1", item_barcode="C1", position=Position.ON_LOAN))
        with pytest.raises(IntegrityError):
            connection.execute(insert(REQUESTS), _request("R2", item_barcode="C1", position=position))


@pytest.mark.parametrize("position", sorted(set(Position) - HOLDS_ITEM))
def test_inactive_request_may_have_the_item_of_an_active_request(engine: Engine, position: Position) -> None:
    with engine.connect() as connection:
        connection.execute(insert(REQUESTS), _request("R1", item_barcode="C1", position=Position.ON_LOAN))
        connection.execute(insert(REQUESTS), _request("R2", item_barcode="C1", position=position))
        assert connection.execute(select(func.count()).select_from(REQUESTS)).scalar() == 2


def test_same_barcode_in_two_libraries_is_two_items(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(insert(REQUESTS), _request("R1", item_barcode="C1", position=Position.ON_LOAN))
        connection.execute(insert(REQUESTS), _request("R2", item_barcode="C1", position=Position.ON_LOAN, item_agency="PolyU"))
        assert connection.execute(select(func.count()).select_from(REQUESTS)).scalar() == 2


def test_several_requests_may_have_no_item(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(insert(REQUESTS), [_request(f"R{n}", position=Position.IN_TRANSIT) for n in range(3)])
        assert connection.execute(select(func.count()).select_from(REQUESTS)).scalar() == 3


@pytest.mark.parametrize(("position", "stage"), [(p, s) for p in sorted(Position) for s in (*Stage, "")])
def test_stage_must_match_the_position(engine: Engine, position: Position, stage: str) -> None:
    refused = nullcontext() if stage == STAGES[position] else pytest.raises(IntegrityError)
    with engine.connect() as connection, refused:
        connection.execute(insert(REQUESTS), _request("R1", position=position, stage=stage))


def test_checkout_updates_only_indexes_of_changed_columns() -> None:
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


def test_every_position_is_either_final_or_open() -> None:
    assert set(Position) > FINAL
    assert not FINAL & HOLDS_ITEM


@pytest.mark.parametrize("table", METADATA.sorted_tables, ids=lambda t: t.name)
def test_every_table_has_a_comment(table: Any) -> None:
    assert table.comment.endswith(".")
