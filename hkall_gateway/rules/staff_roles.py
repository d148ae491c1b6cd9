"""The roles of staff at the console."""

from __future__ import annotations

from enum import IntEnum


class StaffRole(IntEnum):
    """The role of a member of staff; each role includes the rights of those before it."""

    VIEWER = 1
    CLERK = 2
    SUPERVISOR = 3
    SYSADMIN = 4

    @classmethod
    def of(cls, word: str) -> StaffRole:
        """Return the role of a configuration's word, "clerk"."""
        return cls[word.upper()]

    @property
    def word(self) -> str:
        """The configuration's word for it."""
        return self.name.lower()
