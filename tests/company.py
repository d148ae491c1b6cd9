"""The daemon in its own process, on real sockets, with its partners and mail server; shared by the tests that kill it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.request import urlopen

from twisted.internet.defer import ensureDeferred
from twisted.internet.threads import blockingCallFromThread

from demo import demo_setup
from demo.demo_script import DemoPeers
from demo.socket_terminal import SocketTerminal, call
from hkall_gateway.config import gateway as config
from hkall_gateway.config.library import library_of, make_unit
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.rules.dates import HONG_KONG
from hkall_gateway.simulator.databases import SoleStore
from tests import databases
from tests.ports import free_ports

T = TypeVar("T")

COMMAND = Path(sys.executable).parent / "hkall-gateway"
PATIENCE_S = 180
CARD, PIN, BIB, COPY = "P0001", "1234", "b9001", "C09001"
SOON = {"attempts": 9, "first_wait_s": 1, "longest_wait_s": 1}
ANY_DAY = "[renewal]\nwindow_days = 365\n"


class Gateway:
    """The daemon in its own process, with its folder, partners and mail server.

    Args:
        database: URL of an empty database; by default the gateway has its own SQLite file.
        beside: Another gateway, whose database, partners and mailbox this one shares.
        number: Gateway number of this one.
        under: Command that starts the daemon by exec.
        shared: Port for partners that several gateways share, besides their own.
        pages: Whether to serve the web pages.
        sip2: Further keys of the [sip2] table.
    """

    def __init__(
        self,
        reactor: Any,
        folder: Path,
        policy: str = ANY_DAY,
        courier: Mapping[str, int] = SOON,
        database: str = "",
        beside: Gateway | None = None,
        number: int = 1,
        under: Sequence[str] = (),
        shared: int = 0,
        pages: bool = False,
        sip2: Mapping[str, object] | None = None,
    ) -> None:
        self._reactor, self._folder, self._under = reactor, folder, under
        self.ports = gateway_ports()
        if beside is not None:
            self.ports = replace(self.ports, smtp=beside.ports.smtp, partners=beside.ports.partners)
        self.database: str = beside.database if beside is not None else database or databases.url("sqlite:///hkall.db")
        self.environ = {**os.environ, **demo_setup.environment(self.ports), "HKALL_INSTANCE": str(number)}
        keys: dict[str, dict[str, object]] = {"database": {"url": self.database}, "sip2": dict(sip2 or {})}
        if shared:
            doors = [f"tcp:{port}:interface=127.0.0.1" for port in (self.ports.ncip, shared)]
            keys["ncip"] = {"listen": doors, "share_ports": True}
        self.path = demo_setup.write_config(folder, self.ports, policy, courier, keys, pages=pages)
        self.party = DemoPeers(reactor, self.ports)
        if beside is None:
            databases.fill(self.path, self.environ)
        self._process: subprocess.Popen[bytes] | None = None
        self._starts, self._is_of_pages = 0, False

    def plant(self, work: Callable[[UnitOfWork], T]) -> T:
        """Change the gateway's database before the start, or read it while the gateway runs."""
        found = config.load(self.path, self.environ)
        engine = open_engine(found.database.url)
        store = SoleStore(engine, make_unit(library_of(found)))
        found_there = store.now(work)
        store.close()
        engine.dispose()
        return found_there

    def do(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run a coroutine in the reactor's thread."""
        made: Any = lambda: ensureDeferred(work())  # type: ignore[arg-type]  # noqa: E731
        found: T = blockingCallFromThread(self._reactor, made)
        return found

    def start(self, *options: str) -> None:
        self._starts += 1
        self._is_of_pages = "web" in options
        with (self._folder / f"log{self._starts}.jsonl").open("wb") as log:
            self._process = subprocess.Popen(
                [*self._under, COMMAND, "serve", *options, "--config", self.path], stdout=log, stderr=log, env=self.environ
            )
        until(lambda: self.count_starts() == self._starts, "the daemon's start")

    def count_starts(self) -> int:
        """Return the number of starts according to the log, without those of the pages process, which has another name."""
        started = (line for line in self.log().splitlines() if "daemon.started" in line)
        return sum(self._is_of_pages or '-web"' not in line for line in started)

    def children(self) -> list[int]:
        """Return the running child processes of the daemon, such as the pages process."""
        return [pid for pid, parent in _running() if parent == self.pid]

    @property
    def pid(self) -> int:
        """Return the id of the current or last process."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """Kill the daemon, whose pages process finishes its requests and ends."""
        assert self._process is not None
        pages = self.children()
        self._process.kill()
        self._process.wait()
        until(lambda: not {*pages} & {pid for pid, _ in _running()}, "the end of the pages")

    def stop(self) -> int:
        """Send SIGTERM and return the exit code; allow at most five seconds."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(5)

    def end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
        self.do(self.party.stop)

    def log(self) -> str:
        return "".join(p.read_text() for p in sorted(self._folder.glob("log*.jsonl")))

    def command(self, *words: str) -> str:
        done = subprocess.run(
            [COMMAND, *words, "--config", self.path],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return done.stdout + done.stderr

    def position(self, item: str = COPY) -> str:
        lines = json.loads(self.command("requests", "trace", item, "--json"))
        return str(lines[-1]["target"])

    # ---- patrons, terminals and staff

    def counter(self) -> SocketTerminal:
        return self.terminal("counter-1")

    def terminal(self, login: str) -> SocketTerminal:
        terminal = self.do(lambda: call(self._reactor, self.ports.sip2))
        assert self.ask(terminal, f"9300CN{login}|CO{demo_setup.PASSWORD}|") == "941"
        return terminal

    def ask(self, terminal: SocketTerminal, line: str) -> str:
        found: str = blockingCallFromThread(self._reactor, terminal.ask, line)  # type: ignore[arg-type]
        return found

    def begin(self, terminal: SocketTerminal, line: str) -> Callable[[], Any]:
        """Send a message. The returned function waits for the reply, or raises an error if the connection is closed."""
        asked: list[Any] = []
        blockingCallFromThread(self._reactor, lambda: asked.append(terminal.ask(line).addErrback(lambda lost: lost.value)))

        def answer() -> Any:
            return blockingCallFromThread(self._reactor, lambda: asked[0])

        return answer

    def hang_up(self, terminal: SocketTerminal) -> None:
        blockingCallFromThread(self._reactor, terminal.hang_up)

    def metrics(self) -> str:
        with urlopen(f"http://127.0.0.1:{self.ports.ops}/metrics", timeout=PATIENCE_S) as page:
            return str(page.read().decode())

    def request(self, number: str) -> NcipMessage:
        words = (f"user={CARD}", f"bib={BIB}", f"request={number}", f"pickup={demo_setup.LOCATION}")
        return self.do(lambda: self.party.discovery.say("RequestItem", *words))


def _running() -> Iterator[tuple[int, int]]:
    """Yield the running processes of this machine, each with its parent."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = stat.read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state not in "ZX":
                yield int(stat.parent.name), int(parent)


def gateway_ports() -> demo_setup.Ports:
    """Return eight unused ports of this machine."""
    sip2, ncip, ops, smtp, web, *partners = free_ports(8)
    return demo_setup.Ports(sip2, ncip, ops, smtp, dict(zip(("CUHK", "HKUST", "LU"), partners, strict=True)), web)


def until(happened: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Wait until the function returns a true value, at most `patience_s` seconds; return it."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        if found := happened():
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {patience_s} s")


def stamp() -> str:
    return f"{datetime.now(UTC).astimezone(HONG_KONG):%Y%m%d    %H%M%S}"  # noqa: TID251  # a terminal has a clock
