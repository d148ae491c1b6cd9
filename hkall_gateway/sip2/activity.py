"""Each terminal's last message and its refused logins since the start of this process, for the staff console."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

UNKNOWN = ""
"""Stands for all names that no terminal has."""


@dataclass(frozen=True, slots=True)
class LastHeard:
    """`last_code` is the code of the last message; `refused` counts logins, with the reason and the instant of the last one."""

    last_code: str = ""
    last_at: datetime | None = None
    refused: int = 0
    refused_why: str = ""
    refused_at: datetime | None = None


NOTHING_YET = LastHeard()


class TerminalLog:
    """Keeps one record a login of the configuration, and one for unknown names: no peer can make it grow."""

    def __init__(self) -> None:
        self._heard: dict[str, LastHeard] = {}

    def heard(self, login: str, code: str, now: datetime) -> None:
        """Record a message of a terminal that is logged in."""
        before = self._heard.get(login, NOTHING_YET)
        self._heard[login] = LastHeard(code, now, before.refused, before.refused_why, before.refused_at)

    def refused(self, login: str, why: str, now: datetime) -> None:
        """Record a refused login; `login` is UNKNOWN for a name that no terminal has."""
        before = self._heard.get(login, NOTHING_YET)
        self._heard[login] = replace(before, refused=before.refused + 1, refused_why=why, refused_at=now)

    @property
    def rows(self) -> Mapping[str, LastHeard]:
        """Return the last activity of each terminal, by login."""
        return self._heard
