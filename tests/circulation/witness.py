"""Watches each command of a test's library: what it changes is locked, and what it refuses is in the journal.

On SQLite no lock is ever missed, because one unit writes at a time; on PostgreSQL a missing one loses a patron's
payment. The witness therefore compares the journal lines of each unit with the locks that its row has asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from twisted.internet.defer import ensureDeferred

from hkall_gateway.circulation.circulation import Circulation
from hkall_gateway.circulation.results import Refused
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.journal import JournalEntry
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.deadline import Deadline
from hkall_gateway.simulator.databases import SoleStore

T = TypeVar("T")
Lines = Sequence[JournalEntry]


@dataclass(slots=True)
class Sight:
    """The locks of a command's unit, None if it has run none, and its journal lines."""

    locks: LockSet | None = None
    lines: Lines = ()


SIGHT: ContextVar[Sight] = ContextVar("sight", default=Sight())  # noqa: B039  # nobody reads the default


class WitnessStore(SoleStore):
    """A store that notes the locks and the journal lines of each unit that a command writes."""

    def write(
        self,
        work: Callable[[UnitOfWork], T],
        locks: LockSet,
        until: Deadline | None = None,
        *,
        repeatable: bool = False,
    ) -> Any:
        """Run a unit of work, and note its locks and its journal lines."""
        sight = SIGHT.get()

        def watched(unit: UnitOfWork) -> T:
            result = work(unit)
            sight.locks, sight.lines = locks, tuple(unit.moves)
            return result

        return super().write(watched, locks, until, repeatable=repeatable)


class WitnessedCirculation(Circulation):
    """The service, with an assertion about each command after its commit."""

    async def execute(self, command: Any, **more: Any) -> Any:
        """Execute a command or query, and assert that its row locks what the handler changed."""
        sight = Sight()
        token = SIGHT.set(sight)
        executed = ensureDeferred(super().execute(command, **more))
        SIGHT.reset(token)
        result = await executed
        if sight.locks is not None:
            name = type(command).__name__
            unlocked = list(unlocked_changes(sight.locks, sight.lines))
            assert not unlocked, f"{name} changes what it does not lock: {unlocked}"
            assert "inbox" in more or is_recorded(result, sight.lines), f"{name} is refused without a journal line"
        return result


def is_recorded(result: object, lines: Lines) -> bool:
    """Whether a result is no refusal, or one that the journal names."""
    return not isinstance(result, Refused) or any(line.event == "REFUSED" for line in lines)


def unlocked_changes(locks: LockSet, lines: Lines) -> Iterator[str]:
    """The journal lines of changes that these locks do not cover.

    A new request counts towards its patron's quota and a payment is compared with the patron's charges, so both need
    the card. A change needs the request or its copy. Its effect on other requests needs no lock of theirs, because a
    step fails if its request has moved.
    """
    opened = {line.request for line in lines if line.event == "OPEN"}
    changed = [line for line in lines if line.before != line.after and line.request not in opened]
    locked = {line.request for line in changed if _locks_request(locks, line)}
    for line in lines:
        if line.event == "OPEN" and line.patron and locks.patron != line.patron and not locks.item[1]:
            yield f"OPEN for {line.patron}"
        if line.event == "PAY" and line.patron != locks.patron:
            yield f"PAY for {line.patron}"
        if line.event == "WAIVE" and line.patron != locks.patron and line.request not in locked:
            yield f"WAIVE for {line.patron}"
    if changed and not locked and not opened:
        yield from (f"{line.event} of {line.request}" for line in changed)


def _locks_request(locks: LockSet, line: JournalEntry) -> bool:
    before, after = line.before, line.after
    assert before is not None
    assert after is not None
    wire_ids = {value for _, value in locks.partner_ids}
    numbers = {value.rpartition("-")[0] for value in wire_ids}  # a lender that was asked before names the same request
    awaits_copy = before.item_barcode == after.item_barcode == ""  # named by the copy of one of its candidates
    return (
        before.id in {locks.request, *numbers}
        or (locks.item[1] != "" and awaits_copy)
        or locks.item[1] in {before.item_barcode, after.item_barcode} - {""}
        or before.wire_id in wire_ids - {""}
        or (locks.placed[1] != "" and locks.placed == (before.placed_by, before.placed_id))
        or (locks.whole and before.patron in {locks.patron, locks.former} - {""})
    )
