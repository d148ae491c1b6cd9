"""Distribution of the suite over workers (`make test`): their number, and which files run first."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

HERE: Final = Path(__file__).parent
LONG: Final = (
    # Slow files in `make test-long`:
    "simulator/test_simulate.py",
    "app/test_pages_process.py",
    "test_two_gateways.py",
    "attacks/floods/test_connections.py",
    "attacks/floods/test_documents.py",
    "test_rolling_upgrade.py",
    "test_daemon_kill.py",
    "test_daemon_live.py",
    "test_daemon_ils.py",
    "test_daemon_disk.py",
    "test_systemd.py",
    "test_process.py",
    "bench/test_command.py",
    "test_packaging.py",
    "cli/test_doctor.py",
    "entries/test_pages.py",
    # Slow files in `make test`:
    "cli/test_backup.py",
    "cli/test_start_checks.py",
    "test_scenarios.py",
    "published/test_5_fines_and_losses.py",
    "web/test_roles.py",
    "test_daemon.py",
    "published/test_3_recalls_and_renewals.py",
    "published/test_2_loans.py",
    "web/test_title_address.py",
    "doctor/test_own_gateway.py",
    "doctor/test_tls.py",
    "entries/test_ncip.py",
    "web/test_requests.py",
    "web/test_api_description.py",
    "db/test_search.py",
    "ncip/test_classic_made.py",
    "db/test_forgetting.py",
)
"""The slowest test files, slowest first."""


def workers() -> int:
    """Return the number of workers: one more than cores, since the suite often waits for other processes."""
    return (os.cpu_count() or 1) + 1


def longest_first(items: list[pytest.Item]) -> None:
    """Move the files in LONG to the front, so that no worker still runs one of them when the others have finished."""
    rank = {HERE / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))
