"""Which cards of a patron file replace which former ones, and which rows contradict what is known of a card's owner."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from hkall_gateway.rules.vocabulary import Borrower

UNNAMED: Final = "former_barcode: the row has no name and no e-mail to compare with those of that card's owner"
"""Why a row is refused that may be of anybody: loans, charges and the PIN of a stranger would be theirs."""


@dataclass(frozen=True, slots=True)
class PatronRow:
    """A patron, the cards that were theirs before, oldest first, and the FILE:LINE that says so."""

    where: str
    borrower: Borrower
    former: tuple[str, ...] = ()

    @property
    def card(self) -> str:
        return self.borrower.barcode


@dataclass(frozen=True, slots=True)
class KnownCards:
    """What is known before a file is loaded: loaded patrons by card, and the present card of each one that was replaced."""

    patrons: Mapping[str, Borrower] = field(default_factory=dict)
    replaced: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Replacements:
    """What a file says of replaced cards: the present card by each former one, and why a row is refused, by its place."""

    present: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)


def replacements(rows: Sequence[PatronRow], known: KnownCards) -> Replacements:
    """The cards that these rows replace. A row is refused whose former card is, or may be, somebody else's."""
    owners = {row.card: row for row in rows}
    claims: dict[str, list[PatronRow]] = {}
    for row in rows:
        for former in _others(row):
            claims.setdefault(former, []).append(row)
    refused: dict[str, str] = {}
    present: dict[str, str] = {}
    for row in rows:
        if why := next((why for former in _others(row) if (why := _why_not(former, row, owners, claims[former], known))), ""):
            refused[row.where] = why
            continue
        present |= dict.fromkeys(_chain(row, known), row.card)
    return Replacements(present, refused)


def _others(row: PatronRow) -> Iterator[str]:
    """The former cards of a row; the present one, where an export names it too, is none."""
    return (former for former in row.former if former != row.card)


def _chain(row: PatronRow, known: KnownCards) -> Iterator[str]:
    """The former cards, and those by which they were replaced before: A was replaced by B, and C replaces A."""
    for former in _others(row):
        between = known.replaced.get(former, row.card)
        yield from (card for card in (former, between) if card != row.card)


def _why_not(
    former: str, row: PatronRow, owners: Mapping[str, PatronRow], claims: Sequence[PatronRow], known: KnownCards
) -> str:
    """Why a card cannot be a former one of this row; "" where it can."""
    said = f"former_barcode: {former!r}"
    if former in owners:
        return f"{said} is the present card of {owners[former].where}"
    if len(claims) > 1:
        return f"{said} is named by {next(one.where for one in claims if one is not row)} too"
    if (owner := known.patrons.get(former)) and (why := _why_another(owner, row.borrower, said)):
        return why
    between = known.replaced.get(former, row.card)
    if between == row.card:
        return ""
    if between in owners:
        return f"{said} was replaced by the present card of {owners[between].where}"
    if between in known.patrons and not _is_same(known.patrons[between], row.borrower):
        return f"{said} was replaced by {between!r}, whose owner has neither this name nor this e-mail"
    return ""


def _why_another(before: Borrower, now: Borrower, said: str) -> str:
    """Why two records are not taken for one person; "" where something agrees, or nothing is known of the owner before."""
    if _is_same(before, now) or not any((before.name, before.name_zh, before.email)):
        return ""
    differs = bool(_compared(before, now))
    return f"{said} is the card of another person: neither name nor e-mail agree" if differs else UNNAMED


def _is_same(before: Borrower, now: Borrower) -> bool:
    return any(_compared(before, now))


def _compared(before: Borrower, now: Borrower) -> list[bool]:
    """Name, Chinese name and e-mail, where both records have them: whether they agree."""
    pairs = ((before.name, now.name), (before.name_zh, now.name_zh), (before.email, now.email))
    return [_plain(one.reveal()) == _plain(other.reveal()) for one, other in pairs if one and other]


def _plain(text: str) -> list[str]:
    """The words of a name in any order and case: CHAN, Tai-man is Tai Man Chan."""
    return sorted(re.findall(r"[^\W_]+", text.casefold()))
