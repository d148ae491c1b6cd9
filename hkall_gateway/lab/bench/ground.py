"""Where the benchmark stands: its folder, the generated world, the template database, and what others ask of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Final

from hkall_gateway.lab.bench.figures import Run, run_of
from hkall_gateway.lab.bench.generator import Order, Question, write_order
from hkall_gateway.lab.bench.processes import Broken, ports
from hkall_gateway.lab.bench.questions import WORKS, questions
from hkall_gateway.lab.bench.world import Size, World, furnish
from hkall_gateway.store.engine import open_engine

GENERATOR: Final = (sys.executable, "-m", "hkall_gateway.lab.bench.generator")
RUN_S: Final = 60.0
"""How much longer than ordered a run of the generator may take."""


class Ground:
    """One benchmark. `closing` ends what is made here once for all rounds."""

    def __init__(self, folder: Path, size: Size, now: datetime, closing: ExitStack) -> None:
        self.folder, self.world, self.closing = folder, World(size, now), closing
        self.ports = ports()
        self._numbers = count(1)
        self.questions: Callable[[str], list[Question]] = cache(self._make_questions)

    def _make_questions(self, work: str) -> list[Question]:
        return questions(WORKS[work], self.world)

    def fresh(self, name: str) -> Path:
        """A new folder."""
        made = self.folder / f"{next(self._numbers):03d}-{name}"
        made.mkdir()
        return made

    @property
    def template(self) -> Path:
        """The SQLite file of the world, made when it is first asked for."""
        file = self.folder / "template.db"
        if not file.exists():
            engine = open_engine(f"sqlite:///{file}")
            furnish(engine, self.world)
            engine.dispose()
        return file

    def copy_template(self, file: Path) -> None:
        """A fresh copy of the world."""
        shutil.copyfile(self.template, file)

    def drive(self, order: Order) -> tuple[dict[str, Any], list[float]]:
        """Let a generator carry out an order: its own figures and the waiting times. Broken if an answer was wrong."""
        file = self.folder / "order.json"
        write_order(file, order)
        limit = order.seconds + RUN_S
        done = subprocess.run([*GENERATOR, file], capture_output=True, text=True, timeout=limit, check=False)
        if done.returncode:
            raise Broken(f"the load generator says: {done.stderr[-2000:]}")
        said = json.loads(done.stdout)
        return said, said.pop("waits_s")

    def drive_and_watch(self, order: Order, cpu_s: Callable[[], float]) -> Run:
        """The same as a run's figures; `cpu_s` is the subject's CPU time so far."""
        before = cpu_s()
        said, waits_s = self.drive(order)
        return run_of(said["took_s"], waits_s, cpu_s() - before, said["cpu_s"])
