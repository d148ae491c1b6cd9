"""The table of log events matches the source, and keeps the contract of earlier versions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from docs.generate.log_events import CONTEXTS, EVENTS, EVERY_LINE, FIELDS
from hkall_gateway.observability.log_context import VERSION
from tests.log_calls import Event, context_fields, events

CONTRACT = Path(__file__).parents[2] / "fixtures" / "logs" / f"contract-{VERSION}.json"
BY_PROTOCOL = {f"{protocol}.not_admitted" for protocol in ("sip2", "ncip", "ops", "web")}
"""Events of one call that prefixes the protocol's name."""


@pytest.fixture(scope="module")
def logged() -> dict[str, Event]:
    found = events()
    refusals = found.pop("")
    assert refusals.modules == {"net/limits/connection_limit.py"}  # the only call whose event is not a constant
    return {**found, **dict.fromkeys(BY_PROTOCOL, refusals)}


def test_every_logged_event_has_a_row_and_every_row_is_logged(logged: dict[str, Event]) -> None:
    assert sorted(logged) == sorted(row.name for row in EVENTS)


def test_documented_levels_match_the_source(logged: dict[str, Event]) -> None:
    assert {name: sorted(one.levels) for name, one in logged.items()} == {row.name: row.levels.split() for row in EVENTS}


def test_documented_fields_match_the_source(logged: dict[str, Event]) -> None:
    assert {name: sorted(one.fields) for name, one in logged.items()} == {
        row.name: sorted(row.fields.split()) for row in EVENTS
    }


def test_documented_contexts_match_the_source() -> None:
    told = {name for fields in CONTEXTS.values() for name in fields.split()}
    by_kind = {"partner", "patron_ref", "line"}  # the courier names its recipient by the kind of the row
    assert context_fields() | by_kind == told


def test_every_field_is_described_once_and_used() -> None:
    names = [row.name for row in FIELDS]
    used = {name for row in EVENTS for name in row.fields.split()} | {n for c in CONTEXTS.values() for n in c.split()}
    assert sorted(names) == sorted(used | set(EVERY_LINE))


def test_event_descriptions_end_with_a_period_and_events_are_unique() -> None:
    assert all(about.endswith(".") for about in (*(row.about for row in EVENTS), *(row.about for row in FIELDS)))
    assert len({row.name for row in EVENTS}) == len(EVENTS)


def test_log_contract_keeps_its_events_and_fields() -> None:
    """Removing an event or field needs a new version: raise VERSION, and write the tables into a new file."""
    promised = json.loads(CONTRACT.read_text(encoding="utf-8"))
    now = {row.name: set(row.fields.split()) for row in EVENTS}
    assert {name: sorted(set(fields) - now.get(name, set())) for name, fields in promised.items()} == {n: [] for n in promised}
    assert promised.keys() <= now.keys()


def test_comparison_detects_a_new_event_or_field(tmp_path: Path) -> None:
    (tmp_path / "room.py").write_text(
        "def f(no, exc):\n"
        "    facts = {'a': 1}\n"
        "    facts['b'] = 2\n"
        "    level = LOG.warning if no else LOG.info\n"
        "    level('room.done' if no else 'room.not_done', **facts, card=no)\n"
        "    LOG.exception('room.failed')\n"
    )
    found = events(tmp_path)
    assert {name: (sorted(one.levels), sorted(one.fields)) for name, one in found.items()} == {
        "room.done": (["info", "warning"], ["a", "b", "patron_ref"]),
        "room.not_done": (["info", "warning"], ["a", "b", "patron_ref"]),
        "room.failed": (["error"], ["exception"]),
    }
