"""What is compared with what, and how much is demanded of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hkall_gateway.lab.bench.figures import Run, Spread
from hkall_gateway.lab.bench.turns import Cell


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `demand` is the least that is wanted of it; None = it is reported and nothing is demanded.

    It is the rate of `work` at `subject` over that at `peer`, each with so many connections.
    """

    key: str
    demand: float | None
    work: str
    connections: int
    subject: str
    peer: str
    how: str

    @property
    def cells(self) -> tuple[Cell, Cell]:
        return Cell(self.work, self.connections, self.subject), Cell(self.work, self.connections, self.peer)

    def spread(self, runs: Mapping[Cell, Sequence[Run]]) -> Spread:
        """The ratio of each round."""
        ours, theirs = (runs[cell] for cell in self.cells)
        return Spread(tuple(a.rate / b.rate for a, b in zip(ours, theirs, strict=True)))

    def met(self, spread: Spread) -> bool:
        """Whether the median is what is demanded."""
        return self.demand is None or spread.median >= self.demand


ECHO_SAYS: Final = "a bare LineReceiver that echoes the same lines"
# fmt: off
ROWS: Final = (
    Row("sip2_63_vs_echo",      0.15, "sip2_63", 64,  "gateway", "echo",   ECHO_SAYS),
    Row("sip2_11_vs_echo",      None, "sip2_11", 64,  "gateway", "echo",   ECHO_SAYS),
    Row("sip2_11_vs_single_1",  None, "sip2_11", 1,   "gateway", "single", "the same with one commit each"),
    Row("sip2_11_vs_single_64", 2.5,  "sip2_11", 64,  "gateway", "single", "the same with one commit each"),
    Row("lookup_user_vs_canned", 0.35, "lookup_user", 8, "gateway", "canned", "a twisted.web resource with canned bytes"),
    Row("request_item_vs_canned", None, "request_item", 8, "gateway", "canned", "a twisted.web resource with canned bytes"),
)
# fmt: on


def rows(only: Collection[str]) -> Iterator[Row]:
    """The rows with these keys, or whose keys begin so; all where none is named."""
    return (row for row in ROWS if not only or any(row.key.startswith(key) for key in only))
