"""A process at the command line: runs each command line from standard input, and answers with its exit code.

It stays alive, so that commands follow each other as fast as a busy counter's, without the start of an interpreter for each.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import click

from hkall_gateway.cli import main


class CommandLine:
    """A process at the command line of a configured site."""

    def __init__(self, config: Path, environ: dict[str, str]) -> None:
        self._config = config
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.cli.command_lines"],
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
    return 0


if __name__ == "__main__":
    for line in sys.stdin:
        code = _run(shlex.split(line))
        sys.stdout.write(f"\nexit {code}\n")
        sys.stdout.flush()
