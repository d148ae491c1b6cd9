"""A renewal with a fee needs the patron's agreement: BO and BV (policy: overdue loans may be renewed)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest

from hkall_gateway.rules.settings import Policy, Renewal
from hkall_gateway.rules.vocabulary import Position, Request
from hkall_gateway.simulator.databases import SoleStore
from hkall_gateway.sip2.codec.lines import Sip2Message
from tests.readers import POLICY

P = Position
DATE = "20170301    100000"
Place = Callable[..., Request]
Fields = Callable[[str, str], Sip2Message]


@pytest.fixture
def policy() -> Policy:
    return replace(POLICY, renewal=replace(Renewal(), overdue="allow"))


@pytest.fixture(autouse=True)
def five_days_late(place: Place, clock: list[datetime]) -> None:
    today, clock[0] = clock[0], clock[0] - timedelta(days=20)
    place(P.ON_LOAN, due=date(2017, 2, 24), first_checkout=date(2017, 2, 9), loan_days=15)
    clock[0] = today


def _29(more: str = "") -> str:
    return f"29NN{DATE}{'':18}AOHKU|AAP1|ABC1|{more}"


def _11(more: str = "") -> str:
    return f"11YN{DATE}{'':18}AOHKU|AAP1|ABC1|AC|{more}"


@pytest.mark.parametrize("asked", [_29(), _29("BON|"), _11(), _11("BON|")])
def test_unacknowledged_fee_is_returned_without_a_renewal(store: SoleStore, fields: Fields, asked: str) -> None:
    reply = fields("counter-1", asked)
    assert [reply.get(name) for name in ("ok", "BT", "BH", "BV")] == ["0", "04", "HKD", "10.00"]
    assert reply.all("AF") == ("A fee of HKD 10.00 is due",)
    assert store.now(lambda unit: unit.patrons.owed_cents("P1")) == 0


@pytest.mark.parametrize("asked", [_29("BOY|"), _11("BOY|")])
def test_acknowledged_fee_renews_the_loan_and_is_charged(store: SoleStore, fields: Fields, asked: str) -> None:
    reply = fields("counter-1", asked)
    assert [reply.get(name) for name in ("ok", "renewal_ok", "AH")] == ["1", "Y", "20170316    235959"]
    assert store.now(lambda unit: unit.patrons.owed_cents("P1")) == 1000


def test_renewal_returns_its_fee(fields: Fields) -> None:
    reply = fields("counter-1", _29("BOY|"))
    assert [reply.get(name) for name in ("BT", "BH", "BV")] == ["04", "HKD", "10.00"]


def test_renew_all_skips_loans_with_a_fee_until_it_is_acknowledged(place: Place, fields: Fields) -> None:
    place(P.ON_LOAN, item_barcode="C2", due=date(2017, 3, 3), first_checkout=date(2017, 2, 16), loan_days=15)
    first = fields("counter-1", f"65{DATE}AOHKU|AAP1|")
    assert (first.get("ok"), first.all("BM"), first.all("BN")) == ("1", ("C2",), ("C1",))
    assert first.all("AF") == ("Renewed: 1", "C1: A fee of HKD 10.00 is due")
    then = fields("counter-1", f"65{DATE}AOHKU|AAP1|BOY|")
    assert (then.get("renewed_count"), then.get("unrenewed_count")) == ("0002", "0000")
