"""How the suite is spread over workers (`make test`): their number, and which files begin."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

HERE: Final = Path(__file__).parent
LONG: Final = (
    "cli/test_doctor.py",
    "test_scenarios.py",
    "test_two_gateways.py",
    "cli/test_backup.py",
    "test_rolling_upgrade.py",
    "test_daemon.py",
    "test_daemon_live.py",
    "cli/test_endings.py",
    "test_daemon_ils.py",
    "test_daemon_kill.py",
    "test_daemon_disk.py",
    "ncip/test_classic_made.py",
    "published/test_3_recalls_and_renewals.py",
    "published/test_2_loans.py",
    "published/test_5_fines_and_losses.py",
    "doctor/test_tls.py",
    "test_packaging.py",
    "bench/test_command.py",
    "cli/test_patron.py",
    "test_systemd.py",
    "test_process.py",
    "simulator/test_simulate.py",
    "test_time_zone.py",
    "db/test_forgetting.py",
    "circulation/test_properties.py",
)
"""The files of tests that take longest, longest first."""


def workers() -> int:
    """Return one more than there are cores: much of the suite's time is waiting for other processes."""
    return (os.cpu_count() or 1) + 1


def longest_first(items: list[pytest.Item]) -> None:
    """Move LONG to the front, so that no worker is busy with one of them at the end while the others have nothing to do."""
    rank = {HERE / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))
