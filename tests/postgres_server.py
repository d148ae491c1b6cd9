"""A throw-away PostgreSQL server on a Unix socket in a temporary folder, for the tests and the benchmark.

It needs `initdb` and `postgres` of any installation. It is stopped at the end; the kernel stops it if this process is killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DEBIAN: Final = Path("/usr/lib/postgresql")
RUNNER: Final = "postgres"
STANDBY: Final = "standby"
"""The name of a standby, for `synchronous_standby_names` of its primary."""
TRIES, TRY_S = 300, 0.1
LEAVING_S: Final = 30.0


class NoServer(Exception):
    """The server did not start; the text contains its output."""


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running server: the folders of its socket and its programs, and its main process."""

    folder: Path
    programs: Path
    pid: int

    def url(self, database: str = "postgres") -> str:
        """Return the `[database] url` of one of its databases."""
        return f"postgresql+psycopg://{RUNNER}@/{database}?host={self.folder}"


def programs() -> Path | None:
    """Return the folder with the newest initdb and postgres; None if there is none."""
    on_path = shutil.which("initdb")
    found = [Path(on_path)] if on_path else sorted(DEBIAN.glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    return found[-1].resolve().parent if found else None


@contextmanager
def server(found: Path, settings: Sequence[str], primary: PostgresServer | None = None) -> Iterator[PostgresServer]:
    """Start a new server with the programs in `found` and these settings (`name=value`), as a standby of `primary` if given.

    Raises NoServer.
    """
    folder = Path(tempfile.mkdtemp(prefix="hkall-pg-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, RUNNER)
        data = str(folder / "data")
        if primary is None:
            _run(found / "initdb", "-D", data, "-U", RUNNER, "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
        else:
            where = f"host={primary.folder} user={RUNNER} application_name={STANDBY}"
            _run(found / "pg_basebackup", "-D", data, "-d", where, "-R", "-X", "stream", "-c", "fast")
        with _started(found, folder, settings) as pid:
            yield PostgresServer(folder, found, pid)
    finally:
        shutil.rmtree(folder)


def ask(found: PostgresServer, statement: str, database: str = "postgres") -> str:
    """Return the output of psql for a statement outside any transaction, values only.

    Raises CalledProcessError if the statement is refused.
    """
    where = ["--host", str(found.folder), "--username", RUNNER, "--dbname", database]
    command: list[str | Path] = [
        found.programs / "psql",
        "--no-psqlrc",
        "--quiet",
        "--tuples-only",
        "--no-align",
        *where,
        "--command",
        statement,
    ]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd="/").stdout.strip()


def _run(program: Path, *arguments: str) -> None:
    subprocess.run([program, *arguments], check=True, capture_output=True, cwd="/", **_as_runner())  # type: ignore[call-overload]


def _as_runner() -> dict[str, object]:
    """Return the arguments for subprocess that drop root privileges, since initdb and postgres refuse to run as root."""
    return {"user": RUNNER, "group": RUNNER, "extra_groups": []} if os.geteuid() == 0 else {}


@contextmanager
def _started(found: Path, folder: Path, settings: Sequence[str]) -> Iterator[int]:
    mourning = [setpriv, "--pdeathsig", "INT"] if (setpriv := shutil.which("setpriv")) else []
    options = [part for setting in settings for part in ("-c", setting)]
    command = [*mourning, found / "postgres", "-D", folder / "data", "-k", folder, *options]
    log = folder / "log"
    with log.open("wb") as output:
        running: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]
            command, stdout=output, stderr=output, cwd="/", **_as_runner()
        )
    try:
        _wait_until_it_answers(running, found, folder, log)
        yield running.pid
    finally:
        running.send_signal(signal.SIGCONT)  # a test may have failed while it was stopped
        running.send_signal(signal.SIGQUIT)  # an immediate shutdown, which kills sessions that do not answer
        running.wait(LEAVING_S)


def _wait_until_it_answers(running: subprocess.Popen[bytes], found: Path, folder: Path, log: Path) -> None:
    asking: list[str | Path] = [found / "pg_isready", "--quiet", "--host", folder, "--username", RUNNER]
    for _ in range(TRIES):
        if subprocess.run(asking, check=False).returncode == 0:
            return
        if _ended_within(running, TRY_S):
            break
    raise NoServer(f"PostgreSQL does not answer: {log.read_text()}")


def _ended_within(running: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        running.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True
