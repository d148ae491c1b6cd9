"""Replaced cards: find a person's current card, and move all records to it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, exists, select, update

from hkall_gateway.db import patrons, web_sessions
from hkall_gateway.db.cards import about_card, is_blocked
from hkall_gateway.db.engine.compiled import CompiledStatement, insert_or_write_over
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.tables import CARD_BLOCKS, FINES, FORMER_CARDS, NOTICES, PATRON_CHOICES, PATRONS, PAYMENTS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.replaced_cards import KnownCards, PatronRow, Replacements, replacements
from hkall_gateway.rules.vocabulary import Actor

F = FORMER_CARDS.c
MOST_ASKED: Final = 500
"""Maximum number of cards in one query."""


def present_card(unit: UnitOfWork, card: str) -> str:
    """Return the card that replaced this card, or "" if this card was not replaced."""
    return next((present for present, _who in _PRESENT.cells(unit.connection, card=card)), "")


def who_replaced(unit: UnitOfWork, card: str) -> str:
    """Return who replaced this card, or "" if it was not replaced or a loaded patron has it again."""
    who = next((who for _present, who in _PRESENT.cells(unit.connection, card=card)), "")
    return "" if who and unit.patrons.find(card) else who


def card_now(unit: UnitOfWork, card: str) -> str:
    """Return the owner's current card. A card that was not replaced, or that a loaded patron has, is current itself."""
    return card if unit.patrons.find(card) else present_card(unit, card) or card


def has_anything(unit: UnitOfWork, card: str) -> bool:
    """Check whether this card has open requests, charges or a block."""
    return bool(unit.patrons.open_lines(card) or unit.patrons.charges(card)) or is_blocked(unit, card)


def cards_of(unit: UnitOfWork, card: str) -> tuple[str, ...]:
    """Return all cards of this card's owner: the current card first, then the former cards."""
    present = card_now(unit, card)
    return (present, *(former for (former,) in _FORMER.cells(unit.connection, present=present)))


def history(unit: UnitOfWork, what: str) -> tuple[dict[str, Any], ...]:
    """Return the journal lines about a request, a copy or a card. For a card, include all cards of its owner."""
    lines = {line["id"]: line for one in cards_of(unit, what) for line in unit.journal.history(one)}
    return tuple(lines[number] for number in sorted(lines))


def judge(unit: UnitOfWork, rows: Sequence[PatronRow]) -> Replacements:
    """Divide the card replacements in these rows into new replacements and refused replacements."""
    replaced = {row["card"]: row["present"] for row in unit.execute(select(F.card, F.present)).mappings()}
    former = {card for row in rows for card in row.former}
    named = sorted(former | {replaced[card] for card in former & replaced.keys()})
    known: dict[str, patrons.CardRecord] = {}
    for start in range(0, len(named), MOST_ASKED):
        known.update(patrons.known(unit.connection, named[start : start + MOST_ASKED]))
    loaded = {card: one.borrower for card, one in known.items() if one.borrower}
    judged = replacements(rows, KnownCards(loaded, replaced))
    in_use = {card for card, one in known.items() if one.borrower or one.lines or one.charges}
    to_do = {card: now for card, now in judged.present.items() if replaced.get(card) != now or card in in_use}
    return Replacements(present=to_do, refused=judged.refused)


def reinstate(unit: UnitOfWork, cards: Collection[str]) -> None:
    """Delete the replacement records of cards that are in use again."""
    unit.execute(delete(FORMER_CARDS).where(F.card.in_(cards)))


def forget_former_cards_of(unit: UnitOfWork, load_before: int) -> None:
    """Delete the former cards of patrons whose last import number is below `load_before`."""
    gone = select(PATRONS.c.barcode).where(PATRONS.c.load < load_before)
    unit.execute(delete(FORMER_CARDS).where(F.present.in_(gone)))


def replace_cards(unit: UnitOfWork, present: Mapping[str, str], now: datetime, by: Actor) -> None:
    """Replace cards, and move all records of their owners.

    `present` maps former to current cards, with a person's latest former card last. The patron's row that was loaded under the
    latest former card is kept under the current card.
    """
    unit.lock([LockSet(card, whole=True) for card in sorted({*present, *present.values()})])
    for former, card in reversed(list(present.items())):
        follow_card(unit, former, card, now, by)
    unit.execute(delete(PATRONS).where(PATRONS.c.barcode.in_(list(present))))


def follow_card(unit: UnitOfWork, former: str, present: str, now: datetime, by: Actor) -> None:
    """Replace a card that the local system reports as replaced, and keep its patron's row until the next load."""
    replace_card(unit, former, present, now, by)
    if unit.patrons.find(present) is None:
        unit.execute(update(PATRONS).where(PATRONS.c.barcode == former).values(barcode=present))


def replace_card(unit: UnitOfWork, former: str, present: str, now: datetime, by: Actor) -> None:
    """Move requests, charges, payments, letters and blocks from a former card to the current card, and end its sessions.

    Journal lines are not changed, and can be found by both cards. A block moves too, because only staff can judge its reason.
    """
    requests = unit.requests.open_of_patron(former)
    for request in requests:
        unit.amend(request, now, by, patron=present)
    unit.requests.hand_over(former, present)
    unit.outbox.readdress(former, present, [request.id for request in requests])
    for table in (FINES, NOTICES):
        unit.execute(update(table).where(table.c.patron == former).values(patron=present))
    if since := unit.patrons.history_since(former):
        unit.patrons.keep_history(present, since)
        unit.execute(delete(PATRON_CHOICES).where(PATRON_CHOICES.c.patron == former))
    web_sessions.end_of_patron(unit, former)
    # Skip payments whose device and transaction number the new card already has, because these must be unique for each card.
    other = PAYMENTS.alias()
    same = (other.c.patron == present, other.c.who == PAYMENTS.c.who, other.c.transaction_id == PAYMENTS.c.transaction_id)
    taken = exists().where(*same, PAYMENTS.c.transaction_id != "")
    unit.execute(update(PAYMENTS).where(PAYMENTS.c.patron == former, ~taken).values(patron=present))
    of_former = CARD_BLOCKS.c.card == former
    there = is_blocked(unit, present)
    unit.execute(delete(CARD_BLOCKS).where(of_former) if there else update(CARD_BLOCKS).where(of_former).values(card=present))
    # Every former card refers directly to the current card, even after several replacements.
    unit.execute(delete(FORMER_CARDS).where(F.card == present))
    unit.execute(update(FORMER_CARDS).where(F.present == former).values(present=present))
    row = {"card": former, "present": present, "at": now, "who": by.who}
    unit.execute(insert_or_write_over(FORMER_CARDS, unit.dialect, row), row)
    unit.note(about_card(present), "REPLACE_CARD", {"former": former}, now, by)


_PRESENT = CompiledStatement(select(F.present, F.who).where(F.card == bindparam("card")))
_FORMER = CompiledStatement(select(F.card).where(F.present == bindparam("present")).order_by(F.at, F.card))
