"""Shows dead letters, waiting messages, returned letters and quarantined documents, which supervisors retry, close or drop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from flask import Blueprint, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from hkall_gateway.circulation import queries
from hkall_gateway.circulation.partners import unsent
from hkall_gateway.circulation.partners.unsent import DONE, DROP, RETRY, MarkReplayed, Settle, UnsentMessage
from hkall_gateway.circulation.results import Noted, Refused
from hkall_gateway.circulation.staff import console
from hkall_gateway.circulation.staff.console import SentMessage
from hkall_gateway.db.outbox import WAITING
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage
from hkall_gateway.rules.plain_text import LONG, whole_number
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import OutboxState, QuarantineState, StaffRole
from hkall_gateway.web.i18n import N_, gettext
from hkall_gateway.web.incoming import typed
from hkall_gateway.web.labels import sentence
from hkall_gateway.web.services import execute, run, services
from hkall_gateway.web.sessions import actor, needs

PAGES = Blueprint("unsent", __name__)

MOST: Final = 50
"""Maximum number of rows on a page, and of rows settled by one form."""
REPLAY: Final = "replay"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One tab of the page.

    Attributes:
        source: Source of the rows: "outbox", "letters" or "quarantine".
        count: Names of the counts that add up to the number of rows.
        how: Actions that can settle a row.
        states: Outbox states that the tab shows.
    """

    words: str
    empty: str
    source: str
    count: tuple[str, ...]
    how: tuple[str, ...]
    states: tuple[OutboxState, ...] = ()


# fmt: off
KINDS: Final[Mapping[str, Kind]] = MappingProxyType({
    "dead":       Kind(words=N_("Given up"), empty=N_("No message was given up."),
                       source="outbox", count=("dead",), how=(RETRY, DONE, DROP), states=(OutboxState.DEAD,)),
    "waiting":    Kind(words=N_("Waiting"), empty=N_("No message is waiting."),
                       source="outbox", count=("waiting", "unsure"), how=(RETRY,), states=WAITING),
    "letters":    Kind(words=N_("Letters that came back"), empty=N_("No letter came back."),
                       source="letters", count=("undelivered",), how=(RETRY, DONE, DROP)),
    "quarantine": Kind(words=N_("Fits no request"), empty=N_("Every message of the partners has found its request."),
                       source="quarantine", count=("quarantine",), how=(REPLAY, DROP)),
})


def tabs(counts: Mapping[str, int]) -> list[tuple[str, str, int]]:
    """Return the name, the words and the number of rows of each tab."""
    return [(name, one.words, sum(counts.get(c, 0) for c in one.count)) for name, one in KINDS.items()]


HOW: Final[Mapping[str, str]] = MappingProxyType({
    RETRY:  N_("Retry"),
    DONE:   N_("Done"),
    DROP:   N_("Drop"),
    REPLAY: N_("Replay"),
})
"""Button texts. The English texts are the words of the command line, with a capital."""

MEANS: Final[Mapping[tuple[str, str], str]] = MappingProxyType({
    ("outbox",     RETRY):  N_("Send it again now."),
    ("outbox",     DONE):   N_("It was told by telephone or mail: the request goes on as if it had been answered."),
    ("outbox",     DROP):   N_("It is not to be told at all: the request goes on without it."),
    ("letters",    RETRY):  N_("Write again, to the address that the patron has now."),
    ("letters",    DONE):   N_("The patron was told by other means: the days to collect count from today."),
    ("letters",    DROP):   N_("The patron is not told. The request goes on as before."),
    ("quarantine", REPLAY): N_("Hear it again, as if it came now."),
    ("quarantine", DROP):   N_("It means nothing here."),
})
"""Explanation of each button's effect, shown below the buttons."""

EFFECTS: Final = (
    N_("the request waits for this lender's copy"), N_("the next lender is asked"), N_("the request is cancelled"),
    N_("the request is cancelled; a copy that comes is sent home"), N_("the loan is renewed as asked"),
    N_("the loan is not renewed"), N_("the lender expects the book on the patron's date"), N_("its own date stays"),
    N_("the days to collect count from today"), N_("they count from the day of arrival"), N_("its flag is taken away"),
    N_("nothing more; the local system does not know"), N_("nothing more"), N_("nothing more; the partner does not know"),
)
"""Effects of `done` and `drop` on a request, as reported by the commands. Listed only for the translation catalogue."""
# fmt: on
NEEDS_REASON: Final = frozenset({DONE, DROP, REPLAY})
NO_FAILURES: Final[Mapping[int, str]] = MappingProxyType({})


