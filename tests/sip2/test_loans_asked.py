"""Commands that terminal messages run, and results that no other test produces."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, cast

from hkall_gateway.circulation.loans import CheckOut, Renew
from hkall_gateway.circulation.results import Renewed
from hkall_gateway.circulation.returning import CheckIn
from hkall_gateway.db.database import finished
from hkall_gateway.rules.dates import HONG_KONG
from hkall_gateway.rules.vocabulary import ItemKey
from hkall_gateway.sip2.codec.dialects import DIALECTS
from hkall_gateway.sip2.codec.lines import Sip2Message
from hkall_gateway.sip2.codec.session import Session
from hkall_gateway.sip2.dispatch import Sip2Services, respond

DATE = "20170301    100000"
RENEWAL = f"29NN{DATE}{' ' * 18}AOHKU|AAP1|ABC1|"


def _checkin(more: str = "") -> str:
    return f"09N{DATE}{DATE}APanywhere|AOHKU|ABC1|AC|{more}"


class Scripted:
    """Records its commands, and returns scripted results."""

    def __init__(self, answer: Renewed) -> None:
        self.answer = answer
        self.asked: list[CheckIn | CheckOut | Renew] = []

    async def execute(self, command: CheckIn | CheckOut | Renew) -> Renewed:
        self.asked.append(command)
        return self.answer


def _asked(services: Sip2Services, desk: Scripted, line: str) -> str:
    session = Session(DIALECTS["standard"])
    session.log_in("offline-2")
    (piece,) = session.receive(line.encode() + b"\r")
    assert isinstance(piece, Sip2Message)
    return finished(respond(replace(services, circulation=cast(Any, desk)), session, piece, "10.0.0.7")).decode()


PENDING = Renewed(
    request="R1", item=ItemKey("CUHK", "C1"), card="P1", title="Dune", due=date(2017, 3, 3), renewals=0, pending=True
)


def test_renewal_pending_at_the_lender_is_not_ok(services: Sip2Services) -> None:
    reply = _asked(services, Scripted(PENDING), RENEWAL)
    text = "The lending library is being asked. Due on 2017-03-03 until then"
    assert reply == f"300NUN{DATE}AOHKU|AAP1|ABC1|AJDune|AH20170303    235959|AF{text}|\r"


def test_offline_checkout_passes_its_time_and_due_date_on(services: Sip2Services) -> None:
    desk = Scripted(PENDING)
    _asked(services, desk, "11NY20170227    18000020170314    235959AOHKU|AAP1|ABC1|AC|AD1234|")
    (ask,) = desk.asked
    assert isinstance(ask, CheckOut)
    assert (ask.no_block, ask.renewal_allowed, ask.pin_given, ask.due_told) == (True, False, True, date(2017, 3, 14))
    assert ask.happened_at == datetime(2017, 2, 27, 10, tzinfo=UTC)
    assert (ask.place.role, ask.place.location) == ("counter", "HKU-MAIN-LENDING")
    assert (ask.by.who, ask.by.channel, ask.by.message) == ("offline-2", "sip2", "11")


def test_check_in_with_cancel_undoes_the_loan(services: Sip2Services) -> None:
    desk = Scripted(PENDING)
    _asked(services, desk, _checkin("BIY|"))
    (ask,) = desk.asked
    assert isinstance(ask, CheckOut)
    assert (ask.undo, ask.barcode) == (True, "C1")


def test_journal_distinguishes_messages_of_a_terminal(services: Sip2Services, clock: list[datetime]) -> None:
    desk = Scripted(PENDING)
    _asked(services, desk, _checkin())
    clock[0] += timedelta(microseconds=1)
    _asked(services, desk, _checkin())
    assert desk.asked[0].by.corr != desk.asked[1].by.corr


def test_message_number_is_independent_of_the_time_zone(services: Sip2Services, clock: list[datetime]) -> None:
    desk = Scripted(PENDING)
    for zone in (HONG_KONG, UTC):
        clock[0] = datetime(2017, 3, 1, 2, 0, 7, tzinfo=UTC).astimezone(zone)
        _asked(services, desk, _checkin())
    assert [asked.by.corr for asked in desk.asked] == ["offline-2/20170301T020007.000000"] * 2
