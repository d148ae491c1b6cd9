"""The unit of work: every read and write of the core, plain records in and out. It never commits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from functools import cache
from typing import Any, Final, TypeVar, Unpack

from sqlalchemy import Connection, bindparam, delete, func, select, text, update
from sqlalchemy.exc import OperationalError

from hkall_gateway.db.engine.compiled import CompiledStatement, discard, flush, insert_or_write_over, insert_row, update_by_key
from hkall_gateway.db.engine.db_errors import NearlyFull
from hkall_gateway.db.engine.locks import LockSet, take
from hkall_gateway.db.outbox import Outbox
from hkall_gateway.db.partner_circuit import CircuitRepository
from hkall_gateway.db.prefetch import read_ahead
from hkall_gateway.db.queries.queries import Queries
from hkall_gateway.db.request_rows import (
    BLANK,
    NAMES,
    JournalEntry,
    changed_fields,
    facts_of,
    nobody_listens,
    redacted,
    with_facts,
)
from hkall_gateway.db.tables import CANDIDATES, HOLDINGS, IS_CLOSED_OF, JOURNAL, LINKS, NOTICES, REQUESTS
from hkall_gateway.rules import lifecycle
from hkall_gateway.rules.lifecycle import FIRST, STAGES, Event, Notification
from hkall_gateway.rules.messages.json_records import to_json
from hkall_gateway.rules.messages.letters import REVOKED_BY, letter, occasion, rests
from hkall_gateway.rules.messages.outbox_messages import ABOUT_THE_CHOSEN, is_letter, partner_message
from hkall_gateway.rules.stored_words import NoticeState
from hkall_gateway.rules.vocabulary import (
    Actor,
    BadStep,
    Candidate,
    ItemKey,
    LostRace,
    Partner,
    Position,
    Refusal,
    Request,
    RequestChange,
)

NO_PERSON: Final[Mapping[str, Any]] = {
    "patron": "",
    "placed_by": "",
    "placed_id": "",
    "reason": "",
    "flags": "",
    "anonymised": True,
}
"""The columns of a request that identify the borrower, with their values after anonymisation."""


ASKED_FOR: Final = frozenset({Position.NEW, Position.PAGED})
"""The first positions of what patrons and partners ask for."""


def always() -> bool:
    """Return True: the disk of a server, or of a command, is not looked at."""
    return True


class Unit(Queries):
    """The reads and writes of one transaction; `moves` are its journal lines so far.

    `new_id` makes request numbers; `silent` are letters that the site's policy does not send; `listen` is called with the
    journal lines after the commit; `has_room` says whether the disk has room for new requests.
    """

    def __init__(
        self,
        connection: Connection,
        new_id: Callable[[], str],
        silent: frozenset[Notification] = frozenset(),
        listen: Callable[[Sequence[JournalEntry]], None] = nobody_listens,
        has_room: Callable[[], bool] = always,
    ) -> None:
        super().__init__(connection)
        self._new_id, self._silent, self._listen, self._has_room = new_id, silent, listen, has_room
        self.moves: list[JournalEntry] = []
        self.outbox = Outbox(connection)
        self.circuits = CircuitRepository(connection)

    # ---- changes

    def open(self, request: Request, now: datetime, by: Actor) -> Request:
        """Create a request, with its first position, and a number if it has none. The only place that inserts a request.

        Raises NearlyFull for a request that somebody asks for now; a copy that is here already is always taken in.
        """
        if request.position in ASKED_FOR and not self._has_room():
            raise NearlyFull("the disk of the database is nearly full")
        if request.position not in FIRST[request.side] and by.channel not in {"import", "world"}:
            raise BadStep(f"{request.side}: a request is not born {request.position}")
        born = replace(
            request,
            id=request.id or self._new_id(),
            placed_at=request.placed_at or now,
            moved_at=request.moved_at or now,
        )
        _OPEN.write(self._connection, **facts_of(born), stage=STAGES[born.position])
        self.ahead.changed(born, born)
        self._note(born, "OPEN", "", "", "ok", to_json(changed_fields(BLANK, facts_of(born))), now, by)
        return born

    def can(self, request: Request, event: Event) -> bool:
        """Return whether the life cycle has this step from the request's position."""
        return lifecycle.can(request.side, request.position, event)

    def advance(
        self, request: Request, event: Event, now: datetime, by: Actor, rule: str = "", **facts: Unpack[RequestChange]
    ) -> Request:
        """Take a step of the life cycle: changes position and `facts`, writes the journal, and queues the step's messages.

        Raises BadStep if the table has no such step, LostRace if another unit moved the request first.
        """
        step = lifecycle.step(request.side, request.position, event)
        if step.target is not request.position:
            facts.setdefault("moved_at", now)
        after = self._change_to(request, event.name, step.target, now, by, facts, rule)
        for send in step.sends:
            self._enqueue(send, request, after, now, by)
        return after

    def force(self, request: Request, position: Position, now: datetime, by: Actor, reason: str) -> Request:
        """Move a request by hand on behalf of staff, from any position to any; sends no message."""
        return self._change_to(request, Event.FORCE.name, position, now, by, {"moved_at": now, "reason": reason})

    def amend(self, request: Request, now: datetime, by: Actor, rule: str = "", **facts: Unpack[RequestChange]) -> Request:
        """Change fields outside the life cycle: a longer wait, a flag. Never the position."""
        return self._change_to(request, "AMEND", request.position, now, by, facts, rule)

    def note(self, request: Request, event: str, facts: Mapping[str, Any], now: datetime, by: Actor, rule: str = "") -> None:
        """Write a line of the journal about a fact stored elsewhere: money, or a message that came too late."""
        self._note(request, event, request.position, rule, "ok", to_json(redacted(facts)), now, by)

    def enqueue(self, send: Notification, request: Request, now: datetime, by: Actor, before: Request | None = None) -> None:
        """Queue a message that is not part of a step, such as a withdrawn attempt.

        `before`: the request as its patron knows it.
        """
        self._enqueue(send, before or request, request, now, by)

    def refuse(self, refusal: Refusal, now: datetime, by: Actor, request: Request | None = None, patron: str = "") -> None:
        """Write a refusal and its rule into the journal."""
        about = request or replace(BLANK, patron=patron)
        self._note(
            about,
            "REFUSED",
            about.position if request else "",
            refusal.rule,
            refusal.why.value,
            to_json(redacted(refusal.detail)),
            now,
            by,
        )

    def save_candidates(self, candidates: Sequence[Candidate]) -> None:
        """Store the list of copies that could fill a request."""
        if candidates:
            rows = [{name: getattr(candidate, name) for name in _CHOICE} for candidate in candidates]
            _LISTED.write_all(self._connection, rows)

    def relist(self, request: str, candidates: Sequence[Candidate]) -> None:
        """Replace the list of a request after a change by staff."""
        self.execute(delete(CANDIDATES).where(CANDIDATES.c.request == request))
        self.save_candidates(candidates)

    def mark(self, candidate: Candidate, **values: str) -> None:
        """Update one candidate: asked under `wire_id`, or its `outcome`."""
        new = {"new_" + name: value for name, value in values.items()}
        _marking(tuple(values)).write(self._connection, was_request=candidate.request, was_rank=candidate.rank, **new)

    def set_status(self, item: ItemKey, status: str) -> None:
        """Store a copy's circulation status."""
        _STATUS.write(self._connection, was_agency=item.agency, was_barcode=item.barcode, new_status=status)

    def write_partners(self, partners: Sequence[Partner]) -> None:
        """Write these rows into the directory; other partners stay, and unchanged rows are not written.

        So a gateway that starts does not wait for locks on its partners' channels.
        """
        rows = [{"agency": p.agency, "partner": to_json(p), "card": p.institutional_card} for p in _in_order(partners)]
        asked = select(LINKS.c.agency, LINKS.c.partner, LINKS.c.card).where(LINKS.c.agency.in_([p.agency for p in partners]))
        known = [dict(row) for row in self._connection.execute(asked).mappings()]
        rows = [row for row in rows if row not in known]
        if rows:
            self.execute(insert_or_write_over(LINKS, self.dialect, rows[0]), rows)

    def forget_people(self, requests: Sequence[str]) -> None:
        """Remove borrower, placing system and reasons from these ended requests."""
        self.execute(update(REQUESTS).where(REQUESTS.c.id.in_(requests)).values(**NO_PERSON))

    def hand_over(self, former: str, present: str) -> None:
        """Move the ended requests of a former card to the card that replaced it; open ones are amended one by one."""
        ended = update(REQUESTS).where(IS_CLOSED_OF, REQUESTS.c.patron == former)
        self.execute(ended.values(patron=present))

    def erase(self, requests: Sequence[str]) -> None:
        """Delete these requests."""
        self.execute(delete(REQUESTS).where(REQUESTS.c.id.in_(requests)))

    def notice_state(self, notice: int, state: NoticeState, error: str, now: datetime) -> None:
        """Store the result of a letter: sent, or undeliverable and why."""
        sent = {"new_sent_at": now} if state is NoticeState.SENT else {}
        went = _LETTER_LEFT if sent else _LETTER_KEPT
        went.write(self._connection, was_id=notice, new_state=state.value, new_error=error, **sent)

    # ---- for the database

    def lock(self, wanted: Sequence[LockSet]) -> None:
        """Lock the objects that a group's units decide about, in one order. SQLite has a single writer and needs no locks."""
        if self.dialect == "postgresql":
            take(self._connection, wanted)

    def read_ahead(self, wanted: Sequence[LockSet], group: Sequence[Unit]) -> None:
        """Prefetch for all units of a group the rows of the cards and copies that their locks name.

        A unit alone asks for itself where that costs no round trip.
        """
        if len(group) == 1 and self.dialect == "sqlite":
            return
        cards, barcodes = {one.patron for one in wanted} - {""}, {one.item[1] for one in wanted} - {""}
        if cards or barcodes:
            self.ahead = read_ahead(self._connection, cards, barcodes)
            for unit in group:
                unit.ahead = self.ahead

    def committed(self) -> None:
        """Call the listener after the commit."""
        if self.moves:
            self._listen(tuple(self.moves))

    # ---- private

    def _change_to(
        self, before: Request, event: str, position: Position, now: datetime, by: Actor, facts: RequestChange, rule: str = ""
    ) -> Request:
        """Write the changed fields, if the request is still in its position, and a line of the journal about it."""
        if "position" in facts:
            raise TypeError("the life cycle moves a request, not the facts of a step (law 1)")
        changed = changed_fields(before, {"position": position, **facts})
        values = {"new_" + name: value for name, value in _written(before, changed).items()}
        lost = LostRace(f"{before.id}: somebody moved it from {before.position} first")
        _moving(tuple(values)).write_one(self._connection, lost, was_id=before.id, was_position=before.position, **values)
        after = with_facts(before, changed)
        self.ahead.changed(before, after)
        self._note(after, event, before.position, rule, "ok", to_json(changed), now, by, before)
        return after

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
        _JOURNAL.append(
            self._connection,
            at=now,
            request=about.id,
            patron=about.patron,
            event=event,
            source=source,
            target=target,
            rule=rule,
            outcome=outcome,
            detail=detail,
            **{name: getattr(by, name) for name in _BY},
        )
        both = (before, about if before else None)
        self.moves.append(JournalEntry(about.id, event, source, target, rule, outcome, about.partner, about.patron, by, *both))

    def _enqueue(self, send: Notification, before: Request, after: Request, now: datetime, by: Actor) -> None:
        if is_letter(send):
            self._write_letter(send, before, after, now, by)
            return
        about = before if send is Notification.CANCEL_AT_LENDER else after
        chosen = self.chosen(about) if send in ABOUT_THE_CHOSEN else None
        self.outbox.put(send, partner_message(send, about, now, chosen), by.corr, now)

    def _write_letter(self, send: Notification, before: Request, after: Request, now: datetime, by: Actor) -> None:
        """Write one letter per occasion, even if the step is repeated."""
        if send in self._silent or not after.patron or rests(send, after):
            return
        fresh = _queueing(self.dialect).cells(
            self._connection,
            request=after.id,
            kind=send.value,
            about=occasion(send, after, before) + self._times_revoked(send, after),
            patron=after.patron,
            state=NoticeState.QUEUED.value,
            made_at=now,
        )
        for (notice,) in fresh:
            self.outbox.put(send, letter(send, after, before, now, notice), by.corr, now)

    def _times_revoked(self, send: Notification, about: Request) -> str:
        """Return what tells an occasion from an equal one of the same day, between which another letter revoked the first."""
        if send not in REVOKED_BY:
            return ""
        others = _LETTERS_OF_A_KIND.cells(self._connection, of=about.id, kind=REVOKED_BY[send].value)[0][0]
        return f" {others}" if others > 1 else ""


