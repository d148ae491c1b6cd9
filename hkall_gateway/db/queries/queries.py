"""Queries of a unit of work: patrons, copies, partners, requests, the journal. They return records, not rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import date, datetime
from functools import cache, lru_cache
from typing import Any

from sqlalchemy import (
    Connection,
    CursorResult,
    Executable,
    and_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    text,
    union,
)

from hkall_gateway.db import patrons
from hkall_gateway.db.engine.compiled import AMONG, ONE, VALUES, CompiledStatement
from hkall_gateway.db.prefetch import Prefetched, held_by
from hkall_gateway.db.request_rows import oldest_first, request_of, requests
from hkall_gateway.db.tables import (
    CANDIDATES,
    CLOSURES,
    FINES,
    HAS_CARD,
    HOLDINGS,
    IS_CLOSED_OF,
    IS_OPEN,
    JOURNAL,
    LINKS,
    NAMES_ALONE,
    REQUESTS,
    Condition,
)
from hkall_gateway.rules.evidence import OUR_CHANNELS, SCANS
from hkall_gateway.rules.lifecycle import FINAL
from hkall_gateway.rules.messages.json_records import from_json, record
from hkall_gateway.rules.vocabulary import (
    Borrower,
    Candidate,
    Charges,
    Holding,
    ItemKey,
    Partner,
    Position,
    Request,
    RequestEntry,
    Side,
)

record(Partner)
record(Charges)


class Batch:
    """A query for some requests, with named `bindparam`s, in the order of `order`; compiled once and reused."""

    def __init__(self, *where: Condition, order: Sequence[Any]) -> None:
        asked = requests(*where).order_by(*order).limit(bindparam("most"))
        self.bare, self.locking = CompiledStatement(asked), CompiledStatement(asked.with_for_update(key_share=True))


class Queries:
    """The queries of one transaction. A function that takes `Queries` only reads; `Unit` adds the changes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: Mapping[str, patrons.CardRecord] = {}
        self.ahead = Prefetched()

    @property
    def dialect(self) -> str:
        """The database's name, sqlite or postgresql."""
        return self._connection.dialect.name

    @property
    def connection(self) -> Connection:
        """This transaction, for the prepared statements of another file of this room."""
        return self._connection

    def execute(self, statement: Executable, values: Any = None) -> CursorResult[Any]:
        """Run a statement of another file of this room inside this transaction."""
        if statement.is_dml:
            self.ahead.forget()
        return self._connection.execute(statement, values)

    # ---- people, copies, partners

    def look_ahead(self, cards: Collection[str]) -> None:
        """Prefetch the data of these patrons in one go, for a transaction that queries each of them and does not write."""
        if len(cards) > 1 or self.dialect != "sqlite":
            self._known = patrons.known(self._connection, cards)

    def patron(self, card: str) -> Borrower | None:
        """Return the patron with this card number, as last loaded; blocked also if a terminal blocked the card."""
        if card in self.ahead.borrowers:
            return self.ahead.borrowers[card]
        known = self._known.get(card)
        return known.borrower if known else patrons.borrower(self._connection, card)

    def holding(self, item: ItemKey) -> Holding | None:
        """Return the copy with this identity."""
        rows = _HOLDING.cells(self._connection, agency=item.agency, barcode=item.barcode)
        return Holding(*rows[0]) if rows else None

    def copies(self, bib_id: str, agency: str = "") -> tuple[Holding, ...]:
        """Return all copies of a title by the union catalogue's number, or by the number that `agency` itself uses."""
        own = {"agency": agency} if agency else {}
        return tuple(
            Holding(*cells) for cells in (_OWN_COPIES if agency else _COPIES).cells(self._connection, bib=bib_id, **own)
        )

    def partner(self, agency: str) -> Partner | None:
        """Return the partner's row in the directory."""
        return self.partners([agency]).get(agency)

    def partners(self, agencies: Iterable[str]) -> dict[str, Partner]:
        """Return the directory's rows of these agencies, by agency; unknown ones are left out."""
        known, wanted = self.ahead.partners, sorted(set(agencies))
        if new := [agency for agency in wanted if agency not in known]:
            known.update(dict.fromkeys(new))
            how = ONE if len(new) == 1 else self.dialect
            for agency, text in _PARTNERS[how].cells(self._connection, agencies=VALUES[how](new)):
                known[agency] = partner_of(text) if text else None
        return {agency: partner for agency in wanted if (partner := known[agency]) is not None}

    def partner_with_card(self, card: str) -> Partner | None:
        """Return the partner that uses this card at our counter; of several the first by name."""
        if card in self.ahead.card_partners:
            text = self.ahead.card_partners[card]
        else:
            row = _PARTNER_CARD.first(self._connection, card=card) if card else None
            text = row["partner"] if row else None
        return partner_of(text) if text else None

    def closed_days(self, agency: str) -> frozenset[date]:
        """Return the days on which a library is closed."""
        if agency not in self.ahead.closed:
            self.ahead.closed[agency] = frozenset(day for (day,) in _CLOSED.cells(self._connection, agency=agency))
        return self.ahead.closed[agency]

    # ---- requests

    def request(self, number: str) -> Request | None:
        """Return the request with our number."""
        return self._only(_REQUEST, number=number)

    def request_placed(self, placed_by: str, placed_id: str) -> Request | None:
        """Return the request that this system placed under its own RequestId."""
        return self._only(_PLACED, placed_by=placed_by, placed_id=placed_id)

    def request_lent(self, wire_agency: str, wire_id: str) -> Request | None:
        """Return the request that a partner borrows from us under this RequestId."""
        return self._only(_LENT, wire_agency=wire_agency, wire_id=wire_id)

    def request_asked(self, wire_id: str) -> tuple[Request, Candidate] | None:
        """Return the request sent to a lender under our RequestId, with that (or a former) lender's row; None for ""."""
        row = _ASKED.first(self._connection, wire_id=wire_id) if wire_id else None  # who was not asked yet has no number
        found = self.request(row["request"]) if row else None
        return (found, Candidate(**row)) if found and row else None

    def request_numbered(self, lender: str, number: str, barcode: str = "") -> tuple[Request, Candidate] | None:
        """The same, by the number (AGENCY:VALUE) that the lender gave it.

        Of several that of the copy with this barcode, of an open one, the newest.
        """
        rows = _NUMBERED.cells(self._connection, lender=lender, number=number)
        found = [asked for (wire_id,) in rows if (asked := self.request_asked(wire_id))]
        found = [asked for asked in found if asked[1].barcode == barcode] or found
        still = [asked for asked in found if asked[0].position not in FINAL]
        return next(reversed(still or found), None)

    def requests_with(self, barcode: str, agency: str = "") -> tuple[Request, ...]:
        """Return open requests that hold the copy with this barcode, of any agency unless one is given."""
        if (ahead := self.ahead.held.get(barcode)) is not None:
            held = sorted(ahead.values(), key=lambda request: (request.placed_at, request.id))
        else:
            held = held_by(self._connection, barcode)
        return tuple(request for request in held if not agency or request.item_agency == agency)

    def last_with(self, item: ItemKey) -> Request | None:
        """Return the newest request that ever held this copy, open or not; with the agency "", a copy of any library."""
        of = [REQUESTS.c.item_agency == item.agency] if item.agency else []
        rows = self._many(REQUESTS.c.item_barcode == item.barcode, *of)
        return max(rows, key=lambda r: str(r.moved_at), default=None)

    def open_requests(self, card: str) -> tuple[Request, ...]:
        """Return a patron's requests and loans that have not ended, oldest first."""
        return self._prepared(_OPEN_OF, card=card)

    def open_lines(self, card: str) -> tuple[RequestEntry, ...]:
        """Return the same with the columns of a patron's record only, a quarter of all, for the most frequent query."""
        known = self._known.get(card)
        return tuple(known.lines) if known else patrons.lines(self._connection, card)

    def charges(self, card: str) -> tuple[patrons.Charged, ...]:
        """Return all charges of a patron, oldest first."""
        known = self._known.get(card)
        return tuple(known.charges) if known else patrons.charges(self._connection, card)

    def quota_used(self, card: str, positions: Collection[Position], without: str = "") -> int:
        """Return how many of a patron's requests are in these positions, not counting the request `without` (R20, R21)."""
        if (ahead := self.ahead.counted.get(card)) is not None:
            counting = (number for number, (position, unwanted) in ahead.items() if position in positions and not unwanted)
            return sum(number != without for number in counting)
        ((used,),) = _quota(frozenset(positions)).cells(self._connection, card=card, without=without)
        return int(used)

    def candidates(self, request: str) -> tuple[Candidate, ...]:
        """Return the stored list of copies that could fill a request, best first."""
        return tuple(Candidate(*cells) for cells in _CANDIDATES.cells(self._connection, number=request))

    def chosen(self, request: Request) -> Candidate | None:
        """Return the copy that the lender is asked for, with the lender's own number of its title."""
        named = {"number": request.id, "wire_id": request.wire_id}
        rows = _CHOSEN.cells(self._connection, **named) if request.wire_id else ()
        return Candidate(*rows[0]) if rows else None

    def owed_cents(self, card: str) -> int:
        """Return a patron's debt in cents; negative if we owe the patron for a book that was found again."""
        ((owed,),) = _OWED.cells(self._connection, card=card)
        return owed or 0

    # ---- many requests; an index on open work or on the journal serves each of these

    def open_by_position(self) -> tuple[tuple[str, str, int, datetime], ...]:
        """Return (side, position, count, longest there since) of all open requests."""
        r = REQUESTS.c
        question = select(r.side, r.position, func.count(), func.min(r.moved_at)).where(IS_OPEN)
        found = self._connection.execute(question.group_by(r.side, r.position).order_by(r.side, r.position))
        return tuple((side, position, count, since) for side, position, count, since in map(tuple, found))

    def open_by_partner(self) -> tuple[tuple[str, str, str, int], ...]:
        """Return (side, partner, position, count) of all open requests."""
        r = REQUESTS.c
        question = select(r.side, r.partner, r.position, func.count()).where(IS_OPEN).group_by(r.side, r.partner, r.position)
        found = self._connection.execute(question)
        return tuple((side, partner, position, count) for side, partner, position, count in map(tuple, found))

    def open_list(self, position: str = "", partner: str = "") -> tuple[Request, ...]:
        """Return open requests, oldest first, of one position or one partner if given."""
        named = {name: value for name, value in (("position", position), ("partner", partner)) if value}
        return self._prepared(_open_of(tuple(named)), **named)

    def batch(self, *where: Condition, order: Sequence[Any], limit: int) -> tuple[Request, ...]:
        """Return at most `limit` requests, sorted by `order`, locked until the unit ends if the database has row locks."""
        question = requests(*where).order_by(*order).limit(limit)
        return self._requests(question if self.dialect == "sqlite" else question.with_for_update(key_share=True))

    def asked(self, question: Batch, limit: int, **values: Any) -> tuple[Request, ...]:
        """Return at most `limit` requests, locked until the unit ends if the database has row locks."""
        prepared = question.bare if self.dialect == "sqlite" else question.locking
        return self._prepared(prepared, most=limit, **values)

    def last_noted(self, request: str, event: str) -> datetime | None:
        """Return the time of the last journal line with this event of a request."""
        found: list[list[datetime | None]] = _LAST_NOTED.cells(self._connection, of=request, event=event)
        return found[0][0]

    def last_scan(self, request: str) -> datetime | None:
        """Return the time at which somebody of ours last had the request's copy in hand, or looked for it; None if never."""
        found: list[list[datetime | None]] = _LAST_SCAN.cells(self._connection, of=request)
        return found[0][0]

    def history(self, what: str) -> tuple[dict[str, Any], ...]:
        """Return every line of the journal about a request number, a copy's barcode or a patron's card, oldest first."""
        return tuple(_HISTORY.rows(self._connection, what=what))

    # ---- private

    def _only(self, question: CompiledStatement, **named: str) -> Request | None:
        return next(map(request_of, question.cells(self._connection, **named)), None)

    def _many(self, *where: Condition) -> tuple[Request, ...]:
        return self._requests(oldest_first(*where))

    def _prepared(self, question: CompiledStatement, **named: Any) -> tuple[Request, ...]:
        return tuple(map(request_of, question.cells(self._connection, **named)))

    def _requests(self, question: Executable) -> tuple[Request, ...]:
        return tuple(map(request_of, self._connection.execute(question)))


