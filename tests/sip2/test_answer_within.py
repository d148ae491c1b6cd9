"""A terminal is answered within its time limit; a message answered "try again" or without a reply has no effect.

The store is a queue that the test releases, like a writer whose database does not respond.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs
from twisted.internet.defer import Deferred, fail

from hkall_gateway.app import gauges
from hkall_gateway.circulation.circulation import Circulation
from hkall_gateway.db.database import finished
from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.tables import JOURNAL
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.deadline import Deadline
from hkall_gateway.ils.local_system import ConnectedSystem
from hkall_gateway.net.limits.timeout import Timeout
from hkall_gateway.rules.vocabulary import Position, Request
from hkall_gateway.simulator.databases import SoleStore
from hkall_gateway.sip2.codec.dialects import DIALECTS
from hkall_gateway.sip2.dispatch import Sip2Services
from tests.metrics import value
from tests.sip2.conftest import LocalIls, Port

CHECK_IN = b"09N20170301    10000020170301    100000APHKU-MAIN-LENDING|AOHKU|ABC1|AC|\r"
LOG_IN = b"9300CNcounter-2|COcounter-2-pw|\r"


class HeldStore:
    """A store whose units wait until `let_go`; queries run immediately."""

    def __init__(self, store: SoleStore) -> None:
        self._store = store
        self._waiting: list[Callable[[], None]] = []
        self.deadlines: list[Deadline | None] = []
        self.away = False

    def write(self, work: Any, locks: LockSet, until: Deadline | None = None, **options: Any) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred()
        self._waiting.append(lambda: _answered(answer, partial(self._store.write, work, locks, until, **options)))
        self.deadlines.append(until)
        return answer

    def read(self, query: Any, **options: Any) -> Any:
        return fail(Unavailable("away")) if self.away else self._store.read(query, **options)

    def let_go(self) -> None:
        while self._waiting:
            self._waiting.pop(0)()


def _answered(answer: Deferred[Any], run: Callable[[], Any]) -> None:
    try:
        result = finished(run())
    except Exception as error:  # noqa: BLE001  # whatever it is, its caller is told
        answer.errback(error)
    else:
        answer.callback(result)


@pytest.fixture
def held(store: SoleStore) -> HeldStore:
    return HeldStore(store)


@pytest.fixture
def port(services: Sip2Services, store: SoleStore, held: HeldStore) -> Iterator[Port]:
    """A port that replies within eight seconds. An item of CUHK is in transit to us."""
    waiting: Any = held
    circulation = Circulation(
        waiting,
        ConnectedSystem(waiting, LocalIls(store), lambda: services.circulation.library, services.now),
        lambda: services.circulation.library,
        services.now,
    )
    made = Port(replace(services, circulation=circulation), slow=False)
    limit = Timeout(made.clock, 8, gauges.expiry_reporter(services.metrics, "sip2"))
    made.services = replace(made.services, timeout=limit)
    made.terminals.services = lambda: made.services
    yield made
    made.clock.advance(2 * 8)  # expire the timers of answered messages, which must have no effect
    assert made.clock.getDelayedCalls() == []


@pytest.fixture(autouse=True)
def on_its_way(place: Callable[..., Request]) -> None:
    place(Position.IN_TRANSIT)


def steps(store: SoleStore) -> list[str]:
    def ask(unit: UnitOfWork) -> list[str]:
        return list(unit.execute(select(JOURNAL.c.event).where(JOURNAL.c.event != "OPEN").order_by(JOURNAL.c.id)).scalars())

    return store.now(ask)


def test_late_check_in_is_answered_with_try_again_and_never_takes_effect(port: Port, held: HeldStore, store: SoleStore) -> None:
    caller = port.call()
    assert caller.hears(CHECK_IN) == b""
    port.clock.advance(7.9)
    assert caller.hears() == b""
    with capture_logs() as lines:
        port.clock.advance(0.1)
    assert caller.hears()[:3] == b"100"
    assert [line["why"] for line in lines if line["event"] == "command.expired"] == ["late"]
    held.let_go()
    assert (caller.hears(), steps(store)) == (b"", [])
    assert value(port.services.metrics, "commands_expired_total", "sip2", "late") == 1
    caller.goes()


def test_connection_continues_after_a_late_message(port: Port, held: HeldStore, store: SoleStore) -> None:
    caller = port.call()
    caller.hears(CHECK_IN)
    port.clock.advance(8)
    assert caller.hears()[:3] == b"100"
    caller.hears(CHECK_IN.replace(b"N2017", b"N2018"))
    held.let_go()
    assert caller.hears()[:3] == b"101"
    assert steps(store) == ["ARRIVE"]
    caller.goes()


def test_time_limit_of_a_queued_message_starts_at_its_arrival(port: Port, held: HeldStore) -> None:
    caller = port.call()
    caller.hears(CHECK_IN)
    port.clock.advance(5)
    caller.hears(CHECK_IN.replace(b"C1", b"C2"))
    port.clock.advance(3)
    assert caller.hears()[:3] == b"100"
    port.clock.advance(4.9)
    assert caller.hears() == b""
    port.clock.advance(0.1)
    assert caller.hears()[:3] == b"100"
    held.let_go()
    caller.goes()


def test_dialect_with_a_shorter_time_limit_is_answered_earlier(port: Port, held: HeldStore) -> None:
    hasty = replace(DIALECTS["standard"], timeout_tenths=50)
    rows = {**port.services.terminals, "counter-2": replace(port.services.terminals["counter-2"], dialect=hasty)}
    port.services = replace(port.services, terminals=rows)
    caller = port.call(log_in=False)
    assert caller.hears(LOG_IN) == b"941\r"
    caller.hears(CHECK_IN)
    port.clock.advance(4)
    assert caller.hears()[:3] == b"100"
    held.let_go()
    caller.goes()


def test_check_in_never_takes_effect_after_its_terminal_disconnects(port: Port, held: HeldStore, store: SoleStore) -> None:
    caller = port.call()
    caller.hears(CHECK_IN)
    caller.goes()
    with capture_logs() as lines:
        held.let_go()
    assert steps(store) == []
    assert [line["why"] for line in lines if line["event"] == "command.expired"] == ["gone"]
    assert value(port.services.metrics, "commands_expired_total", "sip2", "gone") == 1


def test_command_that_has_begun_is_answered_with_its_outcome(port: Port, held: HeldStore, store: SoleStore) -> None:
    caller = port.call()
    caller.hears(CHECK_IN)
    (deadline,) = held.deadlines
    assert deadline is not None
    assert deadline.begin(again=False, late=False)
    port.clock.advance(9.9)
    assert caller.hears() == b""
    deadline.undo()
    held.let_go()  # the unit was rolled back, and its deadline passes before it can run again
    assert caller.hears()[:3] == b"100"
    assert steps(store) == []
    caller.goes()


def test_connection_closes_without_a_reply_when_the_outcome_is_unknown(port: Port, held: HeldStore) -> None:
    caller = port.call()
    caller.hears(CHECK_IN)
    (deadline,) = held.deadlines
    assert deadline is not None
    assert deadline.begin(again=False, late=False)
    with capture_logs() as lines:
        port.clock.advance(10)
    assert (caller.hears(), caller.hung_up) == (b"", True)
    assert [line["code"] for line in lines if line["event"] == "sip2.undecided"] == ["09"]
    held.let_go()
    caller.goes()


def test_terminal_date_is_used_only_for_offline_transactions(port: Port, held: HeldStore, store: SoleStore) -> None:
    """The clock of this terminal is a week slow."""
    caller = port.call()
    caller.hears(CHECK_IN)
    held.let_go()
    assert caller.hears()[:3] == b"101"
    lent = b"11NN20170222    100000                  AOHKU|AAP1|ABC1|AC|AD1234|\r"
    assert caller.hears(lent) == b""
    held.let_go()
    assert caller.hears()[:3] == b"121"
    caller.hears(CHECK_IN.replace(b"20170301", b"20170222"))
    held.let_go()
    days = store.now(lambda unit: [(r.first_checkout, r.returned_on) for r in unit.requests.open_list()])
    assert [f"{lent_on} {returned}" for lent_on, returned in days] == ["2017-03-01 2017-03-01"]
    caller.goes()


def test_committed_check_in_is_confirmed_although_the_database_fails_afterwards(
    port: Port, held: HeldStore, store: SoleStore
) -> None:
    """The fields for a sorter are read after the commit."""
    caller = port.call(log_in=False)
    caller.hears(b"9300CNsorter-1|COsorter-1-pw|\r")
    caller.hears(CHECK_IN)
    held.away = True
    held.let_go()
    assert caller.hears()[:3] == b"101"
    assert steps(store) == ["ARRIVE"]
    caller.goes()
