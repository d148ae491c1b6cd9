"""A staff command on a request as its person saw it. If the request has changed since, the changes are the answer."""

from __future__ import annotations

from dataclasses import dataclass

from hkall_gateway.desk.common.context import Context
from hkall_gateway.desk.messages.results import Outcome
from hkall_gateway.desk.messages.staff_commands import Answered, StaffCommand
from hkall_gateway.desk.ports import BorrowerFacts
from hkall_gateway.desk.staff import actions
from hkall_gateway.store.queries import request_history
from hkall_gateway.store.queries.request_history import JournalRow


@dataclass(frozen=True, slots=True)
class Changed:
    """The command was not run: these lines of the journal are newer than the page that it was given on."""

    lines: tuple[JournalRow, ...]


def act_since(context: Context, command: StaffCommand, name: str, seen: int) -> Answered | Changed:
    """Run a staff command, unless the request has changed after the line `seen` of the journal."""
    newer = request_history.changes_since(context.unit, command.request, seen)
    return Changed(newer) if newer else actions.act(context, command, name)


def reopen_since(context: Context, command: StaffCommand, seen: int, facts: BorrowerFacts) -> Outcome | Changed:
    """Place an ended request again, unless the request has changed after the line `seen` of the journal."""
    newer = request_history.changes_since(context.unit, command.request, seen)
    return Changed(newer) if newer else actions.reopen(context, command, facts)