@cache
def _open_of(columns: tuple[str, ...]) -> CompiledStatement:
    """Return a statement for open requests with a value of these columns, oldest first."""
    # Not plain `placed_at`: SQLite would scan all requests in that order, to avoid sorting.
    oldest_first: tuple[Any, ...] = literal_column("placed_at || ''"), REQUESTS.c.id
    return CompiledStatement(
        requests(IS_OPEN, *(REQUESTS.c[name] == bindparam(name) for name in columns)).order_by(*oldest_first)
    )


def _history() -> CompiledStatement:
    what: Any = bindparam("what")
    r, line = REQUESTS.c, JOURNAL.c
    named = ((r.item_barcode == what,), (r.patron == what, IS_OPEN), (r.patron == what, IS_CLOSED_OF))
    theirs = (line.request.in_(select(r.id).where(*names)) for names in named)
    of = (*theirs, line.request == what, and_(line.patron == what, NAMES_ALONE))
    lines = union(*(select(JOURNAL).where(about) for about in of)).subquery()
    return CompiledStatement(select(lines).order_by(lines.c.id))


_HELD = tuple(HOLDINGS.c[f.name] for f in fields(Holding))
_LISTED = tuple(CANDIDATES.c[f.name] for f in fields(Candidate))

_PARTNERS = {
    how: CompiledStatement(select(LINKS.c.agency, LINKS.c.partner).where(among("agencies")(LINKS.c.agency)))
    for how, among in AMONG.items()
}
_PARTNER_CARD = CompiledStatement(
    select(LINKS.c.partner).where(LINKS.c.card == bindparam("card"), HAS_CARD).order_by(LINKS.c.agency).limit(1)
)
_REQUEST = CompiledStatement(requests(REQUESTS.c.id == bindparam("number")))
_PLACED = CompiledStatement(
    requests(REQUESTS.c.placed_by == bindparam("placed_by"), REQUESTS.c.placed_id == bindparam("placed_id"))
)
_LENT = CompiledStatement(
    requests(
        REQUESTS.c.wire_agency == bindparam("wire_agency"),
        REQUESTS.c.wire_id == bindparam("wire_id"),
        REQUESTS.c.side == Side.LENDING,
    )
)
_CLOSED = CompiledStatement(select(CLOSURES.c.day).where(CLOSURES.c.agency == bindparam("agency")))
_ASKED = CompiledStatement(select(CANDIDATES).where(CANDIDATES.c.wire_id == bindparam("wire_id")))
_NUMBERED = CompiledStatement(
    select(CANDIDATES.c.wire_id)
    .join(REQUESTS, REQUESTS.c.id == CANDIDATES.c.request)
    .where(CANDIDATES.c.their_number == bindparam("number"), CANDIDATES.c.agency == bindparam("lender"))
    .order_by(REQUESTS.c.placed_at, CANDIDATES.c.request, CANDIDATES.c.rank)
)
_OPEN_OF = CompiledStatement(oldest_first(REQUESTS.c.patron == bindparam("card"), IS_OPEN))
_CANDIDATES = CompiledStatement(select(*_LISTED).where(CANDIDATES.c.request == bindparam("number")).order_by(CANDIDATES.c.rank))
_CHOSEN = CompiledStatement(
    select(*_LISTED)
    .where(CANDIDATES.c.wire_id == bindparam("wire_id"), CANDIDATES.c.request == bindparam("number"))
    .order_by(CANDIDATES.c.rank)
)
_HOLDING = CompiledStatement(
    select(*_HELD).where(HOLDINGS.c.agency == bindparam("agency"), HOLDINGS.c.barcode == bindparam("barcode"))
)
_COPIES = CompiledStatement(
    select(*_HELD).where(HOLDINGS.c.bib_id == bindparam("bib")).order_by(HOLDINGS.c.agency, HOLDINGS.c.barcode)
)
_OWN_COPIES = CompiledStatement(
    select(*_HELD)
    .where(
        HOLDINGS.c.agency == bindparam("agency"),
        or_(HOLDINGS.c.bib_id == bindparam("bib"), HOLDINGS.c.local_bib_id == bindparam("bib")),
    )
    .order_by(HOLDINGS.c.barcode)
)
_LEFT = FINES.c.cents - FINES.c.paid_cents - FINES.c.waived_cents
_OWED = CompiledStatement(select(func.sum(_LEFT)).where(FINES.c.patron == bindparam("card")))


