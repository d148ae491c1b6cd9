"""The random numbers in the addresses of pages about patrons: a card is in no address, thus in no log and no history."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, insert, select, update

from hkall_gateway.db.queries.queries import Queries
from hkall_gateway.db.tables import PATRON_NUMBERS
from hkall_gateway.db.unit import Unit

N = PATRON_NUMBERS.c

KEPT: Final = timedelta(days=30)
"""A number is forgotten this long after the last search that gave it."""
LETTERS: Final = "23456789abcdefghjkmnpqrstvwxyz"
LENGTH: Final = 16


def number_of(unit: Unit, card: str, now: datetime) -> str:
    """Return the number of a card, a new one if it has none; deletes numbers that nobody has searched for since KEPT."""
    unit.execute(delete(PATRON_NUMBERS).where(N.at < now - KEPT))
    if found := unit.execute(select(N.number).where(N.card == card)).scalar():
        unit.execute(update(PATRON_NUMBERS).where(N.number == found).values(at=now))
        return str(found)
    made = "".join(secrets.choice(LETTERS) for _ in range(LENGTH))
    unit.execute(insert(PATRON_NUMBERS).values(number=made, card=card, at=now))
    return made


def number_known(unit: Queries, card: str) -> str:
    """Return the number that a card has already, "" for none."""
    return str(unit.execute(select(N.number).where(N.card == card)).scalar() or "") if card else ""


def card_of(unit: Queries, number: str) -> str:
    """Return the card with this number, "" if there is none."""
    return str(unit.execute(select(N.card).where(N.number == number)).scalar() or "")
