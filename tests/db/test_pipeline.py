"""Statements that go to PostgreSQL in one trip: answered in their order, refused one by one, and written when it counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, func, select, text, update
from sqlalchemy.exc import IntegrityError

from hkall_gateway.db.engine.compiled import CompiledStatement, discard, flush, insert_row, update_by_key
from hkall_gateway.db.engine.pipeline import BoundStatement, Pipeline, StatementRefused
from hkall_gateway.db.tables import PATRONS
from hkall_gateway.rules.vocabulary import LostRace

ADD = insert_row(PATRONS, "barcode", "name")
RENAME = update_by_key(PATRONS, ("barcode",), ("name",))
COUNT = CompiledStatement(select(func.count()).select_from(PATRONS))
MIB = 2**20


@pytest.fixture
def connection(postgres_engine: Engine) -> Iterator[Connection]:
    with postgres_engine.connect() as opened:
        yield opened


@pytest.fixture
def pipeline(connection: Connection) -> Pipeline:
    return Pipeline(connection.connection.dbapi_connection)


def _values(results: list[Any]) -> list[bytes]:
    return [result.get_value(0, 0) for result in results]


def _seen(engine: Engine) -> int:
    with engine.connect() as other:
        return int(COUNT.cells(other)[0][0])


def _say(number: int) -> BoundStatement:
    return BoundStatement(b"SELECT $1::INTEGER * 2", (str(number).encode(),))


def test_each_statement_is_answered_in_its_order(pipeline: Pipeline) -> None:
    assert _values(pipeline.exchange([_say(1), BoundStatement(b"SELECT 'x'", ()), _say(3)])) == [b"2", b"x", b"6"]
    assert _values(pipeline.exchange([_say(4)])) == [b"8"]


@pytest.mark.parametrize("bad", [b"SELECT 1 / $1::INTEGER", b"SELECT nothing FROM nowhere WHERE $1::INTEGER = 0"])
def test_the_first_that_is_refused_is_named_and_the_connection_goes_on(pipeline: Pipeline, bad: bytes) -> None:
    for _ in range(2):
        with pytest.raises(StatementRefused) as refused:
            pipeline.exchange([_say(1), BoundStatement(bad, (b"0",)), BoundStatement(b"SELECT 'after'", ())])
        assert refused.value.place == 1
    assert _values(pipeline.exchange([BoundStatement(b"SELECT 'after'", ()), _say(5)])) == [b"after", b"10"]


def test_more_than_any_buffer_holds_goes_both_ways_at_once(pipeline: Pipeline) -> None:
    big = [BoundStatement(b"SELECT $1::TEXT", (letter * 8 * MIB,)) for letter in (b"a", b"b", b"c")]
    assert [len(value) for value in _values(pipeline.exchange(big))] == [8 * MIB] * 3


def test_what_was_written_is_there_for_whoever_asks_next(connection: Connection, postgres_engine: Engine) -> None:
    ADD.write(connection, barcode="P1", name="x")
    assert _seen(postgres_engine) == 0
    assert COUNT.cells(connection) == [[1]]
    assert _seen(postgres_engine) == 1


def test_what_was_written_by_one_who_let_go_of_the_connection_is_not_done_by_the_next(postgres_engine: Engine) -> None:
    with postgres_engine.connect() as left:
        ADD.write(left, barcode="P1", name="x")
    assert _seen(postgres_engine) == 0


def test_what_sqlalchemy_says_itself_comes_after_what_was_written(connection: Connection) -> None:
    ADD.write(connection, barcode="P1", name="x")
    assert connection.execute(update(PATRONS).values(name="y")).rowcount == 1


def test_what_was_refused_is_raised_as_usual_by_whoever_comes_next(connection: Connection) -> None:
    ADD.write_all(connection, [{"barcode": card, "name": "x"} for card in ("P1", "P2", "P1")])
    with pytest.raises(IntegrityError, match="duplicate key"):
        COUNT.cells(connection)
    assert COUNT.cells(connection) == [[0]]


def test_a_row_that_must_be_there_and_is_not_stops_what_comes_after_it(connection: Connection) -> None:
    lost = LostRace("it was not there")
    ADD.change(connection, barcode="P1", name="x")
    RENAME.write_one(connection, lost, was_barcode="P1", new_name="y")
    RENAME.write_one(connection, lost, was_barcode="P2", new_name="y")
    ADD.write(connection, barcode="P3", name="y")
    with pytest.raises(LostRace, match="not there"):
        flush(connection)
    assert COUNT.cells(connection) == [[1]]


def test_a_division_by_nothing_elsewhere_is_not_taken_for_a_missing_row(connection: Connection) -> None:
    RENAME.write_one(connection, LostRace("it was not there"), was_barcode="P1", new_name="y")
    discard(connection)
    with pytest.raises(Exception, match="division by zero"):
        CompiledStatement(select(text("1 / 0 AS n"))).rows(connection)
