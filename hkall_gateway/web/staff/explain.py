"""/staff/explain answers a hypothetical question, with the rule and the facts behind the answer, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from types import MappingProxyType
from typing import Final

from flask import Blueprint, abort, render_template, request

from hkall_gateway.circulation.borrowing import Requested
from hkall_gateway.circulation.results import Refused
from hkall_gateway.circulation.staff import explaining
from hkall_gateway.circulation.staff.explaining import ExplainQuestion, Explanation, FineNow
from hkall_gateway.circulation.staff.permitted import PERSONAL, sees_names
from hkall_gateway.rules.dates import HONG_KONG, parse_day, parse_instant
from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.rules.vocabulary import Actor
from hkall_gateway.web.i18n import N_, gettext, money
from hkall_gateway.web.incoming import typed
from hkall_gateway.web.labels import rule_of, sentence
from hkall_gateway.web.services import explain, services
from hkall_gateway.web.sessions import actor, needs, staff_role
from hkall_gateway.web.staff import words as words

PAGES = Blueprint("explain", __name__)

LONGEST: Final = 200
Fields = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question that the page can answer. `needed` names the mandatory fields. `put` builds the question from the form."""

    name: str
    words: str
    fields: tuple[str, ...]
    needed: tuple[str, ...]
    put: Callable[[Actor, Fields], ExplainQuestion]


QUESTIONS: Final = (
    Question(
        name="request",
        words=N_("May they request it?"),
        fields=("patron", "bib", "volume", "pickup", "hold"),
        needed=("patron", "bib"),
        put=lambda by, values: explaining.request(
            by, values["patron"], values["bib"], values["volume"], values["pickup"], hold=bool(values["hold"])
        ),
    ),
    Question(
        name="borrow",
        words=N_("May they borrow it?"),
        fields=("patron", "item", "role"),
        needed=("patron", "item"),
        put=lambda by, values: explaining.borrow(by, values["patron"], values["item"], values["role"] or "counter"),
    ),
    Question(
        name="renew",
        words=N_("May it be renewed?"),
        fields=("item", "patron", "staff"),
        needed=("item",),
        put=lambda by, values: explaining.renew(by, values["item"], values["patron"], staff=bool(values["staff"])),
    ),
    Question(
        name="recall",
        words=N_("What if it is recalled?"),
        fields=("item", "by", "owner_says"),
        needed=("item",),
        put=lambda by, values: explaining.recall(
            by, values["item"], values["by"], parse_day(values["owner_says"]) if values["owner_says"] else None
        ),
    ),
    Question(
        name="fine",
        words=N_("What is the fine?"),
        fields=("item",),
        needed=("item",),
        put=lambda _by, values: explaining.fine(values["item"]),
    ),
)
"""The questions that the page offers, as in the command `explain`."""
FIELDS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "patron": (N_("Card"), "text"),
        "bib": (N_("Title number in the union catalogue"), "text"),
        "volume": (N_("Volume"), "text"),
        "pickup": (N_("Pickup"), "pickup"),
        "hold": (N_("As a hold"), "checkbox"),
        "item": (N_("Barcode, or LIBRARY/BARCODE"), "text"),
        "role": (N_("Where"), "role"),
        "staff": (N_("By staff at the counter"), "checkbox"),
        "by": (N_("Library that recalls"), "text"),
        "owner_says": (N_("Date that the owner names"), "date"),
    }
)
"""Label and kind of each form field."""
ROLES: Final = ("counter", "selfcheck", "bookdrop")


@PAGES.get("/staff/explain")
@needs(StaffRole.VIEWER)
def form() -> str:
    """Show the form for the question in `?question=`, or for the first question."""
    return _render_explanation(_find_question(request.args.get("question", _offered_questions()[0].name)), {})


@PAGES.post("/staff/explain")
@needs(StaffRole.VIEWER)
def answer() -> str | tuple[str, int]:
    """Answer the question for the current time, or for the time in the field `at`."""
    question = _find_question(typed("question"))
    values = {name: typed(name, LONGEST) for name in (*question.fields, "at")}
    if not all(values[name] for name in question.needed):
        return _render_explanation(question, values, gettext("Something is not filled in.")), 422
    try:
        at = parse_instant(values["at"], HONG_KONG) if values["at"] else services().now()
        put = question.put(actor("explain"), {"patron": "", **values})
    except ValueError:
        return _render_explanation(question, values, gettext("This is no date.")), 422
    found = explain(put, at)
    return _render_explanation(question, values, found=found)


def _find_question(name: str) -> Question:
    return next((one for one in _offered_questions() if one.name == name), None) or abort(404)


def _offered_questions() -> list[Question]:
    """Return the questions for this role. Omit questions about patrons if the role may not see cards."""
    if sees_names(staff_role()):
        return list(QUESTIONS)
    impersonal = (one for one in QUESTIONS if "patron" not in one.needed)
    return [replace(one, fields=tuple(name for name in one.fields if name != "patron")) for one in impersonal]


def _render_explanation(question: Question, values: Fields, error: str = "", found: Explanation | None = None) -> str:
    shown: dict[str, object] = {}
    if found:
        refused = found.outcome if isinstance(found.outcome, Refused) else None
        yes = gettext("Yes.")
        if isinstance(found.outcome, FineNow):
            yes = gettext("The fine is %(sum)s.", sum=money(found.outcome.cents))
        shown = {
            "answer": sentence(refused) if refused else yes,
            "outcome": [] if isinstance(found.outcome, Refused) else _outcome_facts(found.outcome),
            "facts": [one for one in found.facts if _may_show(one.fact)],
            "rule_numbers": [rule_of(refused)] if refused and rule_of(refused) else list(found.rules),
        }
    tables = {
        "questions": _offered_questions(),
        "fields": FIELDS,
        "roles": ROLES,
        "places": services().library().pickup_locations,
    }
    return render_template(
        "staff/explain.html", question=question, values=values, error=error, found=found, w=words, **tables, **shown
    )


def _outcome_facts(outcome: explaining.Decided) -> list[tuple[str, str]]:
    """Return the facts in a positive answer as (name, value). Omit the request number, since no request was placed."""
    hidden = {"request"} if isinstance(outcome, Requested) else set()
    plain = {name: value for name, value in asdict(outcome).items() if value not in ("", None, False, 0)}
    return words.shown_facts(
        {name: _fact_text(value) for name, value in plain.items() if name not in hidden and _may_show(name)}
    )


def _may_show(fact: str) -> bool:
    return fact not in PERSONAL or sees_names(staff_role())


def _fact_text(value: object) -> str:
    if isinstance(value, (tuple, list)):
        return "/".join(map(str, value))
    return value.isoformat() if isinstance(value, date) else str(value)
