"""Checks a simulated consortium: EACH_STEP after every step, AT_THE_END at the end, each notice once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from hkall_gateway.db import notices
from hkall_gateway.delivery.message_id import read_message_id
from hkall_gateway.rules.vocabulary import Side
from hkall_gateway.simulator.consortium.daily_life import People
from hkall_gateway.simulator.consortium.final_checks import AT_THE_END
from hkall_gateway.simulator.consortium.gateways import Consortium, Moved
from hkall_gateway.simulator.consortium.observations import Observations
from hkall_gateway.simulator.consortium.step_checks import EACH_STEP

ONCE: Final = ("letter_pickup", "letter_unfilled")
"""Notices of which a request has at most one in its whole life."""


class Invariants:
    """Collects in `broken` every violation, each with its instant."""

    def __init__(self, consortium: Consortium, people: People) -> None:
        self.broken: list[str] = []
        self._mail: dict[str, Counter[str]] = {agency: Counter() for agency in consortium.worlds}
        self.look = Observations(consortium, people, self._mail)

    def watch(self, moved: Sequence[Moved]) -> None:
        """Checks the invariants of the requests that moved in one step."""
        for one in moved:
            for truth in EACH_STEP:
                if one.move.outcome == "ok" and one.move.event in truth.events:
                    self._broke(one.agency, *truth.broken(self.look, one))
        for agency in self._mail:
            self._read_letters(agency)

    def _read_letters(self, agency: str) -> None:
        """Checks that each notice came once.

        A mail server drops a second one with the Message-ID of the first, which a gateway's death may cause.
        """
        read, letters = self._mail[agency], self.look.all.worlds[agency].letters
        while letters:
            number = self._number(agency, letters.popleft().number)
            read[number] += 1
            request, _, kind = number.split(".", 2)
            same = [n for n in read if n.startswith(f"{request}.") and n.endswith(kind)]
            if kind in ONCE and len(same) > 1:
                self._broke(agency, f"{request}: {len(same)} different letters {kind}")
            if read[number] > 1 + self.look.all.deaths[agency] + self.look.all.disk_errors[agency]:
                self._broke(agency, f"{number} came {read[number]} times")

    def _number(self, agency: str, message_id: str) -> str:
        """REQUEST.NUMBER.KIND of a notice, by the register of notices."""
        named = read_message_id(message_id)
        found = self.look.ask(agency, lambda unit: notices.notice(unit, named.notice)) if named else None
        return f"{found.request}.{found.id}.{found.kind}" if found else f"?.{message_id}.?"

    # ---- the end

    def settled(self) -> bool:
        """Whether no request is open, no message waits in an outbox, and every book is at its own library."""
        return not any(True for name in SETTLED for _ in AT_THE_END[name](self.look))

    def end(self) -> None:
        """Runs the final checks: no message is lost, and both sides agree."""
        for broken in AT_THE_END.values():
            self._broke("", *broken(self.look))

    def ends(self) -> Counter[str]:
        """The number of requests by side and position."""
        every = ((side, r) for agency in self._mail for side in Side for r in self.look.requests(agency, side))
        return Counter(f"{side.value} {request.position}" for side, request in every)

    def _broke(self, agency: str, *what: str) -> None:
        self.broken.extend(f"{self.look.all.now:%Y-%m-%d %H:%M:%S} {agency} {one}".replace("  ", " ") for one in what)


SETTLED: Final = ("every book is home or settled", "the outbox drains", "every request ends")
