"""Makes files with borrowing data readable only by the gateway's user and at most its group, independent of the umask."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

OWNER: Final = 0o600
GROUP_READS: Final = 0o640


def private(path: Path, fresh: int = OWNER) -> None:
    """Create the file with the mode `fresh` if it does not exist; else remove the rights of other users.

    A file of another user is left as it is, and so is one that cannot be created: opening it raises the error. A file that
    root creates belongs to the owner of its folder, so that the gateway's own user can write it.
    """
    try:
        created = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, fresh)
    except FileExistsError:
        _closed_to_others(path)
        return
    except OSError:
        return
    try:
        _give_to_owner_of_folder(created, path)
    finally:
        os.close(created)


def _give_to_owner_of_folder(created: int, path: Path) -> None:
    if os.geteuid() == 0:
        folder = path.absolute().parent.stat()
        os.fchown(created, folder.st_uid, folder.st_gid)


def _closed_to_others(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & ~GROUP_READS and path.is_file():
        with suppress(PermissionError):
            path.chmod(mode & GROUP_READS)
