"""Secrets that systemd passes as files (`LoadCredential=`), as an alternative to the environment file.

Source: systemd.exec(5), "Credentials"; https://systemd.io/CREDENTIALS
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

FOLDER: Final = "CREDENTIALS_DIRECTORY"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def add_credentials(environ: MutableMapping[str, str]) -> None:
    """Add each credential whose name may be that of a variable, without its last line end; a variable that is set stays.

    Raises OSError or UnicodeDecodeError for one that cannot be read.
    """
    folder = environ.get(FOLDER)
    for file in sorted(Path(folder).iterdir()) if folder else ():
        if _NAME.fullmatch(file.name):
            environ.setdefault(file.name, file.read_text(encoding="utf-8").removesuffix("\n"))
