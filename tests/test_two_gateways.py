"""Two gateways, each in its own process, on one PostgreSQL: together they do everything once, and lose nothing when one of them
or the server dies.

A few of each in the ordinary suite; set HKALL_FIGHTS and HKALL_KILLS for manual runs.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import ensureDeferred, gatherResults

from demo import demo_setup
from hkall_gateway.ils.exports import read_holdings
from hkall_gateway.ncip.codec import documents
from hkall_gateway.ncip.codec.dialects import DIALECTS
from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.ncip.shorthand import make_message
from hkall_gateway.ncip.tables.problems import TRY_LATER
from hkall_gateway.simulator.scenario.scripted_partner import MANNERS
from tests import postgres_server
from tests.company import CARD, COPY, PIN, Gateway, gateway_ports, stamp, until

pytestmark = pytest.mark.long

FIGHTS = int(os.environ.get("HKALL_FIGHTS", "1"))
KILLS = int(os.environ.get("HKALL_KILLS", "1"))
SEED = 20170301
QUOTA = 15
SETTINGS = ("listen_addresses=", "max_connections=40")
PATIENT = {"attempts": 400, "first_wait_s": 1, "longest_wait_s": 1, "breaker_failures": 50, "probe_s": 1}
COPIES = read_holdings(demo_setup.DEMO_FILES / "holdings.csv")
AT_HOME = {copy.bib_id for copy in COPIES if copy.agency == "HKU"}
ELSEWHERE = {copy.bib_id for copy in COPIES if copy.lendable and copy.status == "Available On Shelf"}
TITLES = sorted(ELSEWHERE - AT_HOME)
"""Titles that only other libraries have, on the shelf."""


class Pair:
    """Two gateways with one database, one set of partners and one discovery system that uses either."""

    def __init__(
        self, reactor: Any, folder: Path, server: postgres_server.PostgresServer, sip2: Mapping[str, object] | None = None
    ) -> None:
        self.server, self.shared = server, gateway_ports().ncip
        common: dict[str, Any] = {"courier": PATIENT, "shared": self.shared, "sip2": sip2}
        self.first = Gateway(reactor, folder / "one", database=server.url(), **common)
        self.second = Gateway(reactor, folder / "two", beside=self.first, number=2, **common)
        self.both = (self.first, self.second)
        self.first.do(self.first.party.start)
        for gateway in self.both:
            gateway.start()

    def end(self) -> None:
        for gateway in self.both:
            gateway.end()

    def at_once(self, *questions: Callable[[], Awaitable[Any]]) -> list[Any]:
        """Run calls concurrently; return all results, errors included."""

        async def asked() -> list[Any]:
            return await gatherResults([ensureDeferred(_told(question)) for question in questions])

        return self.first.do(asked)

    def want(self, gateway: Gateway, reader: str, title: str, number: str) -> Callable[[], Awaitable[Any]]:
        """Send a patron's request from the discovery system to one of the gateways."""
        words = (f"user={reader}", f"bib={title}", f"request={number}", f"pickup={demo_setup.LOCATION}")
        return lambda: gateway.party.discovery.say("RequestItem", *words)

    def rows(self, *command: str) -> list[Any]:
        return list(json.loads(self.first.command(*command, "--json")))

    def sessions_of_first(self) -> set[int]:
        """Restart the first gateway and return its database processes."""
        self.first.stop()
        others = self._sessions()
        self.first.start()
        return self._sessions() - others

    def _sessions(self) -> set[int]:
        asked = "SELECT pid FROM pg_stat_activity WHERE application_name = 'hkall-gateway'"
        return set(map(int, postgres_server.ask(self.server, asked).split()))

    def count(self, statement: str) -> int:
        return int(postgres_server.ask(self.server, statement))

    def asked_of_partners(self) -> Counter[str]:
        """How often each RequestId reached a partner, counting resends once per partner."""
        seen = {
            (agency, message.text("RequestId/RequestIdentifierValue"))
            for agency, library in self.first.party.partners.items()
            for message in library.seen
            if message.service == "RequestItem"
        }
        return Counter(number for _, number in seen)

    def drained(self) -> bool:
        return self.count("SELECT count(*) FROM outbox WHERE state IN ('waiting', 'unsure', 'dead')") == 0


