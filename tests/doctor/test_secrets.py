"""What doctor says about a peer that has two secrets, because one replaces the other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from hkall_gateway.cli.doctor.findings import Finding, Sheet
from hkall_gateway.cli.doctor.own_secrets import judge_secrets
from hkall_gateway.config.gateway import PartnerConfig

NOW = datetime(2017, 3, 10, 12, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ROW = PartnerConfig.model_construct(agency="CUHK", secret_env=("OLD", "NEW"))


def judged(**ages: timedelta) -> Finding:
    sheet = Sheet("gateway", ("secrets",), lambda: 0.0, 10)
    judge_secrets(sheet, ROW, {("CUHK", name): NOW - age for name, age in ages.items()}, NOW)
    return sheet.found[0]


@pytest.mark.parametrize(
    ("ages", "status", "said"),
    [
        ({}, "warn", "it has sent neither of its two secrets: both are needed"),
        ({"OLD": HOUR}, "ok", "it sent the first (OLD) last, on 2017-03-10 11:00 UTC, and never the second (NEW)"),
        (
            {"OLD": 2 * HOUR, "NEW": HOUR},
            "ok",
            "it sent the second (NEW) last, on 2017-03-10 11:00 UTC; the first (OLD) is needed until 2017-03-11 10:00 UTC",
        ),
        (
            {"OLD": 2 * DAY, "NEW": HOUR},
            "warn",
            "it sent the second (NEW) last, on 2017-03-10 11:00 UTC; "
            "the first (OLD) was not sent since 2017-03-08 12:00 UTC, and may go",
        ),
    ],
    ids=["never used", "only the first", "the second since today", "the second for two days"],
)
def test_doctor_says_which_secret_is_used_and_how_long_the_other_is_needed(
    ages: dict[str, timedelta], status: str, said: str
) -> None:
    found = judged(**ages)
    assert (found.status, found.about, found.detail) == (status, "CUHK", said)
