"""Test the alert rules with promtool: each has tests, uses existing metrics, and has a runbook section."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from tests.app.prometheus import faults, series
from tests.test_daemon_metrics import promtool

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "ops" / "prometheus"
RULES: Final = FOLDER / "alerts.yml"
TESTS: Final = tuple(sorted(FOLDER.glob("*.test.yml")))
RUNBOOK: Final = ROOT / "docs" / "runbook.md"
TEXT: Final = RULES.read_text(encoding="utf-8")
ALERTS: Final = tuple(re.findall(r"^ +- alert: (\w+)$", TEXT, re.MULTILINE))
EXPRESSIONS: Final = tuple(one.replace("''", "'") for one in re.findall(r"^ +expr: '(.*)'$", TEXT, re.MULTILINE))


def _run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([promtool(), *words], capture_output=True, text=True, timeout=120, check=False)


def test_promtool_accepts_the_rules() -> None:
    done = _run("check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert (done.returncode, f"{len(ALERTS)} rules found" in done.stdout) == (0, True), done.stdout + done.stderr


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.name)
def test_promtool_passes_the_tests_of_the_rules(file: Path) -> None:
    done = _run("test", "rules", file)
    assert (done.returncode, "SUCCESS" in done.stdout) == (0, True), done.stdout + done.stderr


@pytest.mark.long
def test_rule_test_fails_when_its_threshold_changes(tmp_path: Path) -> None:
    (tmp_path / RULES.name).write_text(TEXT.replace("hkall_timer_lag_seconds) > 3600", "hkall_timer_lag_seconds) > 3599"))
    (tmp_path / TESTS[0].name).write_text(TESTS[0].read_text(encoding="utf-8"))
    done = _run("test", "rules", tmp_path / TESTS[0].name)
    assert (done.returncode, "HkallRoundLate" in done.stdout + done.stderr) == (1, True)


def test_every_alert_has_a_firing_and_a_non_firing_test() -> None:
    played = "".join(file.read_text(encoding="utf-8") for file in TESTS)
    outcomes = re.findall(r"^ +alertname: (\w+)\n +exp_alerts:(.*)$", played, re.MULTILINE)
    silent = Counter(name for name, rest in outcomes if rest.strip() == "[]")
    firing = Counter(name for name, rest in outcomes if not rest.strip())
    assert set(silent) == set(firing) == set(ALERTS)


@pytest.mark.parametrize(("alert", "expression"), tuple(zip(ALERTS, EXPRESSIONS, strict=True)), ids=ALERTS)
def test_alerts_query_existing_metrics_and_labels(alert: str, expression: str) -> None:
    assert list(faults(expression, series())) == [], alert


def test_alerts_and_runbook_sections_correspond() -> None:
    links = re.findall(r"runbook_url: https://\S+/runbook\.html#(\S+)", TEXT)
    sections = re.findall(r"^## (.+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    assert links == [alert.lower() for alert in ALERTS]
    assert sections == list(ALERTS)


def test_every_runbook_section_has_meaning_diagnosis_and_action() -> None:
    sections = RUNBOOK.read_text(encoding="utf-8").split("\n## ")[1:]
    parts = [re.findall(r"^\*\*(.+?)\.\*\* ?\S?", section, re.MULTILINE) for section in sections]
    assert parts == [["Meaning", "Look at", "Do"]] * len(ALERTS)


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("max(hkall_dead_letter)", ["no metric hkall_dead_letter"]),
        ('hkall_dead_letters{agency="CUHK"}', ["hkall_dead_letters has no label agency"]),
        ("max by (job, agency) (hkall_timer_lag_seconds)", ["no label agency"]),
        ('hkall_timer_lag_seconds{exported_job="overdue"}', []),
        ("hkall_reactor_lag_seconds", ["no metric hkall_reactor_lag_seconds"]),
        ("hkall_transitions", ["no metric hkall_transitions"]),
        ("sum by (le) (hkall_sip2_latency_seconds_bucket)", []),
    ],
)
def test_unknown_metric_or_label_in_an_expression_is_detected(expression: str, found: list[str]) -> None:
    assert list(faults(expression, series())) == found
