"""A lossy channel has all its documented faults, and the same seed gives the same faults."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random

import pytest

from hkall_gateway.db.database import finished
from hkall_gateway.net.http_post import HttpReply, NoReply, NotSent
from hkall_gateway.simulator.consortium.faults import FAULTS, FaultSource, LossyChannel, damage_bytes

BODY = b"<NCIPMessage/>"
REPLY = HttpReply(status=200, content_type="application/xml", body=b"<Reply/>", retry_after_s=0)
BY_NAME = {fault.name: fault for fault in FAULTS}


class Peer:
    """Receives documents, and collects delayed calls."""

    def __init__(self) -> None:
        self.took: list[bytes] = []
        self.waiting: list[Callable[[], Awaitable[None]]] = []

    async def post(self, url: str, body: bytes, timeout_s: float) -> HttpReply:
        self.took.append(body)
        return REPLY

    def later(self, seconds: float, what: Callable[[], Awaitable[None]]) -> None:
        self.waiting.append(what)


def meet(fault: str, seed: int = 1) -> tuple[Peer, HttpReply | Exception]:
    """Return the effect of one fault on one document."""
    peer = Peer()
    line = LossyChannel(peer.post, FaultSource(1.0, Random(seed)), peer.later)
    try:
        return peer, finished(line.suffer(BY_NAME[fault], "http://peer.test", BODY, 20))
    except (NoReply, NotSent) as error:
        return peer, error


# fmt: off
EFFECTS = (
    ("not_sent",      0, 0, NotSent),
    ("cut_before",    0, 0, NoReply),
    ("cut_after",     1, 0, NoReply),
    ("delayed",       0, 1, NoReply),
    ("duplicated",    2, 0, 200),
    ("echoed",        1, 1, 200),
    ("garbled",       1, 0, 200),
    ("garbled_reply", 1, 0, 200),
    ("timed_out",     1, 0, 504),
    ("busy",          0, 0, 503),
)
EITHER = {"slow": {(1, NoReply), (1, 200)}, "failing": {(0, 500), (1, 500)}, "lost_behind": {(0, 502), (1, 502)}}
# fmt: on


def seen(came: HttpReply | Exception) -> object:
    return came.status if isinstance(came, HttpReply) else type(came)


def test_every_fault_has_one_row_and_is_tested() -> None:
    assert len(BY_NAME) == len(FAULTS)
    assert {name for name, *_ in EFFECTS} | EITHER.keys() == BY_NAME.keys()


@pytest.mark.parametrize(("fault", "taken_now", "taken_later", "came"), EFFECTS)
def test_each_document_fault_has_its_documented_effect(fault: str, taken_now: int, taken_later: int, came: object) -> None:
    peer, what = meet(fault)
    assert (len(peer.took), len(peer.waiting), seen(what)) == (taken_now, taken_later, came)


@pytest.mark.parametrize("fault", EITHER)
def test_fault_with_several_outcomes_has_each_of_them(fault: str) -> None:
    met = [meet(fault, seed) for seed in range(20)]
    assert {(len(peer.took), seen(came)) for peer, came in met} == EITHER[fault]


def test_garbled_document_arrives_damaged() -> None:
    peer, _ = meet("garbled")
    assert peer.took == [damage_bytes(BODY)]
    assert peer.took != [BODY]


def test_garbled_reply_arrives_damaged() -> None:
    _, came = meet("garbled_reply")
    assert isinstance(came, HttpReply)
    assert came.body == damage_bytes(REPLY.body)


def test_damaged_document_keeps_its_length_but_is_not_valid_text() -> None:
    assert damage_bytes(b"<Reply/>") == b"<Rep\0y/>"
    assert damage_bytes(b"") == b""


def test_busy_peer_sends_retry_after() -> None:
    waits = [came.retry_after_s for seed in range(9) for _, came in [meet("busy", seed)] if isinstance(came, HttpReply)]
    assert len(waits) == 9
    assert max(waits) > 60


def what_happens(seed: int, loss: float) -> tuple[list[str], dict[str, int]]:
    peer, seen, trouble = Peer(), list[str](), FaultSource(loss, Random(seed))
    line = LossyChannel(peer.post, trouble, peer.later)
    for _ in range(200):
        try:
            seen.append(str(finished(line("http://peer.test", BODY, 20)).status))
        except (NoReply, NotSent) as error:
            seen.append(str(error))
    return seen, dict(trouble.met)


def test_same_seed_loses_the_same_documents() -> None:
    assert what_happens(7, 0.5) == what_happens(7, 0.5)


def test_every_fault_occurs_eventually() -> None:
    assert what_happens(1, 1.0)[1].keys() == BY_NAME.keys()


def test_lossless_channel_loses_no_document() -> None:
    seen, met = what_happens(1, 0.0)
    assert (set(seen), met) == ({"200"}, {})
