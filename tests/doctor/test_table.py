"""The table of checks, and the sheet that collects their results."""

from __future__ import annotations

import pytest

from hkall_gateway.cli.doctor import callers, examination, ils, mail, ncip, own_gateway
from hkall_gateway.cli.doctor.findings import CHECKS, CLIENT, GATEWAY, ILS, PARTNER, SMTP, Sheet, Status
from hkall_gateway.config import gateway
from tests.doctor.conftest import Site

KINDS = {GATEWAY, PARTNER, CLIENT, ILS, SMTP}

EVERYTHING = """
[[partners]]
agency = "CUHK"
name = "CUHK Library"
url = "https://ncip.cuhk.invalid/ncip"
secret_env = "SECRET"
can_lookup_request = true

[[clients]]
agency = "DISCOVERY"
secret_env = "SECRET"

[smtp]
from = "lending@lib.example.hk"
login = "gateway"
password_env = "SECRET"
starttls = true
"""


def test_every_check_has_a_description_and_advice() -> None:
    for row in CHECKS.values():
        assert row.of
        assert set(row.of) <= KINDS
        assert row.tries[0].islower()
        assert row.advice[0].isupper()
        assert row.advice.endswith((".", "`"))
        assert "|" not in row.tries + row.advice


def plans(site: Site, table: str) -> dict[str, set[str]]:
    """The checks of each peer of a configuration, by the kind of the peer."""
    site.environ["SECRET"] = "agreed"
    site.write(EVERYTHING + table)
    config = gateway.load(site.path, site.environ)
    partner, smtp = config.partners[0].plain(), config.smtp
    assert smtp is not None
    return {
        GATEWAY: {*own_gateway.PLAN},
        PARTNER: {*ncip.plan(partner), callers.CHECK},
        CLIENT: {callers.CHECK},
        ILS: {*ils.plan(config, with_interview=True)},
        SMTP: {*mail.plan(smtp)},
    }


def test_check_is_planned_for_exactly_its_peer_kinds(site: Site) -> None:
    by_kind: dict[str, set[str]] = {kind: set() for kind in KINDS}
    tables = (
        '\n[ils]\nconnector = "snapshot"\n',
        '\n[ils]\nconnector = "sip2"\nhost = "ils.invalid"\ntls = true\nrelay = true\n',
        '\n[ils]\nconnector = "ncip"\nurl = "https://ils.invalid/ncip"\n',
    )
    for table in tables:
        for kind, checks in plans(site, table).items():
            by_kind[kind] |= checks
    assert by_kind == {kind: {row.name for row in CHECKS.values() if kind in row.of} for kind in KINDS}


def test_checks_of_a_plan_are_unique(site: Site) -> None:
    plans(site, '\n[ils]\nconnector = "ncip"\nurl = "https://ils.invalid/ncip"\nrelay = true\nhost = "ils.invalid"\n')
    sheet = site.examine("ils", seconds=0.5)
    assert len(set(sheet.plan)) == len(sheet.plan)


def test_every_configured_peer_is_checked_under_its_own_name(site: Site) -> None:
    plans(site, "")
    assert examination.PEER_S == 10
    assert [site.examine(who, seconds=0.5).peer for who in ("gateway", "CUHK", "DISCOVERY", "ils", "smtp")] == [
        "gateway",
        "CUHK",
        "DISCOVERY",
        "ils",
        "smtp",
    ]


# ---- the sheet


def test_result_of_an_unplanned_check_raises() -> None:
    with pytest.raises(AssertionError, match="auth is not planned for CUHK"):
        Sheet("CUHK", ("dns",), lambda: 0.0, 10).ok("auth", "")


def test_finished_sheet_lists_the_planned_checks_with_reasons_for_skipped_ones() -> None:
    sheet = Sheet("CUHK", ("dns", "tcp", "http", "clock", "proof.theirs"), lambda: 0.0, 10)
    sheet.fail("clock", "60 min behind ours")
    sheet.ok("proof.theirs", "by secret")
    sheet.ok("dns", "192.0.2.7")
    sheet.fail("tcp", "refused")
    sheet.close()
    assert [(one.check, one.status, one.detail) for one in sheet.found] == [
        ("dns", Status.OK, "192.0.2.7"),
        ("tcp", Status.FAIL, "refused"),
        ("http", Status.SKIP, "tcp failed"),
        ("clock", Status.FAIL, "60 min behind ours"),
        ("proof.theirs", Status.OK, "by secret"),
    ]


def test_failed_check_without_advice_gets_the_advice_of_the_table() -> None:
    sheet = Sheet("CUHK", ("dns", "tcp", "http"), lambda: 0.0, 10)
    sheet.ok("dns", "")
    sheet.fail("tcp", "")
    sheet.fail("http", "", "Ask.")
    assert [one.advice for one in sheet.found] == ["", CHECKS["tcp"].advice, "Ask."]


def test_remaining_time_decreases_and_stays_above_zero() -> None:
    seconds = [0.0]
    sheet = Sheet("CUHK", ("dns",), lambda: seconds[0], 10)
    assert sheet.left_s() == 10
    seconds[0] = 25
    assert 0 < sheet.left_s() < 0.1
