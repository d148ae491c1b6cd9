"""Measurements inside this process, without sockets: the codec against pysip2's, and the gain of one commit for many units."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from bench.plan import Plan
from bench.questions import line
from bench.resources import Benchmark
from bench.situations import grouping as groups
from hkall_gateway.sip2.codec.dialects import DIALECTS
from hkall_gateway.sip2.codec.lines import decode, encode

LINES: Final = (
    line("6300120170301    100000Y         AOHKU|AAP000001|AC|AD1234|", 1),
    line(
        "64              00120170301    100000000200000000000000000000AOHKU|AAP000001|AEReader 1|BLY|CQY|BHHKD|BV0.00"
        "|CB0015|ASC0000002|ASC0000003|",
        1,
    ),
)
"""A question and its answer."""
SPANS, LOOPS = 100, 20


def codecs(ground: Benchmark, plan: Plan) -> Mapping[str, Sequence[float]]:
    """The ratio of our codec's lines a second to pysip2's, reading and writing, in each round."""
    from pysip2.codec import decode_message, encode_message

    dialect = DIALECTS["standard"]

    def ours(text: bytes) -> None:
        encode(decode(text[:-1], dialect), dialect)

    def theirs(text: bytes) -> None:
        encode_message(decode_message(text, encoding="utf-8").message, sequence_number=1, checksum=True, encoding="utf-8")

    spans = max(5, int(SPANS * plan.seconds))
    return {"codec": [_times_faster(ours, theirs, spans, ground.means.seconds) for _ in range(plan.rounds)]}


def _times_faster(
    ours: Callable[[bytes], None], theirs: Callable[[bytes], None], spans: int, seconds: Callable[[], float]
) -> float:
    """Times both in turns for so many short spans; the quickest span of each counts, since other load only adds time."""
    took = [(_took_s(ours, LOOPS, seconds), _took_s(theirs, LOOPS, seconds)) for _ in range(spans)]
    return min(b for _, b in took) / min(a for a, _ in took)


def _took_s(round_trip: Callable[[bytes], None], loops: int, seconds: Callable[[], float]) -> float:
    begun = seconds()
    for _ in range(loops):
        for text in LINES:
            round_trip(text)
    return seconds() - begun


def grouping(ground: Benchmark, plan: Plan) -> Mapping[str, Sequence[float]]:
    """The ratio of the store's checkouts a second in groups to those with one commit each, by the number of clients."""
    folder = ground.fresh("grouping")
    checkouts = max(16, int(groups.CHECKOUTS * plan.seconds))
    lines = (groups.compare(folder, clients, checkouts, plan.rounds, ground.means.seconds) for clients in groups.CLIENTS)
    return {f"grouping_{line.clients}": line.ratios for line in lines}
