"""The bridge from a page thread to the reactor thread: results, time limit, shutdown."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, insert, select
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread
from werkzeug.exceptions import GatewayTimeout

from hkall_gateway.db import bind
from hkall_gateway.db.database import Database
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.tables import INBOX, create_all
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.deadline import current
from hkall_gateway.net.limits.timeout import Timeout
from hkall_gateway.observability.log_context import log_context, logged_context
from hkall_gateway.web.bridge import TRY_AGAIN, CirculationBridge

LIMIT_S = 0.2
DAY = datetime(2017, 3, 1, tzinfo=UTC)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = open_engine(f"sqlite:///{tmp_path / 'hkall.db'}")
    create_all(made)
    yield made
    made.dispose()


@pytest.fixture
def bridge(reactor: Any, engine: Engine, make_unit: Callable[[Connection], UnitOfWork]) -> Iterator[CirculationBridge]:
    store = blockingCallFromThread(reactor, Database, engine, make_unit, reactor.callFromThread)
    yield CirculationBridge(reactor, store, engine, make_unit, Timeout(reactor, LIMIT_S))
    blockingCallFromThread(reactor, store.close)


async def thread_of() -> int:
    return threading.get_ident()


def reactor_thread(reactor: Any) -> int:
    return int(blockingCallFromThread(reactor, threading.get_ident))


def test_command_runs_in_the_reactor_thread(bridge: CirculationBridge, reactor: Any) -> None:
    assert bridge.run(thread_of()) == reactor_thread(reactor) != threading.get_ident()


def test_query_runs_in_the_page_thread(bridge: CirculationBridge) -> None:
    assert bridge.read(lambda _unit: threading.get_ident()) == threading.get_ident()


def test_query_is_unavailable_when_the_database_cannot_be_reached(bridge: CirculationBridge, engine: Engine) -> None:
    engine.dispose()

    @event.listens_for(engine, "do_connect")
    def refuse(*_: object) -> None:
        raise sqlite3.OperationalError("unable to open database file")

    with pytest.raises(Unavailable):
        bridge.read(lambda _unit: None)
    event.remove(engine, "do_connect", refuse)


def test_write_is_committed_when_it_returns(bridge: CirculationBridge) -> None:
    from hkall_gateway.db import web_sessions
    from tests.db.test_web_sessions import session

    bridge.write(bind(web_sessions.begin, session("one"), session("one").created_at), LockSet())
    assert bridge.read(bind(web_sessions.find, "one")) == session("one")


def test_command_without_a_timely_reply_returns_try_again(bridge: CirculationBridge) -> None:
    async def never() -> None:
        await Deferred()

    began = time.monotonic()
    assert bridge.run(never()) is TRY_AGAIN
    assert time.monotonic() - began < LIMIT_S * 10


def test_command_during_a_database_outage_returns_try_again(bridge: CirculationBridge) -> None:
    async def away() -> None:
        raise Unavailable("away")

    assert bridge.run(away()) is TRY_AGAIN


def test_exception_in_a_command_reaches_the_page(bridge: CirculationBridge) -> None:
    async def bug() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        bridge.run(bug())


def test_write_times_out_as_unavailable(bridge: CirculationBridge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "_store", type("Silent", (), {"write": staticmethod(lambda *_, **__: Deferred())}))
    with pytest.raises(Unavailable):
        bridge.write(lambda _unit: None, LockSet())


def test_log_context_of_the_page_is_passed_to_the_command(bridge: CirculationBridge) -> None:
    async def fields() -> str:
        return logged_context()["corr_id"]

    with log_context(corr_id="ABCD2345"):
        assert bridge.run(fields()) == "ABCD2345"


def test_stop_answers_current_and_later_callers(
    bridge: CirculationBridge, reactor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge, "_timeout", Timeout(reactor, 60.0))

    async def never() -> None:
        await Deferred()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: bridge.run(never()))
        while not bridge._waiting:
            time.sleep(0.001)
        blockingCallFromThread(reactor, bridge.close)
        assert waiting.result(10) is TRY_AGAIN
    assert bridge.run(never()) is TRY_AGAIN


# ---- a command that has begun


@pytest.fixture
def held(reactor: Any, bridge: CirculationBridge) -> Iterator[Event]:
    """Block the writer until the event is set."""
    inside, let_go = Event(), Event()

    def hold(_unit: UnitOfWork) -> None:
        inside.set()
        assert let_go.wait(10)

    reactor.callFromThread(bridge._store.write, hold, LockSet())
    assert inside.wait(10)
    yield let_go
    let_go.set()


def marked(unit: UnitOfWork) -> str:
    """The effect of a command."""
    unit.execute(insert(INBOX).values(agency="HKU", digest="done", made_at=DAY, keep_until=DAY))
    return "done"


def _is_done(bridge: CirculationBridge) -> bool:
    def ask(unit: UnitOfWork) -> bool:
        return unit.execute(select(INBOX.c.digest)).scalar() == "done"

    return bridge.read(ask)


def test_command_answered_with_try_again_never_takes_effect(bridge: CirculationBridge, held: Event) -> None:
    async def command() -> str:
        return await bridge._store.write(marked, LockSet(), until=current())

    assert bridge.run(command()) is TRY_AGAIN
    held.set()
    bridge.write(lambda _unit: None, LockSet())  # behind it in the queue
    assert not _is_done(bridge)


def test_page_returns_504_when_its_command_has_begun_and_exceeds_the_limit(bridge: CirculationBridge) -> None:
    inside, let_go = Event(), Event()

    def slow(unit: UnitOfWork) -> str:
        inside.set()
        assert let_go.wait(10)
        return marked(unit)

    async def command() -> str:
        return await bridge._store.write(slow, LockSet(), until=current())

    with pytest.raises(GatewayTimeout):
        bridge.run(command())
    assert inside.is_set()
    let_go.set()
    bridge.write(lambda _unit: None, LockSet())
    assert _is_done(bridge)


def test_command_started_in_time_is_answered_even_after_the_limit(bridge: CirculationBridge) -> None:
    """A busy machine may let a command begin too late or last too long, so that one of several is awaited."""

    def slow(_unit: UnitOfWork) -> str:
        time.sleep(LIMIT_S * 1.1)
        return "done"

    async def command() -> str:
        return await bridge._store.write(slow, LockSet(), until=current())

    def answer() -> object:
        try:
            return bridge.run(command())
        except GatewayTimeout:
            return None

    assert any(answer() == "done" for _ in range(20))
