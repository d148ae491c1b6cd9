"""Commands that only read, on SQLite, while another process holds the write lock for longer than anybody waits."""

from __future__ import annotations

import os
import shlex
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click
import pytest

from demo import demo_setup
from hkall_gateway.cli import main
from hkall_gateway.config import gateway
from tests import databases
from tests.cli.command_lines import CommandLine
from tests.company import COMMAND, PATIENCE_S

PORTS = demo_setup.Ports(partners={"CUHK": 1, "HKUST": 2, "LU": 3})
LONGEST_S = 1.0
"""Maximum duration of a command in seconds."""

# fmt: off
READING: dict[str, str] = {
    "status":             "",
    "partners":           "",
    "token list":         "",
    "pull-list":          "",
    "expected":           "",
    "expired-pickups":    "",
    "overdues":           "",
    "recalls":            "",
    "renewals":           "",
    "lender-dates":       "",
    "stuck":              "",
    "flagged":            "",
    "slips":              "",
    "requests list":      "",
    "requests show":      "OLD-2",
    "requests trace":     "H1000018",
    "fines list":         "",
    "notices":            "",
    "outbox list":        "",
    "outbox show":        "1",
    "quarantine list":    "",
    "quarantine show":    "1",
    "reconcile":          "CUHK",
    "db check":           "",
    "closures list":      "",
    "closures move":      "--dry-run --reason typhoon",
    "patron export":      "P0001",
    "purge":              "--dry-run",
    "db upgrade":         "--plan",
    "load closures":      "{site}/closures.csv --dry-run",
    "load holdings":      "{demo}/holdings.csv --dry-run",
    "load partners":      "{site}/partners.csv --dry-run",
    "load patrons":       "{demo}/patrons.csv --dry-run",
    "load requests":      "{site}/requests.csv --dry-run",
}
"""Command -> arguments with which it changes nothing. Some name what is not there: the answer is then the same refusal."""
# fmt: on
WRITING = {
    *(
        "token make",
        "token revoke",
        "fines pay",
        "fines refund",
        "fines settle",
        "fines waive",
        "bounce",
        "outbox done",
        "outbox drop",
        "outbox retry",
    ),
    *("quarantine drop", "quarantine replay", "db vacuum", "patron erase", "backup", "restore"),
}
WITHOUT_OUR_DATABASE = {
    *("serve", "tail", "check-config", "reload", "hash-secret", "policy check", "sip2", "ncip", "replay", "simulate"),
    "simulate-partner",
}
TRIES_OTHERS = {"doctor"}
"""Commands whose duration depends on other systems, each with a time limit of its own."""
DECIDES_IN_A_TRIAL = {"explain borrow", "explain fine", "explain recall", "explain renew", "explain request"}
"""Commands that decide as the gateway would and roll back, which holds the writer for at most half a second."""
FILES = {
    "closures.csv": "agency,from,to,reason\nHKU,2099-01-01,2099-01-02,New Year\n",
    "partners.csv": "agency,name,url\nHKBU,HKBU Library,https://ncip.hkbu.example/ncip\n",
    "requests.csv": (
        "side,request_id,partner,barcode,title,bib_id,position,placed\n"
        "lend,OLD-2,CUHK,H1000018,Hong Kong,b1000018,AT_BORROWER,2026-11-03\n"
    ),
}


def _leaves(command: click.Command, *words: str) -> Iterator[str]:
    if not isinstance(command, click.Group):
        yield " ".join(words)
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None
        yield from _leaves(below, *words, name)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = demo_setup.write_config(tmp_path_factory.mktemp("site"), PORTS, "")
    databases.fill(path, _environ())
    for name, text in FILES.items():
        (path.parent / name).write_text(text)
    load = [str(COMMAND), "load", "requests", str(path.parent / "requests.csv"), "--config", str(path)]
    subprocess.run(load, env=_environ(), check=True, capture_output=True, timeout=PATIENCE_S)
    return path


@pytest.fixture(scope="module")
def counter(config: Path) -> Iterator[CommandLine]:
    process = CommandLine(config, _environ())
    yield process
    process.close()


def _environ() -> dict[str, str]:
    return {**os.environ, **demo_setup.environment(PORTS)}


def test_every_command_is_known_as_reading_or_writing() -> None:
    leaves = [leaf for leaf in _leaves(main) if not leaf.startswith("request ")]
    assert sorted(leaves) == sorted([*READING, *WRITING, *WITHOUT_OUR_DATABASE, *TRIES_OTHERS, *DECIDES_IN_A_TRIAL])


@pytest.mark.parametrize("command", READING)
def test_reading_command_does_not_wait_for_a_writer(config: Path, counter: CommandLine, command: str) -> None:
    words = [*command.split(), *shlex.split(READING[command].format(site=config.parent, demo=demo_setup.DEMO_FILES))]
    counter.begin(*words)
    expected = counter.exit_code()
    url = gateway.load(config, _environ()).database.url
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as writer:
        writer.execute("BEGIN IMMEDIATE")
        begun = time.monotonic()
        counter.begin(*words)
        exit_code = counter.exit_code()
        took_s = time.monotonic() - begun
        writer.rollback()
    assert exit_code == expected
    assert took_s < LONGEST_S
