"""The desk for staff and cashiers: staff commands, payments, waivers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from hkall_gateway.desk import borrowing, fines
from hkall_gateway.desk.common.context import in_context
from hkall_gateway.desk.messages.commands import RequestTitle
from hkall_gateway.desk.messages.results import Noted, Outcome, Refused
from hkall_gateway.desk.messages.staff_commands import (
    Answered,
    CloseDay,
    Done,
    MoveDueDates,
    Paid,
    Pay,
    Settle,
    StaffCommand,
    Waive,
    Waived,
)
from hkall_gateway.desk.partners import unsent
from hkall_gateway.desk.services import TRY_AGAIN, DeskServices, as_present, locks_for
from hkall_gateway.desk.staff import actions, changes, closure_changes, patron_page
from hkall_gateway.desk.staff.changes import Changed
from hkall_gateway.desk.staff.patron_page import PatronPage
from hkall_gateway.rules.stored_words import QuarantineState
from hkall_gateway.store.engine.deadline import without
from hkall_gateway.store.engine.locks import NO_LOCKS, LockSet
from hkall_gateway.store.fines import charge_numbered
from hkall_gateway.store.unit import Unit

Said = TypeVar("Said")

BATCH = 200
"""Requests in one transaction of a change in bulk."""


class StaffDesk:
    """Staff commands from the counter and the command line."""

    def __init__(self, services: DeskServices) -> None:
        self._services = services

    async def act(self, name: str, command: StaffCommand) -> Answered:
        """Run one command of STAFF_ACTIONS (receive, return, return_unused, dispatch, lost …). Raises KeyError if unknown."""
        return await self._services.once(command.inbox, _command_locks(command), actions.act, command, name)

    async def act_since(self, name: str, command: StaffCommand, seen: int) -> Answered | Changed:
        """Run one command on `command.request`, unless it has changed after the line `seen` of the journal."""
        return await self._services.once(None, _command_locks(command), changes.act_since, command, name, seen)

    async def reopen_since(self, command: StaffCommand, seen: int) -> Outcome | Changed:
        """Place an ended request again, unless it has changed after the line `seen` of the journal."""
        card = await self._services.store.read(_patron_of, command.request)
        facts = await self._services.facts(card)
        if not facts.reachable:
            return TRY_AGAIN
        locks = locks_for(patron=card, request=command.request)
        return await self._services.once(None, locks, changes.reopen_since, command, seen, facts)

    async def console(self, query: Callable[..., Said], *args: Any) -> Said:
        """Return `query(context, *args)`, a query of `staff.console`, read beside the writer and off the reactor."""
        services = self._services
        result: Said = await services.store.read(in_context, query, services.library, services.now(), *args)
        return result

    async def patron(self, card: str) -> PatronPage:
        """Return everything about one patron, with the present answer of the library's own system."""
        facts = await self._services.facts(card)
        return await self.console(patron_page.patron_page, card, facts)

    async def place(self, ask: RequestTitle) -> Outcome:
        """Place a patron's request for staff; a second request for a title is allowed (R11a). `ask.staff` is set here."""
        facts = await self._services.known(ask.patron, ask.bib_id)
        if not facts.reachable:
            return TRY_AGAIN
        ask = as_present(ask, facts)
        locks = locks_for(patron=ask.patron)
        return await self._services.once(ask.inbox, locks, borrowing.request_title, replace(ask, staff=True), facts)

    async def reopen(self, command: StaffCommand) -> Outcome:
        """Place an ended request again, as a new one. `command.request` names the old one."""
        card = await self._services.store.read(_patron_of, command.request)
        facts = await self._services.facts(card)
        if not facts.reachable:
            return TRY_AGAIN
        return await self._services.once(command.inbox, locks_for(patron=card), actions.reopen, command, facts)

    async def settle(self, kind: str, how: str, command: Settle) -> Outcome:
        """Settle a message, letter or document by (`kind`, `how`) of unsent.JUDGEMENTS. Raises KeyError for another pair."""
        locks = NO_LOCKS
        if kind == "outbox":
            locks = await self._services.store.read(unsent.locks_of, command.number)
        return await self._services.run(unsent.settle, command, kind, how, locks=locks)

    async def replayed(self, command: Settle) -> Outcome:
        """Record that a document of the quarantine was heard again."""
        return await self._services.run(unsent.judged, command, QuarantineState.REPLAYED)

    async def close_day(self, command: CloseDay) -> Noted | Refused:
        """Close our counter on one more day."""
        return await self._services.run(closure_changes.close_day, command)

    async def move_off_closed_days(self, command: StaffCommand) -> tuple[Done, ...]:
        """Move what falls on a closed day of ours, from today on, to the next open one; a transaction for each BATCH."""
        moved: list[Done] = []
        after: str | None = ""
        with without():
            while after is not None:
                done, after = await self._services.run(closure_changes.move, command, after, BATCH)
                moved += done
        return tuple(moved)

    async def move_due_dates(self, command: MoveDueDates) -> tuple[tuple[Done, ...], tuple[Refused, ...]]:
        """Move due dates in bulk; the loans that were moved, and the refusals of the others."""
        moved: list[Done] = []
        refused: list[Refused] = []
        after: str | None = ""
        with without():
            while after is not None:
                answers, after = await self._services.run(closure_changes.move_due_dates, command, after, BATCH)
                moved += [one for one in answers if isinstance(one, Done)]
                refused += [one for one in answers if isinstance(one, Refused)]
        return tuple(moved), tuple(refused)

    async def pay(self, ask: Pay) -> Paid | Refused:
        """Take a payment for a patron's charges."""
        return await self._services.once(ask.inbox, locks_for(patron=ask.card), fines.pay, ask)

    async def waive(self, ask: Waive) -> Waived | Refused:
        """Waive a charge."""
        card = await self._services.store.read(_patron_who_owes, ask.fine)
        return await self._services.once(ask.inbox, locks_for(patron=card), fines.waive, ask)


def _patron_of(unit: Unit, number: str) -> str:
    request = unit.request(number)
    return request.patron if request else ""


def _patron_who_owes(unit: Unit, fine: int) -> str:
    charged = charge_numbered(unit, fine)
    return charged.patron if charged else ""


def _command_locks(command: StaffCommand) -> LockSet:
    return locks_for(request=command.request, item="" if command.request else command.barcode)
