"""Repositories of requests and of their candidates, which are the copies that could fill a request."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Executable,
    Select,
    and_,
    bindparam,
    delete,
    func,
    literal_column,
    or_,
    select,
    text,
    update,
)

from hkall_gateway.db.engine.compiled import CompiledStatement, StatementAmong, insert_row, update_row
from hkall_gateway.db.tables import CANDIDATES, IS_CLOSED_OF, IS_OPEN, REQUESTS, Condition
from hkall_gateway.db.transaction import Repository
from hkall_gateway.rules.positions import FINAL
from hkall_gateway.rules.stored_words import RenewalSync
from hkall_gateway.rules.vocabulary import Candidate, ItemKey, Position, Request, Sensitive, Side

R, C = REQUESTS.c, CANDIDATES.c
NAMES = tuple(field.name for field in fields(Request))
"""The fields of a request, in the order of the columns that `request_of` reads."""
BLANK = Request(id="", side=Side.BORROWING, position=Position.NEW, title="", bib_id="")
"""An empty request, used as the baseline for a new request and in place of a missing request."""


def facts_of(request: Request) -> dict[str, object]:
    """Return all fields of a request by name."""
    return {name: getattr(request, name) for name in NAMES}


def changed_fields(before: Request, facts: Mapping[str, object]) -> dict[str, object]:
    """Return the position and all `facts` that differ from the request. Raises AttributeError for an unknown field."""
    return {name: value for name, value in facts.items() if name == "position" or getattr(before, name) != value}


def redacted(detail: Mapping[str, object]) -> dict[str, object]:
    """Prepare details for the journal, with a dot in place of each secret."""
    return {name: repr(value) if isinstance(value, Sensitive) else value for name, value in detail.items()}


REQUESTED: Final = tuple(R[f.name] for f in fields(Request))


def requests(*where: Condition) -> Select[Any]:
    """Return a SELECT of the requests that satisfy `where`, with the columns that `request_of` reads."""
    return select(*REQUESTED).where(*where)


def oldest_first(*where: Condition) -> Select[Any]:
    """Return a SELECT of the requests that satisfy `where`, oldest first."""
    return requests(*where).order_by(R.placed_at, R.id)


def request_of(cells: Sequence[Any]) -> Request:
    """Build a request from the cells of its row, in the order of NAMES."""
    facts = dict(zip(NAMES, cells, strict=True))
    facts["side"] = Side(facts["side"])
    facts["position"] = Position(facts["position"])
    facts["renewal_sync"] = RenewalSync(facts["renewal_sync"])
    return Request(**facts)


NO_PERSON: Final[Mapping[str, object]] = {
    **dict.fromkeys(("patron", "placed_by", "placed_id", "reason", "flags"), ""),
    "anonymised": True,
}
"""The columns of a request that identify the borrower, with their values after anonymisation."""


class RequestRepository(Repository):
    """Queries requests, and changes them for retention and replaced cards."""

    def find(self, number: str) -> Request | None:
        """Return the request with our request number `number`, or None if it does not exist."""
        return self._find_one(_REQUEST, number=number)

    def find_placed(self, placed_by: str, placed_id: str) -> Request | None:
        """Return the request that the system `placed_by` placed with its own RequestId `placed_id`."""
        if (placed_by, placed_id) in self._transaction.ahead.placed:
            return self._transaction.ahead.placed[placed_by, placed_id]
        return next(map(request_of, PLACED.cells(self._connection, [placed_id], placed_by=placed_by)), None)

    def find_lent(self, wire_agency: str, wire_id: str) -> Request | None:
        """Return the lending request that a partner sent us with this RequestId."""
        return self._find_one(_LENT, wire_agency=wire_agency, wire_id=wire_id)

    def find_by_wire_id(self, wire_id: str) -> tuple[Request, Candidate] | None:
        """Return the request sent with our RequestId to a current or former lender, with that lender's candidate row."""
        row = _BY_WIRE_ID.first(self._connection, wire_id=wire_id) if wire_id else None  # a candidate not asked has ""
        found = self.find(row["request"]) if row else None
        return (found, Candidate(**row)) if found and row else None

    def find_by_lender_number(self, lender: str, number: str, barcode: str = "") -> tuple[Request, Candidate] | None:
        """Find the request that has this number (AGENCY:VALUE) at the lender, with the lender's candidate row.

        If several requests match, prefer a request for `barcode`, then an open request, then the newest request.
        """
        rows = _BY_LENDER_NUMBER.cells(self._connection, lender=lender, number=number)
        found = [sent for (wire_id,) in rows if (sent := self.find_by_wire_id(wire_id))]
        found = [sent for sent in found if sent[1].barcode == barcode] or found
        still_open = [sent for sent in found if sent[0].position not in FINAL]
        return next(reversed(still_open or found), None)

    def open_with_item(self, barcode: str, agency: str = "") -> tuple[Request, ...]:
        """Return the open requests that hold the copy with this barcode. An empty `agency` matches any library."""
        if (ahead := self._transaction.ahead.held.get(barcode)) is not None:
            held = sorted(ahead.values(), key=lambda request: (request.placed_at, request.id))
        else:
            held = list(map(request_of, HELD.cells(self._connection, [barcode])))
        return tuple(request for request in held if not agency or request.item_agency == agency)

    def last_with_item(self, item: ItemKey) -> Request | None:
        """Return the newest request, open or ended, that has held this copy. An empty agency matches any library."""
        of = [R.item_agency == item.agency] if item.agency else []
        rows = self._read_requests(oldest_first(R.item_barcode == item.barcode, *of))
        return max(rows, key=lambda request: str(request.moved_at), default=None)

    def open_of_patron(self, card: str, bib_id: str | None = None) -> tuple[Request, ...]:
        """Return a patron's open requests and loans, oldest first, for all titles or only for `bib_id`."""
        ahead, title = self._transaction.ahead.counted.get(card), {} if bib_id is None else {"bib": bib_id}
        if title and ahead is not None and all(bib_id != title_of_open for *_, title_of_open in ahead.values()):
            return ()
        query = _OPEN_OF_TITLE if title else _OPEN_OF
        return tuple(map(request_of, query.cells(self._connection, card=card, **title)))

    def past_loans(self, card: str) -> tuple[Request, ...]:
        """Return the requests whose books a patron has brought back, latest return first."""
        own = or_(*(and_(R.patron == card, part) for part in (IS_OPEN, IS_CLOSED_OF)))
        return self._read_requests(requests(own, R.returned_on.is_not(None)).order_by(R.returned_on.desc(), R.id))

    def quota_used(self, card: str, positions: Collection[Position], without: str = "") -> int:
        """Count a patron's requests in these positions, except unwanted requests and the request `without` (R20, R21)."""
        if (ahead := self._transaction.ahead.counted.get(card)) is not None:
            counting = (number for number, (position, unwanted, _) in ahead.items() if position in positions and not unwanted)
            return sum(number != without for number in counting)
        ((used,),) = _quota_query(frozenset(positions)).cells(self._connection, card=card, without=without)
        return int(used)

    def open_by_position(self) -> tuple[tuple[str, str, int, datetime], ...]:
        """Return (side, position, count, earliest `moved_at`) for all open requests."""
        query = select(R.side, R.position, func.count(), func.min(R.moved_at)).where(IS_OPEN)
        found = self._transaction.execute(query.group_by(R.side, R.position).order_by(R.side, R.position))
        return tuple((side, position, count, since) for side, position, count, since in found)

    def open_by_partner(self) -> tuple[tuple[str, str, str, int], ...]:
        """Return (side, partner, position, count) for all open requests."""
        query = select(R.side, R.partner, R.position, func.count()).where(IS_OPEN).group_by(R.side, R.partner, R.position)
        return tuple((side, partner, position, count) for side, partner, position, count in self._transaction.execute(query))

    def open_list(self, position: str = "", partner: str = "") -> tuple[Request, ...]:
        """Return open requests, oldest first, optionally of one position or one partner."""
        where = [R[name] == value for name, value in (("position", position), ("partner", partner)) if value]
        # With plain `placed_at` SQLite would scan all requests in that order, to avoid sorting.
        return self._read_requests(requests(IS_OPEN, *where).order_by(literal_column("placed_at || ''"), R.id))

    def batch(self, *where: Condition, order: Sequence[ColumnElement[object]], limit: int) -> tuple[Request, ...]:
        """Return at most `limit` requests, sorted by `order`. Lock them if the transaction can lock rows."""
        query = requests(*where).order_by(*order).limit(limit)
        return self._read_requests(query.with_for_update(key_share=True) if self._transaction.locks_rows else query)

    def forget_people(self, requests: Sequence[str]) -> None:
        """Remove patron, placing system and reasons from these ended requests."""
        self._transaction.execute(update(REQUESTS).where(R.id.in_(requests)).values(**NO_PERSON))

    def hand_over(self, former: str, present: str) -> None:
        """Move the ended requests of a former card to the current card. The caller amends open requests one by one."""
        ended = update(REQUESTS).where(IS_CLOSED_OF, R.patron == former)
        self._transaction.execute(ended.values(patron=present))

    def erase(self, requests: Sequence[str]) -> None:
        """Delete these requests."""
        self._transaction.execute(delete(REQUESTS).where(R.id.in_(requests)))

    def _find_one(self, query: CompiledStatement, **named: str) -> Request | None:
        return next(map(request_of, query.cells(self._connection, **named)), None)

    def _read_requests(self, query: Executable) -> tuple[Request, ...]:
        return tuple(map(request_of, self._transaction.execute(query)))


