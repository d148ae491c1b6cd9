"""Other builds of the gateway as subjects in the same run: another checkout, or an environment with an installed wheel.

A subject of a build is named "gateway@main": it is the subject `gateway` of the build `main`. The build's own benchmark starts
it, fills its databases and checks them, in a process of its own (`build_host.py`): versions differ in schema and configuration.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from bench.figures import Run
from bench.plan import Plan, Size
from bench.processes import TIMEOUT_S, Broken
from bench.questions import WORKS
from bench.tasks import Task

AT: Final = "@"
CHECKOUT: Final = Path(__file__).parents[1]
HOST: Final = CHECKOUT / "bench" / "build_host.py"
OWN: Final = ("bench", "fixtures")
"""Folders of this checkout that an environment without a checkout of its own uses."""


@dataclass(frozen=True, slots=True)
class Build:
    """A build by its name: `place` is a checkout with a `.venv`, or a virtual environment; `works` its benchmark knows."""

    name: str
    place: Path
    works: frozenset[str] = frozenset(WORKS)

    @property
    def is_checkout(self) -> bool:
        return (self.place / ".venv" / "bin" / "python").exists()

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.place / (".venv/bin/python" if self.is_checkout else "bin/python")


def named(text: str) -> Build:
    """Return the build of "NAME=PATH". ValueError if the text is something else or the path has no interpreter or benchmark."""
    name, given, place = text.partition("=")
    build = Build(name, Path(place).absolute())
    if not (name.isidentifier() and given):
        raise ValueError(f"{text!r} is not NAME=PATH")
    if not build.python.exists():
        raise ValueError(f"{place}: neither a checkout with a .venv nor a virtual environment")
    return replace(build, works=_works(build)) if build.is_checkout else build


def _works(build: Build) -> frozenset[str]:
    """The keys of the works that a checkout's benchmark knows."""
    words: list[str | Path] = [build.python, "-P", "-c", "from bench.questions import WORKS; print(*WORKS)"]
    environ = {**os.environ, "PYTHONPATH": str(build.place)}
    asked = subprocess.run(words, capture_output=True, text=True, check=False, env=environ)
    if asked.returncode:
        raise ValueError(f"{build.place}: its benchmark does not run: {asked.stderr[-500:]}")
    return frozenset(asked.stdout.split())


class BuildHost:
    """The process of a build that runs its subjects; `folder` is its own. `about` says which package it measures."""

    def __init__(self, build: Build, folder: Path, size: Size) -> None:
        (folder / "data").mkdir()
        root = build.place if build.is_checkout else _linked(folder / "root")
        words: list[str | Path] = [build.python, "-P", HOST, folder / "data", json.dumps(asdict(size))]
        environ = {**os.environ, "PYTHONPATH": str(root)}
        pipe = subprocess.PIPE
        # `python -m`, by which its subjects start, looks into the working directory first.
        self._running = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, cwd=root, env=environ)
        assert self._running.stdin
        assert self._running.stdout
        self._orders, self._answers = self._running.stdin, self._running.stdout
        self.about: str = self.ask("about")

    def ask(self, order: str, **words: Any) -> Any:
        """Return the answer to an order of `build_host.Host`. Broken if it failed or the process ended."""
        try:
            print(json.dumps({"order": order, **words}), file=self._orders, flush=True)
            answer = json.loads(self._answers.readline() or "{}")
        except OSError:
            answer = {}
        if "done" not in answer:
            raise Broken(answer.get("failed", f"the process of the build ended at {order}"))
        return answer["done"]

    def __enter__(self) -> BuildHost:
        return self

    def __exit__(self, *_: object) -> None:
        """End it, with its subjects and its database server, when it has answered."""
        with suppress(OSError):
            self._orders.close()
        try:
            self._running.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._running.kill()
            self._running.wait()
        self._answers.close()


def _linked(root: Path) -> Path:
    """Make a folder with the benchmark of this checkout, but not its package."""
    root.mkdir()
    for name in OWN:
        (root / name).symlink_to(CHECKOUT / name)
    return root


class BuildSubject:
    """A subject that another build runs."""

    def __init__(self, host: BuildHost, name: str) -> None:
        self._host, self._name = host, name
        host.ask("start", name=name)

    def run(self, task: Task) -> Run:
        return Run(**self._host.ask("run", name=self._name, task=asdict(task)))

    def close(self) -> None:
        self._host.ask("close", name=self._name)

    def abandon(self) -> None:
        with suppress(Broken):  # the process that would end it has ended
            self._host.ask("abandon", name=self._name)


def measured_by(host: BuildHost, key: str, plan: Plan) -> Mapping[str, Sequence[float]]:
    """Return the figures of the situation of the row `key`, measured by another build."""
    found: dict[str, list[float]] = host.ask("measure", key=key, plan=asdict(plan))
    return found
