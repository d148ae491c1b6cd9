"""One page is drawn at a time; while it waits for something else, another one is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, literal, select, text
from sqlalchemy.exc import DBAPIError

from hkall_gateway.db.engine.compiled import CompiledStatement
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.web.precedence import Precedence
from hkall_gateway.web.turns import LONG_S, Turn

LIMIT_S = 5.0


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = open_engine(f"sqlite:///{tmp_path / 'hkall.db'}")
    yield made
    made.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def both_databases(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.getfixturevalue("engine" if request.param == "sqlite" else "postgres_engine")
    return found


def another_draws(turn: Turn, threads: ThreadPoolExecutor) -> bool:
    """Whether another thread gets the turn now, within a second."""
    drawn = threading.Event()

    def draw() -> None:
        with turn:
            drawn.set()

    threads.submit(draw)
    return drawn.wait(1.0)


def test_two_pages_are_never_drawn_at_once(threads: ThreadPoolExecutor) -> None:
    turn, drawing, most = Turn(time.monotonic, Precedence()), [0], [0]

    def draw() -> None:
        for _ in range(200):
            with turn:
                drawing[0] += 1
                most[0] = max(most[0], drawing[0])
                drawing[0] -= 1

    for drawn in [threads.submit(draw) for _ in range(4)]:
        drawn.result(LIMIT_S)
    assert most == [1]


def test_nobody_else_draws_while_a_page_computes(threads: ThreadPoolExecutor) -> None:
    turn = Turn(time.monotonic, Precedence())
    with turn:
        assert not another_draws(turn, threads)


def test_another_page_is_drawn_while_one_waits(threads: ThreadPoolExecutor) -> None:
    turn = Turn(time.monotonic, Precedence())
    with turn:
        with turn.waiting():
            assert another_draws(turn, threads)
        assert turn.held


def test_another_page_is_drawn_during_a_long_statement(engine: Engine, threads: ThreadPoolExecutor) -> None:
    turn, drawn = Turn(time.monotonic, Precedence()), list[bool]()
    own = turn.engine(engine)
    with turn, own.connect() as connection:
        driver: Any = connection.connection.driver_connection
        driver.create_function("meanwhile", 0, lambda: drawn.append(another_draws(turn, threads)))
        connection.execute(text("SELECT meanwhile()")).all()
        assert turn.held
    assert drawn == [True]


def test_a_short_statement_keeps_the_turn(engine: Engine, threads: ThreadPoolExecutor) -> None:
    turn, asked = Turn(lambda: 0.0, Precedence()), list[bool]()
    with turn, turn.engine(engine).connect() as connection:
        driver: Any = connection.connection.driver_connection
        driver.create_function("meanwhile", 0, lambda: asked.append(another_draws(turn, threads)))
        connection.execute(text("SELECT meanwhile()")).all()
    assert asked == [False]


def test_another_page_is_drawn_while_postgresql_works(postgres_engine: Engine, threads: ThreadPoolExecutor) -> None:
    turn, drawing = Turn(lambda: 0.0, Precedence()), threading.Event()
    own = turn.engine(postgres_engine)

    def ask() -> bool:
        with turn, own.connect() as connection:
            drawing.set()
            connection.execute(text("SELECT pg_sleep(0.5)")).all()
            return turn.held

    asking = threads.submit(ask)
    assert drawing.wait(LIMIT_S)
    begun = time.monotonic()
    with turn:
        assert time.monotonic() - begun < 0.4
    assert asking.result(LIMIT_S)


def test_a_compiled_statement_keeps_the_turn(both_databases: Engine, threads: ThreadPoolExecutor) -> None:
    seconds = [0.0]
    turn = Turn(lambda: seconds[0], Precedence())
    with turn, turn.engine(both_databases).connect() as connection:
        assert CompiledStatement(select(literal(1).label("one"))).cells(connection) == [[1]]
        seconds[0] += 10 * LONG_S
        assert turn.held
        assert not another_draws(turn, threads)


def test_pages_with_long_statements_draw_in_turn_and_ask_together(engine: Engine, threads: ThreadPoolExecutor) -> None:
    turn, drawing, most = Turn(time.monotonic, Precedence()), [0], [0]
    own = turn.engine(engine)
    together = threading.Barrier(4)  # broken, and an error, if one waits until another one's statement ends

    def draw() -> None:
        with turn, own.connect() as connection:
            driver: Any = connection.connection.driver_connection
            driver.create_function("meet", 0, lambda: together.wait(LIMIT_S))
            for _ in range(5):
                connection.execute(text("SELECT meet()")).all()
                drawing[0] += 1
                most[0] = max(most[0], drawing[0])
                time.sleep(0.001)
                drawing[0] -= 1

    for drawn in [threads.submit(draw) for _ in range(4)]:
        drawn.result(2 * LIMIT_S)
    assert most == [1]


def test_pages_draw_in_the_order_in_which_they_came(threads: ThreadPoolExecutor) -> None:
    turn, drawn = Turn(time.monotonic, Precedence()), list[int]()

    def draw(number: int) -> None:
        with turn:
            drawn.append(number)

    with turn:
        waiting = []
        for number in range(3):
            waiting.append(threads.submit(draw, number))
            time.sleep(0.02)
    draw(3)  # this thread has just had it
    for one in waiting:
        one.result(LIMIT_S)
    assert drawn == [0, 1, 2, 3]


def test_a_statement_that_fails_gives_the_turn_back(engine: Engine, threads: ThreadPoolExecutor) -> None:
    turn = Turn(time.monotonic, Precedence())
    with turn, turn.engine(engine).connect() as connection:
        with pytest.raises(DBAPIError):
            connection.execute(text("SELECT * FROM no_such_table"))
        assert turn.held
        assert not another_draws(turn, threads)
    assert another_draws(turn, threads)


@pytest.mark.parametrize("work", [lambda turn: turn.waiting(), lambda turn: turn])
def test_an_error_leaves_the_turn_free(work: Callable[[Turn], Any], threads: ThreadPoolExecutor) -> None:
    turn = Turn(time.monotonic, Precedence())
    with pytest.raises(RuntimeError), work(turn):
        raise RuntimeError
    assert not turn.held
    assert another_draws(turn, threads)


def test_a_thread_without_the_turn_asks_the_database_all_the_same(engine: Engine) -> None:
    turn = Turn(time.monotonic, Precedence())
    with turn.engine(engine).connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    assert not turn.held
