"""The Grafana dashboard queries existing metrics and labels, in expressions that Prometheus can parse."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.app.prometheus import TARGET, faults, series
from tests.test_daemon_metrics import promtool

DASHBOARD: Final = json.loads(
    (Path(__file__).parents[2] / "ops" / "grafana" / "hkall-gateway.json").read_text(encoding="utf-8")
)
NOT_SHOWN: Final = {
    "hkall_sip2_events_total",
    "hkall_patron_lookups_total",
    "hkall_ils_hang_ups_total",
    "hkall_ils_login_refused",
    "hkall_ncip_latency_seconds",
    "hkall_ncip_errors_total",
}
"""Metrics that are not on the dashboard: queried for special purposes, or used only by an alert."""


def _targets() -> Iterator[tuple[str, Any]]:
    for panel in DASHBOARD["panels"]:
        yield from ((panel["title"], target) for target in panel.get("targets", []))


def _expression(target: Any) -> str:
    """The expression as sent to Prometheus, with values in place of Grafana's variables."""
    return str(target["expr"]).replace("$__rate_interval", "5m").replace("$partner", ".*")


def test_every_query_uses_existing_metrics_and_labels() -> None:
    found = {title: list(faults(_expression(target), series())) for title, target in _targets()}
    assert {title: one for title, one in found.items() if one} == {}
    assert len(found) > 20


def test_every_legend_uses_a_label_kept_by_its_query() -> None:
    for title, target in _targets():
        kept = {one for labels in re.findall(r"\bby \(([^)]*)\)", target["expr"]) for one in labels.split(", ")}
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= kept | TARGET, title


def test_prometheus_parses_every_query(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{n}", "expr": _expression(target)} for n, (_, target) in enumerate(_targets())]
    (tmp_path / "panels.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))  # JSON is YAML
    words = [promtool(), "check", "rules", str(tmp_path / "panels.yml")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, f"{len(rules)} rules found" in done.stdout) == (0, True), done.stdout + done.stderr


def test_every_metric_is_shown() -> None:
    shown = " ".join(_expression(target) for _, target in _targets())
    families = {re.sub("_(bucket|count|sum)$", "", name) for name in series()} - NOT_SHOWN - {"up"}
    assert {name for name in families if name not in shown} == set()


def test_variables_use_existing_labels_and_panel_ids_are_unique() -> None:
    queries = [one["definition"] for one in DASHBOARD["templating"]["list"] if one["type"] == "query"]
    for metric, label in (re.fullmatch(r"label_values\((\w+), (\w+)\)", query).groups() for query in queries):  # type: ignore[union-attr]
        assert label in series()[metric]
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
