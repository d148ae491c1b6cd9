"""A toy library: a few patrons and items, with loans, holds and a fee."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

Content = TypeVar("Content")
LOGIN = "kiosk"
PASSWORD = "secret-of-kiosk"  # noqa: S105  # of the toy
PATRON = "21234000"
PIN = "7391"
NAME = "Wong, Siu Ming"


@dataclass
class Item:
    """An item, lent to `borrower` unless that is empty."""

    barcode: str
    title: str
    borrower: str = ""
    due: str = ""
    holds: list[str] = field(default_factory=list)


@dataclass
class Patron:
    """A patron, who owes a fee."""

    barcode: str
    name: str
    pin: str


@dataclass
class Library:
    """The state of the toy library. Each method is one transaction."""

    items: dict[str, Item]
    patrons: dict[str, Patron]

    def loans_of(self, patron: str) -> list[Item]:
        """List what a patron has."""
        return [item for item in self.items.values() if item.borrower == patron]

    def holds_of(self, patron: str) -> list[Item]:
        """List what a patron waits for."""
        return [item for item in self.items.values() if patron in item.holds]

    def check_out(self, patron: str, item: Item) -> None:
        """Lend an item for four weeks."""
        item.borrower = patron
        due = datetime.now().astimezone() + timedelta(days=28)
        item.due = due.strftime("%Y%m%d    235900")

    def check_in(self, item: Item) -> None:
        """Take an item back."""
        item.borrower = ""
        item.due = ""


class Open(dict[str, Content]):
    """A table that has everything that is asked for, for peers whose cards the kit cannot know."""

    def __init__(self, make: Callable[[str], Content]) -> None:
        super().__init__()
        self._make = make

    def get(self, key: str, default: object = None) -> Content | None:  # type: ignore[override]
        """Give what is there, or make it."""
        del default
        if not key or key.startswith("CIRCPROBE"):
            return None
        if key not in self:
            self[key] = self._make(key)
        return self[key]


def make_open_library(pin: str) -> Library:
    """Make a library that knows every card and every item.

    Args:
        pin: the PIN of every card.
    """
    items = Open(lambda barcode: Item(barcode, f"Title of {barcode}"))
    patrons = Open(lambda barcode: Patron(barcode, "Test, Reader", pin))
    return Library(items, patrons)


def make_library() -> Library:
    """Make a library with one patron and five items, three of them on the shelf."""
    titles = ("水滸傳", "Dream of the Red Chamber", "Fortress Besieged", "Rickshaw Boy", "Analects")
    barcodes = [f"3000{number}" for number in range(1, 6)]
    items = {barcode: Item(barcode, title) for barcode, title in zip(barcodes, titles, strict=True)}
    patrons = {PATRON: Patron(PATRON, NAME, PIN)}
    library = Library(items, patrons)
    library.check_out(PATRON, items["30003"])
    library.check_out(PATRON, items["30004"])
    items["30005"].holds.append(PATRON)
    return library
