"""Runs one command on all rows that were selected in a work list. Offers the commands that every selected row allows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from flask import Blueprint, abort, render_template, request

from hkall_gateway.circulation import queries
from hkall_gateway.circulation.results import Done, Refused
from hkall_gateway.circulation.staff import permitted
from hkall_gateway.circulation.staff.actions import Act, Acted
from hkall_gateway.circulation.staff.permitted import Action
from hkall_gateway.db.queries.work_lists import MOST
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.rules.vocabulary import Request
from hkall_gateway.web.i18n import day, gettext
from hkall_gateway.web.incoming import typed, typed_day
from hkall_gateway.web.labels import COMMANDS, DECLINES, rule_of, sentence
from hkall_gateway.web.services import execute
from hkall_gateway.web.sessions import actor, needs, staff_role
from hkall_gateway.web.staff.lists import WORK_LISTS, View, view_of
from hkall_gateway.web.staff.words import in_words

PAGES = Blueprint("selection", __name__)

ELSEWHERE: Final = frozenset({"substitute", "insert", "force", "reopen", "print"})
"""Commands that are not offered for a selection, since they need different arguments per request, or print slips."""


@dataclass(frozen=True, slots=True)
class BulkAction:
    """A command, and the number of selected requests that allow the command."""

    action: Action
    allowed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of a command for one request. `tone` is "done", "look" or "no"."""

    number: str
    title: str
    tone: str
    words: str
    rule: str = ""
    note: str = ""


@PAGES.post("/staff/lists/<name>/selected")
@needs(Act)
def selected(name: str) -> str:
    """Show the commands for the selected rows."""
    return _render_commands(view_of(name), _selected_requests())


@PAGES.post("/staff/lists/<name>/act")
@needs(Act)
def act(name: str) -> str | tuple[str, int]:
    """Run one command on the selected requests, one after the other."""
    view, chosen, (command, _, code) = view_of(name), _selected_requests(), typed("action").partition(":")
    if command not in COMMANDS or command in ELSEWHERE or permitted.row_of(command).role > staff_role():
        abort(403)
    if not chosen:
        return _render_commands(view, chosen)
    try:
        on = typed_day("on")
    except ValueError:
        return _render_commands(view, chosen, error=gettext("This is not a date: write it as 2017-03-16.")), 400
    takes = permitted.row_of(command).takes
    reason = (code if code in DECLINES else "") or typed("reason")
    lender, until = typed("lender") if "lender" in takes else "", on if "on" in takes else None
    bulk_command = Act(by=actor(command), agency=lender, reason=reason, on=until, action=command)
    outcomes = [outcome_of(one, execute(replace(bulk_command, request=one.id))) for one in chosen]
    return render_template(
        "staff/outcomes.html", view=view, title=WORK_LISTS[view.name].words, command=COMMANDS[command], outcomes=outcomes
    )


def _render_commands(view: View, chosen: tuple[Request, ...], error: str = "") -> str:
    bulk, work_list = bulk_actions(chosen, staff_role()), WORK_LISTS[view.name]
    allowed = [one.action for one in bulk if one.allowed == len(chosen)]
    return render_template(
        "staff/selected.html",
        view=view,
        title=work_list.words,
        chosen=chosen,
        allowed=allowed,
        fields={field for action in allowed for field in action.takes},
        prints=bool(work_list.slip) and all(permitted.permitted(one, staff_role(), "print") for one in chosen),
        partly=[one for one in bulk if 0 < one.allowed < len(chosen)],
        filled=request.form,
        error=error,
    )


def bulk_actions(chosen: tuple[Request, ...], role: StaffRole) -> tuple[BulkAction, ...]:
    """Return the commands that the role and at least one request allow, each with the number of requests that allow it."""
    counted = (
        BulkAction(action, sum(permitted.permitted(one, role, action.name) for one in chosen))
        for action in (permitted.actions(chosen[0], role) if chosen else ())
        if action.name not in ELSEWHERE
    )
    return tuple(one for one in counted if one.allowed)


def _selected_requests() -> tuple[Request, ...]:
    """Return the selected requests in form order, without duplicates and unknown request numbers."""
    numbers = list(dict.fromkeys(request.form.getlist("request")))[:MOST]
    return execute(queries.find_requests(numbers))


def outcome_of(one: Request, answer: Acted | Refused) -> Outcome:
    """Return the result of a command for one request, in words."""
    if isinstance(answer, Refused):
        tone = "look" if answer.why is Reason.TRY_AGAIN else "no"
        return Outcome(number=one.id, title=one.full_title, tone=tone, words=sentence(answer), rule=rule_of(answer))
    if getattr(answer, "again", False):
        return Outcome(
            number=one.id, title=one.full_title, tone="look", words=gettext("It was done before; nothing has changed.")
        )
    due = getattr(answer, "due", None)
    words = gettext("Done, until %(day)s.", day=day(due)) if due else gettext("Done.")
    return Outcome(
        number=one.id,
        title=one.full_title,
        tone="done",
        words=words,
        note=in_words(answer.note) if isinstance(answer, Done) else "",
    )
