"""The unit of work: the repositories of one transaction, and the only way to move a request. It never commits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, TypeVar, Unpack

from sqlalchemy import Connection, bindparam, select, text
from sqlalchemy.exc import OperationalError

from hkall_gateway.db import patrons
from hkall_gateway.db.directory import CircuitRepository, PartnerRepository
from hkall_gateway.db.engine.compiled import CompiledStatement, StatementAmong, discard, flush, insert_row, update_row
from hkall_gateway.db.engine.db_errors import NearlyFull
from hkall_gateway.db.engine.locks import LockSet, take
from hkall_gateway.db.holdings import COPIES, IN_USE, HoldingRepository
from hkall_gateway.db.journal import JournalEntry, JournalRepository, nobody_listens
from hkall_gateway.db.notices import NoticeRepository
from hkall_gateway.db.outbox import Outbox
from hkall_gateway.db.requests import (
    BLANK,
    HELD,
    NAMES,
    PLACED,
    CandidateRepository,
    RequestRepository,
    changed_fields,
    facts_of,
    redacted,
    request_of,
)
from hkall_gateway.db.tables import HAS_CARD, INBOX, IS_OPEN, LINKS, REQUESTS
from hkall_gateway.db.transaction import Prefetched, Transaction
from hkall_gateway.rules import lifecycle
from hkall_gateway.rules.lifecycle import Event, Notification
from hkall_gateway.rules.messages.json_records import to_json
from hkall_gateway.rules.messages.letters import letter, rests
from hkall_gateway.rules.messages.outbox_messages import ABOUT_THE_CHOSEN, is_letter, partner_message
from hkall_gateway.rules.positions import ASKED_FOR, FIRST, STAGES
from hkall_gateway.rules.vocabulary import Actor, BadStep, Candidate, Position, Refusal, Request, RequestChange


def always() -> bool:
    """Return True. This is the default for a database whose disk is not monitored."""
    return True


class UnitOfWork:
    """The repositories of one transaction, and the steps of requests. `moves` has the journal lines of the unit so far.

    Args:
        new_id: Creates request numbers.
        silent: Letters that the site's policy suppresses.
        listen: Called with the journal lines after the commit.
        has_room: Returns whether the disk has room for new requests.
    """

    def __init__(
        self,
        connection: Connection,
        new_id: Callable[[], str],
        silent: frozenset[Notification] = frozenset(),
        listen: Callable[[Sequence[JournalEntry]], None] = nobody_listens,
        has_room: Callable[[], bool] = always,
    ) -> None:
        self._new_id, self._silent, self._listen, self._has_room = new_id, silent, listen, has_room
        self.moves: list[JournalEntry] = []
        self._unwritten: Request | None = None
        self.connection, self.transaction = connection, (transaction := Transaction(connection))
        self.dialect, self.execute = transaction.dialect, transaction.execute
        self.requests, self.patrons = RequestRepository(transaction), patrons.PatronRepository(transaction)
        self.partners, self.outbox = PartnerRepository(transaction), Outbox(transaction)
        self.candidates, self.holdings = CandidateRepository(transaction), HoldingRepository(transaction)
        self.circuits, self.notices = CircuitRepository(transaction), NoticeRepository(transaction)
        self.journal = JournalRepository(transaction)

    def open(self, request: Request, now: datetime, by: Actor, *, steps: bool = False) -> Request:
        """Insert a request with its first position. Add a missing number, and the title in the original script.

        No other function inserts requests.
        If the caller takes a step with the new request at once (`steps`), the row is written by that step.
        Raises NearlyFull for a new request of a patron or partner, but not for a copy that has already arrived.
        """
        if request.position in ASKED_FOR and not self._has_room():
            raise NearlyFull("the disk of the database is nearly full")
        if request.position not in FIRST[request.side] and by.channel not in {"import", "world"}:
            raise BadStep(f"{request.side}: a request is not born {request.position}")
        linked = request.linked_title or self.holdings.linked_title(request.bib_id)
        born = replace(
            request,
            id=request.id or self._new_id(),
            linked_title=linked,
            placed_at=request.placed_at or now,
            moved_at=request.moved_at or now,
        )
        self._unwritten = born
        if not steps:
            self._insert(born)
        self.transaction.ahead.changed(born, born)
        self._note(born, "OPEN", "", "", "ok", to_json(changed_fields(BLANK, facts_of(born))), now, by)
        return born

    def can(self, request: Request, event: Event) -> bool:
        """Check whether the life cycle has this step from the request's position."""
        return lifecycle.can(request.side, request.position, event)

    def advance(
        self,
        request: Request,
        event: Event,
        now: datetime,
        by: Actor,
        rule: str = "",
        chosen: Candidate | None = None,
        **facts: Unpack[RequestChange],
    ) -> Request:
        """Take a step of the life cycle: change position and `facts`, write the journal, and queue the step's messages.

        `chosen` is the copy that this step requests from a lender, if the caller has already read it.

        Raises:
            BadStep: The table of the life cycle has no such step.
            LostRace: Another unit moved the request first. It is raised when the row is sent, at the latest before COMMIT.
        """
        step = lifecycle.step(request.side, request.position, event)
        if step.target is not request.position:
            facts.setdefault("moved_at", now)
        after = self._change_to(request, event.name, step.target, now, by, facts, rule)
        for send in step.sends:
            self.enqueue(send, after, now, by, request, chosen)
        return after

    def force(self, request: Request, position: Position, now: datetime, by: Actor, reason: str) -> Request:
        """Move a request on behalf of staff from any position to any other, without messages."""
        return self._change_to(request, Event.FORCE.name, position, now, by, {"moved_at": now, "reason": reason})

    def amend(self, request: Request, now: datetime, by: Actor, rule: str = "", **facts: Unpack[RequestChange]) -> Request:
        """Change fields outside the life cycle, such as a flag, but never the position."""
        return self._change_to(request, "AMEND", request.position, now, by, facts, rule)

    def note(self, request: Request, event: str, facts: Mapping[str, Any], now: datetime, by: Actor, rule: str = "") -> None:
        """Write a journal line about an event stored elsewhere, such as a payment or a message that came too late."""
        self._note(request, event, request.position, rule, "ok", to_json(redacted(facts)), now, by)

    def enqueue(
        self,
        send: Notification,
        request: Request,
        now: datetime,
        by: Actor,
        before: Request | None = None,
        chosen: Candidate | None = None,
    ) -> None:
        """Queue the message for a step, or for an event outside the life cycle, such as a withdrawn attempt.

        `before` is the request before the step, and `chosen` is the same as in `advance`.
        """
        before = before or request
        if not is_letter(send):
            about = before if send is Notification.CANCEL_AT_LENDER else request
            if send not in ABOUT_THE_CHOSEN:
                chosen = None
            elif chosen is None or chosen.wire_id != about.wire_id:
                chosen = self.candidates.chosen(about)
            self.outbox.put(send, partner_message(send, about, now, chosen), by.corr, now)
        elif send not in self._silent and request.patron and not rests(send, request):
            notice = self.notices.queue(send, before, request, now)
            if notice is not None:
                self.outbox.put(send, letter(send, request, before, now, notice), by.corr, now)

    def refuse(self, refusal: Refusal, now: datetime, by: Actor, request: Request | None = None, patron: str = "") -> None:
        """Write a refusal and its rule into the journal."""
        about, detail = request or replace(BLANK, patron=patron), to_json(redacted(refusal.detail))
        source = about.position if request else ""
        self._note(about, "REFUSED", source, refusal.rule, refusal.why.value, detail, now, by)

    def lock(self, wanted: Sequence[LockSet]) -> None:
        """Lock the objects that a group's units decide about, in a fixed order. SQLite needs no locks for its single writer."""
        if self.dialect == "postgresql":
            take(self.connection, wanted)

    def look_ahead(self, cards: Sequence[str]) -> None:
        """Prefetch the data of patrons, for a transaction that queries each of these cards and does not write."""
        self.patrons.look_ahead(cards)

    def read_ahead(self, wanted: Sequence[LockSet], group: Sequence[UnitOfWork]) -> None:
        """Prefetch the rows for the cards, copies and documents in a group's locks. Do nothing for a single unit on SQLite."""
        if len(group) == 1 and self.dialect == "sqlite":
            return
        cards, barcodes = {one.patron for one in wanted} - {""}, {one.item[1] for one in wanted} - {""}
        documents, placed = {one.document for one in wanted if one.document[1]}, {one.placed for one in wanted if one.placed[1]}
        titles = {one.title for one in wanted} - {""}
        if not (cards or barcodes or documents or placed or titles):
            return
        found = Prefetched(
            dict.fromkeys(cards), dict.fromkeys(cards), {one: {} for one in barcodes}, {one: {} for one in cards}
        )
        if cards:
            for borrower in map(patrons.borrower_of, patrons.BORROWERS.rows(self.connection, cards)):
                found.borrowers[borrower.barcode] = borrower
            for card, partner in _PARTNERS_WITH.cells(self.connection, cards):
                found.card_partners[card] = partner
            for card, number, position, unwanted, bib_id in _COUNTED_OF.cells(self.connection, cards):
                found.counted[card][number] = (patrons.POSITIONS[position], unwanted, bib_id)
        if barcodes:
            for request in map(request_of, HELD.cells(self.connection, barcodes)):
                found.held[request.item_barcode][request.id] = request
        found.documents, found.placed = dict.fromkeys(documents), dict.fromkeys(placed)
        for agency, digests in _by_agency(documents):
            for digest, outcome, keep_until in KEPT.cells(self.connection, digests, agency=agency):
                found.documents[agency, digest] = outcome, keep_until
        for agency, values in _by_agency(placed):
            for request in map(request_of, PLACED.cells(self.connection, values, placed_by=agency)):
                found.placed[agency, request.placed_id] = request
        if titles:
            found.copies, found.in_use = {title: [] for title in titles}, {title: [] for title in titles}
            for row in COPIES.rows(self.connection, titles):
                found.copies[row["bib_id"]].append(row)
            for cells in IN_USE.cells(self.connection, titles):
                found.in_use[cells[0]].append(cells)
        for unit in group:
            unit.transaction.ahead = found

    def committed(self) -> None:
        """Pass the journal lines to the listener after the commit."""
        if self.moves:
            self._listen(tuple(self.moves))

    def _change_to(
        self, before: Request, event: str, position: Position, now: datetime, by: Actor, facts: RequestChange, rule: str = ""
    ) -> Request:
        """Write the changed fields and a journal line. The transaction fails if the request has left its position."""
        if "position" in facts:
            raise TypeError("the life cycle moves a request, not the facts of a step (law 1)")
        changed = changed_fields(before, {"position": position, **facts})
        # An unchanged position is omitted to save index updates, unless no other field has changed.
        written = changed
        if position == before.position:
            written = {name: value for name, value in changed.items() if name != "position"} or changed
        elif STAGES[position] is not STAGES[before.position]:
            written = {**changed, "stage": STAGES[position]}
        after = replace(before, position=position, **facts)
        if before is self._unwritten:
            self._insert(after)
        else:
            update_row(self.connection, REQUESTS, {"id": before.id, "position": before.position}, written, later=True)
        self.transaction.ahead.changed(before, after)
        self._note(after, event, before.position, rule, "ok", to_json(changed), now, by, before)
        return after

    def _insert(self, born: Request) -> None:
        _OPEN.append(self.connection, **facts_of(born), stage=STAGES[born.position])
        self._unwritten = None

    def _note(
        self,
        about: Request,
        event: str,
        source: str,
        rule: str,
        outcome: str,
        detail: str,
        now: datetime,
        by: Actor,
        before: Request | None = None,
    ) -> None:
        target = about.position if about.id else ""
        entry = JournalEntry(
            request=about.id,
            event=event,
            source=source,
            target=target,
            rule=rule,
            outcome=outcome,
            partner=about.partner,
            patron=about.patron,
            by=by,
            before=before,
            after=about if before else None,
        )
        self.journal.add(entry, now, detail)
        self.moves.append(entry)


