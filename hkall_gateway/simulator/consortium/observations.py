"""Observations of a simulated consortium: the books themselves, and the records of each gateway."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from hkall_gateway.db.engine.immediate import finished
from hkall_gateway.db.tables import REQUESTS
from hkall_gateway.db.unit import Unit
from hkall_gateway.rules.vocabulary import Request, Side
from hkall_gateway.simulator.consortium.daily_life import People
from hkall_gateway.simulator.consortium.gateways import Consortium

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Observations:
    """A view of all libraries at once. `delivery`: how often each notice came, by library and the notice's own number."""

    all: Consortium
    people: People
    mail: Mapping[str, Counter[str]]

    def ask(self, agency: str, question: Callable[[Unit], T]) -> T:
        """Returns the result of a query on a library's database."""
        return finished(self.all.worlds[agency].store.read(question))

    def request(self, agency: str, number: str) -> Request | None:
        """Returns one request of a library."""
        return self.ask(agency, lambda unit: unit.request(number))

    def requests(self, agency: str, side: Side) -> Sequence[Request]:
        """Returns all requests of a library, also those that have ended."""
        return self.ask(agency, lambda unit: unit.batch(REQUESTS.c.side == side, order=(REQUESTS.c.id,), limit=1_000_000))

    def lent(self, agency: str, borrower: str, wire_id: str) -> Request | None:
        """Returns the request that a library lends to another under the other's number; None if there is none."""
        return self.ask(agency, lambda unit: unit.request_lent(borrower, wire_id))

    def events(self, agency: str, number: str) -> Sequence[tuple[str, str]]:
        """Returns (position before, event) of each journal entry of a request."""
        lines: Sequence[Mapping[str, Any]] = self.ask(agency, lambda unit: unit.history(number))
        return [(line["source"], line["event"]) for line in lines if line["request"] == number and line["outcome"] == "ok"]
