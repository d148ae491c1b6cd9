"""What doctor says of the units of systemd: the one in use must be the one on the disk, running and enabled."""

from __future__ import annotations

from pathlib import Path

import pytest

from hkall_gateway.cli.doctor import own_gateway, own_service
from hkall_gateway.cli.doctor.findings import Sheet

LONG_AFTER_US, AT_ONCE_US = "9" * 16, "1"
UNIT = {
    "Id": "hkall-gateway.service",
    "LoadState": "loaded",
    "ActiveState": "active",
    "UnitFileState": "enabled",
    "NeedDaemonReload": "no",
    "FragmentPath": "",
    "DropInPaths": "",
    "ExecMainStartTimestampMonotonic": LONG_AFTER_US,
}
INSTANCE = {**UNIT, "Id": "hkall-gateway@1.service"}
NOT_USED = {**UNIT, "ActiveState": "inactive", "UnitFileState": "disabled", "ExecMainStartTimestampMonotonic": "0"}


def machine(monkeypatch: pytest.MonkeyPatch, folder: Path, *units: dict[str, str]) -> Sheet:
    """Examine a machine whose systemctl shows these units."""
    shown = "\n".join("".join(f"{name}={value}\n" for name, value in unit.items()) for unit in units)
    (folder / "shown").write_text(shown)
    program = folder / "systemctl"
    program.write_text(f"#!/bin/sh\nexec cat {folder}/shown\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(own_service, "BOOTED", folder)
    sheet = Sheet("gateway", own_gateway.PLAN, lambda: 0.0, 10)
    own_service.check_service(sheet)
    return sheet


def told(sheet: Sheet) -> list[tuple[str, str]]:
    return [(one.status.value, one.advice) for one in sheet.found]


def test_running_and_enabled_unit_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sheet = machine(monkeypatch, tmp_path, UNIT)
    assert [(one.status.value, one.detail) for one in sheet.found] == [("ok", "hkall-gateway.service is active and enabled")]


def test_unit_that_systemd_has_not_read_again_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sheet = machine(monkeypatch, tmp_path, {**UNIT, "NeedDaemonReload": "yes"})
    assert told(sheet) == [("fail", "Run `systemctl daemon-reload`, then `systemctl restart hkall-gateway.service`.")]


@pytest.mark.parametrize("key", ["FragmentPath", "DropInPaths"])
def test_process_older_than_its_unit_on_the_disk_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    file = tmp_path / "unit"
    file.touch()
    sheet = machine(monkeypatch, tmp_path, {**UNIT, key: str(file), "ExecMainStartTimestampMonotonic": AT_ONCE_US})
    (found,) = sheet.found
    assert found.detail == "hkall-gateway.service was started before its unit changed on the disk"
    assert told(sheet) == [("fail", "Run `systemctl restart hkall-gateway.service`.")]


@pytest.mark.parametrize(
    ("changed", "status", "advice"),
    [
        ({"ActiveState": "failed"}, "fail", "journalctl -u hkall-gateway.service"),
        ({"ActiveState": "inactive"}, "warn", "systemctl enable --now hkall-gateway.service"),
        ({"UnitFileState": "disabled"}, "warn", "systemctl enable hkall-gateway.service"),
        (NOT_USED, "warn", "systemctl enable --now hkall-gateway.service"),
    ],
)
def test_unit_that_does_not_run_or_start_is_reported_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, str], status: str, advice: str
) -> None:
    sheet = machine(monkeypatch, tmp_path, {**UNIT, **changed})
    assert [one.status.value for one in sheet.found] == [status]
    assert advice in sheet.found[0].advice


def test_unit_that_instances_of_the_template_replace_is_not_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sheet = machine(monkeypatch, tmp_path, NOT_USED, INSTANCE, {**INSTANCE, "Id": "hkall-gateway@2.service"})
    assert [(one.status.value, one.about) for one in sheet.found] == [
        ("ok", "hkall-gateway@1.service"),
        ("ok", "hkall-gateway@2.service"),
    ]


def test_machine_without_the_unit_or_without_systemd_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sheet = machine(monkeypatch, tmp_path, {"Id": "hkall-gateway.service", "LoadState": "not-found"})
    assert sheet.found == []  # the table's words for a check without a finding stand for it
    monkeypatch.setattr(own_service, "BOOTED", tmp_path / "nowhere")
    own_service.check_service(sheet)
    assert [one.status.value for one in sheet.found] == ["ok"]


def test_systemctl_that_does_not_answer_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(own_service, "BOOTED", tmp_path)
    sheet = Sheet("gateway", own_gateway.PLAN, lambda: 0.0, 10)
    own_service.check_service(sheet)
    assert [one.status.value for one in sheet.found] == ["warn"]
