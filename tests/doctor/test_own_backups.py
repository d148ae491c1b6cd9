"""What doctor says of backups, and of PostgreSQL's archive and base backups."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from hkall_gateway.cli.doctor import own_gateway
from hkall_gateway.cli.doctor.findings import Finding, Sheet
from hkall_gateway.cli.doctor.own_backups import ArchiveState, judge_archive, judge_backup
from tests.doctor.conftest import finding

NOW = datetime(2026, 12, 2, 8, 0, tzinfo=UTC)
ARCHIVE = ArchiveState(
    mode="on",
    command="cp %p /archive/%f",
    archived_at=NOW - timedelta(minutes=1),
    failed_at=None,
    failed_file=None,
    failed_count=0,
    base_at=NOW - timedelta(days=3),
)


def judged(archive: ArchiveState) -> Finding:
    sheet = Sheet("gateway", own_gateway.PLAN, lambda: 0.0, 10)
    judge_archive(sheet, archive, NOW)
    return finding(sheet, "archive")


@pytest.mark.parametrize(
    ("age", "word"), [(None, "warn"), (timedelta(hours=9), "ok"), (timedelta(hours=37), "fail"), (timedelta(days=9), "fail")]
)
def test_age_of_the_last_good_backup_is_judged(age: timedelta | None, word: str) -> None:
    sheet = Sheet("gateway", own_gateway.PLAN, lambda: 0.0, 10)
    judge_backup(sheet, NOW - age if age else None, NOW)
    found = finding(sheet, "backup")
    assert found.status.value == word
    assert word == "ok" or "systemctl enable --now hkall-gateway-backup.timer" in found.advice


def test_archive_that_works_after_an_old_failure_passes() -> None:
    found = judged(replace(ARCHIVE, failed_at=NOW - timedelta(days=1), failed_count=4))
    assert (found.status.value, found.detail) == ("ok", "last file 1 minutes ago, last base backup 3 days ago")


@pytest.mark.parametrize("archived_at", [None, NOW - timedelta(hours=3)])
def test_failing_archive_command_fails_with_its_command_and_file(archived_at: datetime | None) -> None:
    found = judged(replace(ARCHIVE, archived_at=archived_at, failed_at=NOW, failed_file="0000A1", failed_count=12))
    assert found.status.value == "fail"
    assert [word for word in ("failed 12 times", "0000A1", "cp %p /archive/%f") if word not in found.detail] == []
    assert "PostgreSQL's log" in found.advice


@pytest.mark.parametrize(
    ("changed", "word", "advice"),
    [
        ({"mode": "off"}, "ok", ""),
        ({"archived_at": None}, "warn", "pg_switch_wal"),
        ({"may_read_base": False}, "warn", "GRANT EXECUTE ON FUNCTION pg_ls_waldir()"),
        ({"base_at": None}, "fail", "pg_basebackup"),
        ({"base_at": NOW - timedelta(days=9)}, "fail", "pg_basebackup"),
    ],
)
def test_archive_without_a_fresh_base_backup_is_reported(changed: dict[str, object], word: str, advice: str) -> None:
    found = judged(replace(ARCHIVE, **changed))  # type: ignore[arg-type]  # one field at a time
    assert found.status.value == word
    assert advice in found.advice