class CandidateRepository(Repository):
    """Reads and writes the lists of copies that could fill a request."""

    def of_request(self, request: str) -> tuple[Candidate, ...]:
        """Return the stored list of copies that could fill a request, best first."""
        return tuple(Candidate(**row) for row in _CANDIDATES.rows(self._connection, number=request))

    def chosen(self, request: Request) -> Candidate | None:
        """Return the candidate requested from the current lender, or None if no lender was asked."""
        named = {"number": request.id, "wire_id": request.wire_id}
        row = _CHOSEN.first(self._connection, **named) if request.wire_id else None
        return Candidate(**row) if row else None

    def add(self, candidates: Sequence[Candidate], request: str = "") -> None:
        """Store the list of copies that could fill a request. `request` is its number if they were ranked without it."""
        for candidate in candidates:
            cells = {name: getattr(candidate, name) for name in _CHOICE}
            _ADD.append(self._connection, **{**cells, "request": request or candidate.request})

    def replace(self, request: str, candidates: Sequence[Candidate]) -> None:
        """Replace the candidates of a request after a change by staff."""
        self._transaction.execute(delete(CANDIDATES).where(C.request == request))
        self.add(candidates)

    def update(self, candidate: Candidate, **values: str) -> None:
        """Update the columns of a candidate, such as `wire_id` or `outcome`."""
        update_row(self._connection, CANDIDATES, {"request": candidate.request, "rank": candidate.rank}, values)


