"""purge on the command line: its preview, its effect, and its refusals."""

from __future__ import annotations

import gzip
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import func, select

from demo import demo_setup
from hkall_gateway.circulation.jobs.rounds import begin
from hkall_gateway.cli import main
from hkall_gateway.clock import now
from hkall_gateway.db import fines
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.tables import REQUESTS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.vocabulary import Actor
from hkall_gateway.simulator.databases import SoleStore
from tests import bulk, databases

PORTS = demo_setup.Ports(partners={"CUHK": 1, "HKUST": 2, "LU": 3})
STAFF = Actor(who="mei", channel="cli", message="test")
MANY = bulk.Amounts(requests=20, lines=3, days=1000)
OWED = bulk.at(MANY, 0, now()).id


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Twenty ended requests, placed over a thousand days; the oldest has an unpaid charge."""
    path = demo_setup.write_config(tmp_path, PORTS, "[retention]\nanonymise_days = 0\n")
    databases.fill(path, demo_setup.environment(PORTS))
    engine = open_engine(f"sqlite:///{next(tmp_path.glob('*.db'))}")
    bulk.fill(engine, MANY, now())
    _run(path, _charge_the_oldest)
    return path


def _charge_the_oldest(unit: UnitOfWork) -> None:
    request = unit.requests.find(OWED)
    assert request is not None
    fines.charge(unit, request, "lost", 300, "R45", now(), STAFF)


def _run(config: Path, work: Any, *args: Any) -> Any:
    engine = open_engine(f"sqlite:///{next(config.parent.glob('*.db'))}")
    store = SoleStore(engine, lambda connection: UnitOfWork(connection, str))
    try:
        return store.now(work, *args)
    finally:
        store.close()
        engine.dispose()


def run(config: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["purge", "--yes", *words, "--config", str(config)], env=demo_setup.environment(PORTS))


def listed(config: Path, *words: str) -> Any:
    return json.loads(run(config, *words, "--json").stdout)


def left(config: Path, *where: Any) -> int:
    return int(_run(config, lambda unit: unit.execute(select(func.count()).select_from(REQUESTS).where(*where)).scalar_one()))


def test_dry_run_reports_counts_and_changes_nothing(config: Path) -> None:
    assert listed(config, "--older-than", "1", "--dry-run") == [{"what": "anonymise", "days": 1, "requests": 19, "held": 1}]
    assert left(config, REQUESTS.c.anonymised) == 0


def test_requests_older_than_the_period_are_anonymised(config: Path) -> None:
    assert run(config, "--older-than", "1").exit_code == 0
    assert left(config, REQUESTS.c.anonymised) == 19
    assert left(config) == 20


def test_archive_removes_requests_from_the_database(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "old.jsonl.gz"
    assert run(config, "--older-than", "500", "--archive", str(file)).exit_code == 0
    with gzip.open(file, "rt") as lines:
        found = [json.loads(line)["id"] for line in lines]
    assert len(found) == 20 - left(config) > 5
    assert OWED not in found


def test_purge_does_nothing_without_retention_periods(config: Path) -> None:
    assert listed(config) == [{"what": "purged", "count": 19}]  # only messages delivered long ago are purged
    assert left(config, REQUESTS.c.anonymised) == 0


def test_archiving_without_a_period_is_a_usage_error(config: Path, tmp_path: Path) -> None:
    done = run(config, "--archive", str(tmp_path / "old.jsonl.gz"))
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "--older-than" in done.stderr


def test_file_that_is_not_an_archive_is_reported_and_nothing_deleted(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("precious notes that somebody else keeps here")
    done = run(config, "--older-than", "1", "--archive", str(file))
    assert done.exit_code == 1
    assert str(file) in done.stderr
    assert left(config) == 20


def test_purge_reports_a_running_purge_round(config: Path) -> None:
    _run(config, begin, "purge", "gateway-1", now() - timedelta(seconds=1), False)
    done = run(config, "--older-than", "1")
    assert (done.exit_code, done.stderr) == (1, "a gateway is purging at this moment\n")


def test_purge_asks_for_confirmation_and_stops_without_a_terminal(config: Path) -> None:
    words = ["purge", "--older-than", "1", "--config", str(config)]
    done = CliRunner().invoke(main, words, env=demo_setup.environment(PORTS))
    assert (done.exit_code, done.stderr) == (2, "--yes is needed if standard input is no terminal\n")
    assert left(config, REQUESTS.c.anonymised) == 0
