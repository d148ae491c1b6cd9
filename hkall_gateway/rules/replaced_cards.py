"""Finds the replaced cards in a patron file, and the rows that contradict the known owner of a card."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from hkall_gateway.rules.vocabulary import Borrower

UNNAMED: Final = "former_barcode: the row has no name and no e-mail to compare with those of that card's owner"
"""Reason to refuse a row that may belong to another person, who would otherwise get the owner's loans, charges and PIN."""


@dataclass(frozen=True, slots=True)
class PatronRow:
    """A row of a patron file: the patron, former cards (oldest first), and where the row is (FILE:LINE)."""

    where: str
    borrower: Borrower
    former: tuple[str, ...] = ()

    @property
    def card(self) -> str:
        """Return the current card."""
        return self.borrower.barcode


@dataclass(frozen=True, slots=True)
class KnownCards:
    """The data before a file is loaded: patrons by card (`patrons`), and current cards by former card (`replaced`)."""

    patrons: Mapping[str, Borrower] = field(default_factory=dict)
    replaced: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacements:
    """The result for a file: current cards by former card (`present`), and reasons by place of a refused row (`refused`)."""

    present: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)


def replacements(rows: Sequence[PatronRow], known: KnownCards) -> Replacements:
    """Find the cards that rows replace. Refuse a row whose former card belongs, or may belong, to another person."""
    owners = {row.card: row for row in rows}
    claims: dict[str, list[PatronRow]] = {}
    for row in rows:
        for former in _former_cards(row):
            claims.setdefault(former, []).append(row)
    refused: dict[str, str] = {}
    present: dict[str, str] = {}
    for row in rows:
        found = (_why_not(former, row, owners, claims[former], known) for former in _former_cards(row))
        if why := next(filter(None, found), None):
            refused[row.where] = why
            continue
        for former in _former_cards(row):  # if A was replaced by B before, and C replaces A, then C also replaces B
            between = known.replaced.get(former, row.card)
            present |= {card: row.card for card in (former, between) if card != row.card}
    return Replacements(present=present, refused=refused)


def _former_cards(row: PatronRow) -> Iterator[str]:
    """Return a row's former cards, without the current card, which some exports also list."""
    return (former for former in row.former if former != row.card)


def _why_not(
    former: str, row: PatronRow, owners: Mapping[str, PatronRow], claims: Sequence[PatronRow], known: KnownCards
) -> str:
    """Return the reason why `former` cannot be a former card of a row's patron, or ""."""
    card_words = f"former_barcode: {former!r}"
    if former in owners:
        return f"{card_words} is the present card of {owners[former].where}"
    if len(claims) > 1:
        return f"{card_words} is named by {next(one.where for one in claims if one is not row)} too"
    if (owner := known.patrons.get(former)) and (why := _why_another(owner, row.borrower, card_words)):
        return why
    between = known.replaced.get(former)
    if between is None or between == row.card:
        return ""
    if between in owners:
        return f"{card_words} was replaced by the present card of {owners[between].where}"
    if between in known.patrons and not _is_same(known.patrons[between], row.borrower):
        return f"{card_words} was replaced by {between!r}, whose owner has neither this name nor this e-mail"
    return ""


def _why_another(before: Borrower, now: Borrower, card_words: str) -> str:
    """Return why two records may be about different persons, or "" if a name or e-mail agrees or `before` has neither."""
    if _is_same(before, now) or not any((before.name, before.name_zh, before.email)):
        return ""
    differs = bool(_agreements(before, now))
    return f"{card_words} is the card of another person: neither name nor e-mail agree" if differs else UNNAMED


def _is_same(before: Borrower, now: Borrower) -> bool:
    return any(_agreements(before, now))


def _agreements(before: Borrower, now: Borrower) -> list[bool]:
    """Compare name, Chinese name and e-mail. For each field that both records have, return whether the values agree."""
    pairs = ((before.name, now.name), (before.name_zh, now.name_zh), (before.email, now.email))
    return [_name_words(one.reveal()) == _name_words(other.reveal()) for one, other in pairs if one and other]


def _name_words(text: str) -> list[str]:
    """Return the words of a name, sorted and in lower case, so that "CHAN, Tai-man" equals "Tai Man Chan"."""
    return sorted(re.findall(r"[^\W_]+", text.casefold()))