@PAGES.get("/staff/unsent")
@needs(StaffRole.SUPERVISOR)
def page() -> str:
    """Show the tab named by the parameter `kind`."""
    return _render_unsent(_known_kind(request.args.get("kind", "dead")))


@PAGES.post("/staff/unsent/<kind>")
@needs(Settle)
def judge(kind: str) -> str | Response | tuple[str, int]:
    """Settle the selected rows, with one command per row."""
    named, how = _known_kind(kind), typed("how")
    if how not in KINDS[named].how:
        abort(400)
    reason = typed("reason")
    rows = (whole_number(text, LONG) for text in request.form.getlist("row")[:MOST])
    numbers = [number for number in rows if number is not None]
    if not numbers:
        return _render_unsent(named, gettext("Choose at least one row.")), 400
    if how in NEEDS_REASON and not reason:
        return _render_unsent(named, gettext("A reason is needed."), chosen=numbers), 400
    source = KINDS[named].source
    commands = (Settle(by=actor(f"{source} {how}"), number=number, reason=reason, kind=source, how=how) for number in numbers)
    failures = {
        one.number: why for one in commands if (why := _replay_document(one) if how == REPLAY else _why_unsettled(execute(one)))
    }
    done = len(numbers) - len(failures)
    if failures:
        return _render_unsent(named, failures=failures, done=done), 409
    return redirect(url_for("unsent.page", kind=named, done=done), 303)


def _replay_document(command: Settle) -> str:
    """Process a quarantined document again as NCIP would, and record the replay. Return the problem, or "" on success."""
    web = services()
    kept = execute(queries.find_quarantined(command.number))
    if kept is None or kept.state != QuarantineState.KEPT:
        return _why_unsettled(Refused(why=Reason.UNKNOWN_REQUEST))
    problem = run(web.replay(kept))
    if problem:
        return sentence(problem) if isinstance(problem, Refused) else problem
    return _why_unsettled(execute(MarkReplayed(command.by, command.number, command.reason)))


def _why_unsettled(outcome: Noted | Refused) -> str:
    """Return why a row was not settled, or "" if the row was settled."""
    if not isinstance(outcome, Refused):
        return ""
    if outcome.why is Reason.UNKNOWN_REQUEST:
        return gettext("It is settled already, or under way at this moment.")
    return sentence(outcome)


def _known_kind(word: str) -> str:
    if word not in KINDS:
        abort(404)
    return word


def _render_unsent(
    kind: str,
    error: str = "",
    *,
    chosen: Sequence[int] = (),
    failures: Mapping[int, str] = NO_FAILURES,
    done: int | None = None,
) -> str:
    found = _read_rows(kind, whole_number(request.args.get("after", ""), LONG) or 0)
    rows = [row for _, row in found[:MOST]]
    counts = execute(console.unsent_counts())
    return render_template(
        "staff/unsent.html",
        kind=kind,
        rows=rows,
        further=url_for("unsent.page", kind=kind, after=found[MOST - 1][0]) if len(found) > MOST else "",
        tabs=tabs(counts),
        chosen=chosen,
        documents=documents(row for row in rows if isinstance(row, UnsentMessage)),
        failures=failures,
        done=whole_number(request.args.get("done", "")) or 0 if done is None else done,
        how=HOW,
        means=MEANS,
        kinds=KINDS,
        needs_reason=NEEDS_REASON,
        error=error,
        reason=typed("reason"),
    )


def _read_rows(kind: str, after: int) -> list[tuple[int, object]]:
    """Return the rows of a tab as (id, row), with one row more than fits on a page."""
    if kind == "letters":
        return [(one["id"], one) for one in execute(console.undelivered_letters(after, MOST + 1))]
    if kind == "quarantine":
        return [(one.id, one) for one in execute(console.quarantined("", after, MOST + 1))]
    return [(one.row.id, one) for one in execute(unsent.list_unsent(KINDS[kind].states, after, MOST + 1))]


def documents(messages: Iterable[UnsentMessage | SentMessage]) -> dict[int, str]:
    """Serialize messages to partners as they would be sent now, without secrets, by outbox id."""
    web, agency = services(), services().library().agency
    return {
        one.row.id: web.document(one.row.payload, one.partner, agency)
        for one in messages
        if one.partner and isinstance(one.row.payload, PartnerMessage)
    }
