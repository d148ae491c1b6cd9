"""Connection faults have their documented effects; NCIP client and server tolerate all of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool

from hkall_gateway.circulation.results import DeliveryResult
from hkall_gateway.db.tables import REQUESTS
from hkall_gateway.ncip.transport.client import NcipClient
from hkall_gateway.ncip.transport.http import NcipSite
from hkall_gateway.net.http_post import AgentPost
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.vocabulary import Holding, ItemKey, Position, Side
from hkall_gateway.simulator.consortium.faults import FAULTS, LATEST_S, FaultSource, damage_bytes
from hkall_gateway.simulator.scenario.world import World
from hkall_gateway.simulator.scenario.world_file import read_world, secret_of
from tests.bounds import bounds
from tests.simulator.lossy_endpoint import TIMEOUT_S, LossyEndpoint, MemoryEndpoint

BY_NAME = {fault.name: fault for fault in FAULTS}
WORLDS = Path(__file__).parents[2] / "fixtures" / "worlds"


# ---- single connections


class Answering(Protocol):
    """Replies to each line, then closes."""

    transport: Any

    def __init__(self, took: list[bytes]) -> None:
        self._took = took

    def dataReceived(self, data: bytes) -> None:  # noqa: N802  # Twisted's own name
        self._took.append(data)
        self.transport.write(b"you said " + data)
        self.transport.loseConnection()


class Asking(Protocol):
    """Sends two segments at once, and keeps the replies; `over`: the connection has ended."""

    transport: Any

    def __init__(self) -> None:
        self.heard, self.over = b"", False

    def connectionMade(self) -> None:  # noqa: N802
        self.transport.write(b"head;")
        self.transport.write(b"body.")

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.heard += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        self.over = True


def meet(fault: str, seed: int = 1) -> tuple[list[bytes], Asking | None, Clock]:
    """Return the data received by server and client over a connection with one fault."""
    clock, took, client = Clock(), list[bytes](), Asking()
    server = Factory.forProtocol(lambda: Answering(took))
    line = LossyEndpoint(MemoryEndpoint(server, clock), FaultSource(1.0, Random(seed)), clock)
    connected: list[Any] = []
    line.suffer(BY_NAME[fault], Factory.forProtocol(lambda: client)).addBoth(connected.append)
    clock.advance(0)
    clock.pump([0.1] * 9)
    return took, client if connected == [client] else None, clock


SAID = b"you said head;"
# fmt: off
EFFECTS = (
    ("cut_before",    {0},    b"",                True),
    ("cut_after",     {1},    b"",                True),
    ("delayed",       {0},    b"",                False),
    ("slow",          {1},    b"",                False),
    ("duplicated",    {2},    SAID,               True),
    ("echoed",        {1},    SAID,               True),
    ("garbled",       {1},    SAID,               True),
    ("garbled_reply", {1},    damage_bytes(SAID),      True),
    ("failing",       {0, 1}, b"HTTP/1.1 500 No", True),
    ("lost_behind",   {0, 1}, b"HTTP/1.1 502 No", True),
    ("timed_out",     {1},    b"HTTP/1.1 504 No", True),
    ("busy",          {0},    b"HTTP/1.1 503 No", True),
)
# fmt: on


def test_every_connection_fault_is_tested() -> None:
    assert {name for name, *_ in EFFECTS} == BY_NAME.keys() - {"not_sent"}


@pytest.mark.parametrize(("fault", "taken", "heard", "over"), EFFECTS)
def test_each_connection_fault_has_its_documented_effect(fault: str, taken: set[int], heard: bytes, over: bool) -> None:
    met = [meet(fault, seed) for seed in range(12)]
    assert {took.count(b"head;") for took, _, _ in met} == taken
    for _, client, _ in met:
        assert client is not None
        assert (client.heard[: len(heard)], bool(client.heard), client.over) == (heard, bool(heard), over)


def test_connection_to_a_closed_port_is_refused() -> None:
    assert meet("not_sent")[:2] == ([], None)


def test_garbled_message_is_damaged_after_its_header() -> None:
    assert meet("garbled")[0] == [b"head;", damage_bytes(b"body.")]


@pytest.mark.parametrize("fault", ["delayed", "echoed"])
def test_delayed_message_arrives_complete_within_hours(fault: str) -> None:
    took, _, clock = meet(fault)
    before = len(took)
    clock.advance(LATEST_S)
    clock.pump([0.1] * 9)
    assert took[before:] == [b"head;body."]


def test_slow_reply_arrives_within_twice_the_timeout() -> None:
    _, client, clock = meet("slow")
    assert client is not None
    clock.pump([1.0] * int(2 * TIMEOUT_S))
    assert (client.heard[: len(SAID)], client.over) == (SAID, True)


# ---- NCIP over faulty connections


@dataclass
class Lender:
    """HKU with many items behind the real NCIP responder, and CUHK's real client on an unreliable connection."""

    world: World
    clock: Clock
    trouble: FaultSource
    client: NcipClient

    @classmethod
    def open(cls, loss: float, seed: int) -> Lender:
        start = read_world(WORLDS / "consortium.toml")
        world, clock, trouble = World(replace(start, holdings=_copies())), Clock(), FaultSource(loss, Random(seed))
        site = NcipSite(world.services, bounds(100_000), clock)
        line = LossyEndpoint(MemoryEndpoint(site, clock), trouble, clock)
        pool: Any = HTTPConnectionPool(clock, persistent=False)  # type: ignore[no-untyped-call]  # twisted.web has no types
        agent: Any = Agent.usingEndpointFactory(clock, _Everywhere(line), pool)  # type: ignore[no-untyped-call]
        return cls(world, clock, trouble, NcipClient(AgentPost(clock, agent), "CUHK", {"HKU": secret_of("CUHK")}))

    def ask(self, number: int) -> list[str]:
        """Let CUHK request an item until the outcome is known; return the replies."""
        heard, unsure = list[str](), False
        while not heard or heard[-1] not in {"accepted", "already", "refused"}:
            heard.append(self._deliver(_wish(number, self.world.now), unsure).kind)
            unsure = unsure or heard[-1] == "unknown"
        return heard

    def _deliver(self, wish: PartnerMessage, unsure: bool) -> DeliveryResult:
        came: Deferred[DeliveryResult] = ensureDeferred(self.client.deliver(wish, HKU, unsure=unsure))
        answers: list[DeliveryResult] = []
        came.addCallback(answers.append)
        while not answers:
            self.clock.advance(0.5)
        return answers[0]

    def lent(self) -> list[str]:
        """CUHK's request numbers of the items that HKU is to ship."""
        lending = self.world.store.now(
            lambda unit: unit.requests.batch(REQUESTS.c.side == Side.LENDING, order=(REQUESTS.c.id,), limit=999)
        )
        assert {request.position for request in lending} <= {Position.PAGED}
        return sorted(request.wire_id for request in lending)


