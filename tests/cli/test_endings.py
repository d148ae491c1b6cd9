"""Environment errors end a command with one line and advice; a bug keeps its traceback."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import IntegrityError

from demo import demo_setup
from hkall_gateway.cli.endings import ending_of
from hkall_gateway.db.engine.db_errors import Unavailable
from tests.ports import free_ports

PORTS = demo_setup.Ports()
NOBODY = "nobody_here"
MAIN = [sys.executable, "-c", "from hkall_gateway.cli import main; main()"]


def site(folder: Path, url: str = "") -> Path:
    path = demo_setup.write_config(folder, PORTS)
    if url:
        path.write_text(path.read_text(encoding="utf-8").replace('"sqlite:///hkall.db"', f'"{url}"'), encoding="utf-8")
        assert url in path.read_text(encoding="utf-8")
    return path


def run(*words: str, largest: int = resource.RLIM_INFINITY) -> subprocess.CompletedProcess[str]:
    """Run a command in its own process with a file size limit, which acts like a full disk."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

    environ = {**os.environ, **demo_setup.environment(PORTS)}
    return subprocess.run([*MAIN, *words], capture_output=True, text=True, check=False, env=environ, preexec_fn=limit)


def assert_one_line(done: subprocess.CompletedProcess[str], code: int, *parts: str) -> None:
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    for part in parts:
        assert part in done.stderr


@pytest.mark.parametrize("words", [("db", "upgrade"), ("status",)], ids=" ".join)
def test_unavailable_postgresql_is_reported_in_one_line(tmp_path: Path, words: tuple[str, ...]) -> None:
    (port,) = free_ports(1)
    path = site(tmp_path, f"postgresql+psycopg://hkall@127.0.0.1:{port}/hkall")
    assert_one_line(run(*words, "--config", str(path)), 2, "database.url: cannot be opened", str(port))


def test_serve_exits_with_one_line_of_advice_when_postgresql_is_unavailable(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    path = site(tmp_path, f"postgresql+psycopg://hkall@127.0.0.1:{port}/hkall")
    done = run("serve", "--config", str(path))
    assert_one_line(done, 2, "database.url: PostgreSQL hkall", str(port), "start the server that [database] url names")


def test_invalid_host_is_reported_in_one_line(tmp_path: Path) -> None:
    path = site(tmp_path, "postgresql+psycopg://hkall@nowhere.invalid/hkall")
    assert_one_line(run("db", "upgrade", "--config", str(path)), 2, "database.url: cannot be opened", "nowhere.invalid")


@pytest.mark.long
@pytest.mark.parametrize("wrong", ["username", "database"])
def test_missing_role_or_database_is_reported_in_one_line(tmp_path: Path, postgres_url: str, wrong: str) -> None:
    given = make_url(postgres_url)
    url = (given.set(username=NOBODY) if wrong == "username" else given.set(database=NOBODY)).render_as_string()
    done = run("db", "upgrade", "--config", str(site(tmp_path, url)))
    assert_one_line(done, 2, "database.url: cannot be opened", NOBODY, "does not exist")


def test_missing_sqlite_folder_is_reported_in_one_line(tmp_path: Path) -> None:
    done = run("db", "upgrade", "--config", str(site(tmp_path, "sqlite:///gone/hkall.db")))
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1


@pytest.mark.long
def test_full_disk_ends_a_load_in_one_line(tmp_path: Path) -> None:
    path = site(tmp_path)
    assert run("db", "upgrade", "--config", str(path)).returncode == 0
    file = tmp_path / "patrons.csv"
    rows = "".join(f"P{n:06d},undergraduates\n" for n in range(20_000))
    file.write_text(f"barcode,category\n{rows}", encoding="utf-8")
    done = run("load", "patrons", str(file), "--config", str(path), largest=600_000)
    reason, end = done.stderr.splitlines()
    assert (done.returncode, end) == (1, "nothing was loaded")
    assert reason.startswith("the database: ")
    assert reason.endswith("then run the command again")
    again = run("load", "patrons", str(file), "--config", str(path))
    assert (again.returncode, "is current" in again.stdout) == (0, True)


def test_unwritable_file_is_reported_with_advice() -> None:
    ending = ending_of(PermissionError(errno.EACCES, "Permission denied", "/var/lib/hkall/hkall.db"))
    assert ending is not None
    assert ending.message == "/var/lib/hkall/hkall.db: permission denied: run the command as its owner, as in `sudo -u hkall`"


def test_other_exceptions_are_not_converted() -> None:
    assert ending_of(ValueError("a bug")) is None
    assert ending_of(FileNotFoundError(errno.ENOENT, "no such file")) is None
    broken = IntegrityError("INSERT", {}, Exception("UNIQUE constraint failed"))
    broken.orig.sqlite_errorcode = 19  # type: ignore[union-attr]  # as sqlite3 sets it
    assert ending_of(broken) is None


def test_busy_database_is_reported_with_advice_to_retry() -> None:
    ending = ending_of(Unavailable("OperationalError"))
    assert ending is not None
    assert "run the command again" in ending.message