_LISTED = tuple(C[f.name] for f in fields(Candidate))
_REQUEST = CompiledStatement(requests(R.id == bindparam("number")))
PLACED: Final = StatementAmong(requests(R.placed_by == bindparam("placed_by")), R.placed_id)
"""The requests of one placing system with these RequestIds."""
_LENT = CompiledStatement(
    requests(R.wire_agency == bindparam("wire_agency"), R.wire_id == bindparam("wire_id"), R.side == Side.LENDING)
)
_BY_WIRE_ID = CompiledStatement(select(CANDIDATES).where(C.wire_id == bindparam("wire_id")))
_BY_LENDER_NUMBER = CompiledStatement(
    select(C.wire_id)
    .join(REQUESTS, R.id == C.request)
    .where(C.their_number == bindparam("number"), C.agency == bindparam("lender"))
    .order_by(R.placed_at, C.request, C.rank)
)
_OPEN_OF = CompiledStatement(oldest_first(R.patron == bindparam("card"), IS_OPEN))
_OPEN_OF_TITLE = CompiledStatement(oldest_first(R.patron == bindparam("card"), R.bib_id == bindparam("bib"), IS_OPEN))
_CANDIDATES = CompiledStatement(select(*_LISTED).where(C.request == bindparam("number")).order_by(C.rank))
_CHOSEN = CompiledStatement(
    select(*_LISTED).where(C.wire_id == bindparam("wire_id"), C.request == bindparam("number")).order_by(C.rank)
)
HELD: Final = StatementAmong(oldest_first(IS_OPEN), R.item_barcode)
"""The open requests that hold copies with these barcodes, oldest first."""
_CHOICE = tuple(f.name for f in fields(Candidate))
_ADD = insert_row(CANDIDATES, *_CHOICE)


@cache
def _quota_query(positions: frozenset[Position]) -> CompiledStatement:
    # With IN instead of OR, SQLite would build a temporary table of the list each time.
    in_positions = text("(" + " OR ".join(f"position = '{position}'" for position in sorted(positions)) + ")")
    counted = (R.patron == bindparam("card"), in_positions, R.unwanted.is_(False), R.id != bindparam("without"))
    return CompiledStatement(select(func.count().label("used")).select_from(REQUESTS).where(*counted, IS_OPEN))
