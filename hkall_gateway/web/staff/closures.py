"""Manages closed days, suspensions, and bulk changes of due dates. Shows the effects of a new closure before applying them."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from hkall_gateway.circulation.results import Done, Refused
from hkall_gateway.circulation.staff import closure_changes, overview
from hkall_gateway.circulation.staff.closure_changes import CloseDay, MoveClosedDays, MoveDueDates
from hkall_gateway.rules.dates import civil, parse_day
from hkall_gateway.rules.plain_text import whole_number
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.web.incoming import FORM_KEY, INBOX, typed, typed_day
from hkall_gateway.web.labels import rule_of, sentence
from hkall_gateway.web.services import execute, run, services
from hkall_gateway.web.sessions import actor, needs

PAGES = Blueprint("closures", __name__)

FIELDS: Final = ("day", "first", "last", "to", "partner", "reason")


@PAGES.get("/staff/closures")
@needs(StaffRole.SUPERVISOR)
def page() -> str:
    """Show current and future closed days and suspensions, with the forms for closures and due dates."""
    return _render_closures()


@PAGES.post("/staff/closures/close")
@needs(MoveClosedDays)
def close() -> str | Response | tuple[str, int]:
    """Show the dates that would move if a day were closed. With `apply`, close the day and move the dates."""
    reason = typed("reason")
    if not reason:
        return _render_refusal(Refused(why=Reason.REASON_NEEDED), 400)
    try:
        day = typed_day("day")
    except ValueError:
        return _render_refusal(Refused(why=Reason.WRONG_DATE, detail={"on": typed("day")}), 400)
    if "apply" not in request.form:
        moves, more = execute(closure_changes.would_move([day] if day else []))
        return _render_closures(closing={"day": day, "reason": reason, "moves": moves, "more": more})
    if day and isinstance(closed := execute(CloseDay(actor("closures close"), day, reason)), Refused):
        return _render_refusal(closed, 409)
    moved = run(services().circulation.run_job(MoveClosedDays(by=actor("closures move"), reason=reason)))
    return _render_refusal(moved, 409) if isinstance(moved, Refused) else _redirect_moved(len(moved))


@PAGES.post("/staff/closures/due-dates")
@needs(MoveDueDates)
def due_dates() -> str | Response | tuple[str, int]:
    """Show the due dates that would move. With `apply`, move them."""
    try:
        first, last, to = (parse_day(typed(name)) for name in ("first", "last", "to"))
    except ValueError:
        return _render_refusal(Refused(why=Reason.WRONG_DATE, detail={"on": ""}), 400)
    command = MoveDueDates(
        by=actor("due dates"), first=first, last=last, to=to, reason=typed("reason"), partner=typed("partner")
    )
    if "apply" not in request.form:
        found = execute(closure_changes.due_between(command))
        if isinstance(found, Refused):
            return _render_refusal(found, 409)
        return _render_closures(moving={"command": command, "loans": found[0], "more": found[1]})
    answer = run(services().circulation.run_job(command))
    if isinstance(answer, Refused):
        return _render_refusal(answer, 409)
    refused = [one for one in answer if isinstance(one, Refused)]
    moved = sum(isinstance(one, Done) for one in answer)
    return _render_refusal(refused[0], 409, moved=moved, left=len(refused)) if refused else _redirect_moved(moved)


def _redirect_moved(moved: int) -> Response:
    """Report how many dates the form has moved. A form that is sent again moves none, and reports what the first one did."""
    if key := typed(FORM_KEY):
        moved = int(services().visits.first_use(INBOX, f"moved:{key}", str(moved)))
    return redirect(url_for("closures.page", moved=moved), 303)


def _render_refusal(refused: Refused, code: int, **more: object) -> tuple[str, int]:
    return _render_closures(error=sentence(refused), rule=rule_of(refused), **more), code


def _render_closures(error: str = "", rule: str = "", **more: object) -> str:
    today = civil(services().now())
    shown = {"closing": None, "moving": None, "left": 0, "moved": whole_number(request.args.get("moved", "")), **more}
    form = {name: request.form.get(name, "") for name in FIELDS}
    closed = execute(overview.closed_days())
    return render_template(
        "staff/closures.html",
        today=today,
        error=error,
        rule_no=rule,
        form=form,
        days=closed.days,
        windows=closed.windows,
        last=closed.last,
        ours=services().library().agency,
        **shown,
    )
