"""The installed command in a process of its own, on real sockets, with real partners, a real mail server and kill -9."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
from lxml import etree
from twisted.internet.defer import ensureDeferred
from twisted.internet.threads import blockingCallFromThread

from hkall_gateway.connectors.exports import read_patrons
from hkall_gateway.lab import setup
from hkall_gateway.lab.party import Party
from hkall_gateway.lab.script import MANNERS
from hkall_gateway.lab.terminal import Terminal, call
from hkall_gateway.ncip.messages import Message
from hkall_gateway.rules.calendar import HONG_KONG

T = TypeVar("T")

COMMAND = Path(sys.executable).parent / "hkall-gateway"
XSD = Path(__file__).parents[2] / "shared/ncip/xsd/ncip_v2_02.xsd"
PATIENCE_S = 20
CARD, PIN, BIB, COPY = "P0001", "1234", "b9001", "C09001"
SOON = {"attempts": 9, "first_wait_s": 1, "longest_wait_s": 1}
ANY_DAY = "[renewal]\nwindow_days = 365\n"


@pytest.fixture(scope="module")
def reactor() -> Iterator[Any]:
    """Twisted's reactor in a thread of its own: the partners, the terminals and the mail server live there."""
    from twisted.internet import reactor as the_reactor  # noqa: TID251  # the tests' own process has one too

    found: Any = the_reactor
    thread = threading.Thread(target=found.run, kwargs={"installSignalHandlers": False}, daemon=True)
    thread.start()
    yield found
    found.callFromThread(found.stop)
    thread.join(PATIENCE_S)


