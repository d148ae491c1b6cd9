"""The log of a real daemon fulfils its contract, and `tail` finds the lines of one request."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from docs.generate.log_events import CONTEXTS, EVENTS, EVERY_LINE
from hkall_gateway.observability.log_context import VERSION, trace_id
from tests.company import CARD, PATIENCE_S, Gateway, stamp, until

pytestmark = pytest.mark.long

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CONTEXT = {name for fields in CONTEXTS.values() for name in fields.split()}
ROWS = {row.name: row for row in EVENTS}


@pytest.fixture(scope="module")
def gateway(reactor: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway after a request, a wrong PIN, a document with a trace, and a failed start."""
    gateway = Gateway(reactor, tmp_path_factory.mktemp("log"))
    try:
        gateway.do(gateway.party.start)
        gateway.start()
        gateway.request("m-1")
        terminal = gateway.counter()
        gateway.ask(terminal, f"63001{stamp()}{' ' * 10}AOHKU|AA{CARD}|AD9999|")
        _post(gateway, b"<no/>")
        until(lambda: '"courier.sent"' in gateway.log() and "traceparent" in gateway.log(), "the delivery, and the document")
        gateway.stop()
        yield gateway
    finally:
        gateway.end()


def _post(gateway: Gateway, body: bytes) -> None:
    url = f"http://127.0.0.1:{gateway.ports.ncip}/ncip"
    asked = urllib.request.Request(url, body, {"Content-Type": "application/xml", "traceparent": TRACE})
    with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
        assert answer.status == 200


def _lines(gateway: Gateway) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gateway.log().splitlines()]


def test_every_line_is_a_documented_event_with_its_fields_and_level(gateway: Gateway) -> None:
    lines = _lines(gateway)
    assert len({line["event"] for line in lines}) > 8
    for line in lines:
        row = ROWS[line["event"]]
        assert set(line) - set(EVERY_LINE) - CONTEXT <= set(row.fields.split()), line
        assert line["level"] in row.levels.split(), line
        assert list(line)[:4] == list(EVERY_LINE)


def test_start_line_contains_the_log_contract_version(gateway: Gateway) -> None:
    assert [line["log_version"] for line in _lines(gateway) if line["event"] == "daemon.started"] == [VERSION]


def test_trace_of_a_peer_is_logged_with_its_document(gateway: Gateway) -> None:
    assert [line["event"] for line in _lines(gateway) if line.get("traceparent") == TRACE] == ["ncip.answered"]


def test_tail_groups_a_request_with_its_reply_and_delivery(gateway: Gateway) -> None:
    (number,) = {line["request_id"] for line in _lines(gateway) if line["event"] == "transition"}
    (file,) = gateway.path.parent.glob("log1.jsonl")
    found = [json.loads(line) for line in gateway.command("tail", str(file), "--json", "--request", number).splitlines()]
    assert {"transition", "ncip.answered", "courier.sent"} <= {line["event"] for line in found}
    (sent,) = (line for line in found if line["event"] == "courier.sent")
    assert sent["trace_id"] == trace_id(sent["corr_id"])
    drawn = gateway.command("tail", str(file), "--request", number)
    assert drawn.startswith("┌ ")
    assert len(drawn.splitlines()) == len(found)
