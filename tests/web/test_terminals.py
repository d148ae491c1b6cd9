"""The terminals page: what gateways report about terminals with their heartbeats."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from lxml import html

from hkall_gateway.db import instances
from hkall_gateway.db.instances import Instance, TerminalActivity
from hkall_gateway.sip2.codec.messages import SHAPES
from hkall_gateway.web.labels import WORDS
from tests.web.conftest import Site


def report(site: Site, instance: str, *rows: dict[str, Any]) -> None:
    """A gateway's heartbeat."""
    now = site.world.now
    usual = TerminalActivity(
        instance=instance,
        login="counter-1",
        role="counter",
        location="HKU-MAIN-LENDING",
        connections=0,
        last_code="",
        last_at=None,
        refused=0,
        refused_why="",
        refused_at=None,
        seen_at=now,
    )
    site.world.store.now(
        instances.record_instance, Instance(name=instance, host="here", pid=1, version="1.0", since=now, seen_at=now)
    )
    site.world.store.now(instances.write_terminals, instance, [replace(usual, **row) for row in rows], now)


def rows(site: Site) -> dict[str, str]:
    page = html.fromstring(site.staff("viewer").get("/staff/terminals").text)
    return {row.get("data-terminal"): " ".join(row.xpath("string(.)").split()) for row in page.xpath("//tr[@data-terminal]")}


def test_every_terminal_message_has_a_text() -> None:
    assert {code for code in WORDS["messages"] if code.isdigit()} == {code for code, shape in SHAPES.items() if shape.reply} | {
        "97"
    }


def test_terminals_page_is_empty_without_a_running_gateway(site: Site) -> None:
    assert rows(site) == {}
    assert "No gateway reports terminals" in site.staff("viewer").get("/staff/terminals").text


def test_terminal_row_shows_sessions_last_message_and_refused_logins(site: Site) -> None:
    now = site.world.now
    told = {"connections": 2, "last_code": "11", "last_at": now, "refused": 3, "refused_why": "secret", "refused_at": now}
    report(
        site, "1", told, {"login": "", "role": "", "location": "", "refused": 1, "refused_why": "unknown", "refused_at": now}
    )
    found = rows(site)
    assert found["counter-1"] == (
        "counter-1HKU-MAIN-LENDING Counter 2 open Checkout1 Mar 2017, 09:00 3wrong password, 1 Mar 2017, 09:00"
    )
    assert "Unknown names" in found[""]


def test_reports_of_several_gateways_are_merged_into_one_row(site: Site) -> None:
    now = site.world.now
    report(site, "1", {"connections": 1, "last_code": "09", "last_at": now - timedelta(minutes=5), "refused": 1})
    report(site, "2", {"connections": 1, "last_code": "63", "last_at": now - timedelta(minutes=2)})
    (row,) = rows(site).values()
    assert "2 open" in row
    assert "Record of a patron" in row


def test_sessions_of_a_silent_gateway_are_not_counted(site: Site) -> None:
    report(site, "1", {"connections": 2})
    site.wait(minutes=2)
    assert rows(site) == {}
