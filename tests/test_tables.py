"""Consistency between tables, and laws that a table or a search of the source can prove."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.generate.letters_page import SAMPLES
from hkall_gateway.delivery.letters import LANGUAGES
from hkall_gateway.ncip.tables.flows import FLOWS
from hkall_gateway.ncip.tables.problems import make_problem
from hkall_gateway.rules.lifecycle import TABLE, Notification, side_of
from hkall_gateway.rules.messages.letters import LETTERS
from hkall_gateway.rules.messages.outbox_messages import is_letter
from hkall_gateway.rules.positions import FINAL
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.vocabulary import Position, Side
from hkall_gateway.sip2.screen_messages import say

PACKAGE = Path(__file__).parents[1] / "hkall_gateway"
TEMPLATES = PACKAGE / "delivery" / "templates"
SOURCES = sorted(p for p in PACKAGE.rglob("*.py") if "versions" not in p.parts)


@pytest.mark.parametrize("why", Reason)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_refusal_has_text_in_every_language_and_names_its_rule(why: Reason, language: str) -> None:
    words = say(why, language, {})
    assert words
    assert why.rule in words


def test_every_row_of_the_reasons_belongs_to_a_refusal() -> None:
    assert tomllib.loads((PACKAGE / "rules" / "reasons.toml").read_text(encoding="utf-8")).keys() == set(Reason)


@pytest.mark.parametrize("why", Reason)
def test_every_refusal_has_a_problem_type(why: Reason) -> None:
    assert make_problem(why, "RequestItem", {}).problem


@pytest.mark.parametrize("send", [s for s in Notification if is_letter(s)])
def test_every_letter_has_a_template_in_every_language(send: Notification) -> None:
    name = LETTERS[send].template
    assert {p.name for p in TEMPLATES.glob(f"{name}.*.txt")} == {f"{name}.{language}.txt" for language in LANGUAGES}


def test_every_template_belongs_to_a_letter() -> None:
    named = {p.name.partition(".")[0] for p in TEMPLATES.glob("*.txt")} - {"book"}
    assert named == {row.template for row in LETTERS.values()}


def test_every_message_is_sent_by_a_transition_or_explicitly() -> None:
    """Otherwise a message would be defined but never sent."""
    by_step = {send for step in TABLE for send in step.sends}
    by_name = {getattr(arg, "attr", "") for _, call in _calls("enqueue") for arg in call.args[:1]}
    assert {send for send in Notification if send not in by_step and send.name not in by_name} == set()


@pytest.mark.walks_a_table
def test_every_letter_is_documented() -> None:
    assert {sample.send for sample in SAMPLES} == LETTERS.keys()


def test_every_partner_message_has_a_document_in_every_flow() -> None:
    """A flow without a document for a message says None; a missing row would be a KeyError in the courier."""
    partner_messages = {send for send in Notification if not is_letter(send)}
    assert all(flow.keys() == partner_messages for flow in FLOWS.values())


def test_every_position_of_a_patrons_request_has_a_label_for_the_patron() -> None:
    seen = {s.source for s in TABLE if side_of(s.event) is Side.BORROWING} | {
        Position.CLOSED,
        Position.UNFILLED,
        Position.CANCELLED,
    }
    assert {p.value for p in seen} <= Policy().labels.keys()


def test_three_published_labels_are_at_the_positions_the_rules_name() -> None:
    labels = Policy().labels
    assert (labels["REQUESTED"], labels["IN_TRANSIT"], labels["RECEIVED"]) == ("HKALL REQUESTD", "TRANSFERRED", "HKALL RECVD")


def test_final_positions_have_no_transitions() -> None:
    assert not {s.source for s in TABLE} & FINAL


def _calls(name: str) -> Iterator[tuple[str, ast.Call]]:
    """(file, call) of every call of a function with this name in the package."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = getattr(node, "func", None)
            if isinstance(node, ast.Call) and (getattr(called, "id", "") == name or getattr(called, "attr", "") == name):
                yield str(path.relative_to(PACKAGE)), node


def _about_requests(call: ast.Call) -> bool:
    return any(isinstance(a, ast.Name) and a.id == "REQUESTS" for a in call.args)


@pytest.mark.parametrize(
    ("verb", "writing"),
    [
        *((verb, {"db/unit_of_work.py"}) for verb in ("insert", "changing", "adding")),
        *((verb, {"db/unit_of_work.py", "db/requests.py"}) for verb in ("update", "delete")),
    ],
)
def test_law_1_only_the_unit_of_work_writes_requests(verb: str, writing: set[str]) -> None:
    """The request repository anonymises and deletes expired requests; it never changes a position."""
    assert {path for path, call in _calls(verb) if _about_requests(call)} <= writing


def test_law_2_only_the_database_commits() -> None:
    """The simulator names COMMIT in the full-disk error that it raises, and executes none."""
    saying = {str(p.relative_to(PACKAGE)) for p in SOURCES if '"COMMIT"' in p.read_text(encoding="utf-8")}
    committing = {"db/engine/group.py", "db/schema.py"}
    assert saying == committing | {"simulator/consortium/faults.py"}
    sent = [*_calls("text"), *_calls("exec_driver_sql")]
    assert {
        path for path, call in sent if any(isinstance(a, ast.Constant) and a.value == "COMMIT" for a in call.args)
    } == committing
    assert not list(_calls("commit"))


def test_law_3_only_the_daemon_imports_the_reactor() -> None:
    importing = {
        str(path.relative_to(PACKAGE))
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == "twisted.internet" and "reactor" in {a.name for a in node.names}
    }
    assert importing == {"app/daemon.py"}


def test_secrets_are_revealed_only_where_they_leave_the_process() -> None:
    """Calling `reveal` in a new place is a decision; this list records it."""
    revealing = {path if path.startswith("app/") else path.split("/")[0] for path, _ in _calls("reveal")}
    assert revealing <= {
        "rules",
        "db",
        "delivery",
        "sip2",
        "ncip",
        "app/daemon.py",
        "app/logs.py",
        "simulator",
        "ils",
        "cli",
        "web",
    }
