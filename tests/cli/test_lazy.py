"""A command imports modules only when it runs, so that `--help` is fast."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import pytest

from demo import demo_setup
from hkall_gateway.cli import ENTRIES, main
from tests import databases

HEAVY = frozenset(
    {
        *("alembic", "argon2", "cryptography", "jinja2", "joserfc", "lxml", "prometheus_client", "psycopg"),
        *("pydantic", "rich.console", "sqlalchemy", "structlog", "twisted"),
    }
)
FOR_A_TABLE = frozenset({"argon2", "pydantic", "sqlalchemy"})
"""The imports that `status` needs: the configuration, its hashes, the database."""
HELP_S, STATUS_S = 0.35, 0.6
PORTS = demo_setup.Ports()

SPY = """
import sys
from hkall_gateway.cli import main
try:
    main(sys.argv[1:], standalone_mode=False)
finally:
    print("loaded:", *sys.modules)
"""

HELPS = """
import sys
from hkall_gateway.cli import main
for words in sys.argv[1:]:
    main(words.split(), standalone_mode=False)
    print(f"loaded:{words}:", *sys.modules)
"""

COLLECTIONS = """
import gc, sys
from hkall_gateway.cli import main
count = lambda: sum(one["collections"] for one in gc.get_stats())
before = count()
main(sys.argv[1:], standalone_mode=False)
print(count() - before)
"""


def loaded(*words: str, environ: dict[str, str] | None = None) -> frozenset[str]:
    """Return the heavy packages that a command has imported when it ends."""
    done = subprocess.run([sys.executable, "-c", SPY, *words], capture_output=True, text=True, check=True, env=environ)
    return HEAVY & set(done.stdout.splitlines()[-1].split())


def cpu_s(command: Sequence[str], environ: dict[str, str] | None = None) -> float:
    """CPU seconds of a command, the best of three runs."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=environ)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return min(once() for _ in range(3))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = demo_setup.write_config(tmp_path_factory.mktemp("site"), PORTS)
    databases.fill(path, demo_setup.environment(PORTS))
    return path


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_table_has_every_command_with_its_summary(entry: object) -> None:
    assert entry in ENTRIES
    assert isinstance(entry, type(ENTRIES[0]))
    command = main.get_command(click.Context(main), entry.name)
    assert command is not None
    assert command.name == entry.name
    assert entry.help.endswith(".")
    assert len(entry.help) <= 60


def test_commands_in_the_table_are_unique() -> None:
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)


def test_unknown_command_is_reported_in_one_line() -> None:
    done = subprocess.run([sys.executable, "-c", SPY, "nonsense"], capture_output=True, text=True, check=False)
    assert "No such command 'nonsense'" in done.stderr


def test_help_imports_no_heavy_modules() -> None:
    """For every command; one process runs all, since imports of any command would remain visible."""
    words = ["--version", "--help", *(f"{entry.name} --help" for entry in ENTRIES)]
    done = subprocess.run([sys.executable, "-c", HELPS, *words], capture_output=True, text=True, check=True)
    shown = [line.removeprefix("loaded:").partition(":") for line in done.stdout.splitlines() if line.startswith("loaded:")]
    assert [command for command, _, _ in shown] == words
    assert [command for command, _, modules in shown if HEAVY & set(modules.split())] == []


def test_status_imports_only_the_database_modules(site: Path) -> None:
    assert loaded("status", "--config", str(site), environ=demo_setup.environment(PORTS)) == FOR_A_TABLE


def test_garbage_collector_hardly_runs_during_command_start(site: Path) -> None:
    command = [sys.executable, "-c", COLLECTIONS, "check-config", "--config", str(site)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=demo_setup.environment(PORTS))
    assert int(done.stdout.splitlines()[-1]) < 20


@pytest.mark.parametrize("words", [("--version",), ("--help",), ("request", "--help"), ("sip2", "--help")], ids=" ".join)
def test_help_takes_at_most_a_third_of_a_second(words: tuple[str, ...]) -> None:
    assert any(cpu_s([sys.executable, "-c", SPY, *words]) <= HELP_S for _ in range(5))


def test_status_takes_at_most_three_times_the_import_of_its_database_library(site: Path) -> None:
    """0.6 s if `import sqlalchemy` takes 0.2 s; other load of the machine slows both down, if not always equally."""

    def is_quick() -> bool:
        library = cpu_s([sys.executable, "-c", "import sqlalchemy"])
        status = cpu_s([sys.executable, "-c", SPY, "status", "--config", str(site)], demo_setup.environment(PORTS))
        return status <= max(STATUS_S, 3 * library)

    assert any(is_quick() for _ in range(5))
