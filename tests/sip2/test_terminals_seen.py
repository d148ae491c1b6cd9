"""The rows that a gateway reports about its terminals."""

from __future__ import annotations

from hkall_gateway.app.gauges import terminals_seen
from hkall_gateway.sip2.dispatch import Sip2Services


def test_every_configured_terminal_has_a_row_with_its_connections(services: Sip2Services) -> None:
    rows = terminals_seen("1", services, ["counter-1", "", "counter-1"], services.now())
    assert {row.login for row in rows} == services.terminals.keys()
    found = next(row for row in rows if row.login == "counter-1")
    assert (found.instance, found.connections, found.last_code, found.seen_at) == ("1", 2, "", services.now())
    assert (found.role, found.location) == (services.terminals["counter-1"].role, services.terminals["counter-1"].location)


def test_unknown_login_names_share_one_activity_row(services: Sip2Services) -> None:
    services.activity.heard("counter-1", "11", services.now())
    services.activity.refused("", "unknown", services.now())
    services.activity.refused("removed", "secret", services.now())
    rows = {row.login: row for row in terminals_seen("1", services, [""], services.now())}
    assert (rows["counter-1"].last_code, rows["counter-1"].last_at) == ("11", services.now())
    assert (rows[""].refused, rows[""].refused_why, rows[""].connections) == (1, "unknown", 0)
    assert "removed" not in rows
