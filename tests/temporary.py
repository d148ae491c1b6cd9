"""Temporary files of tests stay in memory if there is space: a disk needs milliseconds for each of many thousand commits.

Tests cannot see the difference: a killed process loses no more there, and the order of system calls is the same.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

MEMORY: Final = Path("/dev/shm")  # noqa: S108  # a folder for it is made by pytest, with its own name and rights
ROOM: Final = 2 << 30
"""Minimum free bytes: the suite needs a third of that at once."""


def use_memory() -> None:
    """Make MEMORY the folder for temporary files of this process and those it starts, unless TMPDIR names another."""
    if "TMPDIR" not in os.environ and roomy(MEMORY):
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


def roomy(folder: Path) -> bool:
    """Return whether the folder exists with enough space and allows programs to be executed."""
    if not os.access(folder, os.W_OK):
        return False
    may_start = not os.statvfs(folder).f_flag & os.ST_NOEXEC
    return may_start and shutil.disk_usage(folder).free >= ROOM
