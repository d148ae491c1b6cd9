"""Notes from check-config: open decisions of the site, and surprising defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo import demo_setup
from hkall_gateway.config import load
from hkall_gateway.config.library import library_of
from hkall_gateway.config.notes import notes

UNSAID = [("\noffline = false", ""), ("\ntakes_money = false", "")]
DAYS = "[retention]\nanonymise_days = 180\n"


def noted(folder: Path, policy: str | None = "", *changes: tuple[str, str]) -> list[str]:
    ports = demo_setup.Ports()
    path = demo_setup.write_config(folder, ports, policy)
    text = path.read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    path.write_text(text)
    config = load(path, demo_setup.environment(ports))
    return [f"{where}: {what}" for where, what in notes(config, library_of(config).policy)]


def test_default_restrictions_of_terminal_roles_are_noted(tmp_path: Path) -> None:
    told = noted(tmp_path, DAYS, *UNSAID)
    heads = [line.partition(" ")[2].split("; ")[0] for line in told]
    assert heads == [
        "counter-1: offline is not set: transactions made off line (no block) are decided as if asked now",
        "selfcheck-1: selfcheck: 01 19 25 37 are refused, also about the library's own books",
        "selfcheck-1: takes_money is not set: payments (37) are refused",
        "selfcheck-1: offline is not set: transactions made off line (no block) are decided as if asked now",
        "bookdrop-1: bookdrop: 01 11 15 19 23 25 29 35 37 63 65 are refused, also about the library's own books",
    ]


def test_explicit_terminal_roles_cause_no_note(tmp_path: Path) -> None:
    roles = '[[roles]]\nrole = "selfcheck"\nmessages = ["09", "11", "17", "63"]\n\n'
    roles += '[[roles]]\nrole = "bookdrop"\nmessages = ["09"]\n\n'
    assert noted(tmp_path, roles + DAYS, ("offline = false", "offline = true")) == []


def test_demo_configuration_causes_no_note(tmp_path: Path) -> None:
    assert noted(tmp_path, None) == []


def test_broker_row_without_a_privacy_choice_is_noted(tmp_path: Path) -> None:
    broker = ('agency = "LU"', 'agency = "LU"\ndialect = "broker"')
    assert [line.partition(":")[0] for line in noted(tmp_path, "", broker) if "partners" in line] == ["partners LU"]
    decided = ('agency = "LU"', 'agency = "LU"\ndialect = "broker"\nsees_patrons = false')
    assert not [line for line in noted(tmp_path, "", decided) if "partners" in line]


# ---- how long patrons are remembered


def retention(folder: Path, policy: str) -> dict[str, str]:
    told = (line.partition(": ") for line in noted(folder, policy))
    return {where: what for where, _, what in told if where.startswith("retention.")}


def test_default_retention_of_180_days_is_noted(tmp_path: Path) -> None:
    found = retention(tmp_path, "")
    assert list(found) == ["retention.anonymise_days"]
    assert found["retention.anonymise_days"].startswith("is not set: 180 days")


@pytest.mark.parametrize("days", [1, 180, 3650])
def test_explicit_retention_causes_no_note(tmp_path: Path, days: int) -> None:
    assert retention(tmp_path, f"[retention]\nanonymise_days = {days}\n") == {}


@pytest.mark.parametrize("key", ["anonymise_days", "messages_days"])
def test_unlimited_retention_is_noted(tmp_path: Path, key: str) -> None:
    others = "" if key == "anonymise_days" else "anonymise_days = 180\n"
    told = retention(tmp_path, f"[retention]\n{others}{key} = 0\n")
    assert told[f"retention.{key}"].startswith("is 0: patron data are kept for ever")