_HISTORY = _history()
_LAST_NOTED = CompiledStatement(
    select(func.max(JOURNAL.c.at)).where(JOURNAL.c.request == bindparam("of"), JOURNAL.c.event == bindparam("event"))
)
_LAST_SCAN = CompiledStatement(
    select(func.max(JOURNAL.c.at)).where(
        JOURNAL.c.request == bindparam("of"),
        or_(*(JOURNAL.c.event == step.name for step in sorted(SCANS))),
        or_(*(JOURNAL.c.channel == channel for channel in sorted(OUR_CHANNELS))),
    )
)


@cache
def _quota(positions: frozenset[Position]) -> CompiledStatement:
    r = REQUESTS.c
    # Not a list of positions: SQLite would build a temporary table of it each time.
    in_positions = text("(" + " OR ".join(f"position = '{position}'" for position in sorted(positions)) + ")")
    counted = (r.patron == bindparam("card"), in_positions, r.unwanted.is_(False), r.id != bindparam("without"))
    return CompiledStatement(select(func.count().label("used")).select_from(REQUESTS).where(*counted, IS_OPEN))


@lru_cache(maxsize=1024)
def partner_of(text: str) -> Partner:
    """Make a partner of its row in the directory. Cached: every request reads eight partners, and they hardly ever change."""
    found: Partner = from_json(text)
    return found
