"""A COMMIT without a reply: PostgreSQL is queried for its outcome, so that no work is repeated or wrongly confirmed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, insert, select, text
from twisted.internet.defer import Deferred

from hkall_gateway.db import bind
from hkall_gateway.db.database import Database, finished
from hkall_gateway.db.engine import commit_fate
from hkall_gateway.db.engine.commit_fate import INCARNATION, Fate, Incarnation, Transaction, fate_of
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.tables import INBOX
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.deadline import Undecided
from hkall_gateway.simulator.databases import SoleStore
from tests import turns
from tests.postgres_proxy import Proxy, proxy

PATIENCE_S = 30.0
DAY = datetime(2017, 3, 1, tzinfo=UTC)
MakeUnit = Callable[[Connection], UnitOfWork]
NUMBERS = count()


class Site:
    """A gateway whose connections to the database go through a proxy."""

    def __init__(self, engine: Engine, direct: Engine, lossy: Proxy, make_unit: MakeUnit) -> None:
        self.engine, self.proxy, self._direct = engine, lossy, direct
        self._pending: Queue[Callable[[], None]] = Queue()
        self.database = Database(engine, make_unit, self._pending.put)

    def told(self, *waiters: Deferred[Any]) -> list[Any]:
        return turns.told(waiters, lambda: self._pending.get(timeout=PATIENCE_S)())

    def kept(self) -> list[str]:
        with self._direct.connect() as other:
            return list(other.execute(select(INBOX.c.digest).order_by(INBOX.c.digest)).scalars())


def write(unit: UnitOfWork, name: str) -> str:
    """Insert a row that may exist only once per attempt."""
    unit.execute(insert(INBOX).values(agency="CUHK", digest=f"{name}-{next(NUMBERS)}", made_at=DAY, keep_until=DAY))
    return name


@pytest.fixture
def site(postgres_engine: Engine, make_unit: MakeUnit) -> Iterator[Site]:
    folder = postgres_engine.url.query["host"]
    with proxy(Path(str(folder))) as lossy:
        engine = open_engine(
            postgres_engine.url.update_query_dict({"host": str(lossy.folder)}).render_as_string(hide_password=False)
        )
        made = Site(engine, postgres_engine, lossy, make_unit)
        yield made
        made.database.close()
        engine.dispose()


@pytest.mark.parametrize("repeatable", [False, True])
def test_committed_work_is_confirmed_and_not_repeated(site: Site, repeatable: bool) -> None:
    site.proxy.to_lose = 1
    waiters = [site.database.write(bind(write, name), LockSet(), repeatable=repeatable) for name in "abc"]
    assert site.told(*waiters) == ["a", "b", "c"]
    assert [name[0] for name in site.kept()] == ["a", "b", "c"]
    assert site.proxy.lost == 1


def test_uncommitted_work_is_repeated_on_a_new_connection(site: Site, postgres_engine: Engine) -> None:
    @event.listens_for(site.engine, "before_cursor_execute")
    def end_session(_c: object, _cursor: object, statement: str, *_more: object) -> None:
        if statement == "COMMIT":
            event.remove(site.engine, "before_cursor_execute", end_session)
            with postgres_engine.connect() as other:
                other.exec_driver_sql(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                    "WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()"
                )

    assert site.told(site.database.write(bind(write, "a"), LockSet())) == ["a"]
    assert [name[0] for name in site.kept()] == ["a"]


def test_commit_of_unknown_outcome_is_neither_confirmed_nor_retried(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Incarnation, "goes_on_in", lambda _self, _later: False)  # as after a crash of the server
    site.proxy.to_lose = 1
    (told,) = site.told(site.database.write(bind(write, "a"), LockSet()))
    assert isinstance(told, Undecided)
    assert site.told(site.database.write(bind(write, "b"), LockSet())) == ["b"]


def test_command_line_also_checks_the_outcome_of_a_commit(site: Site, make_unit: MakeUnit) -> None:
    store = SoleStore(site.engine, make_unit)
    site.proxy.to_lose = 1
    assert finished(store.write(bind(write, "a"), LockSet())) == "a"
    store.close()
    assert [name[0] for name in site.kept()] == ["a"]


def test_running_transaction_is_terminated_and_counts_as_aborted(postgres_engine: Engine, make_unit: MakeUnit) -> None:
    with postgres_engine.connect() as silent, postgres_engine.connect() as asking:
        silent.exec_driver_sql("BEGIN")
        write(make_unit(silent), "a")
        number, backend = silent.exec_driver_sql("SELECT pg_current_xact_id()::TEXT, pg_backend_pid()").one()
        found = fate_of(asking, Transaction(number, backend, silent.info[INCARNATION]))
        silent.invalidate()
    assert found is Fate.ABORTED


@pytest.mark.parametrize(
    ("number", "same", "fate"),
    [
        ("committed", True, "committed"),
        ("committed", False, "unknown"),
        ("aborted", False, "aborted"),
        ("never", True, "aborted"),
    ],
)
def test_commit_status_is_trusted_only_from_a_server_that_did_not_restart(
    postgres_engine: Engine, number: str, same: bool, fate: str
) -> None:
    with postgres_engine.connect() as one:
        one.exec_driver_sql("BEGIN")
        found = one.exec_driver_sql("SELECT pg_current_xact_id()::TEXT").scalar_one()
        one.exec_driver_sql("ROLLBACK" if number == "aborted" else "COMMIT")
        known: Incarnation = one.info[INCARNATION]
        server = known if same else Incarnation("another start", known.processes)
        asked = str(int(found) + 1_000_000) if number == "never" else found
        assert fate_of(one, Transaction(asked, 0, server)) == fate


def test_server_counts_as_not_restarted_if_one_of_its_processes_still_runs() -> None:
    first = Incarnation("noon", frozenset({11, 12}))
    assert first.goes_on_in(Incarnation("noon", frozenset({12, 99})))
    assert not first.goes_on_in(Incarnation("noon", frozenset({98, 99})))  # it has crashed and recovered
    assert not first.goes_on_in(Incarnation("one o'clock", frozenset({11, 12})))


def test_group_reads_its_transaction_id_before_the_commit(postgres_engine: Engine, make_unit: MakeUnit) -> None:
    said: list[str] = []
    event.listen(postgres_engine, "before_cursor_execute", lambda _c, _cursor, statement, *_: said.append(statement))
    store = SoleStore(postgres_engine, make_unit)
    finished(store.write(lambda unit: unit.execute(text("SELECT 1")).scalar(), LockSet()))
    store.close()
    numbers = [place for place, statement in enumerate(said) if "pg_current_xact_id" in statement]
    assert numbers
    assert max(numbers) < said.index("COMMIT")
    assert commit_fate.QUERIES * commit_fate.PAUSE_S < 8  # a terminal waits no longer
