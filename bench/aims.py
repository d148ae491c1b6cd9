"""The aims beyond the demands, and the bar for a new version beside the one before."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from bench.report import Records
from bench.rows import KEYS

# fmt: off
AIMS: Final = {
    "codec_vs_pysip2":        6.0,
    "protocol_vs_echo":       0.9,
    "sip2_63_vs_echo":        0.22,
    "sip2_63_vs_pysip2":      1.2,
    "sip2_11_vs_orm":         9.0,
    "sip2_11_vs_c_single":    0.25,
    "postgres_vs_core":       2.2,
    "postgres_vs_pgbench_64": 1.5,
    "two_processes":          1.2,
}
"""What the compiled build aims at, by row."""
# fmt: on

TERMINALS: Final = re.compile(
    r"(?P<work>sip2_\w+_(gateway|protocol|postgres|postgres_2))(?P<compiled>@compiled)?_vs_(?!compiled$)\w+"
)
"""A row of `bench.compared`: a terminal's work at a build as sites run it, against the version before, not the other build."""
SEEN: Final = "sip2_63_64_gateway"
PLAIN_BAR, COMPILED_BAR, SEEN_BAR = 0.8, 1.0, 1.15
HEAD: Final = ("at least", "of", "plain Python", "compiled", "")


def aims(records: Records) -> Iterator[Sequence[str]]:
    """The lines of the table, below HEAD: the bar first, then the aims."""
    plain, fast = beside(records, compiled=False), beside(records, compiled=True)
    yield _bar(PLAIN_BAR, "plain: the lowest row of terminals against the version before", min(plain.values(), default=None), 0)
    yield _bar(COMPILED_BAR, "compiled: the lowest of these rows", min(fast.values(), default=None), 1)
    yield _bar(SEEN_BAR, "compiled: a 63 over 64 connections against the version before", fast.get(SEEN), 1)
    for key, aim in AIMS.items():
        found = [records["ratios"].get(name, {}).get("median") for name in (key, f"{key}@compiled")]
        judged = found[0] if found[1] is None else found[1]
        yield f"{aim:g}", f"`{key}`", *map(_figure, found), _reached(judged, aim)


def beside(records: Records, *, compiled: bool) -> Mapping[str, float]:
    """The rows of terminals, plain or compiled, against the version before: work and subject -> median."""
    found = {key: TERMINALS.fullmatch(key) for key in records["ratios"].keys() - KEYS}
    return {
        hit["work"]: records["ratios"][key]["median"]
        for key, hit in found.items()
        if hit is not None and bool(hit["compiled"]) == compiled
    }


def _bar(least: float, what: str, found: float | None, column: int) -> Sequence[str]:
    figures = ["", ""]
    figures[column] = _figure(found)
    return f"{least:g}", what, *figures, _reached(found, least)


def _figure(found: float | None) -> str:
    return "not measured" if found is None else f"{found:.3g}"


def _reached(found: float | None, least: float) -> str:
    if found is None:
        return ""
    return "reached" if found >= least else "**not reached**"
