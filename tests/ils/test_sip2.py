"""The local system over SIP2: interpreting replies of a simulated system and recorded replies of real ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, date, datetime
from typing import cast

import pytest
from sqlalchemy import insert
from twisted.internet.defer import Deferred

from hkall_gateway.circulation.ports import LocalIls, LocalLoan, TellsLoans, Unreachable, Verb
from hkall_gateway.db.database import finished
from hkall_gateway.db.tables import HOLDINGS, PATRONS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.ils.settings import Sip2Settings
from hkall_gateway.ils.sip2 import MOST_WAITING, STATUS, ConnectionPool, Sip2, borrower_facts
from hkall_gateway.ils.tools import ConnectorServices, ConnectorTools
from hkall_gateway.net.circuit_breaker import CircuitBreaker
from hkall_gateway.net.http_post import HttpReply
from hkall_gateway.rules.vendor_words.availability import CIRCULATION_STATUS
from hkall_gateway.rules.vocabulary import Sensitive
from hkall_gateway.simulator.databases import SoleStore
from hkall_gateway.simulator.ils import DirectConnection, IlsBook, IlsPatron, SimulatedIls
from hkall_gateway.sip2.codec.dialects import DIALECTS
from hkall_gateway.sip2.codec.lines import decode
from tests import databases

NOW = datetime(2017, 3, 1, 2, tzinfo=UTC)


async def never(card: str, stored: Sensitive, pin: Sensitive) -> bool:
    raise AssertionError("a living system checks its own PINs")


async def nowhere(url: str, body: bytes, timeout_s: float) -> HttpReply:
    raise AssertionError("nothing is posted")


@pytest.fixture
def system() -> SimulatedIls:
    return SimulatedIls("HKU", lambda: NOW)


@pytest.fixture
def settings() -> dict[str, str]:
    """The [ils] table besides the institution."""
    return {}


@pytest.fixture
def ils(system: SimulatedIls, settings: dict[str, str]) -> Iterator[LocalIls]:
    engine = databases.MEMORY.fresh()
    with engine.connect() as connection:
        connection.execute(
            insert(PATRONS),
            {
                "barcode": "P1",
                "name": "Chan",
                "category": "undergraduates",
                "local_loans": 7,
                "total_quota": 40,
                "blocked": True,
            },
        )
        for barcode in ("B1", "B2", "B3"):
            connection.execute(insert(HOLDINGS), {"agency": "HKU", "barcode": barcode, "bib_id": "b1", "title": "Dune"})
        connection.execute(insert(HOLDINGS), {"agency": "CUHK", "barcode": "C1", "bib_id": "b1", "title": "Dune"})
    store, health = SoleStore(engine, lambda c: UnitOfWork(c, lambda: "R1")), CircuitBreaker("connector", lambda: NOW)
    outside = ConnectorServices(now=lambda: NOW, health=health, line=lambda: DirectConnection(system, health), post=nowhere)
    yield Sip2(
        ConnectorTools(
            store=store,
            agency="HKU",
            verify=never,
            settings=Sip2Settings.model_validate({"institution": "MAIN", "connections": 1, **settings}),
            outside=outside,
        )
    )
    store.close()


def test_adapter_reports_its_capabilities(ils: LocalIls) -> None:
    assert ils.supports == {Verb.BORROWER, Verb.VERIFY_PIN, Verb.COPIES, Verb.LOANS}


def test_patron_loans_have_titles(ils: LocalIls, system: SimulatedIls) -> None:
    system.readers["P1"] = IlsPatron("P1")
    system.books["B7"] = IlsBook("B7", "Emma", reader="P1")
    system.books["B8"] = IlsBook("B8", "Dune", reader="P2")
    listed = cast(TellsLoans, ils)
    assert finished(listed.loans("P1")) == (LocalLoan(barcode="B7", title="Emma"),)
    assert finished(listed.loans("NOBODY")) == ()


def test_blocks_and_counts_are_live_and_other_data_is_as_loaded(ils: LocalIls, system: SimulatedIls) -> None:
    system.readers["P1"] = IlsPatron("P1", "CHAN, TAI MAN", loans=3, limit=60)
    facts = finished(ils.borrower("P1"))
    assert facts.borrower is not None
    assert (facts.source, facts.as_of) == ("sip2", NOW)
    assert (facts.borrower.blocked, facts.borrower.local_loans, facts.borrower.total_quota) == (False, 3, 60)
    assert (facts.borrower.category, facts.borrower.name.reveal()) == ("undergraduates", "Chan")


def test_patron_without_a_loaded_record_has_no_category(ils: LocalIls, system: SimulatedIls) -> None:
    system.readers["P2"] = IlsPatron("P2", "Lee")
    facts = finished(ils.borrower("P2"))
    assert facts.borrower is not None
    assert (facts.borrower.name.reveal(), facts.borrower.category) == ("Lee", "")


def test_different_card_in_the_reply_is_the_current_card(ils: LocalIls, system: SimulatedIls) -> None:
    system.readers["P1-NEW"] = IlsPatron("P1-NEW", "CHAN, TAI MAN", former="P1")
    facts = finished(ils.borrower("P1"))
    assert facts.borrower is not None
    assert (facts.borrower.barcode, facts.borrower.category, facts.borrower.name.reveal()) == (
        "P1-NEW",
        "undergraduates",
        "Chan",
    )


@pytest.mark.parametrize("settings", [{"answered_card": "ignore"}])
def test_card_is_kept_when_the_reply_has_a_different_kind_of_identifier(ils: LocalIls, system: SimulatedIls) -> None:
    system.readers["77123"] = IlsPatron("77123", "CHAN, TAI MAN", former="P1")
    facts = finished(ils.borrower("P1"))
    assert facts.borrower is not None
    assert facts.borrower.barcode == "P1"


def test_card_reported_invalid_is_unknown_even_with_a_loaded_record(ils: LocalIls) -> None:
    assert finished(ils.borrower("P1")).borrower is None


def test_requests_use_the_institution_id_of_the_local_system(ils: LocalIls, system: SimulatedIls) -> None:
    finished(ils.borrower("P1"))
    assert "AOMAIN|" in system.heard[0]


@pytest.mark.parametrize(("pin", "right"), [("1234", True), ("4321", False)])
def test_pin_is_verified_by_the_local_system(ils: LocalIls, system: SimulatedIls, pin: str, right: bool) -> None:
    system.readers["P1"] = IlsPatron("P1")
    assert finished(ils.verify_pin("P1", Sensitive(pin))) is right


def test_pin_is_unknown_when_the_reply_has_no_cq(ils: LocalIls, system: SimulatedIls) -> None:
    system.readers["P1"], system.omits = IlsPatron("P1"), frozenset({"CQ"})
    assert finished(ils.verify_pin("P1", Sensitive("1234"))) is None


def test_pin_of_an_unknown_card_is_wrong(ils: LocalIls) -> None:
    assert finished(ils.verify_pin("P9", Sensitive("1234"))) is False


def test_item_lookups_stop_at_the_first_available_item(ils: LocalIls, system: SimulatedIls) -> None:
    system.books = {"B1": IlsBook("B1", reader="P1"), "B2": IlsBook("B2"), "B3": IlsBook("B3")}
    copies = finished(ils.copies("b1"))
    assert copies is not None
    assert [(c.barcode, c.status) for c in copies] == [("B1", "On Loan"), ("B2", "Available On Shelf")]


def test_item_without_a_status_is_not_taken_from_the_loaded_file(ils: LocalIls, system: SimulatedIls) -> None:
    # B1 is unknown, so its status is 01 (other).
    system.books = {"B2": IlsBook("B2", reader="P1"), "B3": IlsBook("B3", reader="P1")}
    copies = finished(ils.copies("b1"))
    assert copies is not None
    assert [(c.barcode, c.status) for c in copies][:2] == [("B1", "Circulation Status Undefined"), ("B2", "On Loan")]


def test_every_sip2_circulation_status_maps_to_a_niso_status() -> None:
    assert sorted(STATUS) == [f"{number:02}" for number in range(1, 14)]
    assert set(STATUS.values()) <= set(CIRCULATION_STATUS)


def test_availability_of_another_librarys_title_needs_no_query(ils: LocalIls, system: SimulatedIls) -> None:
    assert finished(ils.copies("b9")) == ()
    assert system.heard == []


@pytest.mark.parametrize("question", ["borrower", "verify_pin", "copies"])
def test_unavailable_system_raises_unreachable(ils: LocalIls, system: SimulatedIls, question: str) -> None:
    system.become("away")
    questions: dict[str, Callable[[], Awaitable[object]]] = {
        "borrower": lambda: ils.borrower("P1"),
        "verify_pin": lambda: ils.verify_pin("P1", Sensitive("1")),
        "copies": lambda: ils.copies("b1"),
    }
    with pytest.raises(Unreachable):
        finished(questions[question]())


# ---- interpretation of a 64


def heard(status: str, counts: str, tags: str) -> bytes:
    return f"64{status.ljust(14)}00120170301    100000{counts.ljust(24)}AOHKU|AAP1|AEX|{tags}".encode()


@pytest.mark.parametrize(
    ("line", "blocked", "loans", "limit"),
    [
        (heard("", "000000000003", ""), False, 3, None),
        (heard("Y", "000000000003", ""), True, 3, None),
        (heard("    Y", "000000000003", ""), True, 3, None),
        (heard("Y    Y", "000000000040", "CB0040|"), False, 40, 40),  # the patron has reached the limit, but is not blocked
        (heard("Y    Y", "000000000040", ""), False, 40, 40),  # the reply has no limit, so the number of loans is the limit
        (heard(" Y", "", "CB9999|"), False, None, 9999),
        (heard("", "0000    x   ", "CBmany|"), False, None, None),
    ],
)
def test_counts_and_patron_status_flags_are_read(line: bytes, blocked: bool, loans: int | None, limit: int | None) -> None:
    said = borrower_facts(decode(line, DIALECTS["standard"]))
    assert (said.blocked, said.local_loans, said.total_quota) == (blocked, loans, limit)


def test_extensions_of_koha_and_evergreen_are_read() -> None:
    said = borrower_facts(decode(heard("", "", "BEa@b.test|PCSTAFF|PA20170930    235900|"), DIALECTS["standard"]))
    assert (said.category, said.expires, said.email.reveal()) == ("STAFF", date(2017, 9, 30), "a@b.test")


@pytest.mark.parametrize("text", ["never", "30/09/2017", "2017", ""])
def test_invalid_expiry_date_is_ignored(text: str) -> None:
    assert borrower_facts(decode(heard("", "", f"PA{text}|"), DIALECTS["standard"])).expires is None


# ---- shared connections


class Waiting:
    """A connection that replies when the test releases it."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, Deferred[bytes]]] = []

    async def __call__(self, body: bytes) -> bytes:
        answer: Deferred[bytes] = Deferred()
        self.asked.append((body, answer))
        return await answer


def test_requests_share_connections_one_request_at_a_time() -> None:
    made = [Waiting(), Waiting()]
    lines = ConnectionPool(iter(made).__next__, 2)
    outcomes: list[object] = []
    for body in (b"1", b"2", b"3"):
        Deferred.fromCoroutine(lines(body)).addBoth(outcomes.append)
    assert sorted(len(line.asked) for line in made) == [1, 1]
    first = next(line for line in made if line.asked[0][0] == b"1")
    first.asked[0][1].callback(b"one")
    assert [body for body, _ in first.asked] == [b"1", b"3"]
    assert outcomes == [b"one"]


def test_request_fails_when_the_queue_is_full() -> None:
    line = Waiting()
    lines = ConnectionPool(lambda: line, 1)
    asked = [Deferred.fromCoroutine(lines(b"63")) for _ in range(MOST_WAITING + 1)]
    refused: list[object] = []
    Deferred.fromCoroutine(lines(b"63")).addErrback(lambda failure: refused.append(failure.type))
    assert refused == [Unreachable]
    assert not any(one.called for one in asked)
    for one in asked:
        one.addErrback(lambda _failure: None)
        one.cancel()
