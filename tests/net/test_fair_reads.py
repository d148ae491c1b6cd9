"""Unauthenticated connections share a small part of the time; authenticated ones are read at once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from hkall_gateway.net.limits.fair_reads import HEAVY_S, SHARE, FairReads
from tests.examples import example_count

READ_S = 0.001
PAUSE_S = READ_S * (1 / SHARE - 1)


class Stranger:
    """An unauthenticated connection with pending input; `started` counts its reads."""

    def __init__(self) -> None:
        self.started = 0

    def startReading(self) -> None:  # noqa: N802  # Twisted's own name
        self.started += 1


class Room:
    """Unauthenticated connections around a fake clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.reads = FairReads(self.clock, self.clock.seconds)
        self.strangers = [Stranger() for _ in range(3)]

    def read(self, stranger: Stranger) -> bool:
        """Return whether the connection may read now. A read takes READ_S seconds."""
        admitted = self.reads.admits(stranger, trusted=False)
        if admitted:
            self.reads.used("", READ_S, trusted=False)
        return admitted


@pytest.fixture
def room() -> Room:
    return Room()


def test_unauthenticated_connection_reads_at_once_and_then_pauses(room: Room) -> None:
    first, second, _ = room.strangers
    assert room.read(first)
    assert not room.read(second)
    room.clock.advance(PAUSE_S)
    assert (second.started, room.read(second)) == (1, True)


def test_unauthenticated_connections_take_turns_in_order(room: Room) -> None:
    assert room.read(room.strangers[0])
    assert [room.read(stranger) for stranger in room.strangers] == [False] * 3
    for turn in range(3):
        room.clock.advance(PAUSE_S)
        assert [stranger.started for stranger in room.strangers] == [int(number <= turn) for number in range(3)]
        assert [room.read(stranger) for stranger in room.strangers][turn]


def test_unauthenticated_connections_share_one_quota(room: Room) -> None:
    count = 0
    for _ in range(1000):
        room.clock.advance(READ_S)
        count += sum(room.read(stranger) for stranger in room.strangers)
    share = count / (1000 + count)  # the clock does not advance during reads
    assert 0.9 * SHARE <= share <= 1.02 * SHARE


def test_closed_connection_does_not_block_the_queue(room: Room) -> None:
    first, gone, following = room.strangers
    assert room.read(first)
    assert not room.read(gone)
    assert not room.read(following)
    room.clock.advance(PAUSE_S)
    assert gone.started
    room.reads.forget(gone)
    room.clock.advance(0)
    assert (following.started, room.read(following)) == (1, True)


def test_only_authenticated_connections_are_trusted(room: Room) -> None:
    assert room.reads.trusts("sip2 counter-1")
    assert not room.reads.trusts("")


def test_trusted_client_with_costly_reads_is_queued_for_a_while(room: Room) -> None:
    room.reads.used("ncip CUHK", 10 * HEAVY_S, trusted=True)
    assert not room.reads.trusts("ncip CUHK")
    assert room.reads.trusts("ncip LU")
    room.clock.advance(20 * 10 * HEAVY_S)
    assert room.reads.trusts("ncip CUHK")


def test_ordinary_reads_of_a_trusted_client_use_no_quota(room: Room) -> None:
    for _ in range(1000):
        room.reads.used("sip2 counter-1", HEAVY_S, trusted=True)
    assert room.reads.trusts("sip2 counter-1")
    assert room.read(room.strangers[0])


@pytest.mark.parametrize(
    ("wall_s", "cpu_s", "trusted"),
    [(HEAVY_S / 2, HEAVY_S / 2, True), (10 * HEAVY_S, HEAVY_S / 2, True), (2 * HEAVY_S, 2 * HEAVY_S, False)],
)
def test_only_cpu_time_makes_a_trusted_read_heavy(wall_s: float, cpu_s: float, trusted: bool) -> None:
    clock, spent = Clock(), [0.0]
    reads = FairReads(clock, lambda: spent[0])
    clock.advance(1)
    for read_wall_s, read_cpu_s in [(0.0001, 0.0001)] * 3 + [(wall_s, cpu_s)]:
        reads.begin(trusted=True)
        clock.advance(read_wall_s)
        spent[0] += read_cpu_s
        reads.end("sip2 counter-1", trusted=True)
    assert reads.trusts("sip2 counter-1") is trusted


def test_connection_trusted_while_queued_leaves_the_queue(room: Room) -> None:
    first, known, following = room.strangers
    assert room.read(first)
    assert not room.read(known)
    assert not room.read(following)
    room.clock.advance(PAUSE_S)  # it is the turn of `known`, which now reads as an authenticated connection
    assert room.reads.admits(known, trusted=True)
    room.clock.advance(0)
    assert (following.started, room.read(following)) == (1, True)


class Line:
    """A connection in a simulated reactor, which reads it if it is polled, not paused and has input."""

    def __init__(self, room: Room) -> None:
        self._reads = room.reads
        self.data, self.polled, self.paused, self.trusted = 0, True, False, False

    def startReading(self) -> None:  # noqa: N802  # Twisted's own name
        self.polled = not self.paused

    def pause(self) -> None:
        self._reads.forget(self)
        self.polled, self.paused = False, True

    def resume(self) -> None:
        self.polled, self.paused = True, False

    def trust(self) -> None:
        self.trusted = True
        self.startReading()

    def look(self) -> None:
        """Run one reactor iteration."""
        if not self.polled or not self.data:
            return
        if not self._reads.admits(self, trusted=self.trusted):
            self.polled = False
            return
        self.data -= 1
        self._reads.used("", READ_S, trusted=self.trusted)


KINDS = st.sampled_from(["data", "data", "pause", "resume", "trust", "distrust", "time"])
STEPS = st.lists(st.tuples(KINDS, st.integers(0, 3)), min_size=10, max_size=60)


@settings(max_examples=example_count(300))
@given(steps=STEPS)
def test_every_arrived_byte_is_read_eventually(steps: list[tuple[str, int]]) -> None:
    room = Room()
    lines = [Line(room) for _ in range(4)]
    for step, number in steps:
        line = lines[number]
        if step == "data":
            line.data += 1
        elif step == "distrust":
            line.trusted = False
        elif step == "time":
            room.clock.advance(PAUSE_S)
        else:
            {"pause": line.pause, "resume": line.resume, "trust": line.trust}[step]()
        for one in lines:
            one.look()
    for _ in range(2 * len(steps) + 8):
        room.clock.advance(PAUSE_S)
        for one in lines:
            one.look()
    assert [one.data for one in lines if not one.paused] == [0 for one in lines if not one.paused]
