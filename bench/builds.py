"""Other checkouts of the gateway as subjects in the same run.

The subject "gateway@main" is the subject `gateway` of the build `main`. The build's own benchmark starts it, fills its
databases and checks them in a separate process (`build_host.py`), because versions differ in schema and configuration.
"""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from bench.figures import Run
from bench.plan import Size
from bench.processes import TIMEOUT_S, Broken
from bench.tasks import Task

AT: Final = "@"
HOST: Final = Path(__file__).parent / "build_host.py"


@dataclass(frozen=True, slots=True)
class Build:
    """A named build. `place` is a checkout with a `.venv`. `works` are the keys of WORKS that its benchmark knows."""

    name: str
    place: Path
    works: frozenset[str] = frozenset()

    @property
    def python(self) -> Path:
        """Return the build's Python interpreter."""
        return self.place / ".venv/bin/python"


def named(text: str) -> Build:
    """Parse "NAME=PATH" as a build. Raises ValueError for other text, or if the path has no interpreter or benchmark."""
    name, given, place = text.partition("=")
    build = Build(name, Path(place).absolute())
    if not (name.isidentifier() and given):
        raise ValueError(f"{text!r} is not NAME=PATH")
    if not build.python.exists():
        raise ValueError(f"{place}: not a checkout with a .venv")
    return replace(build, works=_read_works(build))


def _read_works(build: Build) -> frozenset[str]:
    """Return the keys of WORKS that a checkout's benchmark knows."""
    words: list[str | Path] = [build.python, "-P", "-c", "from bench.questions import WORKS; print(*WORKS)"]
    environ = {**os.environ, "PYTHONPATH": str(build.place)}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environ)
    if done.returncode:
        raise ValueError(f"{build.place}: its benchmark does not run: {done.stderr[-500:]}")
    return frozenset(done.stdout.split())


class BuildHost:
    """Process of another build that runs its subjects in `folder`. `about` is the folder of the measured package."""

    def __init__(self, build: Build, folder: Path, size: Size) -> None:
        (folder / "data").mkdir()
        words: list[str | Path] = [build.python, "-P", HOST, folder / "data", json.dumps(asdict(size))]
        environ = {**os.environ, "PYTHONPATH": str(build.place)}
        pipe = subprocess.PIPE
        # `python -m`, which starts its subjects, looks in the working directory first.
        self._running = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, cwd=build.place, env=environ)
        assert self._running.stdin
        assert self._running.stdout
        self._orders, self._answers = self._running.stdin, self._running.stdout
        self.about: str = self.send_order("about")

    def send_order(self, order: str, **words: Any) -> Any:
        """Send an order to `build_host.Host` and return the result. Raises Broken if it failed or the process ended."""
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
        """End the process, with its subjects and its database server, after the current order."""
        with suppress(OSError):
            self._orders.close()
        try:
            self._running.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._running.kill()
            self._running.wait()
        self._answers.close()


class BuildSubject:
    """A subject that another build runs."""

    def __init__(self, host: BuildHost, name: str) -> None:
        self._host, self._name = host, name
        host.send_order("start", name=name)

    def run(self, task: Task) -> Run:
        """Run a task and return its figures."""
        return Run(**self._host.send_order("run", name=self._name, task=asdict(task)))

    def close(self) -> None:
        """Stop the subject and run its checks."""
        self._host.send_order("close", name=self._name)

    def abandon(self) -> None:
        """Stop the subject in any state, without checks."""
        with suppress(Broken):  # the process that would stop it has already ended
            self._host.send_order("abandon", name=self._name)
