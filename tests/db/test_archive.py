"""The archive: complete blocks that any gzip program reads, without loss after a crash at any point."""

from __future__ import annotations

import fcntl
import gzip
import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hkall_gateway.db.privacy.archive import NotAnArchive, append, records, rewrite
from tests.examples import example_count

ONE, TWO, THREE = ({"id": f"R{n}", "title": "紅樓夢" * n} for n in (1, 2, 3))


def read(path: Path) -> list[Any]:
    """Read the archive with the standard gzip module."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_archived_records_are_read_in_the_order_of_writing(tmp_path: Path) -> None:
    file = tmp_path / "old.jsonl.gz"
    append(file, [ONE, TWO])
    append(file, [THREE])
    assert read(file) == [ONE, TWO, THREE]


def test_dates_and_timestamps_are_stored_as_iso_text(tmp_path: Path) -> None:
    file = tmp_path / "old.jsonl.gz"
    append(file, [{"due": date(2017, 3, 16), "moved_at": datetime(2017, 3, 1, tzinfo=UTC), "received_on": None}])
    assert read(file) == [{"due": "2017-03-16", "moved_at": "2017-03-01T00:00:00+00:00", "received_on": None}]


def test_archive_file_is_readable_only_by_its_owner(tmp_path: Path) -> None:
    file = tmp_path / "old.jsonl.gz"
    append(file, [ONE])
    assert file.stat().st_mode & 0o777 == 0o600


@settings(max_examples=example_count(60))
@given(share=st.floats(0, 1, exclude_max=True))
def test_truncated_block_is_overwritten_by_the_next_append(tmp_path_factory: pytest.TempPathFactory, share: float) -> None:
    file = tmp_path_factory.mktemp("cut") / "old.jsonl.gz"
    append(file, [ONE])
    whole = file.stat().st_size
    append(file, [TWO])
    with file.open("r+b") as cut:
        cut.truncate(whole + int((file.stat().st_size - whole) * share))
    append(file, [THREE])
    assert read(file) == [ONE, THREE]


@pytest.mark.parametrize(
    "before", [b"precious notes of somebody else, in a file of theirs", gzip.compress(b"{}" * 40)], ids=["text", "gzip"]
)
def test_file_that_is_not_an_archive_is_left_unchanged(tmp_path: Path, before: bytes) -> None:
    file = tmp_path / "notes.gz"
    file.write_bytes(before)
    with pytest.raises(NotAnArchive, match="byte 0"):
        append(file, [ONE])
    assert file.read_bytes() == before


# ---- rewritten


def shout(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "id": "R0"} if record["id"] == "R2" else record


def test_rewrite_changes_only_the_given_records(tmp_path: Path) -> None:
    file = tmp_path / "old.jsonl.gz"
    append(file, [ONE])
    first = file.read_bytes()
    append(file, [TWO, THREE])
    assert rewrite(file, shout) == 1
    assert read(file) == list(records(file)) == [ONE, {**TWO, "id": "R0"}, THREE]
    assert file.read_bytes().startswith(first)
    assert (file.stat().st_mode & 0o777, [path.name for path in tmp_path.iterdir()]) == (0o600, ["old.jsonl.gz"])


def test_records_with_unicode_line_separators_are_rewritten(tmp_path: Path) -> None:
    file = tmp_path / "old.jsonl.gz"
    odd = {"id": "R2", "title": "a\u2028b\x85c\nd"}
    append(file, [odd])
    assert rewrite(file, shout) == 1
    assert read(file) == list(records(file)) == [{**odd, "id": "R0"}]


def test_truncated_block_is_dropped_by_a_rewrite(tmp_path: Path) -> None:
    file = tmp_path / "old.jsonl.gz"
    append(file, [TWO])
    with file.open("ab") as cut:
        cut.write(file.read_bytes()[:-3])
    assert list(records(file)) == [TWO]
    assert rewrite(file, shout) == 1
    assert read(file) == [{**TWO, "id": "R0"}]


def test_records_appended_during_a_rewrite_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "old.jsonl.gz"
    append(file, [ONE])

    def change(record: dict[str, Any]) -> dict[str, Any]:
        if record["id"] == "R1":
            append(file, [TWO])
        return shout(record)

    assert rewrite(file, change) == 1
    append(file, [THREE])
    assert [record["id"] for record in read(file)] == ["R1", "R0", "R3"]


def test_interrupted_rewrite_keeps_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "old.jsonl.gz"
    append(file, [ONE, TWO])
    before = file.read_bytes()

    def die(record: dict[str, Any]) -> dict[str, Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rewrite(file, die)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["old.jsonl.gz"]
    assert rewrite(file, shout) == 1


def test_leftover_of_a_killed_rewrite_is_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "old.jsonl.gz"
    append(file, [ONE, TWO])
    file.with_name("old.jsonl.gz.new").write_bytes(file.read_bytes() * 3 + b"and half a block")
    assert rewrite(file, shout) == 1
    assert [record["id"] for record in read(file)] == ["R1", "R0"]
    assert [path.name for path in tmp_path.iterdir()] == ["old.jsonl.gz"]


def test_rewrite_fails_when_another_rewrite_ends_before_the_file_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other rewrite ends between opening and locking, so that the opened file has become the archive itself."""
    file = tmp_path / "old.jsonl.gz"
    append(file, [TWO])
    locking, left = fcntl.flock, [lambda: rewrite(file, shout)]

    def lock(opened: int, how: int) -> None:
        if left:
            left.pop()()
        locking(opened, how)

    monkeypatch.setattr(fcntl, "flock", lock)
    with pytest.raises(OSError, match="has rewritten it"):
        rewrite(file, shout)
    assert [record["id"] for record in read(file)] == ["R0"]


def test_rewrite_fails_while_another_rewrite_is_running(tmp_path: Path) -> None:
    file = tmp_path / "old.jsonl.gz"
    append(file, [TWO])

    def change(record: dict[str, Any]) -> dict[str, Any]:
        with pytest.raises(BlockingIOError):
            rewrite(file, shout)
        return shout(record)

    assert rewrite(file, change) == 1
    assert [record["id"] for record in read(file)] == ["R0"]
