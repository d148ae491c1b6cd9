"""Faults of the world around a running gateway, each with a verdict: nothing acknowledged is lost or done twice."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import ensureDeferred, gatherResults

from demo import demo_setup
from hkall_gateway.simulator.scenario.scripted_partner import MANNERS
from tests import postgres_server
from tests.company import Gateway, until
from tests.long.load import TITLES, Load

pytestmark = pytest.mark.long

ASKERS = 8
PATIENT = {"attempts": 400, "first_wait_s": 1, "longest_wait_s": 1, "breaker_failures": 50, "probe_s": 1}
SERVER = ("listen_addresses=", "max_connections=60")
READERS = ("P0001", "P0002", "P0003", "P0004")
SUSPENDED_S = 5
FEW_DESCRIPTORS = 16
"""Fewer than a running gateway has open, so that it can neither accept nor open a connection."""


@pytest.fixture
def gateway(reactor: Any, tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(reactor, tmp_path)
    made.do(made.party.start)
    yield made
    made.end()


@contextmanager
def meanwhile(work: Callable[[], None]) -> Iterator[list[BaseException]]:
    """Run `work` in a thread during the block. The list has its error, if it had one."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # the main thread raises it
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield errors
    thread.join()
    if errors:
        raise errors[0]


def events(gateway: Gateway, event: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in gateway.log().splitlines() if line.startswith("{")]
    return [line for line in found if line["event"] == event]


def until_delivered(gateway: Gateway) -> None:
    until(lambda: gateway.plant(lambda unit: unit.outbox.depths()) == (), "everything is delivered")


def asked_of(gateway: Gateway) -> list[str]:
    """Return the RequestId of each request that arrived at a partner, as often as it arrived."""
    seen = [message for library in gateway.party.partners.values() for message in library.seen]
    return [one.text("RequestId/RequestIdentifierValue") for one in seen if one.service == "RequestItem"]


def verdict(name: str, load: Load) -> None:
    print(f"{name}: {load.check()}")  # noqa: T201  # figures


# ---- a partner that is away for a moment


async def _place(gateway: Gateway, number: int) -> None:
    words = (f"user={READERS[number % len(READERS)]}", f"bib={TITLES[number % len(TITLES)]}", f"request=b-{number}")
    reply = await gateway.party.discovery.say("RequestItem", *words, f"pickup={demo_setup.LOCATION}")
    assert not reply.has("Problem")


@pytest.mark.parametrize(("blip_s", "most_s", "waiting"), [(5, 10, 8)])
def test_last_message_arrives_soon_after_a_partner_was_away(gateway: Gateway, blip_s: int, most_s: int, waiting: int) -> None:
    for library in gateway.party.partners.values():
        library.script = deque([MANNERS["503"]] * 10_000)
    gateway.start()

    numbers = iter(range(waiting))

    async def place_some() -> None:
        for number in numbers:
            await _place(gateway, number)

    async def place_all() -> None:
        await gatherResults([ensureDeferred(place_some()) for _ in range(min(waiting, ASKERS))])

    gateway.do(place_all)
    until(lambda: events(gateway, "courier.failed"), "a partner is asked")
    time.sleep(blip_s)
    for library in gateway.party.partners.values():
        library.script = deque()
    began = time.monotonic()
    until_delivered(gateway)
    took_s = time.monotonic() - began
    print(f"away for {blip_s} s, {waiting} messages: the last {took_s:.1f} s after")  # noqa: T201  # figures
    assert took_s <= most_s


