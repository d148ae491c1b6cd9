"""The baselines of the gateway: small servers, bare databases, the naive designs, the disk itself."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from sqlalchemy import make_url

from bench.baselines.transaction import STATEMENTS, for_pgbench
from bench.figures import Run, run_of
from bench.generator import LoadOrder
from bench.processes import Broken, Process
from bench.questions import WORKS
from bench.resources import Benchmark, Engine
from bench.tasks import Task
from bench.verify import check
from bench.world import BOOKS_EACH

SERVING: Final = (sys.executable, "-m", "bench.baselines.servers")
DESIGNS: Final = (sys.executable, "-m", "bench.baselines.naive")
CHECKOUT: Final = "sip2_11"
PGBENCH_A_SECOND: Final = 1500
"""Roughly its speed; it needs the number of checkouts in advance, since a book can be lent only once."""
SYNCS: Final = 200
PAGE: Final = b"x" * 4096


class BaselineServer:
    """One of the small servers of servers.py: `canned` answers without the text of the question, `echo` begins with it."""

    def __init__(self, ground: Benchmark, name: str) -> None:
        self._ground, self._name, self._port = ground, name, next(ground.ports)
        self.process = Process([*SERVING, name, str(self._port)], ground.fresh(name) / "log")
        try:
            self.process.until_it_listens(self._port)
        except BaseException:
            self.process.kill()
            raise

    def run(self, task: Task) -> Run:
        kind, canned = WORKS[task.work], self._name == "canned"
        asked = [(text, b"" if canned else wanted) for text, wanted in self._ground.questions(task.work)]
        yes = b"" if self._name == "echo" else kind.yes
        order = LoadOrder([self._port], task.connections, task.seconds, kind.framing, (yes,), asked, again=True)
        return self._ground.watch(order, self.process.cpu_s)

    def close(self) -> None:
        self.process.stop()

    def abandon(self) -> None:
        self.process.kill()


class Lender:
    """A baseline that does checkouts by itself on a database of its own: no sockets, no rules."""

    database: Engine = "sqlite"

    def __init__(self, ground: Benchmark, name: str) -> None:
        self._ground, self._folder, self._lent = ground, ground.fresh(name), 0
        self.url = ground.fresh_database(self.database, self._folder)

    def run(self, task: Task) -> Run:
        world = self._ground.world
        mine = range(self._lent, min(self._lent + task.most, world.size.open))
        done = self.lend(task, "".join(f"{world.card(n)} {world.barcode(n)} {world.number(n)}\n" for n in mine))
        self._lent += done.answered
        return done

    def lend(self, task: Task, books: str) -> Run:
        """Checks out these books, a line "card barcode number" each, until the time or the books are over."""
        raise NotImplementedError

    def close(self) -> None:
        check(self.url, {CHECKOUT: self._lent})

    def abandon(self) -> None:
        """Does no work: it has no process between its tasks."""


class InC(Lender):
    """C on SQLite, so many checkouts in one durable commit."""

    def __init__(self, ground: Benchmark, name: str, batch: int) -> None:
        super().__init__(ground, name)
        self._batch = batch

    def lend(self, task: Task, books: str) -> Run:
        file = self.url.removeprefix("sqlite:///")
        said = _said([self._ground.c_checkout, file, str(self._batch), str(task.seconds), *STATEMENTS], books)
        count, took_s, half_s, most_s = map(float, said.split())
        return Run(int(count), count / took_s, half_s * 1000, most_s * 1000, batch=self._batch)


class Design(Lender):
    """One of the naive designs of naive.py."""

    def __init__(self, ground: Benchmark, name: str, kind: str, database: Engine) -> None:
        self.database = database
        super().__init__(ground, name)
        self._kind = kind

    def lend(self, task: Task, books: str) -> Run:
        said = _said([*DESIGNS, self._kind, self.url, str(task.connections), str(task.seconds)], books)
        found: dict[str, Any] = json.loads(said)
        return run_of(found["took_s"], found["waits_s"])


class PgBench(Lender):
    """pgbench with the same transaction in seven round trips; as many clients as connections, prepared statements."""

    database: Engine = "postgresql"

    def run(self, task: Task) -> Run:
        script = self._folder / "checkout.sql"
        script.write_text(for_pgbench(BOOKS_EACH), encoding="utf-8")
        clients = task.connections
        each = max(1, min(task.most, int(task.seconds * PGBENCH_A_SECOND)) // clients - 1)
        said = _said([*self._command(clients, each), "--file", script], "")
        rate, wait = (float(re.search(what, said)[1]) for what in (r"tps = ([\d.]+)", r"latency average = ([\d.]+)"))  # type: ignore[index]  # else pgbench has changed
        self._lent += each * clients
        return Run(each * clients, rate, wait, wait)

    def _command(self, clients: int, each: int) -> list[str | Path]:
        server = self._ground.server
        where = ["--host", str(server.folder), "--username", "postgres", str(make_url(self.url).database)]
        begin = ["--define", f"clients={clients}", "--define", f"turn={-(-self._lent // clients)}"]
        how = ["--no-vacuum", "--protocol", "prepared", "--client", str(clients), "--transactions", str(each)]
        return [server.programs / "pgbench", *how, *begin, *where]


class Disk:
    """Measures writes of a page, each with fdatasync: the upper limit of one commit for each checkout."""

    def __init__(self, ground: Benchmark, name: str) -> None:
        self._file = os.open(ground.fresh(name) / "pages", os.O_CREAT | os.O_WRONLY)
        self._seconds = ground.means.seconds

    def run(self, task: Task) -> Run:
        begun, waits = self._seconds(), list[float]()
        while not waits or (self._seconds() - begun < task.seconds and len(waits) < SYNCS):
            waits.append(self._synced())
        return run_of(self._seconds() - begun, waits)

    def _synced(self) -> float:
        begun = self._seconds()
        os.write(self._file, PAGE)
        os.fdatasync(self._file)
        return self._seconds() - begun

    def close(self) -> None:
        os.close(self._file)

    def abandon(self) -> None:
        """Does no work: an open file is closed with the process."""


def _said(command: list[Any], given: str) -> str:
    """Returns the output of a program for this input; Broken if it fails."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Broken(f"{Path(command[0]).name}: {done.stderr[-2000:]}")
    return done.stdout
