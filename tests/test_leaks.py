"""The check for personal data in captured logs finds such data and nothing else."""

from __future__ import annotations

import pytest

from tests.leaks import leaks

HEAD = '{"ts":"2026-11-25T02:06:49.220Z","event":"x",'


@pytest.mark.parametrize(
    "shown",
    [
        '"why":"to p0001@connect.example.hk"}',
        '"line":"11|AD1234|"}',
        '"who":"Ho Wai Man"}',
        '"who":"何慧敏"}',
        '"h":"$argon2id$v=19"}',
    ],
)
def test_leak_of_patron_data_is_detected(shown: str) -> None:
    assert len(leaks(HEAD + shown)) == 1


@pytest.mark.parametrize("text", ['{"ts":"x","patron_ref":"0123456789ab"}', "Dear Ho Wai Man, p0001@connect.example.hk", ""])
def test_other_output_is_accepted(text: str) -> None:
    assert leaks(text) == []
