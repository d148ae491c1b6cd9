"""The systems at the other end: one row for each make, by the name that `system = "…"` in gateway.toml uses.

A row says what a `[[partners]]`, `[[clients]]` or `[ils]` row of that system defaults to, in the keys of the configuration;
keys that the file itself has go first. docs/systems.md is written from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

Keys = Mapping[str, Any]
"""Keys of one table of gateway.toml, and their defaults for a system."""


class Use(StrEnum):
    """What a system is to this gateway: the table of gateway.toml that names it."""

    PARTNER = "partners"
    CLIENT = "clients"
    ILS = "ils"


class Seen(StrEnum):
    """How a statement about a system is known."""

    RUN = "run"
    """The system's own program spoke to a gateway."""
    READ = "read"
    """Its program, schema or documentation was read; the suite has documents of the same shape."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What works with a system in one use, how that is known, and of which `version` (a release, or a commit)."""

    use: Use
    what: str
    seen: Seen
    version: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class System:
    """One make of system.

    `partners`, `clients`, `ils`: what a row of that table defaults to; None where the system is never that.
    `proofs`: how it can show who it is. `numbers`: whose RequestId its answer to RequestItem has. `needs`: elements that it
    looks for, and where. `never_tells`: what no message of it says, so that it is unknown and not nought.
    """

    name: str
    title: str
    kind: str
    partners: Keys | None = None
    clients: Keys | None = None
    ils: Keys | None = None
    proofs: tuple[str, ...] = ()
    numbers: str = "the asker's"
    needs: tuple[str, ...] = ()
    never_tells: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()

    def defaults(self, use: Use) -> Keys | None:
        """What a row of a table defaults to; None where the system has no place there."""
        return {Use.PARTNER: self.partners, Use.CLIENT: self.clients, Use.ILS: self.ils}[use]


_ROWS: Final = (
    System(
        "vufind",
        "VuFind (driver XCNCIP2)",
        "discovery system",
        clients={},
        proofs=("HTTP Basic", "bearer token", "address"),
        never_tells=("FromAgencyAuthentication", "RequestId of its own"),
    ),
)

SYSTEMS: Final[Mapping[str, System]] = MappingProxyType({row.name: row for row in _ROWS})


def names(use: Use) -> list[str]:
    """The systems that a table may name."""
    return [row.name for row in SYSTEMS.values() if row.defaults(use) is not None]
