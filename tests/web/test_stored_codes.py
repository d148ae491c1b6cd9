"""Stored codes are shown in words of both languages: events, facts and messages of a request, and keys of the policy."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from lxml import html

import hkall_gateway
from hkall_gateway.circulation.jobs.rounds import NOTED
from hkall_gateway.circulation.staff.actions import STAFF_ACTIONS
from hkall_gateway.ncip.profile import FLOWS
from hkall_gateway.rules import settings
from hkall_gateway.rules.dates import EVERY
from hkall_gateway.rules.lifecycle import Event, Notification
from hkall_gateway.rules.messages import json_records
from hkall_gateway.rules.published_rules import PUBLISHED, keys_of
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.vocabulary import Position, Request
from hkall_gateway.web.labels import WORDS
from hkall_gateway.web.staff.unsent import KINDS
from hkall_gateway.web.staff.words import IN_THE_EVENT, policy_rows
from tests.web.conftest import TOKEN, Site

PACKAGE = Path(hkall_gateway.__file__).parent
CHINESE = {"Accept-Language": "zh-Hant"}
CODE = re.compile(r"\b(?:[a-z]+(?:[_:.][a-z]+)+|[A-Z]+_[A-Z_]+|(?:[A-Z][a-z]+){2,})\b")
"""A stored code, such as letter_pickup, fine.overdue_cents, LETTER_PICKUP or ItemShipped."""


def arguments(functions: set[str], place: int, room: str = "") -> set[str]:
    """Return the strings that calls of these functions in the package have at this place."""
    trees = (ast.parse(file.read_text(encoding="utf-8")) for file in sorted((PACKAGE / room).rglob("*.py")))
    calls = [n for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Call) and len(n.args) > place]
    named = [n.args[place] for n in calls if getattr(n.func, "id", getattr(n.func, "attr", "")) in functions]
    return {one.value for one in named if isinstance(one, ast.Constant) and isinstance(one.value, str)}


@pytest.mark.walks_a_table
def test_every_message_that_changes_a_request_has_words() -> None:
    services = {name for flow in FLOWS.values() for name in flow}
    commands = arguments({"actor", "by_staff", "_timer_actor"}, 0) | {*STAFF_ACTIONS, *EVERY}
    settled = {f"{kind.source} {how}" for kind in KINDS.values() for how in kind.how}
    assert {"RequestItem", "pay", "outbox drop"} <= services | commands | settled
    assert services | commands | settled <= {*WORDS["messages"], *WORDS["jobs"], *WORDS["commands"]}


@pytest.mark.walks_a_table
def test_every_event_of_a_request_has_words() -> None:
    noted = arguments({"note"}, 1, "circulation") | arguments({"_note_action"}, 3, "circulation") | {NOTED}
    assert {"LATE", "SKIPPED"} <= noted
    assert noted <= WORDS["events"].keys()


@pytest.mark.walks_a_table
def test_every_fact_about_a_request_has_words() -> None:
    known = [one for one in json_records._KNOWN.values() if isinstance(one, type) and dataclasses.is_dataclass(one)]
    records = [one for one in known if one.__module__.startswith(("hkall_gateway.circulation", "hkall_gateway.rules.messages"))]
    names = {field.name for one in (*records, Request) for field in dataclasses.fields(one)}
    assert {"placed_by", "notice"} <= names
    assert names <= {*WORDS["facts"], *IN_THE_EVENT}


@pytest.mark.walks_a_table
@pytest.mark.parametrize(
    ("subject", "codes"),
    [
        ("positions", {*Position}),
        ("sends", {*Notification}),
        ("jobs", {*EVERY}),
        ("events", {event.name for event in Event}),
    ],
)
def test_every_position_message_job_and_event_has_words(subject: str, codes: set[str]) -> None:
    assert sorted(codes - WORDS[subject].keys()) == []


def choices_of(record: Any) -> set[str]:
    """Return the words between which a site chooses, in the keys of a policy's table."""
    hints = [one for hint in get_type_hints(record).values() for one in (hint, *get_args(hint))]
    return {str(word) for hint in hints if get_origin(hint) is Literal for word in get_args(hint) if word is not False}


@pytest.mark.walks_a_table
def test_every_choice_in_the_policy_has_words() -> None:
    records = [one for one in vars(settings).values() if isinstance(one, type) and dataclasses.is_dataclass(one)]
    found = {choice for record in records for choice in choices_of(record)}
    assert {"roll_back", "from_ils", "borrow_request", "09"} <= found
    assert found <= {*WORDS["choices"], *WORDS["scopes"], *WORDS["messages"]}


@pytest.mark.parametrize("headers", [{}, CHINESE], ids=["en", "zh"])
def test_policy_keys_and_their_values_are_shown_in_words(site: Site, headers: dict[str, str]) -> None:
    keys = keys_of(Policy(), PUBLISHED, {"undergraduates", "counter"})
    with site.app.test_request_context("/help", headers=headers):
        rows = {key: (meaning, value) for meaning, key, value in policy_rows(keys)}
    assert rows.keys() == {key for key in keys if not key.endswith((".key", ".label", ".label_zh", ".role"))}
    assert [key for key, (_, value) in rows.items() if CODE.search(value) and "study_modes" not in key] == []
    assert not headers or [meaning for meaning, _ in rows.values() if meaning.isascii()] == []


MEANING = "Renewals: Who may renew with a card that is expired, blocked or no longer eligible"


def test_explained_policy_shows_its_keys_in_small_print_only(site: Site) -> None:
    clerk = site.staff("clerk")
    token = TOKEN.search(clerk.get("/staff/explain").text)
    assert token
    fields = {"csrf_token": token[1], "question": "request", "patron": "EXPIRED", "bib": "b-dune"}
    page = html.fromstring(clerk.send("/staff/explain", **fields).text)
    (row,) = page.xpath("//section[h2='What the policy says']//dt[code='renewal.expired_or_blocked']")
    assert row.xpath("string(text())").strip() == MEANING
    assert row.xpath("string(following-sibling::dd[1])") == "not allowed"


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        (
            {},
            ["terminal, Check-in", "partner, Request", "partner, Sent", "Placed through", "delivery, Letter: ready to collect"],
        ),
        (CHINESE, ["終端機, 還書", "夥伴館, 申請", "夥伴館, 已送出", "經由"]),
    ],
    ids=["en", "zh"],
)
def test_timeline_shows_words_with_the_stored_code_as_title(site: Site, headers: dict[str, str], words: list[str]) -> None:
    site.world.tell("HKU-DISCOVERY", "RequestItem user=UG1 bib=b-dune request=d-1")
    site.world.tell("CUHK", "ItemShipped request=HKU:R1-1 item=C1 due=2017-04-15")
    site.world.sip2("counter-1", "09N20170301    090000                  APHKU|AOHKU|ABC1|AC|")
    site.world.pump()
    page = html.fromstring(site.staff("clerk").get("/staff/requests/R1", headers=headers).text)
    timeline = " ".join(page.xpath("string(//ol[@class='timeline'])").split())
    assert [one for one in words if one not in timeline] == []
    assert {"09", "RequestItem", "ItemShipped", "LETTER_PICKUP"} <= set(page.xpath("//ol[@class='timeline'][1]//@title"))
    texts = [text for text in page.xpath("//main//text()[not(ancestor::pre)]") if CODE.search(text)]
    assert texts == []
