"""Determines the replaced cards in a patron file, and the rows that contradict the known owner of a card."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from hkall_gateway.rules.vocabulary import Borrower

UNNAMED: Final = "former_barcode: the row has no name and no e-mail to compare with those of that card's owner"
"""The reason to refuse a row that may be of another person: loans, charges and the PIN would move to a stranger."""


@dataclass(frozen=True, slots=True)
class PatronRow:
    """A patron, the patron's former cards, oldest first, and the FILE:LINE of the row."""

    where: str
    borrower: Borrower
    former: tuple[str, ...] = ()

    @property
    def card(self) -> str:
        """The present card."""
        return self.borrower.barcode


@dataclass(frozen=True, slots=True)
class KnownCards:
    """The data before a file is loaded: loaded patrons by card, and the present card of each replaced one."""

    patrons: Mapping[str, Borrower] = field(default_factory=dict)
    replaced: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Replacements:
    """The replaced cards of a file: the present card by each former one, and the reasons of refused rows, by their index."""

    present: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)


def replacements(rows: Sequence[PatronRow], known: KnownCards) -> Replacements:
    """Return the cards that these rows replace.

    A row is refused if its former card belongs, or may belong, to another person.
    """
    owners = {row.card: row for row in rows}
    claims: dict[str, list[PatronRow]] = {}
    for row in rows:
        for former in _former_cards(row):
            claims.setdefault(former, []).append(row)
    refused: dict[str, str] = {}
    present: dict[str, str] = {}
    for row in rows:
        if why := next(
            (why for former in _former_cards(row) if (why := _why_not(former, row, owners, claims[former], known))), ""
        ):
            refused[row.where] = why
            continue
        for former in _former_cards(row):  # A was replaced by B, and C replaces A: then it replaces B too
            between = known.replaced.get(former, row.card)
            present |= {card: row.card for card in (former, between) if card != row.card}
    return Replacements(present, refused)


def _former_cards(row: PatronRow) -> Iterator[str]:
    """Return the former cards of a row, without the present one, which some exports name too."""
    return (former for former in row.former if former != row.card)


def _why_not(
    former: str, row: PatronRow, owners: Mapping[str, PatronRow], claims: Sequence[PatronRow], known: KnownCards
) -> str:
    """Return why a card cannot be a former one of this row; "" if it can."""
    card_words = f"former_barcode: {former!r}"
    if former in owners:
        return f"{card_words} is the present card of {owners[former].where}"
    if len(claims) > 1:
        return f"{card_words} is named by {next(one.where for one in claims if one is not row)} too"
    if (owner := known.patrons.get(former)) and (why := _why_another(owner, row.borrower, card_words)):
        return why
    between = known.replaced.get(former, row.card)
    if between == row.card:
        return ""
    if between in owners:
        return f"{card_words} was replaced by the present card of {owners[between].where}"
    if between in known.patrons and not _is_same(known.patrons[between], row.borrower):
        return f"{card_words} was replaced by {between!r}, whose owner has neither this name nor this e-mail"
    return ""


def _why_another(before: Borrower, now: Borrower, card_words: str) -> str:
    """Return why two records are not taken for one person; "" if a field agrees, or the earlier record has none of them."""
    if _is_same(before, now) or not any((before.name, before.name_zh, before.email)):
        return ""
    differs = bool(_agreements(before, now))
    return f"{card_words} is the card of another person: neither name nor e-mail agree" if differs else UNNAMED


def _is_same(before: Borrower, now: Borrower) -> bool:
    return any(_agreements(before, now))


def _agreements(before: Borrower, now: Borrower) -> list[bool]:
    """Compare name, Chinese name and e-mail, as far as both records have them; returns for each whether they agree."""
    pairs = ((before.name, now.name), (before.name_zh, now.name_zh), (before.email, now.email))
    return [_name_words(one.reveal()) == _name_words(other.reveal()) for one, other in pairs if one and other]


def _name_words(text: str) -> list[str]:
    """Return the words of a name in one case, sorted: CHAN, Tai-man is Tai Man Chan."""
    return sorted(re.findall(r"[^\W_]+", text.casefold()))
