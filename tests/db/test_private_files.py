"""Files are created inaccessible to other users, whatever the umask is."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo import demo_setup
from hkall_gateway.db.engine.connect import GROUP_READS, open_engine, private


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_new_file_is_readable_by_its_owner_or_also_its_group(tmp_path: Path) -> None:
    private(tmp_path / "one")
    private(tmp_path / "two", GROUP_READS)
    assert (mode(tmp_path / "one"), mode(tmp_path / "two")) == (0o600, 0o640)


@pytest.mark.parametrize(
    ("before", "after"), [(0o644, 0o640), (0o666, 0o640), (0o640, 0o640), (0o600, 0o600), (0o777, 0o640), (0o400, 0o400)]
)
def test_permissions_of_others_are_removed_from_an_existing_file(tmp_path: Path, before: int, after: int) -> None:
    path = tmp_path / "file"
    path.write_text("kept")
    path.chmod(before)
    private(path)
    assert (mode(path), path.read_text()) == (after, "kept")


def test_file_that_cannot_be_created_is_ignored(tmp_path: Path) -> None:
    private(tmp_path / "nowhere" / "file")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("before", [None, 0o644])
def test_database_and_its_log_are_not_accessible_to_others(tmp_path: Path, before: int | None) -> None:
    path = tmp_path / "hkall.db"
    if before is not None:
        path.touch(before)
    engine = open_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE t (a)")
        files = sorted(tmp_path.iterdir())
        assert [file.name for file in files] == ["hkall.db", "hkall.db-shm", "hkall.db-wal"]
        assert {mode(file) & 0o137 for file in files} == {0}
    engine.dispose()


def test_demo_secrets_are_readable_only_by_the_owner(tmp_path: Path) -> None:
    path = demo_setup.write_environment(tmp_path / "gateway.toml", demo_setup.Ports())
    assert mode(path) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root creates files in another user's name")
def test_file_created_by_root_belongs_to_the_owner_of_the_folder(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12346)
    private(tmp_path / "file")
    made = (tmp_path / "file").stat()
    assert (made.st_uid, made.st_gid) == (12345, 12346)
