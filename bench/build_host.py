"""Run subjects of another build of the gateway: `python build_host.py FOLDER SIZE`, with orders on standard input.

`bench.builds` starts this file with the interpreter and the path of the other build, so that `bench` and `hkall_gateway` are
of its version. So it may import only names that exist in every version. An order and its reply are one line of JSON each.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

import hkall_gateway
from bench import subjects
from bench.plan import Size
from bench.processes import FAILURES, Broken
from bench.resources import Benchmark, BenchServices
from bench.tasks import Subject, Task
from hkall_gateway.cli import main as gateway_command
from hkall_gateway.clock import now


def services() -> BenchServices:
    """Return services with this machine's clocks, progress on standard error, and commands that run in this process."""

    def command(words: Sequence[str], environ: Mapping[str, str]) -> None:
        done = CliRunner().invoke(gateway_command, words, env=environ)
        if done.exit_code:
            raise Broken(f"{' '.join(words)}: {done.output}")

    return BenchServices(now, time.perf_counter, lambda text: click.echo(text, err=True), command)


class Host:
    """The running subjects of this build, by name. Each method executes the order of the same name."""

    def __init__(self, ground: Benchmark) -> None:
        self._ground, self._living = ground, dict[str, Subject]()

    def about(self) -> str:
        """Return the folder of the package."""
        return str(Path(str(hkall_gateway.__file__)).parent)

    def start(self, name: str) -> None:
        """Start a subject of this build."""
        self._living[name] = subjects.start(self._ground, name)

    def run(self, name: str, task: Mapping[str, Any]) -> dict[str, Any]:
        """Run a task on a subject."""
        return asdict(self._living[name].run(_made(Task, task)))

    def close(self, name: str) -> None:
        """Stop a subject and run its checks."""
        self._living[name].close()
        del self._living[name]

    def abandon(self, name: str) -> None:
        """Stop a subject in any state, without checks."""
        if name in self._living:
            self._living.pop(name).abandon()

    def abandon_all(self) -> None:
        """Stop all subjects in any state, without checks."""
        for name in list(self._living):
            self.abandon(name)


def _made(kind: Callable[..., Any], values: Mapping[str, Any]) -> Any:
    """Create a record from these values, without fields that this version's record does not have."""
    return kind(**{field.name: values[field.name] for field in fields(kind) if field.name in values})  # type: ignore[arg-type]  # a dataclass


def answer(host: Host, order: Mapping[str, Any]) -> dict[str, Any]:
    """Execute an order: {"order": name of a method, and its arguments}. A failure of the measurement is a result too."""
    words = dict(order)
    try:
        return {"done": getattr(host, words.pop("order"))(**words)}
    except FAILURES as error:
        return {"failed": str(error) or repr(error)}


def main(folder: str, size: str) -> None:
    """Execute orders until standard input ends."""
    with ExitStack() as closing:
        host = Host(Benchmark(Path(folder), _made(Size, json.loads(size)), services(), closing))
        closing.callback(host.abandon_all)
        for order in sys.stdin:
            print(json.dumps(answer(host, json.loads(order))), flush=True)  # noqa: T201  # the output of the process


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
