"""A library terminal on a real connection: its messages and its screen."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime

from demo import demo_setup
from hkall_gateway.net.socket_lines import SocketLines
from hkall_gateway.rules.dates import HONG_KONG
from hkall_gateway.simulator.scenario.in_memory import Seal
from tests.published.records import Copy, Reader, Title

PATIENCE_S = 60
BLANK = " " * 18
READY, OVERDUE, ON_LOAN, FINES, RECALLED, COMING = range(6)
"""Positions of a summary in 63 and of the counts in 64."""
_COUNTS_FROM = 2 + 14 + 3 + 18


@dataclass(frozen=True, slots=True)
class Screen:
    """A reply. `ok`: success; `says`: the screen message."""

    line: str

    @property
    def ok(self) -> bool:
        return self.line[2] == "1"

    @property
    def says(self) -> str:
        return " / ".join(self.fields("AF"))

    @property
    def due(self) -> date | None:
        """The due date shown or printed."""
        shown = self.field("AH")
        return date(int(shown[:4]), int(shown[4:6]), int(shown[6:8])) if shown else None

    def field(self, tag: str) -> str:
        """The first field with this tag, "" if absent."""
        return next(iter(self.fields(tag)), "")

    def fields(self, tag: str) -> list[str]:
        """All fields with this tag."""
        variable = self.line[self.line.index("AO") :]
        return [piece[2:] for piece in variable.split("|") if piece[:2] == tag]

    def count(self, which: int) -> int:
        """One of the counts of a patron's record."""
        start = _COUNTS_FROM + 4 * which
        return int(self.line[start : start + 4])


class Terminal:
    """A counter, a self-check or a book drop. `now` is its own clock; it connects on first use."""

    def __init__(self, login: str, port: int, now: Callable[[], datetime]) -> None:
        self._login, self._port, self._now = login, port, now
        self._wire: SocketLines | None = None
        self._seal = Seal("utf-8")

    def check_in(self, copy: Copy) -> Screen:
        """Check in an item that arrives or is returned."""
        return self._ask(f"09N{self._time}{self._time}AP{demo_setup.LOCATION}|AOHKU|AB{copy.barcode}|AC|")

    def check_out(self, reader: Reader, copy: Copy) -> Screen:
        """Check out an item."""
        return self._ask(f"11NN{self._time}{BLANK}AOHKU|AA{reader.card}|AB{copy.barcode}|AC|")

    def renew(self, reader: Reader, copy: Copy) -> Screen:
        """Renew one loan."""
        return self._ask(f"29NN{self._time}{BLANK}AOHKU|AA{reader.card}|AB{copy.barcode}|AC|")

    def request(self, reader: Reader, title: Title, pin: str = "") -> Screen:
        """Place a hold on a title, which creates a request."""
        secret = f"AD{pin}|" if pin else ""
        return self._ask(f"15+{self._time}AOHKU|AA{reader.card}|{secret}AJ{title.name}|")

    def hold(self, reader: Reader, copy: Copy) -> Screen:
        """Place a hold on the title of an item present here."""
        return self._ask(f"15+{self._time}AOHKU|AA{reader.card}|AB{copy.barcode}|")

    def cancel(self, reader: Reader, title: Title) -> Screen:
        """Cancel a hold."""
        return self._ask(f"15-{self._time}AOHKU|AA{reader.card}|AJ{title.name}|")

    def record(self, reader: Reader, which: int = READY) -> Screen:
        """The patron's circulation record, with one of its lists."""
        summary = "".join("Y" if which == position else " " for position in range(10))
        return self._ask(f"63001{self._time}{summary}AOHKU|AA{reader.card}|AC|")

    def status(self, reader: Reader, title: Title) -> str:
        """The status of a request in the patron's record, "" if absent."""
        lists = (self.record(reader, which).says for which in (READY, COMING))
        found = re.search(re.escape(title.name) + ": (.*?)(?: / |$)", " / ".join(lists))
        return found[1] if found else ""

    def close(self) -> None:
        """Disconnect."""
        if self._wire is not None:
            self._wire.socket.close()

    @property
    def _time(self) -> str:
        return f"{self._now().astimezone(HONG_KONG):%Y%m%d    %H%M%S}"

    def _ask(self, line: str) -> Screen:
        if self._wire is None:
            self._wire = SocketLines(socket.create_connection(("127.0.0.1", self._port), PATIENCE_S))
            assert self._say(f"9300CN{self._login}|CO{demo_setup.PASSWORD}|") == "941"
        return Screen(self._say(line))

    def _say(self, line: str) -> str:
        assert self._wire is not None
        return self._seal.opened(self._wire.ask(self._seal.sealed(line)))
