"""What check-config says of a site that has not decided how long it remembers its patrons."""

from __future__ import annotations

from pathlib import Path

import pytest

from hkall_gateway.config import gateway, policy
from hkall_gateway.config.privacy_notes import privacy_notes
from hkall_gateway.lab import setup

PORTS = setup.Ports(partners={"CUHK": 1})


def notes(folder: Path, text: str) -> dict[str, str]:
    config = gateway.load(setup.write_config(folder, PORTS, text), setup.environment(PORTS))
    return dict(privacy_notes(config, policy.load(config.policy.file)))


def test_a_site_that_says_nothing_hears_of_180_days(tmp_path: Path) -> None:
    found = notes(tmp_path, "")
    assert list(found) == ["retention.anonymise_days"]
    assert found["retention.anonymise_days"].startswith("is not set: 180 days")


@pytest.mark.parametrize("days", [1, 180, 3650])
def test_a_site_that_has_decided_hears_nothing(tmp_path: Path, days: int) -> None:
    assert notes(tmp_path, f"[retention]\nanonymise_days = {days}\n") == {}


@pytest.mark.parametrize("key", ["anonymise_days", "messages_days"])
def test_for_ever_is_noted(tmp_path: Path, key: str) -> None:
    told = notes(tmp_path, f"[retention]\nanonymise_days = 180\n{key} = 0\n".replace("180\nanonymise_days = ", ""))
    assert told[f"retention.{key}"].startswith("is 0: patrons are remembered for ever")
