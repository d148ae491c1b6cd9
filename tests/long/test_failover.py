"""A primary that dies with all its processes and its standby that takes over; COMMIT replies that are lost in transit."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from hkall_gateway.app.heartbeat import BEAT_S
from hkall_gateway.db.instances import GONE_S
from tests import postgres_server
from tests.company import Gateway, until
from tests.long.load import Load
from tests.postgres_proxy import Proxy, proxy

pytestmark = pytest.mark.long

PATIENT = {"attempts": 400, "first_wait_s": 1, "longest_wait_s": 1, "breaker_failures": 50, "probe_s": 1}
PRIMARY = ("listen_addresses=", "max_connections=60", f"synchronous_standby_names={postgres_server.STANDBY}")
STANDBY = ("listen_addresses=", "max_connections=60")
ASKERS = 8
BEFORE_S, AFTER_S = 4.0, 8.0
BACK_S = 15.0
"""Time within which a gateway replies again after the primary's death, without a restart."""
ANSWERS_LOST = 25
LONGEST_S = GONE_S + BEAT_S + 5.0
"""A gateway counts as gone when its last heartbeat is GONE_S old, which others check every BEAT_S seconds."""


def processes(server: postgres_server.PostgresServer) -> list[int]:
    """Return the server's main process and all its children."""
    found = [server.pid]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        found += [int(stat.parent.name)] if parent == server.pid else []
    return found


@pytest.fixture
def servers(postgres_programs: Path) -> Iterator[tuple[postgres_server.PostgresServer, postgres_server.PostgresServer]]:
    """A primary and its synchronous standby."""
    with (
        postgres_server.server(postgres_programs, PRIMARY) as primary,
        postgres_server.server(postgres_programs, STANDBY, primary) as standby,
    ):
        asked = "SELECT sync_state FROM pg_stat_replication"
        until(lambda: postgres_server.ask(primary, asked) == "sync", "the standby follows")
        yield primary, standby


@pytest.fixture
def pair(
    reactor: Any, tmp_path: Path, servers: tuple[postgres_server.PostgresServer, postgres_server.PostgresServer]
) -> Iterator[tuple[Gateway, Gateway]]:
    """Two gateways that know both servers and use the writable one."""
    hosts = "&".join(f"host={server.folder}" for server in servers)
    url = f"postgresql+psycopg://{postgres_server.RUNNER}@/postgres?{hosts}&target_session_attrs=read-write"
    first = Gateway(reactor, tmp_path / "one", database=url, courier=PATIENT)
    second = Gateway(reactor, tmp_path / "two", beside=first, number=2, courier=PATIENT)
    first.do(first.party.start)
    for gateway in (first, second):
        gateway.start()
    yield first, second
    for gateway in (first, second):
        gateway.end()


def asked_of_partners(gateway: Gateway) -> list[str]:
    """Return every RequestId sent to partners, once per partner."""
    return sorted(
        number
        for library in gateway.party.partners.values()
        for number in {
            message.text("RequestId/RequestIdentifierValue") for message in library.seen if message.service == "RequestItem"
        }
    )


def test_acknowledged_work_survives_a_failover_to_the_standby(
    pair: tuple[Gateway, Gateway], servers: tuple[postgres_server.PostgresServer, postgres_server.PostgresServer], reactor: Any
) -> None:
    primary, standby = servers
    load, began = Load(pair), time.monotonic()
    died: list[float] = []

    def fail_over() -> None:
        time.sleep(BEFORE_S)
        for process in processes(primary):
            os.kill(process, signal.SIGKILL)
        died.append(time.monotonic())
        postgres_server.ask(standby, "SELECT pg_promote()")

    failing = threading.Thread(target=fail_over)
    failing.start()
    load.run(reactor, ASKERS, lambda: time.monotonic() > began + BEFORE_S + BACK_S + AFTER_S)
    failing.join()
    back = [at - died[0] for at in load.requests.acknowledged.values() if at > died[0] + 0.5]
    until(lambda: pair[0].plant(lambda unit: unit.outbox.depths()) == (), "everything is told")
    figures = {**load.check(), "seconds until the first acknowledgement": round(min(back), 1)}
    print(f"failover: {figures}")  # noqa: T201  # figures
    assert min(back) < BACK_S
    assert any(0 < died[0] - at < 1 for at in load.requests.acknowledged.values())  # the primary died under load
    told = asked_of_partners(pair[0])
    assert len(told) == len(set(told))
    assert [gateway.stop() for gateway in pair] == [0, 0]


