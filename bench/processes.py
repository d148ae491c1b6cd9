"""Processes on this machine: started with their output in a file, observed from outside, and always stopped."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Final

from tests.ports import is_free
from tests.postgres_server import NoServer

COMMAND: Final = Path(sys.executable).parent / "hkall-gateway"
HOST: Final = "127.0.0.1"
TIMEOUT_S: Final = 60.0
POLL_S: Final = 0.02
TICKS_S: Final = os.sysconf("SC_CLK_TCK")
PAGE_KIB: Final = os.sysconf("SC_PAGE_SIZE") // 1024


class Broken(Exception):
    """A process of the benchmark failed. The text includes its output."""


FAILURES: Final = (Broken, AssertionError, NoServer, OSError, subprocess.SubprocessError)
"""Failures of a part of the benchmark: it did not run, or it lost or duplicated an answered request."""


def ports() -> Iterator[int]:
    """Yield free ports below the kernel's ephemeral ports, starting where another benchmark is unlikely to start."""
    return filter(is_free, count(20_000 + os.getpid() * 7 % 10_000))


class Process:
    """One running program. Its creator must end it, with `stop`, or with `kill` if it may be broken."""

    def __init__(self, command: Sequence[str | Path], log: Path, environ: Mapping[str, str] | None = None) -> None:
        self._log = log
        with log.open("wb") as stream:
            self._running = subprocess.Popen(command, stdout=stream, stderr=stream, env={**os.environ, **(environ or {})})

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._running.pid

    def until(self, happened: Callable[[], bool], what: str) -> None:
        """Wait until `happened()` is true. Raises Broken if the program ends first, or after TIMEOUT_S."""
        for _ in range(int(TIMEOUT_S / POLL_S)):
            if happened():
                return
            if self._ended_within(POLL_S):
                raise Broken(f"{what}: the program ended: {self.output_tail()}")
        raise Broken(f"{what}: not within {TIMEOUT_S:.0f} s: {self.output_tail()}")

    def until_it_listens(self, port: int) -> None:
        """Wait until the program listens on a port."""
        self.until(lambda: listens(port), f"listening on port {port}")

    def output_tail(self) -> str:
        """Return the end of the program's output."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-3000:]

    def stop(self) -> None:
        """Send SIGTERM. Raises Broken unless the program ends with exit code 0 or by the signal itself."""
        self._running.terminate()
        if not self._ended_within(TIMEOUT_S):
            self.kill()
            raise Broken(f"SIGTERM was not obeyed: {self.output_tail()}")
        if self._running.returncode not in (0, -15):
            raise Broken(f"exit code {self._running.returncode}: {self.output_tail()}")

    def ended(self) -> int | None:
        """Return the exit code, or None while the program runs."""
        return self._running.poll()

    def kill(self) -> None:
        """Kill the program if it still runs."""
        if self._running.poll() is None:
            self._running.kill()
            self._running.wait()

    def _ended_within(self, seconds: float) -> bool:
        try:
            self._running.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def cpu_s(self) -> float:
        """Return the CPU seconds of all its threads so far."""
        cells = self._stat()
        return (int(cells[11]) + int(cells[12])) / TICKS_S

    def rss_kib(self) -> int:
        """Return the resident memory in KiB."""
        return int(self._stat()[21]) * PAGE_KIB

    def descriptors(self) -> int:
        """Return the number of open files and sockets."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def _stat(self) -> list[str]:
        return _cells(Path(f"/proc/{self.pid}"))[1]


def listens(port: int) -> bool:
    """Whether a process accepts connections on this port."""
    with socket.socket() as trial:
        return trial.connect_ex((HOST, port)) == 0


def family_cpu_s(pid: int) -> float:
    """Return the CPU seconds so far of a process and its children, including ended children."""
    found = (_cells(folder) for folder in Path("/proc").glob("[0-9]*"))
    family = [cells for number, cells in found if cells and (number == pid or int(cells[1]) == pid)]
    ended = [cells for number, cells in (_cells(Path(f"/proc/{pid}")),) if cells]
    ticks = sum(int(cells[11]) + int(cells[12]) for cells in family) + sum(int(c[13]) + int(c[14]) for c in ended)
    return ticks / TICKS_S


def _cells(folder: Path) -> tuple[int, list[str]]:
    """Return a process id, and the fields of its stat file from the state on, or [] if the process has ended."""
    try:
        # The program name in brackets may contain spaces; the fields come after it. Source: proc_pid_stat(5).
        return int(folder.name), (folder / "stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return int(folder.name), []