_BY = tuple(f.name for f in fields(Actor))
_OPEN = insert_row(REQUESTS, *NAMES, "stage")
_JOURNAL = insert_row(JOURNAL, *(column.name for column in JOURNAL.c if column.name != "id"))


_CHOICE = tuple(f.name for f in fields(Candidate))
_LISTED = insert_row(CANDIDATES, *_CHOICE)
_LETTERS_OF_A_KIND = CompiledStatement(
    select(func.count()).where(NOTICES.c.request == bindparam("of"), NOTICES.c.kind == bindparam("kind"))
)
_LETTER_KEPT = update_by_key(NOTICES, ("id",), ("state", "error"))
_LETTER_LEFT = update_by_key(NOTICES, ("id",), ("state", "error", "sent_at"))
_STATUS = update_by_key(HOLDINGS, ("agency", "barcode"), ("status",))


@cache
def _queueing(dialect: str) -> CompiledStatement:
    """Return a statement that queues a letter if it is new, or was not needed before; it returns the number of a letter to
    send.
    """
    columns = ("request", "kind", "about", "patron", "state", "made_at")
    values = {name: bindparam(name, type_=NOTICES.c[name].type) for name in columns}
    never_sent = NOTICES.c.state == NoticeState.NOT_NEEDED
    row = insert_or_write_over(NOTICES, dialect, ("state", "made_at"), never_sent, columns[:3])
    return CompiledStatement(row.values(values).returning(NOTICES.c.id))


