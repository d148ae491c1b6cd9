"""What adapters of local systems and protocols of partners add to the doctor command."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Probe(StrEnum):
    """Built-in checks of the doctor command. CARD queries a local system for a card that cannot exist."""

    LOADED = "loaded"
    SIP2 = "sip2"
    NCIP = "ncip"
    CARD = "card"


class Report(Protocol):
    """Collects the doctor command's findings about one system. `check` is the name of a DoctorRow."""

    def ok(self, check: str, detail: str) -> None:
        """Record that a check passed."""

    def warn(self, check: str, detail: str, advice: str = "") -> None:
        """Record a warning."""

    def fail(self, check: str, detail: str, advice: str = "") -> None:
        """Record that a check failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorRow:
    """A doctor check that an adapter or a protocol adds: its stable name, what it tries, and the advice if it fails."""

    name: str
    tries: str
    advice: str
