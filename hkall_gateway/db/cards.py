"""Data recorded by terminals: blocked cards, cards locked after wrong PINs, and item properties."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import bindparam, delete, insert, select

from hkall_gateway.db.engine.compiled import CompiledStatement, insert_or_write_over
from hkall_gateway.db.tables import CARD_BLOCKS, CARD_LOCKS, HOLDINGS, PROPERTIES
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.vocabulary import Actor, ItemKey, Position, Request, Side


def is_blocked(unit: UnitOfWork, card: str) -> bool:
    """Check whether a terminal has blocked this card and the block has not been lifted."""
    return unit.execute(select(CARD_BLOCKS.c.card).where(CARD_BLOCKS.c.card == card)).first() is not None


def block(unit: UnitOfWork, card: str, text: str, now: datetime, by: Actor, *, retained: bool) -> bool:
    """Block a card. Return False if it was already blocked.

    `text` gives the terminal's reason, and `retained` tells whether the terminal kept the card.
    """
    if is_blocked(unit, card):
        return False
    row = {"card": card, "who": by.who, "at": now, "reason": text, "retained": retained}
    unit.execute(insert(CARD_BLOCKS).values(**row))
    unit.note(about_card(card), "BLOCK_CARD", {"because": text, "retained": retained}, now, by)
    return True


def lift(unit: UnitOfWork, card: str, now: datetime, by: Actor) -> bool:
    """Lift a terminal's block of a card. Return False if the card was not blocked."""
    lifted = unit.execute(delete(CARD_BLOCKS).where(CARD_BLOCKS.c.card == card)).rowcount > 0
    if lifted:
        unit.note(about_card(card), "LIFT_BLOCK", {}, now, by)
    return lifted


def lock(unit: UnitOfWork, card: str, ends_at: datetime, now: datetime) -> None:
    """Record that wrong PINs locked a card until `ends_at`, and delete the locks that have ended."""
    unit.execute(delete(CARD_LOCKS).where(CARD_LOCKS.c.ends_at <= now))
    unit.execute(insert_or_write_over(CARD_LOCKS, unit.dialect, ["ends_at"]).values(card=card, ends_at=ends_at))


def is_locked(unit: UnitOfWork, card: str, now: datetime) -> bool:
    """Check whether wrong PINs at any gateway have locked this card."""
    found = select(CARD_LOCKS.c.card).where(CARD_LOCKS.c.card == card, CARD_LOCKS.c.ends_at > now)
    return unit.execute(found).first() is not None


def properties_of(unit: UnitOfWork, item: ItemKey) -> str:
    """Return the item properties that a terminal recorded for this copy, or "" if there are none."""
    return next((str(text) for (text,) in _NOTED.cells(unit.connection, agency=item.agency, barcode=item.barcode)), "")


def note_properties(unit: UnitOfWork, item: ItemKey, text: str, now: datetime, by: Actor) -> None:
    """Store the item properties that a terminal sent for this copy, replacing any earlier text."""
    row = {"agency": item.agency, "barcode": item.barcode, "text": text, "who": by.who, "at": now}
    unit.execute(insert_or_write_over(PROPERTIES, unit.dialect, row), row)


def titles(unit: UnitOfWork, words: str) -> tuple[str, ...]:
    """Find titles whose `bib_id` or title, also in both scripts, equals `words`, and return at most two `bib_id`s."""
    if unit.holdings.of_title(words):
        return (words,)
    of_title = select(HOLDINGS.c.bib_id).distinct().order_by(HOLDINGS.c.bib_id).limit(2)
    names = dict.fromkeys((words, words.rpartition(" / ")[2]))
    found = (tuple(unit.execute(of_title.where(HOLDINGS.c.title == name)).scalars()) for name in names)
    return next(filter(None, found), ())


_NOTED = CompiledStatement(
    select(PROPERTIES.c.text).where(PROPERTIES.c.agency == bindparam("agency"), PROPERTIES.c.barcode == bindparam("barcode"))
)


def about_card(card: str) -> Request:
    """Build an otherwise empty request that carries the card into a journal line."""
    return Request(id="", side=Side.BORROWING, position=Position.NEW, title="", bib_id="", patron=card)
