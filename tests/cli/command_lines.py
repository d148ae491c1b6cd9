"""A process at the command line: runs each command line from standard input, and answers with its exit code.

It stays alive, so that commands follow each other as fast as a busy counter's, without the start of an interpreter for each.
"""

from __future__ import annotations

import select
import shlex
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import click
from sqlalchemy import update

from hkall_gateway.cli import main
from hkall_gateway.db import quarantine, unit_of_work
from hkall_gateway.db.outbox import Outbox
from hkall_gateway.db.tables import OUTBOX, QUARANTINE
from hkall_gateway.db.transaction import Transaction
from hkall_gateway.db.unit_of_work import UnitOfWork


class CommandLine:
    """A process at the command line of a configured site. `without` are keys of PLANTED: what the process does not do."""

    def __init__(self, config: Path, environ: dict[str, str], without: tuple[str, ...] = ()) -> None:
        self._config = config
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.cli.command_lines", *without],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environ,
            cwd=Path(__file__).parents[2],
        )
        self._pending = 0

    def begin(self, *words: str) -> None:
        """Send a command line, without waiting for its end."""
        assert self._process.stdin is not None
        print(shlex.join([*words, "--config", str(self._config)]), file=self._process.stdin, flush=True)
        self._pending += 1

    def has_answered(self, wait_s: float) -> bool:
        """Whether the next command line has printed something, which it does after its transaction."""
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], wait_s)
        return bool(readable)

    def exit_code(self) -> int:
        """Wait for the end of the next command line, and return its exit code."""
        assert self._process.stdout is not None
        self._pending -= 1
        while True:
            line = self._process.stdout.readline()
            assert line, "the process has ended"
            if line.startswith("exit "):
                return int(line.split()[1])

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)
        assert self._process.stdout is not None
        self._process.stdout.close()


def _run(words: list[str]) -> int:
    try:
        main.main(words, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except SystemExit as ending:
        return int(ending.code or 0)
    except Exception:  # noqa: BLE001  # a planted mistake may lead anywhere
        traceback.print_exc()
        return 70
    return 0


_outbox: Any = Outbox  # mistakes are planted in it
_transaction: Any = Transaction


def _take_no_locks() -> None:
    unit_of_work.__dict__["take"] = lambda *_: None


def _overwrite_steps() -> None:
    """Let a step overwrite the one that another process took meanwhile, instead of failing."""
    update = unit_of_work.__dict__["update_row"]

    def update_whatever(connection: Any, table: Any, key: Any, values: Any, **more: Any) -> None:
        update(connection, table, {"id": key["id"]}, values, **more)

    unit_of_work.__dict__["update_row"] = update_whatever


def _judge_again() -> None:
    """Let staff settle a message or a document that another process has settled."""

    def change_whatever(outbox: Outbox, row: int, _now: object, **values: object) -> bool:
        outbox.__dict__["_connection"].execute(update(OUTBOX).where(OUTBOX.c.id == row).values(**values))
        return True

    def settle_whatever(unit: UnitOfWork, number: int, state: str, who: str, reason: str) -> bool:
        judged = {"state": state, "settled_by": who, "reason": reason}
        unit.execute(update(QUARANTINE).where(QUARANTINE.c.id == number).values(judged))
        return True

    _outbox._change_idle_row = change_whatever
    quarantine.__dict__["settle"] = settle_whatever


def _lock_no_batch() -> None:
    _transaction.locks_rows = False


PLANTED = {
    "locks": _take_no_locks,
    "guard": _overwrite_steps,
    "condition": _judge_again,
    "batch": _lock_no_batch,
}
"""Mistakes that a test plants in the process, to see that it would notice them."""


if __name__ == "__main__":
    for missing in sys.argv[1:]:
        PLANTED[missing]()
    for line in sys.stdin:
        code = _run(shlex.split(line))
        sys.stdout.write(f"\nexit {code}\n")
        sys.stdout.flush()
