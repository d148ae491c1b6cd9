"""A SIP2 server under test: does what a probe says, and keeps what comes back."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from circprobe import rules
from circprobe.care import Permissions
from circprobe.catalogue import Clause, Expectation, Probe
from circprobe.results import Exchange
from circprobe.runner import NotTried
from circprobe.sip2 import codec, judging, messages
from circprobe.sip2.client import Connection, Guard, Target

AVAILABLE = "03"


@dataclass
class Loan:
    """A loan that the kit made and must end."""

    item: str
    returned: bool = False


@dataclass
class Sip2Server:
    """The driver for a SIP2 server.

    Attributes:
        values: what stands for the places of the steps, such as "patron" and "item".
    """

    target: Target
    values: dict[str, str]
    permissions: Permissions
    guard: Guard = field(init=False)
    remarks: list[str] = field(default_factory=list)
    _shared: Connection | None = None
    _evidence: dict[str, list[Exchange]] = field(default_factory=dict)
    _supported: str | None = None
    _loans: dict[str, Loan] = field(default_factory=dict)
    _item_state: str | None = None

    def __post_init__(self) -> None:
        self.guard = Guard(self.permissions, self.target.known_secrets)
        self.guard.throttle.is_on = not self.permissions.load
        self.guard.connections.may_be_many = self.permissions.load
        self.values.setdefault("unknown_patron", "CIRCPROBE0")
        self.values.setdefault("unknown_item", "CIRCPROBE0")
        self.values.setdefault("wrong_pin", "0" + self.values.get("pin", "") + "9")
        self.values.setdefault("wrong_password", "0" + self.values.get("password", "") + "9")
        self.values.setdefault("none", " " * 10)
        self.values["today"] = _days_around_now()
        self.values["encoding"] = self.target.encoding
        self.values.setdefault("blank18", " " * 18)

    # What the runner asks.

    def offers(self, names: Collection[str]) -> bool:
        """Say whether BX has a Y for all these messages; without a BX, everything is offered."""
        if self._supported is None:
            self._supported = self._ask_what_is_supported()
        for name in names:
            position = messages.SUPPORTED.index(name)
            if self._supported[position : position + 1] == "N":
                return False
        return True

    def _ask_what_is_supported(self) -> str:
        try:
            exchange = self._ask(self._shared_connection(), "9900802.00")
        except OSError:
            return ""
        return codec.read(exchange.received, self.target.encoding).value("BX")

    def gather(self, probe: Probe, clause: Clause) -> list[list[Exchange]]:
        """Do what a probe says, once in a run.

        Raises:
            NotTried: if the items are not on the shelf, so that they must not be lent.
        """
        del clause
        if "transactions" in probe.needs:
            self._check_items()
        if probe.name not in self._evidence:
            self._evidence[probe.name] = self._do(probe)
        return [self._evidence[probe.name]]

    def judge(self, expectation: Expectation, evidence: list[Exchange]) -> str:
        """Judge one expectation about the answers."""
        case = judging.Case(evidence, self.values, self.target.encoding)
        return judging.judge(case, expectation)

    # Probes.

    def _do(self, probe: Probe) -> list[Exchange]:
        try:
            connection = self._connection_for(probe)
        except OSError as error:
            return [Exchange(b"", b"", note=f"no connection: {error}")]
        evidence: list[Exchange] = []
        try:
            for step in probe.steps:
                self._step(connection, step, evidence)
        finally:
            if connection is not self._shared:
                connection.close()
        return evidence

    def _connection_for(self, probe: Probe) -> Connection:
        if probe.connection == "shared":
            return self._shared_connection()
        connection = Connection(self.target, self.guard)
        if probe.connection == "logged-in":
            self._log_in(connection)
        return connection

    def _shared_connection(self) -> Connection:
        if self._shared is None or self._shared.has_ended():
            if self._shared is not None:
                self._shared.close()
            self._shared = Connection(self.target, self.guard)
            self._log_in(self._shared)
        return self._shared

    def _log_in(self, connection: Connection) -> None:
        if self.values.get("login"):
            self._ask(connection, "9300CN{login}|CO{password}|CP{location}|")

    def _ask(self, connection: Connection, text: str) -> Exchange:
        content = connection.frame(self._encode(text)) + b"\r"
        connection.write(content)
        answer = connection.receive(self.target.answer_s)
        exchange = Exchange(content, answer.received, answer.seconds, answer.note)
        self._note_loans(exchange)
        return exchange

    def _step(self, connection: Connection, step: str, evidence: list[Exchange]) -> None:
        verb, _, text = step.partition(" ")
        if verb == "pause":
            time.sleep(float(rules.fill(text, self.values)))
            return
        patience_s = self.target.quiet_s if verb.startswith("quiet") else self.target.answer_s
        if verb != "receive":
            self._write(connection, verb.removeprefix("quiet-"), text)
        if verb == "start":
            return
        answer = connection.receive(patience_s)
        sent = connection.last_sent
        exchange = Exchange(sent, answer.received, answer.seconds, answer.note)
        self._note_loans(exchange)
        evidence.append(exchange)

    def _write(self, connection: Connection, verb: str, text: str) -> None:
        content = self._encode(text)
        match verb:
            case "send" | "start" | "quiet":
                connection.write(connection.frame(content) + b"\r")
            case "plain":
                connection.write(content + b"\r")
            case "crlf":
                connection.write(connection.frame(content) + b"\r\n")
            case "blank-first":
                connection.write(b"\r" + connection.frame(content) + b"\r")
            case "pieces":
                framed = connection.frame(content) + b"\r"
                connection.write_in_pieces([framed[:1], framed[1:-1], framed[-1:]])
            case "together":
                first, second = (connection.frame(part) + b"\r" for part in content.split(b"||||"))
                connection.write(first + second)
            case "repeat":
                connection.write(connection.last_sent)
            case "badsum":
                connection.write(connection.frame(content)[:-4] + b"0000\r")
            case "lowsum":
                framed = connection.frame(content)
                connection.write(framed[:-4] + framed[-4:].lower() + b"\r")
            case "raw":
                escaped = content.decode("unicode-escape").encode("latin-1")
                connection.write(escaped + b"\r")
            case "framed-raw":
                escaped = content.decode("unicode-escape").encode("latin-1")
                connection.write(connection.frame(escaped) + b"\r")
            case _:
                raise ValueError(f"there is no step {verb}")

    def _encode(self, text: str) -> bytes:
        values: Mapping[str, str] = {**self.values, "date": _now()}
        return rules.fill(text, values).encode(self.target.encoding, "replace")

    # Care.

    def _check_items(self) -> None:
        """Look once whether the items are on the shelf, before anything is lent.

        Raises:
            NotTried: if one of them is not.
        """
        if self._item_state is None:
            self._item_state = self._find_item_state()
        if self._item_state:
            raise NotTried(self._item_state)

    def _find_item_state(self) -> str:
        if not self.offers(["17"]):
            return ""
        for name in ("item", "item2"):
            if not self.values.get(name):
                continue
            question = "17{date}AO{institution}|AB{" + name + "}|AC{terminal_password}|"
            exchange = self._ask(self._shared_connection(), question)
            answer = codec.read(exchange.received, self.target.encoding)
            status = answer.fixed.get("circulation_status", AVAILABLE)
            if status != AVAILABLE:
                return f"the item {self.values[name]} is not available (status {status})"
        return ""

    def _note_loans(self, exchange: Exchange) -> None:
        for line in exchange.sent.split(b"\r"):
            sent = codec.read(line, self.target.encoding)
            answer = codec.read(exchange.received, self.target.encoding)
            item = sent.value("AB")
            if sent.code == "11" and answer.fixed.get("ok") == "1" and sent.value("BI") != "Y":
                self._loans[item] = Loan(item)
            if sent.code == "09" and answer.fixed.get("ok") == "1" and item in self._loans:
                self._loans[item].returned = True

    def finish(self) -> None:
        """Return what is still lent, say so where it cannot be done, and hang up."""
        for loan in self._loans.values():
            if loan.returned:
                continue
            self.values["lent"] = loan.item
            question = "09N{date}{date}AP{location}|AO{institution}|AB{lent}|AC{terminal_password}|"
            with contextlib.suppress(OSError):
                self._ask(self._shared_connection(), question)
            if not loan.returned:
                self.remarks.append(f"could not return the item {loan.item}: please return it")
        if self._shared is not None:
            self._shared.close()


def _days_around_now() -> str:
    """Give a pattern of yesterday, today and tomorrow, since the server may be far away."""
    now = datetime.now().astimezone()
    days = [now + timedelta(days=days) for days in (-1, 0, 1)]
    return "(?:" + "|".join(day.strftime("%Y%m%d") for day in days) + ")"


def _now() -> str:
    """Give the local time as SIP2 writes it, with four blanks for the zone."""
    now = datetime.now().astimezone()
    return now.strftime("%Y%m%d") + " " * 4 + now.strftime("%H%M%S")
