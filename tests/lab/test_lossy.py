"""A lossy line loses in every way that it promises, and the same seed loses the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random

import pytest

from hkall_gateway.lab.lossy import FAULTS, LossyLine
from hkall_gateway.ncip.transport import NoReply, NotSent, Posted
from hkall_gateway.store.database import finished

BODY = b"<NCIPMessage/>"
REPLY = Posted(200, "application/xml", b"<Reply/>", 0)


class Peer:
    """Takes what arrives, and keeps what is to happen later."""

    def __init__(self) -> None:
        self.took: list[bytes] = []
        self.waiting: list[Callable[[], Awaitable[None]]] = []

    async def post(self, url: str, body: bytes, timeout_s: float) -> Posted:
        self.took.append(body)
        return REPLY

    def later(self, seconds: float, what: Callable[[], Awaitable[None]]) -> None:
        self.waiting.append(what)


def meet(fault: str, seed: int = 1) -> tuple[Peer, Posted | Exception]:
    """What one fault does to one document."""
    peer = Peer()
    line = LossyLine(peer.post, 1.0, Random(seed), peer.later)
    try:
        return peer, finished(FAULTS[fault](line, "http://peer.test", BODY, 20))
    except (NoReply, NotSent) as error:
        return peer, error


# fmt: off
EFFECTS = (
    ("not_sent",      0, 0, NotSent),
    ("cut_before",    0, 0, NoReply),
    ("cut_after",     1, 0, NoReply),
    ("delayed",       0, 1, NoReply),
    ("duplicated",    2, 0, Posted),
    ("echoed",        1, 1, Posted),
    ("garbled",       1, 0, Posted),
    ("garbled_reply", 1, 0, Posted),
    ("busy",          0, 0, Posted),
)
# fmt: on


@pytest.mark.parametrize(("fault", "taken_now", "taken_later", "seen"), EFFECTS)
def test_each_fault_does_what_its_name_says(fault: str, taken_now: int, taken_later: int, seen: type) -> None:
    peer, came = meet(fault)
    assert (len(peer.took), len(peer.waiting)) == (taken_now, taken_later)
    assert isinstance(came, seen)


def test_half_of_a_garbled_document_arrives() -> None:
    peer, _ = meet("garbled")
    assert peer.took == [BODY[: len(BODY) // 2]]


def test_half_of_a_garbled_reply_comes_back() -> None:
    _, came = meet("garbled_reply")
    assert isinstance(came, Posted)
    assert came.body == REPLY.body[: len(REPLY.body) // 2]


@pytest.mark.parametrize("fault", ["slow", "failing"])
def test_some_faults_go_one_way_or_the_other(fault: str) -> None:
    kinds = {type(meet(fault, seed)[1]).__name__ + str(len(meet(fault, seed)[0].took)) for seed in range(20)}
    assert len(kinds) == 2


def test_a_busy_peer_says_503() -> None:
    _, came = meet("busy")
    assert isinstance(came, Posted)
    assert came.status == 503


def what_happens(seed: int, loss: float) -> tuple[list[str], dict[str, int]]:
    peer, seen = Peer(), list[str]()
    line = LossyLine(peer.post, loss, Random(seed), peer.later)
    for _ in range(200):
        try:
            seen.append(str(finished(line("http://peer.test", BODY, 20)).status))
        except (NoReply, NotSent) as error:
            seen.append(str(error))
    return seen, dict(line.met)


def test_the_same_seed_loses_the_same() -> None:
    assert what_happens(7, 0.5) == what_happens(7, 0.5)


def test_every_fault_is_met_sooner_or_later() -> None:
    assert what_happens(1, 1.0)[1].keys() == FAULTS.keys()


def test_a_whole_line_loses_nothing() -> None:
    seen, met = what_happens(1, 0.0)
    assert (set(seen), met) == ({"200"}, {})