class Gateway:
    """The daemon in a process, its folder, and the company around it."""

    def __init__(self, reactor: Any, folder: Path, policy: str = ANY_DAY) -> None:
        self._reactor, self._folder = reactor, folder
        self.ports = free_ports()
        self.environ = {**os.environ, **setup.environment(self.ports)}
        self.path = setup.write_config(folder, self.ports, policy, SOON)
        setup.furnish(self.path, self.environ)
        self.party = Party(reactor, self.ports)
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0

    def do(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run a coroutine in the reactor's thread."""
        made: Any = lambda: ensureDeferred(work())  # type: ignore[arg-type]  # noqa: E731
        found: T = blockingCallFromThread(self._reactor, made)
        return found

    def start(self) -> None:
        self._starts += 1
        with (self._folder / f"log{self._starts}.jsonl").open("wb") as log:
            self._process = subprocess.Popen(
                [COMMAND, "serve", "--config", self.path], stdout=log, stderr=log, env=self.environ
            )
        until(lambda: "daemon.started" in self.log(), "the daemon's start")

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM, and the exit code; at most five seconds."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(5)

    def end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
        self.do(self.party.stop)

    def log(self) -> str:
        return "".join(p.read_text() for p in sorted(self._folder.glob("log*.jsonl")))

    def command(self, *words: str) -> str:
        done = subprocess.run(
            [COMMAND, *words, "--config", self.path],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return done.stdout + done.stderr

    def position(self, item: str = COPY) -> str:
        lines = json.loads(self.command("requests", "trace", item, "--json"))
        return str(lines[-1]["target"])

    # ---- people

    def counter(self) -> Terminal:
        terminal = self.do(lambda: call(self._reactor, self.ports.sip2))
        assert self.ask(terminal, f"9300CNcounter-1|CO{setup.PASSWORD}|") == "941"
        return terminal

    def ask(self, terminal: Terminal, line: str) -> str:
        found: str = blockingCallFromThread(self._reactor, terminal.ask, line)  # type: ignore[arg-type]
        return found

    def request(self, number: str) -> Message:
        words = (f"user={CARD}", f"bib={BIB}", f"request={number}", f"pickup={setup.LOCATION}")
        return self.do(lambda: self.party.discovery.say("RequestItem", *words))


def free_ports() -> setup.Ports:
    """Seven ports of this machine that nobody uses now."""
    found: list[int] = []
    draw = random.Random()
    while len(found) < 7:
        port = draw.randrange(20000, 32000)
        with socket.socket() as trial:
            if port not in found and trial.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
    sip2, ncip, ops, smtp, *partners = found
    return setup.Ports(sip2, ncip, ops, smtp, dict(zip(("CUHK", "HKUST", "LU"), partners, strict=True)))


def until(happened: Callable[[], Any], what: str) -> Any:
    """Wait until it is true, at most PATIENCE_S seconds; its value."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if found := happened():
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {PATIENCE_S} s")


@pytest.fixture
def gateway(reactor: Any, tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(reactor, tmp_path)
    yield made
    made.end()


def stamp() -> str:
    return f"{datetime.now(UTC).astimezone(HONG_KONG):%Y%m%d    %H%M%S}"  # noqa: TID251  # a terminal has a clock


def services(gateway: Gateway, agency: str = "CUHK") -> list[str]:
    return [m.service for m in gateway.party.partners[agency].seen]


def live_the_story(gateway: Gateway) -> None:
    """One borrowed book from the request to the end."""
    cuhk, counter = gateway.party.partners["CUHK"], gateway.counter()
    assert gateway.request("d-1").text("RequestId/RequestIdentifierValue") == "d-1"
    until(lambda: services(gateway) == ["RequestItem"], "the lender is asked")
    asked = cuhk.seen[0]
    assert asked.text("UserId/UserIdentifierValue") == "HKU-INST"
    number = asked.text("RequestId/RequestIdentifierValue")
    shipped = gateway.do(lambda: cuhk.ship(number, COPY))
    assert not shipped.has("Problem")
    assert gateway.ask(counter, f"09N{stamp()}{stamp()}AP{setup.LOCATION}|AOHKU|AB{COPY}|AC|").startswith("101")
    until(lambda: services(gateway)[1:] == ["ItemReceived"], "the lender hears of the arrival")
    (letter,) = until(lambda: gateway.party.mailbox.messages, "the letter")
    assert "香港散步學" in letter.get_body(("plain",)).get_content()
    lent = gateway.ask(counter, f"11NN{stamp()}{' ' * 18}AOHKU|AA{CARD}|AB{COPY}|AC|AD{PIN}|")
    assert lent.startswith("121N")
    until(lambda: services(gateway)[2:] == ["ItemCheckedOut"], "the lender hears of the loan")
    renewed = gateway.ask(counter, f"29NN{stamp()}{' ' * 18}AOHKU|AA{CARD}|AB{COPY}|")
    assert renewed.startswith("30")
    back = gateway.ask(counter, f"09N{stamp()}{stamp()}AP{setup.LOCATION}|AOHKU|AB{COPY}|AC|")
    assert back.startswith("101")
    until(lambda: services(gateway)[-1] == "ItemShipped", "the lender hears of the way home")
    assert not gateway.do(lambda: cuhk.receive(number, COPY)).has("Problem")
    counter_closed = gateway.ask(counter, f"35{stamp()}AOHKU|AA{CARD}|")
    assert counter_closed.startswith("36Y")
    gateway.do(lambda: _hung_up(counter))


async def _hung_up(terminal: Terminal) -> None:
    terminal.hang_up()
    await terminal.closed


def test_a_book_is_requested_lent_renewed_returned_and_home_again(gateway: Gateway) -> None:
    gateway.do(gateway.party.start)
    gateway.start()
    live_the_story(gateway)
    assert gateway.position() == "CLOSED"
    assert json.loads(gateway.command("outbox", "list", "--json")) == []
    assert gateway.stop() == 0
    _check_documents(gateway)
    _check_log(gateway.log())


def _check_documents(gateway: Gateway) -> None:
    """Every document that left us is valid NCIP 2.02."""
    bodies = gateway.party.partners["CUHK"].bodies
    assert len(bodies) >= 4
    if not XSD.exists():
        pytest.skip(f"{XSD} is not here: the documents were not validated")
    schema = etree.XMLSchema(etree.parse(XSD))
    for body in bodies:
        schema.assertValid(etree.fromstring(body))


def _check_log(log: str) -> None:
    """Every line is JSON with its facts, and no line shows a PIN, a password, a name or an address."""
    lines = [json.loads(line) for line in log.splitlines()]
    assert {"ts", "level", "event"} <= lines[0].keys()
    assert {"transition", "sip2.answered", "ncip.answered", "courier.sent"} <= {line["event"] for line in lines}
    patron = next(p for p in read_patrons(setup.DEMO_FILES / "patrons.csv") if p.barcode == CARD)
    for secret in (
        patron.name.reveal(),
        patron.name_zh.reveal(),
        patron.email.reveal(),
        f'"{PIN}"',
        f"AD{PIN}",
        "argon2",
        CARD,
    ):
        assert secret not in log
    assert f'"{setup.PASSWORD}"' not in log
    assert f"CO{setup.PASSWORD}" not in log
    assert f">{setup.PASSWORD}<" not in log


def test_what_was_promised_before_a_kill_is_done_after_the_restart_once(gateway: Gateway) -> None:
    gateway.start()
    assert not gateway.request("d-1").has("Problem")  # answered, and no lender can be reached
    gateway.kill()
    gateway.do(gateway.party.start)
    gateway.start()
    until(lambda: services(gateway), "the lender is asked")
    assert not gateway.request("d-1").has("Problem")
    time.sleep(1.5)
    assert services(gateway) == ["RequestItem"]
    assert gateway.stop() == 0


def test_a_lender_that_is_busy_three_times_is_asked_until_one_request_takes_effect(gateway: Gateway) -> None:
    gateway.do(gateway.party.start)
    gateway.party.partners["CUHK"].script.extend([MANNERS["503"]] * 3)
    gateway.start()
    gateway.request("d-1")
    until(lambda: services(gateway), "the lender accepts")
    until(lambda: json.loads(gateway.command("outbox", "list", "--json")) == [], "the outbox is empty")
    assert services(gateway) == ["RequestItem"]
    assert gateway.log().count("courier.failed") == 3


def test_a_reply_that_was_cut_off_is_asked_for_again_under_the_same_request_id(gateway: Gateway) -> None:
    gateway.do(gateway.party.start)
    gateway.party.partners["CUHK"].script.append(MANNERS["cut"])
    gateway.start()
    gateway.request("d-1")
    until(lambda: len(services(gateway)) == 2, "the document is sent again")
    first, second = (m.text("RequestId/RequestIdentifierValue") for m in gateway.party.partners["CUHK"].seen)
    assert first == second


def test_sigterm_answers_what_is_in_hand_and_exits_with_nought(gateway: Gateway) -> None:
    gateway.start()
    counter = gateway.counter()
    answers: list[str] = []

    async def ask_and_leave() -> None:
        waiting = [counter.ask(f"63001{stamp()}          AOHKU|AA{CARD}|AC|AD{PIN}|") for _ in range(5)]
        await waiting[0]
        answers.append(await waiting[1])

    gateway.do(ask_and_leave)
    assert gateway.stop() == 0
    assert answers[0].startswith("64")
    assert "daemon.stopped" in gateway.log()


def test_a_database_of_another_revision_is_named_with_the_command_that_mends_it(reactor: Any, tmp_path: Path) -> None:
    ports = free_ports()
    path = setup.write_config(tmp_path, ports)
    done = subprocess.run(
        [COMMAND, "serve", "--config", path],
        env={**os.environ, **setup.environment(ports)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 2
    assert "hkall-gateway db upgrade" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_configuration_lists_every_error_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text('[library]\nagency = 7\nname = "x"\n[sip2]\nidle_timeout_s = -1\nlisten = ["nonsense"]\n[surprise]\n')
    done = subprocess.run(
        [COMMAND, "check-config", "--config", path], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 2
    for where in ("library.agency", "library.pickup_locations", "database", "sip2.idle_timeout_s", "sip2.listen", "surprise"):
        assert where in done.stderr