WISHES = 60
HKU = Partner(agency="HKU", name="HKU", url="http://hku.test/ncip", can_lookup_request=True)


class _Everywhere:
    """The same endpoint for every address."""

    def __init__(self, endpoint: LossyEndpoint) -> None:
        self._endpoint = endpoint

    def endpointForURI(self, _uri: Any) -> LossyEndpoint:  # noqa: N802
        return self._endpoint


def _copies() -> tuple[Holding, ...]:
    return tuple(Holding(agency="HKU", barcode=f"H{n:03}", bib_id=f"b{n:03}", title=f"Book {n}") for n in range(WISHES))


def _wish(number: int, now: datetime) -> PartnerMessage:
    copy = ItemKey("HKU", f"H{number:03}")
    return PartnerMessage(
        send=Notification.ASK_LENDER,
        request=f"R{number}",
        partner="HKU",
        wire_agency="CUHK",
        wire_id=f"R{number}-1",
        at=now,
        item=copy,
        bib_id=f"b{number:03}",
    )


def played(seed: int, loss: float = 0.5) -> tuple[list[list[str]], list[str], dict[str, int]]:
    """Return the replies per request, the final loans, and the faults of the connection."""
    lender = Lender.open(loss, seed)
    heard = [lender.ask(number) for number in range(WISHES)]
    lender.clock.advance(LATEST_S)
    lender.clock.pump([0.1] * 50)
    found = lender.lent()
    lender.world.close()
    return heard, found, dict(lender.trouble.met)


def test_request_takes_effect_once_even_if_the_connection_breaks_repeatedly() -> None:
    heard, lent, met = played(seed=1)
    assert lent == sorted(f"R{number}-1" for number in range(WISHES))
    assert {answers[-1] for answers in heard} == {"accepted", "already"}
    assert {answer for answers in heard for answer in answers} == {"accepted", "already", "unknown", "unreachable", "later"}
    assert met.keys() == BY_NAME.keys()


def test_same_seed_causes_the_same_connection_faults() -> None:
    assert played(seed=2) == played(seed=2)


def test_reliable_connection_delivers_everything_once() -> None:
    assert played(seed=1, loss=0)[0] == [["accepted"]] * WISHES