def test_late_acknowledgement_is_no_second_request(reactor: Any, tmp_path: Path) -> None:
    """The partner does what it is asked, and says so only after the gateway has stopped waiting."""
    gateway = Gateway(reactor, tmp_path)
    text = gateway.path.read_text(encoding="utf-8")
    gateway.path.write_text(text.replace("[[partners]]", "[[partners]]\ntimeout_s = 2"), encoding="utf-8")
    try:
        gateway.do(gateway.party.start)
        for library in gateway.party.partners.values():
            library.waits_s = 4.0
        gateway.start()
        gateway.request("late-1")
        until(lambda: len(asked_of(gateway)) >= 2, "the request is repeated")
        for library in gateway.party.partners.values():
            library.waits_s = 0.0
        until_delivered(gateway)
        numbers = asked_of(gateway)
        print(f"late acknowledgement: {len(numbers)} documents, {len(set(numbers))} request")  # noqa: T201  # figures
        assert len(set(numbers)) == 1
        asked = [agency for agency, library in gateway.party.partners.items() if library.seen]
        assert len(asked) == 1  # no other lender was asked meanwhile
    finally:
        gateway.end()


# ---- a gateway that is stopped, and others on its database


def test_suspended_gateway_loses_and_repeats_nothing_on_postgresql(
    reactor: Any, tmp_path: Path, postgres_programs: Path
) -> None:
    with postgres_server.server(postgres_programs, SERVER) as server, ExitStack() as ends:
        first = Gateway(reactor, tmp_path / "one", database=server.url(), courier=PATIENT)
        second = Gateway(reactor, tmp_path / "two", beside=first, number=2, courier=PATIENT)
        for one in (first, second):
            ends.callback(one.end)
        first.do(first.party.start)
        for one in (first, second):
            one.start()
        load, began = Load([first, second]), time.monotonic()

        def suspend() -> None:
            time.sleep(2)
            os.kill(first.pid, signal.SIGSTOP)
            time.sleep(SUSPENDED_S)
            os.kill(first.pid, signal.SIGCONT)

        with meanwhile(suspend):
            load.run(reactor, ASKERS, lambda: time.monotonic() > began + SUSPENDED_S + 4)
        until_delivered(second)
        verdict("suspended gateway", load)
        assert load.requests.acknowledged
        assert [one.stop() for one in (first, second)] == [0, 0]


# ---- changes of the gateway under load


def test_reloads_under_load_lose_nothing(gateway: Gateway, reactor: Any) -> None:
    gateway.start()
    load, reloads, began = Load([gateway]), 8, time.monotonic()

    def reload_often() -> None:
        text = gateway.path.read_text(encoding="utf-8")
        for number in range(reloads):
            level = ("debug", "info")[number % 2]
            gateway.path.write_text(f'{text}\n[logs]\nlevel = "{level}"\n', encoding="utf-8")
            os.kill(gateway.pid, signal.SIGHUP)
            time.sleep(0.5)

    with meanwhile(reload_often):
        load.run(reactor, ASKERS, lambda: time.monotonic() > began + reloads * 0.5 + 2)
    until_delivered(gateway)
    verdict("reloads", load)
    assert len(events(gateway, "config.changed")) >= reloads // 2
    assert (load.requests.unanswered, load.requests.try_again) == (set(), set())
    numbers = asked_of(gateway)
    assert len(numbers) == len(set(numbers))
    assert gateway.stop() == 0


# ---- limits of the machine


def test_gateway_without_free_descriptors_loses_nothing_and_goes_on(gateway: Gateway, reactor: Any) -> None:
    gateway.start()
    load, began = Load([gateway]), time.monotonic()
    allowed, most = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)
    again: list[float] = []

    def run_out() -> None:
        time.sleep(2)
        assert len(os.listdir(f"/proc/{gateway.pid}/fd")) > FEW_DESCRIPTORS
        resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (FEW_DESCRIPTORS, most))
        time.sleep(4)
        resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (allowed, most))
        again.append(time.monotonic())

    with meanwhile(run_out):
        load.run(reactor, ASKERS, lambda: time.monotonic() > began + 8)
    until_delivered(gateway)
    verdict("no descriptors", load)
    assert any(at < again[0] - 4 for at in load.requests.acknowledged.values())
    assert any(at > again[0] for at in load.requests.acknowledged.values())
    assert os.strerror(errno.EMFILE) in gateway.log()
    assert gateway.stop() == 0