@pytest.fixture
def lossy(reactor: Any, tmp_path: Path, postgres_programs: Path) -> Iterator[tuple[Gateway, Proxy]]:
    """A gateway whose database is behind a proxy."""
    with postgres_server.server(postgres_programs, STANDBY) as server, proxy(server.folder) as between:
        url = f"postgresql+psycopg://{postgres_server.RUNNER}@/postgres?host={between.folder}"
        gateway = Gateway(reactor, tmp_path, database=url, courier=PATIENT)
        gateway.do(gateway.party.start)
        gateway.start()
        yield gateway, between
        gateway.end()


def test_lost_commit_reply_causes_neither_repetition_nor_a_wrong_reply(lossy: tuple[Gateway, Proxy], reactor: Any) -> None:
    gateway, between = lossy
    load, end = Load([gateway]), time.monotonic() + 60

    def loses() -> bool:
        if between.lost < ANSWERS_LOST and not between.to_lose and len(load.requests.acknowledged) > 4 * between.lost:
            between.to_lose = 1
        return (between.lost >= ANSWERS_LOST and not between.to_lose) or time.monotonic() > end

    load.run(reactor, ASKERS, loses)
    until(lambda: gateway.plant(lambda unit: unit.outbox.depths()) == (), "everything is told")
    figures = {"answers to COMMIT lost": between.lost, **load.check()}
    assert load.check_ins.acknowledged
    print(f"lost answers to COMMIT: {figures}")  # noqa: T201  # figures
    assert between.lost == ANSWERS_LOST
    assert load.requests.try_again == set()  # the server kept running, so every outcome was known
    told = asked_of_partners(gateway)
    assert len(told) == len(set(told))
    assert gateway.log().count('"fate":"committed"') >= ANSWERS_LOST // 2


def test_messages_of_a_dead_gateway_are_released_after_a_minute_without_heartbeat(
    reactor: Any, tmp_path: Path, postgres_programs: Path
) -> None:
    with postgres_server.server(postgres_programs, STANDBY) as server, ExitStack() as ends:
        first = Gateway(reactor, tmp_path / "one", database=server.url(), courier=PATIENT)
        second = Gateway(reactor, tmp_path / "two", beside=first, number=2, courier=PATIENT)
        for gateway in (first, second):
            ends.callback(gateway.end)
        first.do(first.party.start)
        cuhk = first.party.partners["CUHK"]
        cuhk.waits_s = GONE_S  # the row stays claimed while the gateway waits
        for gateway in (first, second):
            gateway.start()
        first.request("d-1")
        claimed = until(
            lambda: postgres_server.ask(server, "SELECT claimed_by FROM outbox WHERE claimed_by <> ''"), "a row is claimed"
        )
        dead, living = (first, second) if claimed.endswith("-1") else (second, first)
        dead.kill()
        died, cuhk.waits_s = time.monotonic(), 0.0
        until(lambda: "instance.took_over" in living.log(), "the other takes over", LONGEST_S)
        took_s = time.monotonic() - died
        until(lambda: living.plant(lambda unit: unit.outbox.depths()) == (), "the message is delivered")
        print(f"takeover: {took_s:.0f} s after the death")  # noqa: T201  # figures
        assert GONE_S - BEAT_S - 1 <= took_s <= LONGEST_S
        assert living.stop() == 0
