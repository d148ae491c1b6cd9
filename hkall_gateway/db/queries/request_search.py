"""Find requests by their number, a barcode, a card, or words of the title, in any script that the catalogue has."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum, auto
from itertools import islice
from typing import Final

from sqlalchemy import ColumnElement, Select, and_, func, or_, select

from hkall_gateway.db.requests import request_of, requests
from hkall_gateway.db.search.folding import installed
from hkall_gateway.db.search.folding import words as folded
from hkall_gateway.db.search.parsing import TitleQuery, parse
from hkall_gateway.db.search.searching import hits
from hkall_gateway.db.search.spelling import widened
from hkall_gateway.db.tables import (
    CANDIDATES,
    HAS_PATRON,
    IS_CLOSED,
    IS_CLOSED_OF,
    IS_OPEN,
    IS_USED,
    LINKS,
    REQUESTS,
    TITLES,
    Condition,
)
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.vocabulary import Request

R, C = REQUESTS.c, CANDIDATES.c

MOST: Final = 100
"""Maximum number of requests that a search returns."""
LATEST: Final = 20_000
"""Number of recently ended requests whose titles are searched. The titles of all open requests are searched too."""
SHORTEST: Final = 2
"""Minimum number of characters for a search in titles."""


class FoundBy(StrEnum):
    """The field by which a request was found: its number, its copy's barcode, its patron's card, or its title."""

    NUMBER = auto()
    BARCODE = auto()
    CARD = auto()
    TITLE = auto()


@dataclass(frozen=True, slots=True)
class Match:
    """A request that a search has found, with the field that matched."""

    request: Request
    by: FoundBy


def search(unit: UnitOfWork, words: str, cards: Collection[str], agency: str, most: int = MOST) -> tuple[Match, ...]:
    """Search requests by number, barcode, card and title, in this order, newest first. Return each request only once.

    `cards` are all cards of the person whose card `words` may be, and `agency` is our library.
    """
    words, most = words.strip(), min(most, MOST)
    if not words:
        return ()
    found: dict[str, Match] = {}
    for by, condition in _conditions(unit, words, cards, agency):
        if len(found) < most:
            wanted = requests(condition).order_by(R.moved_at.desc(), R.id.desc()).limit(most)
            for request in map(request_of, unit.execute(wanted)):
                found.setdefault(request.id, Match(request, by))
    return tuple(found.values())[:most]


def _conditions(unit: UnitOfWork, words: str, cards: Collection[str], agency: str) -> list[tuple[FoundBy, ColumnElement[bool]]]:
    used = select(LINKS.c.agency).where(IS_USED)
    theirs = C.their_number.in_(select(LINKS.c.agency + f":{words}").where(IS_USED))
    query = (select(C.request).where(those) for those in (C.wire_id == words, C.their_number == words, theirs))
    known = (and_(R.wire_id == words, R.wire_agency.in_(those)) for those in (used, (agency,)))
    number = _any_of(R.id.in_((words, words.upper())), *(R.id.in_(those) for those in query), *known)
    person = _any_of(*(and_(R.patron.in_(cards), HAS_PATRON, part) for part in (IS_OPEN, IS_CLOSED_OF)))
    found = [(FoundBy.NUMBER, number), (FoundBy.BARCODE, R.item_barcode == words), (FoundBy.CARD, person)]
    if len(words) >= SHORTEST:  # titles are searched ignoring case
        names = select(R.id, R.title, R.linked_title, R.bib_id)
        latest = names.where(IS_CLOSED).order_by(R.moved_at.desc(), R.id.desc()).limit(LATEST).subquery()
        searched = names.where(IS_OPEN).union_all(select(latest)).subquery()
        matching = or_(
            func.lower(searched.c.title).contains(words.lower(), autoescape=True),
            searched.c.bib_id.in_(_catalogued(unit, words)),
            searched.c.id.in_(_in_either_script(unit, select(searched), words)),
        )
        found.append((FoundBy.TITLE, R.id.in_(select(searched.c.id).where(matching))))
    return found


def _in_either_script(unit: UnitOfWork, titles: Select[tuple[str, str, str, str]], words: str) -> list[str]:
    """Return the numbers of at most MOST requests whose title has these Chinese words, traditional or simplified."""
    phrase = "" if words.isascii() or not installed() else _folded(words)
    if not phrase:
        return []
    found = (row.id for row in unit.execute(titles) if any(phrase in _folded(name) for name in (row.title, row.linked_title)))
    return list(islice(found, MOST))


def _folded(text: str) -> str:
    return " ".join(folded(text))


def _catalogued(unit: UnitOfWork, words: str) -> list[str]:
    """Return the record numbers of at most MOST titles of the catalogue that match these words."""
    query = parse(words)
    if not isinstance(query, TitleQuery) or not installed():
        return []
    ids = hits(unit.connection, widened(query), most=MOST)
    return list(unit.execute(select(TITLES.c.bib_id).where(TITLES.c.id.in_(ids))).scalars())


def _any_of(*conditions: Condition) -> ColumnElement[bool]:
    """Return the condition that any of `conditions` holds for a request, so that each condition uses its own index."""
    first, *others = (select(R.id).where(condition) for condition in conditions)
    return R.id.in_(first.union(*others))