@cache
def _marking(columns: tuple[str, ...]) -> CompiledStatement:
    """Return a statement that updates these columns of one candidate."""
    return update_by_key(CANDIDATES, ("request", "rank"), columns)


@cache
def _moving(values: tuple[str, ...]) -> CompiledStatement:
    """Return a statement that writes these values, if the request is still in its position."""
    return update_by_key(REQUESTS, ("id", "position"), [name.removeprefix("new_") for name in values])


def _written(before: Request, changed: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the columns to write, without unchanged ones, to save index updates. An unchanged position is written if alone."""
    position = changed["position"]
    if position == before.position:
        return {name: value for name, value in changed.items() if name != "position"} or changed
    stage = STAGES[position]
    return changed if stage is STAGES[before.position] else {**changed, "stage": stage}


def _in_order(partners: Sequence[Partner]) -> list[Partner]:
    """Sort the partners, so that two gateways that write at once do not deadlock."""
    return sorted(partners, key=lambda partner: partner.agency)


# ---- Runs a part of a unit of work that may fail alone: a row that raises does not stop the others of a round.


T = TypeVar("T")


def in_savepoint(unit: Unit, work: Callable[[T], object], about: T) -> Exception | None:
    """Run `work(about)` in a savepoint of its own; return None, or the exception after rolling back the savepoint.

    A failure of the database itself, such as a full disk or a deadlock, is raised.
    """
    connection, heard = unit.connection, len(unit.moves)
    _SAVEPOINT.change(connection)
    try:
        work(about)
        flush(connection)
    except OperationalError:
        raise
    except Exception as error:  # noqa: BLE001  # any error: the other rows go on
        discard(connection)
        _BACK.change(connection)
        unit.ahead.forget()
        del unit.moves[heard:]
        return error
    _RELEASE.change(connection)
    return None


_SAVEPOINT, _RELEASE = CompiledStatement(text("SAVEPOINT apart")), CompiledStatement(text("RELEASE SAVEPOINT apart"))
_BACK = CompiledStatement(text("ROLLBACK TO SAVEPOINT apart"))
