"""The terminals of each gateway: replaced with every heartbeat, deleted after a month."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from hkall_gateway.db import instances
from hkall_gateway.db.instances import FORGOTTEN, TerminalActivity
from hkall_gateway.simulator.databases import SoleStore


def row(instance: str, login: str, now: datetime) -> TerminalActivity:
    return TerminalActivity(
        instance=instance,
        login=login,
        role="counter",
        location="HKU-MAIN-LENDING",
        connections=1,
        last_code="11",
        last_at=now,
        refused=0,
        refused_why="",
        refused_at=None,
        seen_at=now,
    )


def test_terminal_report_replaces_only_the_previous_report_of_its_gateway(store: SoleStore, now: datetime) -> None:
    first, other = row("1", "counter-1", now), row("2", "counter-1", now)
    store.now(instances.write_terminals, "1", [first, row("1", "gone", now)], now)
    store.now(instances.write_terminals, "2", [other], now)
    later = replace(first, connections=0, seen_at=now + timedelta(seconds=15))
    store.now(instances.write_terminals, "1", [later], later.seen_at)
    assert store.now(instances.terminals) == (later, other)
    store.now(instances.write_terminals, "1", [], later.seen_at)
    assert store.now(instances.terminals) == (other,)


def test_terminal_report_is_deleted_when_its_gateway_was_not_seen_for_a_month(store: SoleStore, now: datetime) -> None:
    store.now(instances.write_terminals, "1", [row("1", "counter-1", now)], now)
    later = now + FORGOTTEN + timedelta(seconds=1)
    store.now(instances.write_terminals, "2", [row("2", "counter-1", later)], later)
    assert [one.instance for one in store.now(instances.terminals)] == ["2"]
