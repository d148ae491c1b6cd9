"""A small file system that a test can fill and empty: ext4 in a file, mounted by a loop device.

Mounting needs root and a loop device. If the system refuses it, tests are skipped with a message; without e2fsprogs they fail
under CI.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SHUTDOWN, WITHOUT_FLUSH = 0x8004587D, 2
"""EXT4_IOC_SHUTDOWN and EXT4_GOING_FLAGS_NOLOGFLUSH. Source: linux/fs/ext4/ext4.h."""
PROGRAMS = ("mount", "umount", "mkfs.ext4")
FOUND = {name: shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") for name in PROGRAMS}


class SmallDisk:
    """A mounted file system at `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, but_bytes: int = 0) -> None:
        """Write until only `but_bytes` are free."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12):
                while self.free - but_bytes >= size and _written(file.fileno(), size):
                    pass

    def fill_beside(self, database: Path) -> None:
        """Fill the disk so that the next commit to this database needs space: its write-ahead log is emptied first."""
        with sqlite3.connect(database, timeout=20) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        self.fill()

    def empty(self) -> None:
        """Remove the file written by `fill`."""
        self._ballast.unlink(missing_ok=True)

    def shut_down(self) -> None:
        """Make every further access fail, like a failed disk."""
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, SHUTDOWN, struct.pack("I", WITHOUT_FLUSH))
        finally:
            os.close(folder)

    @property
    def free(self) -> int:
        """Free bytes for unprivileged processes."""
        state = os.statvfs(self.folder)
        return state.f_bavail * state.f_frsize


def _written(file: int, size: int) -> bool:
    try:
        return os.write(file, b"\0" * size) == size
    except OSError:
        return False


@contextmanager
def mounted(folder: Path, megabytes: int) -> Iterator[SmallDisk]:
    """Mount a file system of this size in a folder below `folder`, until the end of the block."""
    image, place = folder / "disk.img", folder / "disk"
    place.mkdir()
    image.touch()
    os.truncate(image, megabytes << 20)
    try:
        _run("mkfs.ext4", "-q", "-m", "0", image)
        _run("mount", "-o", "loop", image, place)
    except (OSError, subprocess.CalledProcessError) as error:
        if os.environ.get("CI") and isinstance(error, OSError):
            raise
        pytest.skip(f"no small disk here, which needs root and e2fsprogs: {error}")
    try:
        yield SmallDisk(place)
    finally:
        _run("umount", "--lazy", place)


def _run(name: str, *words: str | Path) -> None:
    program = FOUND[name]
    if program is None:
        raise FileNotFoundError(name)
    subprocess.run([program, *words], check=True, capture_output=True)
