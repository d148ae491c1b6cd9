"""The metrics of a real daemon after some traffic, checked by promtool and by prometheus_client's parser."""

from __future__ import annotations

import subprocess
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.company import CARD, PATIENCE_S, PIN, Gateway, stamp, until
from tests.programs import program

pytestmark = pytest.mark.long


def promtool() -> str:
    return program("promtool", "promtool, before Debian 13 prometheus")


@pytest.fixture(scope="module")
def page(reactor: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """/metrics after a request to a lender by NCIP, and a terminal request and a wrong PIN."""
    folder = tmp_path_factory.mktemp("metrics")
    gateway = Gateway(reactor, folder)
    try:
        gateway.do(gateway.party.start)
        gateway.start()
        closures = folder / "closures.csv"
        closures.write_text("agency,from,to,reason\nHKU,2099-01-01,2099-01-01,\n")
        gateway.command("load", "closures", str(closures))
        terminal = gateway.counter()
        for line in (f"63001{stamp()}{' ' * 10}AOHKU|AA{CARD}|AD{PIN}|", f"17{stamp()}AOHKU|ABNOSUCH|"):
            gateway.ask(terminal, line)
        gateway.ask(terminal, f"63001{stamp()}{' ' * 10}AOHKU|AA{CARD}|AD9999|")
        gateway.request("m-1")
        until(lambda: 'partner="CUHK",service="RequestItem"' in _fetched(gateway), "the lender has answered")
        yield _fetched(gateway)
    finally:
        gateway.end()


def _fetched(gateway: Gateway) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{gateway.ports.ops}/metrics", timeout=PATIENCE_S) as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        return str(answer.read(), "utf-8")


def _families(page: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(page)}


def test_promtool_accepts_the_metrics(page: str) -> None:
    done = subprocess.run([promtool(), "check", "metrics"], input=page, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_series_has_help_and_type(page: str) -> None:
    families = _families(page)
    assert all(name.startswith("hkall_") for name in families)
    assert all(family.documentation.endswith(".") for family in families.values())
    assert {family.type for family in families.values()} == {"counter", "gauge", "histogram"}


def test_metrics_count_the_traffic(page: str) -> None:
    said = {(one.name, *one.labels.values()): one.value for family in _families(page).values() for one in family.samples}
    assert said["hkall_sip2_sessions",] == 1
    assert said["hkall_wrong_pins_total", "sip2", "counter-1"] == 1
    assert said["hkall_sip2_events_total", "answered"] == 4
    assert said["hkall_transitions_total", "NEW", "REQUESTED"] == 1
    assert said["hkall_closure_calendar_left_seconds",] > 0
    assert said["hkall_gateways", "up"] == 1
