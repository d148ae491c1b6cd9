"""Strangers share a small part of each reactor iteration; whoever is proven reads at once."""

from __future__ import annotations

from twisted.internet.task import Clock

from hkall_gateway.edge.fair_reads import HEAVY_S, SHARE_S, FairReads


def fair() -> tuple[FairReads, Clock]:
    clock = Clock()
    return FairReads(clock, clock.seconds), clock


def test_strangers_read_until_their_share_of_the_iteration_is_used() -> None:
    reads, clock = fair()
    assert reads.admits("a")
    reads.used("", SHARE_S, trusted=False)
    assert not reads.admits("b")
    clock.advance(0)
    assert reads.admits("b")


def test_who_waited_longest_reads_first() -> None:
    reads, clock = fair()
    reads.used("", SHARE_S, trusted=False)
    assert [reads.admits(name) for name in "abc"] == [False, False, False]
    clock.advance(0)
    assert [reads.admits(name) for name in "cbabc"] == [False, False, True, True, True]


def test_who_stops_reading_holds_up_nobody() -> None:
    reads, clock = fair()
    reads.used("", SHARE_S, trusted=False)
    reads.admits("gone")
    reads.admits("next")
    reads.forget("gone")
    clock.advance(0)
    assert reads.admits("next")


def test_the_proven_are_trusted_and_strangers_never() -> None:
    reads, _ = fair()
    assert reads.trusts("sip2 counter-1")
    assert not reads.trusts("")


def test_a_row_whose_reads_cost_much_waits_like_a_stranger_for_a_while() -> None:
    reads, clock = fair()
    reads.used("ncip CUHK", 10 * HEAVY_S, trusted=True)
    assert not reads.trusts("ncip CUHK")
    assert reads.trusts("ncip LU")
    clock.advance(20 * 10 * HEAVY_S)
    assert reads.trusts("ncip CUHK")


def test_ordinary_reads_cost_no_trust_and_no_share() -> None:
    reads, _ = fair()
    for _ in range(1000):
        reads.used("sip2 counter-1", HEAVY_S, trusted=True)
    assert reads.trusts("sip2 counter-1")
    assert reads.admits("a stranger")
