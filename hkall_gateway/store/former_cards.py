"""Cards that were replaced: which number a person has now, and how all that is kept of them moves to it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, exists, select, update

from hkall_gateway.rules.replaced_cards import KnownCards, PatronRow, Replacements, replacements
from hkall_gateway.rules.vocabulary import By
from hkall_gateway.store import patrons
from hkall_gateway.store.cards import about_card, is_blocked
from hkall_gateway.store.engine.compiled import CompiledStatement
from hkall_gateway.store.engine.locks import Locks
from hkall_gateway.store.tables import (
    CARD_BLOCKS,
    FINES,
    FORMER_CARDS,
    NOTICES,
    PATRONS,
    PAYMENTS,
)
from hkall_gateway.store.unit import Unit
from hkall_gateway.store.upsert import insert_or_write_over

F = FORMER_CARDS.c
MOST_ASKED: Final = 500
"""Cards of one question."""


def present_card(unit: Unit, card: str) -> str:
    """The card by which this one was replaced; "" where it was not."""
    return next((present for present, _who in _PRESENT.cells(unit.connection, card=card)), "")


def who_replaced(unit: Unit, card: str) -> str:
    """Who said that this card was replaced; "" where nobody did, or where it is a loaded patron's again."""
    who = next((who for _present, who in _PRESENT.cells(unit.connection, card=card)), "")
    return "" if who and unit.patron(card) else who


def card_now(unit: Unit, card: str) -> str:
    """The card that the owner of this one has now: this one, unless it was replaced and nobody else was given it."""
    return card if unit.patron(card) else present_card(unit, card) or card


def has_anything(unit: Unit, card: str) -> bool:
    """Whether something is kept under this number: open requests, charges, a block."""
    return bool(unit.open_lines(card) or unit.charges(card)) or is_blocked(unit, card)


def cards_of(unit: Unit, card: str) -> tuple[str, ...]:
    """All cards of the person who has, or had, this one: the present card first, then the former ones."""
    present = card_now(unit, card)
    return (present, *(former for (former,) in _FORMER.cells(unit.connection, present=present)))


def history(unit: Unit, what: str) -> tuple[dict[str, Any], ...]:
    """As `unit.history`; of a card with what is known of its owner's other cards."""
    lines = {line["id"]: line for one in cards_of(unit, what) for line in unit.history(one)}
    return tuple(lines[number] for number in sorted(lines))


# ---- a patron file


def judge(unit: Unit, rows: Sequence[PatronRow]) -> Replacements:
    """What these rows replace and is not replaced yet, and which of them are refused."""
    replaced = {row["card"]: row["present"] for row in unit.execute(select(F.card, F.present)).mappings()}
    former = {card for row in rows for card in row.former}
    named = sorted(former | {replaced[card] for card in former & replaced.keys()})
    known: dict[str, patrons.Known] = {}
    for start in range(0, len(named), MOST_ASKED):
        known.update(patrons.known(unit.connection, named[start : start + MOST_ASKED]))
    loaded = {card: one.borrower for card, one in known.items() if one.borrower}
    judged = replacements(rows, KnownCards(loaded, replaced))
    in_use = {card for card, one in known.items() if one.borrower or one.lines or one.charges}
    to_do = {card: now for card, now in judged.present.items() if replaced.get(card) != now or card in in_use}
    return Replacements(to_do, judged.refused)


def reinstate(unit: Unit, cards: Collection[str]) -> None:
    """These cards are in use: what was known of an earlier owner's replacement is forgotten."""
    unit.execute(delete(FORMER_CARDS).where(F.card.in_(cards)))


def forget_former_cards_of(unit: Unit, load_before: int) -> None:
    """The former cards of patrons whom an import before this number named last."""
    gone = select(PATRONS.c.barcode).where(PATRONS.c.load < load_before)
    unit.execute(delete(FORMER_CARDS).where(F.present.in_(gone)))


# ---- one person


def replace_cards(unit: Unit, present: Mapping[str, str], now: datetime, by: By) -> None:
    """Replace cards, former -> present and a person's latest last, with everything that is kept of their owners.

    What was loaded of a person under the latest card stands under the present one.
    """
    unit.lock([Locks(card, whole=True) for card in sorted({*present, *present.values()})])
    for former, card in reversed(list(present.items())):
        follow_card(unit, former, card, now, by)
    unit.execute(delete(PATRONS).where(PATRONS.c.barcode.in_(list(present))))


def follow_card(unit: Unit, former: str, present: str, now: datetime, by: By) -> None:
    """The local system says that a card was replaced: what was loaded of its owner stands under the new one until the next load
    names it."""
    replace_card(unit, former, present, now, by)
    if unit.patron(present) is None:
        unit.execute(update(PATRONS).where(PATRONS.c.barcode == former).values(barcode=present))


def replace_card(unit: Unit, former: str, present: str, now: datetime, by: By) -> None:
    """A person has another card: requests, money, letters and blocks are theirs under the new number from here on.

    The journal keeps its lines; they are found by both numbers. What a block of the former card was for is a person's to
    judge, so it follows.
    """
    requests = unit.open_requests(former)
    for request in requests:
        unit.amend(request, now, by, patron=present)
    unit.hand_over(former, present)
    unit.outbox.readdress(former, present, [request.id for request in requests])
    for table in (FINES, NOTICES):
        unit.execute(update(table).where(table.c.patron == former).values(patron=present))
    _move_payments(unit, former, present)
    _move_block(unit, former, present)
    _remember(unit, former, present, now, by)
    unit.note(about_card(present), "REPLACE_CARD", {"former": former}, now, by)


def _move_payments(unit: Unit, former: str, present: str) -> None:
    """A payment stays where the new card has one of the same device and number: a transaction is taken once for a card."""
    other = PAYMENTS.alias()
    same = (other.c.patron == present, other.c.who == PAYMENTS.c.who, other.c.transaction_id == PAYMENTS.c.transaction_id)
    taken = exists().where(*same, PAYMENTS.c.transaction_id != "")
    unit.execute(update(PAYMENTS).where(PAYMENTS.c.patron == former, ~taken).values(patron=present))


def _move_block(unit: Unit, former: str, present: str) -> None:
    """A card is blocked once: where the new one is already, the block of the former one goes."""
    of_former = CARD_BLOCKS.c.card == former
    there = is_blocked(unit, present)
    unit.execute(delete(CARD_BLOCKS).where(of_former) if there else update(CARD_BLOCKS).where(of_former).values(card=present))


def _remember(unit: Unit, former: str, present: str, now: datetime, by: By) -> None:
    """Every former card names the present one, however often it was replaced between."""
    unit.execute(delete(FORMER_CARDS).where(F.card == present))
    unit.execute(update(FORMER_CARDS).where(F.present == former).values(present=present))
    row = {"card": former, "present": present, "at": now, "who": by.who}
    unit.execute(insert_or_write_over(FORMER_CARDS, unit.dialect, row), row)


_PRESENT = CompiledStatement(select(F.present, F.who).where(F.card == bindparam("card")))
_FORMER = CompiledStatement(select(F.card).where(F.present == bindparam("present")).order_by(F.at, F.card))
