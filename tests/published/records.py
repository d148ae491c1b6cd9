"""Records of the published page: patron, title, item, letter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage

PIN = "1234"


@dataclass(frozen=True, slots=True)
class Reader:
    """A user of HKU Libraries."""

    card: str
    email: str


@dataclass(frozen=True, slots=True)
class Copy:
    """One book on one library's shelf."""

    library: str
    barcode: str
    title: str


@dataclass(frozen=True, slots=True)
class Title:
    """One title of the union catalogue. `copies` by library."""

    number: str
    name: str
    copies: Mapping[str, Copy]

    def at(self, library: str) -> Copy:
        """The item of this library."""
        return self.copies[library]

    @property
    def elsewhere(self) -> Copy:
        """The first item of another library."""
        return next(copy for library, copy in self.copies.items() if library != "HKU")


@dataclass(frozen=True, slots=True)
class Letter:
    """An e-mail as its recipient sees it; `text` is one line."""

    subject: str
    text: str

    @classmethod
    def of(cls, message: EmailMessage) -> Letter:
        """Parse a received e-mail."""
        body = message.get_body(("plain",))
        assert body is not None
        return cls(str(message["Subject"]), " ".join(body.get_content().split()))
