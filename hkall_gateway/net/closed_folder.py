"""Finds the folder that keeps this process from a file, since the system reports only that the file is denied or missing."""

from __future__ import annotations

import os
import pwd
from pathlib import Path


def closed_folder(path: Path) -> Path | None:
    """Return the outermost folder above `path` that this process may not enter, or None if it may enter all."""
    for folder in reversed(path.absolute().parents):
        if os.path.isdir(folder) and not os.access(folder, os.X_OK, effective_ids=True):
            return folder
    return None


def cannot_enter(folder: Path) -> str:
    """Return the message and the remedy for a folder that this process may not enter."""
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # no such user, as in many containers
        user = str(os.geteuid())
    return f"this command runs as {user}, which cannot enter {folder}: put the file where {user} can read and write"
