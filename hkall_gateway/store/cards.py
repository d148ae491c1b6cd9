"""What terminals wrote down here: cards that they blocked, and what they know of a copy's make."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, bindparam, delete, insert, select, update

from hkall_gateway.rules.vocabulary import By, ItemKey, Position, Request, Side
from hkall_gateway.store.engine.compiled import CompiledStatement
from hkall_gateway.store.tables import CARD_BLOCKS, HOLDINGS, PROPERTIES
from hkall_gateway.store.unit import Unit


def is_blocked(unit: Unit, card: str) -> bool:
    """Whether a terminal blocked this card here and nobody has lifted it."""
    return unit.execute(select(CARD_BLOCKS.c.card).where(CARD_BLOCKS.c.card == card)).first() is not None


def block(unit: Unit, card: str, text: str, now: datetime, by: By, *, retained: bool) -> bool:
    """Block a card; False if it was blocked already. `text` is the terminal's own reason, `retained`: it kept the card."""
    if is_blocked(unit, card):
        return False
    row = {"card": card, "who": by.who, "at": now, "reason": text, "retained": retained}
    unit.execute(insert(CARD_BLOCKS).values(**row))
    unit.note(about_card(card), "BLOCK_CARD", {"because": text, "retained": retained}, now, by)
    return True


def lift(unit: Unit, card: str, now: datetime, by: By) -> bool:
    """Lift what a terminal blocked; False if nothing was."""
    lifted = unit.execute(delete(CARD_BLOCKS).where(CARD_BLOCKS.c.card == card)).rowcount > 0
    if lifted:
        unit.note(about_card(card), "LIFT_BLOCK", {}, now, by)
    return lifted


def properties_of(unit: Unit, item: ItemKey) -> str:
    """What a terminal noted of this copy; "" for nothing."""
    row = _NOTED.first(unit.connection, agency=item.agency, barcode=item.barcode)
    return str(row["text"]) if row else ""


def note_properties(unit: Unit, item: ItemKey, text: str, now: datetime, by: By) -> None:
    """Remember what a terminal says of this copy, in place of what it said before."""
    row = {"text": text, "who": by.who, "at": now}
    if unit.execute(update(PROPERTIES).where(*_this(item)).values(**row)).rowcount == 0:
        unit.execute(insert(PROPERTIES).values(agency=item.agency, barcode=item.barcode, **row))


def titles(unit: Unit, words: str) -> tuple[str, ...]:
    """The union catalogue's numbers of the title that is called, or numbered, exactly so; at most two are looked for."""
    if unit.copies(words):
        return (words,)
    found = select(HOLDINGS.c.bib_id).where(HOLDINGS.c.title == words).distinct().order_by(HOLDINGS.c.bib_id).limit(2)
    return tuple(unit.execute(found).scalars())


_NOTED = CompiledStatement(
    select(PROPERTIES.c.text).where(PROPERTIES.c.agency == bindparam("agency"), PROPERTIES.c.barcode == bindparam("barcode"))
)


def _this(item: ItemKey) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return PROPERTIES.c.agency == item.agency, PROPERTIES.c.barcode == item.barcode


def about_card(card: str) -> Request:
    """A line of the journal that is about a card and no request."""
    return Request("", Side.BORROWING, Position.NEW, "", "", patron=card)
