"""Checks whether systemd runs the gateway, and by the unit files that are on the disk."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from hkall_gateway.cli.doctor.findings import Sheet
from hkall_gateway.clock import monotonic_us, now

BOOTED: Final = Path("/run/systemd/system")
"""This folder exists if systemd is the machine's first process. Source: sd_booted(3)."""
UNITS: Final = ("hkall-gateway.service", "hkall-gateway@*.service")
PATIENCE_S: Final = 5
STARTS: Final = ("enabled", "enabled-runtime", "static", "indirect", "generated", "alias")
"""States of a unit file that needs no `systemctl enable`. Source: systemctl(1), is-enabled."""
_PROPERTIES: Final = (
    "Id",
    "LoadState",
    "ActiveState",
    "UnitFileState",
    "NeedDaemonReload",
    "FragmentPath",
    "DropInPaths",
    "ExecMainStartTimestampMonotonic",
)

Unit = Mapping[str, str]
"""The properties of one unit, by name."""


def check_service(sheet: Sheet) -> None:
    """Add the findings about the gateway's units. This blocks for PATIENCE_S seconds at most."""
    if not BOOTED.is_dir():
        sheet.ok("service", "systemd does not run this machine")
        return
    try:
        units = read_units()
    except (OSError, subprocess.SubprocessError) as error:
        sheet.warn("service", f"systemctl does not answer: {error}", "Run `systemctl status hkall-gateway` as root.")
        return
    judge_units(sheet, units, _machine_started_at_s())


def read_units() -> Sequence[Unit]:
    """Return the gateway's units that systemd knows. Raises OSError, SubprocessError."""
    command = ["systemctl", "show", f"--property={','.join(_PROPERTIES)}", "--", *UNITS]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S)  # of this machine
    units = []
    for paragraph in shown.stdout.strip().split("\n\n"):
        unit = dict(line.split("=", 1) for line in paragraph.splitlines() if "=" in line)
        if unit.get("LoadState", "not-found") != "not-found":
            units.append(unit)
    return units


def judge_units(sheet: Sheet, units: Sequence[Unit], machine_started_at_s: float) -> None:
    """Add a finding for each unit in use or, if none is in use, for each installed unit.

    Args:
        sheet: Gets the findings.
        units: The properties of the units that systemd knows.
        machine_started_at_s: The UNIX time from which systemd counts its monotonic timestamps.
    """
    in_use = [unit for unit in units if unit["ActiveState"] != "inactive" or unit["UnitFileState"] in STARTS]
    for unit in in_use or units:
        _judge_unit(sheet, unit, machine_started_at_s)


def _judge_unit(sheet: Sheet, unit: Unit, machine_started_at_s: float) -> None:
    name, state = unit["Id"], unit["ActiveState"]
    restart = f"systemctl restart {name}"
    if state == "failed":
        sheet.fail("service", f"{name} has failed", f"Run `journalctl -u {name}`: its last lines name the reason.", name)
    elif unit["NeedDaemonReload"] == "yes":
        what = f"systemd uses an older {name} than the file on the disk"
        sheet.fail("service", what, f"Run `systemctl daemon-reload`, then `{restart}`.", name)
    elif _is_older_than_its_files(unit, machine_started_at_s):
        sheet.fail("service", f"{name} was started before its unit changed on the disk", f"Run `{restart}`.", name)
    elif state == "inactive":
        sheet.warn("service", f"{name} does not run", f"Run `systemctl enable --now {name}`.", name)
    elif unit["UnitFileState"] not in STARTS:
        what = f"{name} runs, and is not enabled: it does not start with the machine"
        sheet.warn("service", what, f"Run `systemctl enable {name}`.", name)
    else:
        sheet.ok("service", f"{name} is {state} and enabled", name)


def _is_older_than_its_files(unit: Unit, machine_started_at_s: float) -> bool:
    """Check whether a unit file or a drop-in was written after the start of the main process.

    A package keeps the modification times of its files, but not the times at which they were put on the disk.
    """
    started_us = unit.get("ExecMainStartTimestampMonotonic", "")
    if unit["ActiveState"] == "inactive" or not started_us.isdecimal() or started_us == "0":
        return False
    started_at_s = machine_started_at_s + int(started_us) / 1e6
    for path in (unit["FragmentPath"], *unit["DropInPaths"].split()):
        with suppress(OSError):
            if Path(path).stat().st_ctime > started_at_s:
                return True
    return False


def _machine_started_at_s() -> float:
    return now().timestamp() - monotonic_us() / 1e6
