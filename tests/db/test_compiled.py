"""CompiledStatement gives the same types, errors and listener calls as SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, bindparam, event, func, insert, select, update
from sqlalchemy.exc import IntegrityError, StatementError

from hkall_gateway.db.engine.compiled import CompiledStatement, insert_row, update_by_key
from hkall_gateway.db.tables import INBOX, PATRONS, REQUESTS
from hkall_gateway.rules.positions import Stage
from hkall_gateway.rules.vocabulary import Position, Side

pytestmark = pytest.mark.sql_differs

HONG_KONG = timezone(timedelta(hours=8))
BY_SIDE = select(REQUESTS).where(REQUESTS.c.side == Side.BORROWING, REQUESTS.c.due > bindparam("after"))
BY_SIDE_COUNT = CompiledStatement(select(func.count()).select_from(REQUESTS))
ADD = insert_row(REQUESTS, "id", "side", "position", "stage", "placed_at", "moved_at", "due", "unwanted", "renewals", "title")
MOVE = update_by_key(REQUESTS, ("id", "position"), ("position", "due"))


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as opened:
        yield opened


def _request(now: datetime, **values: Any) -> dict[str, Any]:
    known = {"id": "R1", "side": Side.BORROWING, "position": Position.ON_LOAN, "stage": Stage.IN_HAND}
    facts = {"due": date(2017, 3, 16), "unwanted": True, "renewals": 2, "title": "100 % 'Dune' 沙丘"}
    return {**known, "placed_at": now, "moved_at": now, **facts, **values}


def test_compiled_statement_returns_the_same_rows_as_sqlalchemy(connection: Connection, now: datetime) -> None:
    connection.execute(insert(REQUESTS), _request(now))
    usual = connection.execute(BY_SIDE, {"after": date(2017, 3, 1)}).mappings().all()
    assert CompiledStatement(BY_SIDE).rows(connection, after=date(2017, 3, 1)) == [dict(row) for row in usual]


def test_inserted_row_round_trips_with_its_types(connection: Connection, now: datetime) -> None:
    assert ADD.change(connection, **_request(now.astimezone(HONG_KONG))) == 1
    found = connection.execute(select(REQUESTS)).mappings().one()
    expected = _request(now) | {"side": "borrow", "position": "ON_LOAN", "stage": "in_hand"}
    assert {name: found[name] for name in expected} == expected
    assert found["unwanted"] is True
    assert found["moved_at"].utcoffset() == timedelta(0)


def test_row_is_updated_only_if_its_position_is_unchanged(connection: Connection, now: datetime) -> None:
    ADD.change(connection, **_request(now))
    there = {"was_id": "R1", "new_position": Position.TO_RETURN, "new_due": None}
    assert MOVE.change(connection, was_position=Position.RECEIVED, **there) == 0
    assert MOVE.change(connection, was_position=Position.ON_LOAN, **there) == 1
    assert connection.execute(select(REQUESTS.c.position, REQUESTS.c.due)).all() == [("TO_RETURN", None)]


def test_update_returns_the_changed_rows(connection: Connection, now: datetime) -> None:
    ADD.change(connection, **_request(now))
    change = update(REQUESTS).where(REQUESTS.c.id == bindparam("number")).values(unwanted=False)
    made = CompiledStatement(change.returning(REQUESTS.c.id, REQUESTS.c.unwanted, REQUESTS.c.moved_at))
    assert made.rows(connection, number="R1") == [{"id": "R1", "unwanted": False, "moved_at": now}]
    assert made.rows(connection, number="R2") == []


def test_first_returns_none_without_a_row(connection: Connection) -> None:
    assert CompiledStatement(BY_SIDE).first(connection, after=date(2017, 3, 1)) is None


def test_database_error_has_the_sqlalchemy_type_and_no_parameter_values(connection: Connection) -> None:
    add = insert_row(PATRONS, "barcode", "email")
    add.change(connection, barcode="P1", email="chan@hku.test")
    with pytest.raises(IntegrityError) as refused:
        add.change(connection, barcode="P1", email="chan@hku.test")
    assert "chan@hku.test" not in str(refused.value)


def test_naive_timestamp_is_refused(connection: Connection, now: datetime) -> None:
    with pytest.raises(StatementError, match="naive"):
        insert_row(INBOX, "agency", "digest", "made_at", "keep_until").change(
            connection, agency="CUHK", digest="d", made_at=now, keep_until=now.replace(tzinfo=None)
        )


def test_missing_parameter_raises_an_error(connection: Connection) -> None:
    with pytest.raises(StatementError, match="after"):
        CompiledStatement(BY_SIDE).rows(connection)


def test_statement_listeners_are_called(engine: Engine, connection: Connection) -> None:
    heard: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _cursor, statement, *_rest: heard.append(statement))
    CompiledStatement(BY_SIDE).rows(connection, after=date(2017, 3, 1))
    assert [statement.split()[0] for statement in heard] == ["SELECT"]


def test_appended_row_is_written_before_the_next_update_of_its_table(connection: Connection, now: datetime) -> None:
    connection.exec_driver_sql("BEGIN")
    ADD.append(connection, **_request(now))
    ADD.append(connection, **_request(now, id="R2"))
    MOVE.write(connection, was_id="R1", was_position=Position.ON_LOAN, new_position=Position.TO_RETURN, new_due=None)
    found = connection.execute(select(REQUESTS.c.id, REQUESTS.c.position).order_by(REQUESTS.c.id)).all()
    assert found == [("R1", "TO_RETURN"), ("R2", "ON_LOAN")]
    connection.exec_driver_sql("ROLLBACK")


def test_appended_rows_are_written_by_any_commit(engine: Engine, now: datetime) -> None:
    with engine.connect() as one, engine.connect() as other:
        one.exec_driver_sql("BEGIN")
        ADD.append(one, **_request(now))
        one.exec_driver_sql("COMMIT")
        assert other.execute(select(REQUESTS.c.id)).scalars().all() == ["R1"]


def test_appended_rows_are_discarded_when_the_connection_is_returned(engine: Engine, now: datetime) -> None:
    with engine.connect() as left:
        left.exec_driver_sql("BEGIN")
        ADD.append(left, **_request(now))
    with engine.connect() as following:
        assert BY_SIDE_COUNT.cells(following) == [[0]]


def test_sqlalchemy_statement_runs_after_appended_rows_are_written(connection: Connection, now: datetime) -> None:
    ADD.append(connection, **_request(now))
    assert connection.execute(update(REQUESTS).values(title="Emma")).rowcount == 1


def test_update_of_a_missing_row_returns_zero(connection: Connection) -> None:
    assert MOVE.write(connection, was_id="R9", was_position=Position.NEW, new_position=Position.NEW, new_due=None) == 0
