"""Distribution of the suite: number of workers, files that run first, files that need no second database."""

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
    "sip2/test_two_sides.py",
    "cli/test_machine.py",
    "circulation/test_evidence.py",
    "ncip/test_repeated_documents.py",
    "circulation/test_lying_partners.py",
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
ONE_DATABASE: Final = (
    "app/test_alerts.py",
    "bench/test_generator.py",
    "circprobe/test_care.py",
    "circprobe/test_commands.py",
    "circprobe/test_proof.py",
    "cli/test_bad_files.py",
    "cli/test_beside_a_writer.py",
    "cli/test_beside_terminals.py",
    "cli/test_explain.py",
    "cli/test_lazy.py",
    "cli/test_machine.py",
    "cli/test_staff_races.py",
    "cli/test_start_checks.py",
    "db/test_upgrade.py",
    "doctor/test_tls.py",
    "ncip/test_classic_made.py",
    "net/test_secrets.py",
    "protocols/test_configured_protocol.py",
    "simulator/test_demo_history.py",
    "simulator/test_simulate.py",
    "sip2/test_lines.py",
    "test_serve_imports.py",
    "test_side_by_side.py",
)
"""Slow files that name their databases themselves, or use none. Not run again with HKALL_TEST_DATABASE=postgresql."""


def workers() -> int:
    """Return the number of workers: one more than cores, since the suite often waits for other processes."""
    return (os.cpu_count() or 1) + 1


def needs_one_database(path: Path) -> bool:
    return path in {HERE / name for name in ONE_DATABASE}


def longest_first(items: list[pytest.Item]) -> None:
    """Move the files in LONG to the front, so that no worker still runs one of them when the others have finished."""
    rank = {HERE / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))