async def _told(question: Callable[[], Awaitable[Any]]) -> Any:
    try:
        return await question()
    except Exception as error:  # noqa: BLE001  # a line that is cut is what happens here
        return error


@pytest.fixture(scope="module")
def server(postgres_programs: Path) -> Iterator[postgres_server.PostgresServer]:
    """A server that keeps committed data even when killed."""
    with postgres_server.server(postgres_programs, SETTINGS) as running:
        yield running


@pytest.fixture
def pair(reactor: Any, tmp_path: Path, server: postgres_server.PostgresServer) -> Iterator[Pair]:
    postgres_server.ask(server, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    made = Pair(reactor, tmp_path, server)
    yield made
    made.end()


def said_yes(reply: Any) -> bool:
    return isinstance(reply, NcipMessage) and not reply.has("Problem")


def number_of(reply: NcipMessage) -> str:
    return reply.text("RequestId/RequestIdentifierValue")


# ---- each command takes effect once


def test_two_gateways_compete_for_one_patron_one_hold_shelf_and_one_outbox(pair: Pair) -> None:
    _status_shows_both(pair)
    _the_same_document(pair)
    _the_same_line(pair)
    for fight in range(FIGHTS):
        _the_last_places(pair, f"P{fight + 10:04}", fight)
    until(pair.drained, "everything is told")
    asked = pair.asked_of_partners()
    assert len(asked) == len(pair.rows("requests", "list"))
    assert set(asked.values()) == {1}
    assert pair.count("SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'") == 0
    assert [gateway.stop() for gateway in pair.both] == [0, 0]
    assert {row["state"] for row in pair.rows("status") if row["what"] == "gateway"} == {"left"}


def _status_shows_both(pair: Pair) -> None:
    shown = {row["pid"]: row["state"] for row in pair.rows("status") if row["what"] == "gateway"}
    assert shown == {gateway.pid: "up" for gateway in pair.both}


def _the_same_document(pair: Pair) -> None:
    """Send a document five times concurrently, to either gateway and their shared port: one effect, identical replies."""
    partner = pair.first.party.discovery
    words = ("user=P0002", f"bib={TITLES[0]}", "request=same", f"pickup={demo_setup.LOCATION}")
    document = documents.encode(
        make_message("RequestItem", words, partner.agency, partner.us, partner.secret, partner.now()), DIALECTS["direct"]
    )

    def sent(port: int) -> Callable[[], Awaitable[bytes]]:
        async def post() -> bytes:
            posted = await partner.post(f"http://127.0.0.1:{port}/ncip", document, 20)
            return bytes(posted.body)

        return post

    own = [gateway.ports.ncip for gateway in pair.both]
    replies = pair.at_once(*(sent(port) for port in (*own, *own[:1], pair.shared, pair.shared)))
    assert len(set(replies)) == 1
    assert said_yes(documents.decode(replies[0]))
    assert [row["placed_id"] for row in pair.rows("requests", "list")].count("same") == 1


def _the_same_line(pair: Pair) -> None:
    """Assert that a disconnected terminal that repeats its message at the other gateway lends the item once."""
    reply = pair.first.do(lambda: pair.first.party.discovery.say("RequestItem", *_wish()))
    cuhk = pair.first.party.partners["CUHK"]
    (asked,) = until(lambda: [m for m in cuhk.seen if m.text("ItemId/ItemIdentifierValue") == COPY], "the lender is asked")
    assert said_yes(reply)
    assert said_yes(pair.first.do(lambda: cuhk.ship(number_of(asked), COPY)))
    at = [gateway.counter() for gateway in pair.both]
    received = f"09N{stamp()}{stamp()}AP{demo_setup.LOCATION}|AOHKU|AB{COPY}|AC|"
    lent = f"11NN{stamp()}{' ' * 18}AOHKU|AA{CARD}|AB{COPY}|AC|AD{PIN}|"
    for line, yes in ((received, "101"), (lent, "121")):
        told = [gateway.ask(terminal, line) for gateway, terminal in zip(pair.both, at, strict=True)]
        assert [reply[:3] for reply in told] == [yes, yes]
    assert pair.count("SELECT count(*) FROM journal WHERE event = 'CHECK_OUT' AND outcome = 'ok'") == 1
    assert pair.count("SELECT count(*) FROM journal WHERE event = 'ARRIVE' AND outcome = 'ok'") == 1


def _wish() -> Sequence[str]:
    return (f"user={CARD}", "bib=b9001", "request=line", f"pickup={demo_setup.LOCATION}")


def _the_last_places(pair: Pair, reader: str, fight: int) -> None:
    """Place twenty requests of one patron at once, ten at each gateway: exactly the remaining quota is granted."""
    numbers = count()
    titles = TITLES[1:21]
    requests_a_day = [pair.want(pair.both[n % 2], reader, title, f"{fight}-{next(numbers)}") for n, title in enumerate(titles)]
    assert len(requests_a_day) > QUOTA
    assert sum(said_yes(reply) for reply in pair.at_once(*requests_a_day)) == QUOTA
    mine = [row for row in pair.rows("requests", "list") if row["patron"] == reader]
    assert len(mine) == QUOTA


# ---- late commands

WITHIN_S = 3.0


@pytest.fixture
def hasty(reactor: Any, tmp_path: Path, server: postgres_server.PostgresServer) -> Iterator[Pair]:
    """Two gateways that answer a terminal within WITHIN_S seconds; an item is in transit to CARD."""
    postgres_server.ask(server, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    made = Pair(reactor, tmp_path, server, {"answer_within_s": WITHIN_S})
    assert said_yes(made.first.do(lambda: made.first.party.discovery.say("RequestItem", *_wish())))
    cuhk = made.first.party.partners["CUHK"]
    (asked,) = until(lambda: [m for m in cuhk.seen if m.text("ItemId/ItemIdentifierValue") == COPY], "the lender is asked")
    assert said_yes(made.first.do(lambda: cuhk.ship(number_of(asked), COPY)))
    yield made
    made.end()


def _received() -> str:
    return f"09N{stamp()}{stamp()}AP{demo_setup.LOCATION}|AOHKU|AB{COPY}|AC|"


def _lend_at(gateway: Gateway) -> None:
    """Check the item in at this gateway, and lend it to its patron."""
    counter = gateway.counter()
    assert gateway.ask(counter, _received())[:3] == "101"
    assert gateway.ask(counter, f"11NN{stamp()}{' ' * 18}AOHKU|AA{CARD}|AB{COPY}|AC|AD{PIN}|")[:3] == "121"


def _steps(pair: Pair) -> list[str]:
    """Return the journal events of the item; a person has seen a reply to each."""
    arrived = "outcome = 'ok' AND source <> target AND target IN ('RECEIVED', 'ON_LOAN', 'TO_RETURN')"
    return postgres_server.ask(pair.server, f"SELECT event FROM journal WHERE {arrived} ORDER BY id").split()  # noqa: S608  # no input


def _expired(gateway: Gateway, why: str) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in gateway.log().splitlines() if '"command.expired"' in line)
    return [line for line in lines if line["why"] == why]


def test_checkin_has_no_effect_when_its_gateway_was_paused_and_its_terminal_disconnected(hasty: Pair) -> None:
    counter = hasty.first.counter()
    os.kill(hasty.first.pid, signal.SIGSTOP)
    answer = hasty.first.begin(counter, _received())
    hasty.first.hang_up(counter)
    _lend_at(hasty.second)
    os.kill(hasty.first.pid, signal.SIGCONT)
    (line,) = until(lambda: _expired(hasty.first, "gone"), "the check-in is dropped")
    assert (line["channel"], line["terminal"]) == ("sip2", "counter-1")
    assert isinstance(answer(), Exception)
    assert _steps(hasty) == ["ARRIVE", "CHECK_OUT"]


def test_checkin_has_no_effect_when_its_gateway_was_paused_beyond_the_terminal_timeout(hasty: Pair) -> None:
    counter = hasty.first.counter()
    os.kill(hasty.first.pid, signal.SIGSTOP)
    answer = hasty.first.begin(counter, _received())
    sent = time.monotonic()
    _lend_at(hasty.second)
    time.sleep(max(0.0, sent + WITHIN_S + 0.5 - time.monotonic()))
    os.kill(hasty.first.pid, signal.SIGCONT)
    assert answer()[:3] == "100"
    until(lambda: _expired(hasty.first, "late"), "the log says so")
    assert _steps(hasty) == ["ARRIVE", "CHECK_OUT"]


def test_checkin_has_no_effect_when_its_gateway_lost_the_database(hasty: Pair) -> None:
    sessions = hasty.sessions_of_first()
    counter = hasty.first.counter()
    for session in sessions:
        os.kill(session, signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert hasty.first.ask(counter, _received())[:3] == "100"
        assert WITHIN_S - 0.5 <= time.monotonic() - began <= WITHIN_S * 1.25
        _lend_at(hasty.second)
    finally:
        for session in sessions:
            os.kill(session, signal.SIGCONT)
    # The item is already lent.
    assert hasty.first.ask(counter, f"11NN{stamp()}{' ' * 18}AOHKU|AA{CARD}|AB{COPY}|AC|AD{PIN}|")[:3] == "121"
    until(lambda: _expired(hasty.first, "late"), "the log says so")
    assert 'commands_expired_total{door="sip2",why="late"} 1.0' in hasty.first.metrics()
    assert _steps(hasty) == ["ARRIVE", "CHECK_OUT"]


# ---- killed processes


def test_acknowledged_work_survives_killing_a_gateway_or_the_database_server(pair: Pair) -> None:
    draw, numbers, promised = random.Random(SEED), count(), set[str]()
    for kill in range(KILLS):
        victim = pair.both[kill % 2]
        promised |= _ask_while(pair, draw, numbers, victim.kill)
        victim.start()
        promised |= _ask_while(pair, draw, numbers, lambda: _kill_server(pair.server))
        until(lambda: _is_back(pair), "the server is back")
    for library in pair.first.party.partners.values():
        library.script.clear()
    until(pair.drained, "everything is told")
    rows = pair.rows("requests", "list")
    placed = Counter(row["placed_id"] for row in rows)
    assert len(promised) >= 2 * KILLS
    assert promised <= placed.keys()
    assert set(placed.values()) == {1}
    told = pair.asked_of_partners()
    assert {row["wire_id"] for row in rows if row["wire_id"]} <= told.keys()
    assert set(told.values()) == {1}


def _ask_while(pair: Pair, draw: random.Random, numbers: Iterator[int], kill: Callable[[], object]) -> set[str]:
    """Let patrons request at both gateways while a process is killed; return the granted requests."""
    promised: set[str] = set()
    moment, end = time.monotonic() + draw.uniform(0.1, 0.8), time.monotonic() + 1.5
    killed = False
    while time.monotonic() < end or not killed:
        for library in pair.first.party.partners.values():
            library.script.append(MANNERS[draw.choice(("ok", "ok", "503", "cut", "silence"))])
        requests_a_day = [
            pair.want(gateway, f"P{draw.randrange(10, 100):04}", draw.choice(TITLES), f"d-{next(numbers)}")
            for gateway in pair.both
            for _ in range(2)
        ]
        promised |= {number_of(reply) for reply in pair.at_once(*requests_a_day) if said_yes(reply)}
        if not killed and time.monotonic() >= moment:
            kill()
            killed = True
    return promised


def _kill_server(server: postgres_server.PostgresServer) -> None:
    """kill -9 a session's process: PostgreSQL ends all others, and restarts from disk."""
    asked = "SELECT pid FROM pg_stat_activity WHERE application_name = 'hkall-gateway' LIMIT 1"
    os.kill(int(postgres_server.ask(server, asked)), signal.SIGKILL)


def _is_back(pair: Pair) -> bool:
    """Return whether a request at either gateway is decided again, with any result from the database."""
    requests_a_day = (pair.want(gateway, "P0001", "nothing", "probe") for gateway in pair.both)
    return all(
        isinstance(reply, NcipMessage) and reply.text("Problem/ProblemType") != TRY_LATER
        for reply in pair.at_once(*requests_a_day)
    )
