"""Units of systemd, started by hand: what its manager would do with the keys that our pages use, without being PID 1."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Unit:
    """A service: its command and user, the files of its environment and further variables, folder and umask."""

    command: str
    user: str = "root"
    environment_files: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    folder: str = "/"
    umask: str = "0022"
    keys: dict[str, list[str]] = field(default_factory=dict)

    def variables(self, root: Path) -> dict[str, str]:
        """The environment of its process on the machine whose files are below `root`."""
        lines = [line for name in self.environment_files for line in _lines(root / name.lstrip("/"))]
        pairs = [shlex.split(line)[0].partition("=") for line in (*lines, *self.environment)]
        return {name: value for name, _, value in pairs}


def read_unit(path: Path) -> Unit:
    """The [Service] section of a unit file."""
    keys: dict[str, list[str]] = {}
    section = ""
    for line in _lines(path):
        if line.startswith("["):
            section = line
        elif section == "[Service]":
            name, _, value = line.partition("=")
            keys.setdefault(name.strip(), []).append(value.strip())

    def last(name: str, default: str) -> str:
        return keys.get(name, [default])[-1]

    files, more = tuple(name.lstrip("-") for name in keys.get("EnvironmentFile", ())), tuple(keys.get("Environment", ()))
    place = last("WorkingDirectory", "/")
    return Unit(last("ExecStart", ""), last("User", "root"), files, more, place, last("UMask", "0022"), keys)


def _lines(path: Path) -> list[str]:
    stripped = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in stripped if line and line[0] not in "#;"]