_OPEN = insert_row(REQUESTS, *NAMES, "stage")


_PARTNERS: Final = select(LINKS.c.card, LINKS.c.partner).where(HAS_CARD).order_by(LINKS.c.agency.desc())
_COUNTED: Final = select(*(REQUESTS.c[name] for name in ("patron", "id", "position", "unwanted", "bib_id"))).where(IS_OPEN)
# If several partners have the same card, the first by name is read last and wins.
_PARTNERS_WITH: Final = StatementAmong(_PARTNERS, LINKS.c.card)
_COUNTED_OF: Final = StatementAmong(_COUNTED, REQUESTS.c.patron)
_KEPT: Final = select(INBOX.c.digest, INBOX.c.outcome, INBOX.c.keep_until).where(INBOX.c.agency == bindparam("agency"))
KEPT: Final = StatementAmong(_KEPT, INBOX.c.digest)
"""Documents of one agency in the inbox."""


def _by_agency(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, list[str]]]:
    """Yield each agency with its values."""
    for agency, group in groupby(sorted(pairs), itemgetter(0)):
        yield agency, [value for _, value in group]


T = TypeVar("T")


def in_savepoint(unit: UnitOfWork, work: Callable[[T], object], about: T) -> Exception | None:
    """Run `work(about)` in a savepoint. Return None, or the exception after rolling back the savepoint.

    Raises OperationalError for a failure of the database itself, such as a full disk or a deadlock.
    """
    connection, moves_before = unit.connection, len(unit.moves)
    _SAVEPOINT.change(connection)
    try:
        work(about)
        flush(connection)
    except OperationalError:
        raise
    except Exception as error:  # noqa: BLE001  # any error is returned: the caller continues with other rows
        discard(connection)
        _BACK.change(connection)
        unit.transaction.ahead.forget()
        del unit.moves[moves_before:]
        return error
    _RELEASE.change(connection)
    return None


_SAVEPOINT, _RELEASE = CompiledStatement(text("SAVEPOINT apart")), CompiledStatement(text("RELEASE SAVEPOINT apart"))
_BACK = CompiledStatement(text("ROLLBACK TO SAVEPOINT apart"))
