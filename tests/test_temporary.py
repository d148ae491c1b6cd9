"""Temporary files stay in memory only if there is space."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tests import temporary


def test_missing_folder_has_no_free_space(tmp_path: Path) -> None:
    assert not temporary.roomy(tmp_path / "none")


@pytest.mark.parametrize(("room", "roomy"), [(1, True), (1 << 60, False)])
def test_temporary_folder_needs_enough_free_space_for_the_suite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, roomy: bool
) -> None:
    monkeypatch.setattr(temporary, "ROOM", room)
    assert temporary.roomy(tmp_path) is roomy


def test_explicitly_chosen_folder_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = tempfile.tempdir
    temporary.use_memory()
    assert (os.environ["TMPDIR"], tempfile.tempdir) == (str(tmp_path), before)
