"""Tests that cannot run here are skipped manually and fail under CI, so that CI leaves no test out silently."""

from __future__ import annotations

import os

import pytest

from tests import debian

OUTCOMES = {"": pytest.skip.Exception, "true": pytest.fail.Exception}


@pytest.mark.parametrize("ci", OUTCOMES)
def test_debian_machines_are_required_only_in_ci(
    ci: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("CI", ci)
    assert debian.why_not() == "a Debian machine can be made by root only"
    with pytest.raises(OUTCOMES[ci], match="by root only"):
        request.getfixturevalue("bootable")
