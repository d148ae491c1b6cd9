"""Reads secrets from the files of a machine: the environment file of the service, and a folder of credentials."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

ENVIRONMENT: Final = "environment"
"""Name of the file with variables, beside the configuration. The unit names it in EnvironmentFile=."""
CREDENTIALS: Final = "credentials"
"""Name of the folder, beside the configuration, with one file for each secret. The unit names them in LoadCredential=."""

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_QUOTES: Final = "'\""


def read_environment(file: Path) -> dict[str, str]:
    """Return the variables in an environment file, as systemd and the command `hkall-gateway` read them.

    A value may be in quotation marks. Lines that are no assignment are ignored.
    Raises OSError or UnicodeDecodeError if the file cannot be read.
    """
    variables: dict[str, str] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        name, equals, value = line.partition("=")
        if not equals or not _VARIABLE.fullmatch(name):
            continue
        if len(value) > 1 and value[0] in _QUOTES and value[0] == value[-1]:
            value = value[1:-1]
        variables[name] = value
    return variables


def read_credentials(folder: Path) -> dict[str, str]:
    """Return the secrets in a folder, by file name. A final newline is no part of a secret.

    Raises OSError or UnicodeDecodeError if a file cannot be read.
    """
    files = [file for file in sorted(folder.iterdir()) if _VARIABLE.fullmatch(file.name)]
    return {file.name: file.read_text(encoding="utf-8").removesuffix("\n") for file in files}


def find_environment_faults(text: str) -> Iterator[tuple[int, str]]:
    """Yield the number of each line that systemd ignores though it seems to assign a variable, with the remedy."""
    for number, line in enumerate(text.splitlines(), 1):
        name, equals, _value = line.partition("=")
        if not equals or line.lstrip().startswith(("#", ";")) or _VARIABLE.fullmatch(name):
            continue
        if name.startswith("export "):
            yield number, f"begins with `export`, which systemd does not know: write {name.removeprefix('export ').strip()}=…"
        elif name != name.strip() and _VARIABLE.fullmatch(name.strip()):
            yield number, f"has a blank beside the name {name.strip()}: write {name.strip()}=…"
        else:
            yield number, f"{name.strip()!r} is no name of a variable: use letters, digits and _"


class SecretFiles:
    """The secrets of a running gateway that come from files, which a reload reads again.

    A variable that something else has set, such as `Environment=` of a unit, keeps its value.

    Args:
        config: The configuration file. The environment file is beside it.
        environ: The variables of the process at its start.
        credentials: The folder in which systemd shows the credentials, or None without one.
        adds: Whether variables that are new in the files are added. The process of the pages lacks those that it does not use.
    """

    def __init__(self, config: Path, environ: Mapping[str, str], credentials: str | None = None, *, adds: bool = True) -> None:
        self._adds = adds
        self._environment = config.absolute().parent / ENVIRONMENT
        self._credentials = Path(credentials) if credentials else None
        known = self._read()
        self._known = {name: value for name, value in known.items() if environ.get(name) == value}

    def changed(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the variables whose value in the files is new, and remember them. Unreadable files change nothing."""
        found = self._read()
        fresh = {
            name: value
            for name, value in found.items()
            if environ.get(name) != value
            and ((name in environ and name in self._known) or (self._adds and name not in environ))
        }
        self._known |= fresh
        return fresh

    def _read(self) -> dict[str, str]:
        found: dict[str, str] = {}
        with suppress(OSError, UnicodeDecodeError):
            if self._credentials is not None:
                found |= read_credentials(self._credentials)
        with suppress(OSError, UnicodeDecodeError):
            found |= read_environment(self._environment)
        return found
