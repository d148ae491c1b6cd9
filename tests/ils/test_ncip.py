"""The local system over NCIP: interpreting the replies of several systems."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import insert

from hkall_gateway.circulation.ports import LocalIls, LocalLoan, TellsLoans, Unreachable, Verb
from hkall_gateway.config.systems import SYSTEMS
from hkall_gateway.db.database import finished
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.tables import HOLDINGS, PATRONS, create_all
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.ils.ncip import Ncip, borrower_facts
from hkall_gateway.ils.settings import NcipSettings, Sip2Settings
from hkall_gateway.ils.sip2 import Sip2
from hkall_gateway.ils.tools import ConnectorServices, ConnectorTools
from hkall_gateway.ncip.codec.documents import decode
from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.net.circuit_breaker import CircuitBreaker
from hkall_gateway.net.http_post import HttpReply
from hkall_gateway.rules.vocabulary import Sensitive
from hkall_gateway.simulator.databases import SoleStore
from hkall_gateway.simulator.ils import DirectConnection, IlsBook, IlsPatron, SimulatedIls
from hkall_gateway.simulator.ils_ncip import URL, IlsResponder
from hkall_gateway.xml.tree import Fields

NOW = datetime(2017, 3, 1, 2, tzinfo=UTC)
DOCUMENTS = Path(__file__).parents[2] / "fixtures/ncip/systems"


async def never(card: str, stored: Sensitive, pin: Sensitive) -> bool:
    raise AssertionError("a living system checks its own PINs")


@pytest.fixture
def system() -> SimulatedIls:
    return SimulatedIls("HKU", lambda: NOW)


@pytest.fixture
def store() -> Iterator[SoleStore]:
    engine = open_engine("sqlite://")
    create_all(engine)
    with engine.connect() as connection:
        connection.execute(insert(PATRONS), {"barcode": "P1", "name": "Chan", "category": "undergraduates", "local_loans": 7})
        for barcode in ("B0", "B1", "B2", "B3"):
            connection.execute(insert(HOLDINGS), {"agency": "HKU", "barcode": barcode, "bib_id": "b1", "title": "Dune"})
    opened = SoleStore(engine, lambda c: UnitOfWork(c, lambda: "R1"))
    yield opened
    opened.close()


def made(
    store: SoleStore,
    system: SimulatedIls,
    connector: Callable[[ConnectorTools], LocalIls] = Ncip,
    password: str = "key",
) -> LocalIls:
    settings = NcipSettings(url=URL) if connector is Ncip else Sip2Settings()
    health, responder = CircuitBreaker("connector", lambda: NOW), IlsResponder(system, "key")
    outside = ConnectorServices(
        now=lambda: NOW,
        health=health,
        line=lambda: DirectConnection(system, health),
        post=responder.post,
        password=Sensitive(password),
    )
    return connector(ConnectorTools(store=store, agency="HKU", verify=never, settings=settings, outside=outside))


@pytest.fixture
def ils(store: SoleStore, system: SimulatedIls) -> LocalIls:
    return made(store, system)


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
    system.readers["P1"] = IlsPatron("P1", "CHAN, TAI MAN", blocked=True, loans=3)
    facts = finished(ils.borrower("P1"))
    assert facts.borrower is not None
    assert (facts.source, facts.as_of) == ("ncip", NOW)
    assert (facts.borrower.blocked, facts.borrower.local_loans) == (True, 3)
    assert (facts.borrower.category, facts.borrower.name.reveal()) == ("undergraduates", "Chan")


def test_different_card_in_the_reply_is_the_current_card(ils: LocalIls, system: SimulatedIls) -> None:
    system.readers["P1-NEW"] = IlsPatron("P1-NEW", "CHAN", former="P1")
    facts = finished(ils.borrower("P1"))
    assert facts.borrower is not None
    assert (facts.borrower.barcode, facts.borrower.category) == ("P1-NEW", "undergraduates")


def test_unknown_user_is_unknown_even_with_a_loaded_record(ils: LocalIls) -> None:
    assert finished(ils.borrower("P1")).borrower is None


@pytest.mark.parametrize(("card", "pin", "right"), [("P1", "1234", True), ("P1", "4321", False), ("P9", "1234", False)])
def test_pin_is_verified_by_the_local_system(ils: LocalIls, system: SimulatedIls, card: str, pin: str, right: bool) -> None:
    system.readers["P1"] = IlsPatron("P1")
    assert finished(ils.verify_pin(card, Sensitive(pin))) is right


def test_item_lookups_stop_at_the_first_available_item(ils: LocalIls, system: SimulatedIls) -> None:
    system.books = {"B1": IlsBook("B1", reader="P1"), "B2": IlsBook("B2"), "B3": IlsBook("B3")}
    copies = finished(ils.copies("b1"))
    assert copies is not None
    assert [(c.barcode, c.status) for c in copies] == [("B1", "On Loan"), ("B2", "Available On Shelf")]


QUESTIONS: dict[str, Callable[[LocalIls], Awaitable[object]]] = {
    "borrower": lambda ils: ils.borrower("P1"),
    "verify_pin": lambda ils: ils.verify_pin("P1", Sensitive("1")),
    "copies": lambda ils: ils.copies("b1"),
}


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("state", ["away", "silent"])
def test_unavailable_system_raises_unreachable(ils: LocalIls, system: SimulatedIls, question: str, state: str) -> None:
    system.become(state)
    with pytest.raises(Unreachable):
        finished(QUESTIONS[question](ils))


@pytest.mark.parametrize("question", QUESTIONS)
def test_refused_secret_does_not_mean_an_unknown_patron(store: SoleStore, system: SimulatedIls, question: str) -> None:
    system.readers["P1"] = IlsPatron("P1")
    with pytest.raises(Unreachable):
        finished(QUESTIONS[question](made(store, system, password="wrong")))


def test_queries_pause_after_three_failures(ils: LocalIls, system: SimulatedIls) -> None:
    system.become("away")
    for _ in range(3):
        with pytest.raises(Unreachable):
            finished(ils.borrower("P1"))
    system.become("here")
    with pytest.raises(Unreachable):
        finished(ils.borrower("P1"))
    assert system.heard == []


def test_both_connectors_return_the_same_for_the_same_system(store: SoleStore, system: SimulatedIls) -> None:
    system.readers["P1"] = IlsPatron("P1", "CHAN", loans=3)
    told_by = [finished(made(store, system, connector).borrower("P1")).borrower for connector in (Ncip, Sip2)]
    assert [(b.blocked, b.local_loans, b.category, b.name) for b in told_by if b] == [
        (False, 3, "undergraduates", Sensitive("Chan"))
    ] * 2


# ---- interpretation of a LookupUserResponse


@pytest.mark.parametrize(
    ("kind", "card"), [("", "P2"), ("Barcode", "P2"), ("Barcode Id", "P2"), ("Institution Id Number", ""), ("User Id", "")]
)
def test_user_identifier_is_a_card_only_when_it_is_a_barcode(kind: str, card: str) -> None:
    user = {"UserIdentifierType": kind, "UserIdentifierValue": "P2"}
    assert borrower_facts(reply(UserId=user), NOW).card == card


def test_former_cards_are_returned_when_the_responder_knows_them() -> None:
    before = [{"AgencyId": "HKU", "UserIdentifierValue": card} for card in ("A", "B")]
    assert borrower_facts(reply(UserOptionalFields={"PreviousUserId": before}), NOW).former == ("A", "B")


def reply(**fields: Any) -> NcipMessage:
    return NcipMessage(service="LookupUserResponse", fields={"UserId": {"UserIdentifierValue": "P1"}, **fields})


def privilege(kind: str, status: str = "", until: str = "") -> dict[str, Any]:
    said: dict[str, Any] = {"AgencyId": "HKU", "AgencyUserPrivilegeType": kind}
    said |= {"UserPrivilegeStatus": {"UserPrivilegeStatusType": status}} if status else {}
    return said | ({"ValidToDate": until} if until else {})


@pytest.mark.parametrize(
    ("block", "stops"),
    [
        ({"BlockOrTrapType": "Block Check Out"}, True),
        ({"BlockOrTrapType": "BLOCK CHECKOUT"}, True),
        ({"BlockOrTrapType": "Trap For Lost Card"}, True),
        ({"BlockOrTrapType": "Block Renewal"}, False),
        ({"BlockOrTrapType": "Trap For Message"}, False),
        ({"BlockOrTrapType": "Block Check Out", "ValidToDate": "2017-02-28T00:00:00Z"}, False),
        ({"BlockOrTrapType": "Block Check Out", "ValidToDate": "2017-12-31T00:00:00Z"}, True),
    ],
)
def test_only_current_blocks_on_borrowing_count(block: dict[str, str], stops: bool) -> None:
    assert borrower_facts(reply(UserOptionalFields={"BlockOrTrap": [block]}), NOW).blocked is stops


@pytest.mark.parametrize(
    ("rows", "category", "blocked"),
    [
        # FOLIO's convention.
        ([privilege("STATUS", "OK"), privilege("PROFILE", "UG"), privilege("LIBRARY", "MAIN")], "UG", False),
        ([privilege("STATUS", "BLOCKED"), privilege("PROFILE", "UG")], "UG", True),
        ([privilege("Undergraduate", "Active")], "Undergraduate", False),  # XC's convention
        ([privilege("Undergraduate")], "Undergraduate", False),
        ([privilege("Undergraduate", "Expired")], "Undergraduate", True),
        ([], "", False),
    ],
)
def test_privileges_are_read_in_three_formats(rows: list[dict[str, Any]], category: str, blocked: bool) -> None:
    said = borrower_facts(reply(UserOptionalFields={"UserPrivilege": rows}), NOW)
    assert (said.category, said.blocked) == (category, blocked)


def test_expiry_is_the_latest_privilege_date_in_hong_kong_time() -> None:
    rows = [privilege("A", until="2017-06-30T15:59:59Z"), privilege("B", until="2017-09-29T16:00:00Z")]
    assert borrower_facts(reply(UserOptionalFields={"UserPrivilege": rows}), NOW).expires == date(2017, 9, 30)


@pytest.mark.parametrize(
    ("fields", "loans"),
    [
        ({"LoanedItemsCount": [{"LoanedItemCountValue": "3"}, {"LoanedItemCountValue": "1"}]}, 4),
        ({"LoanedItem": [{"ItemId": {"ItemIdentifierValue": "B1"}}, {"ItemId": {"ItemIdentifierValue": "B2"}}]}, 2),
        ({"LoanedItemsCount": [{"LoanedItemCountValue": "many"}], "LoanedItem": [{"Title": "x"}]}, 1),
        ({}, 0),
    ],
)
def test_loan_count_comes_from_the_count_or_the_list(fields: dict[str, Any], loans: int) -> None:
    assert borrower_facts(reply(**fields), NOW).local_loans == loans


def test_names_and_addresses_are_read_from_all_known_elements() -> None:
    name = {"PersonalNameInformation": {"StructuredPersonalUserName": {"GivenName": "Tai Man", "Surname": "Chan"}}}
    posts = [
        {"PhysicalAddress": {}},
        {"ElectronicAddress": {"ElectronicAddressType": "tel", "ElectronicAddressData": "1234"}},
        {"ElectronicAddress": {"ElectronicAddressType": "mailto", "ElectronicAddressData": "a@b.test"}},
    ]
    said = borrower_facts(reply(UserOptionalFields={"NameInformation": name, "UserAddressInformation": posts}), NOW)
    assert (said.name.reveal(), said.email.reveal()) == ("Tai Man Chan", "a@b.test")


# ---- replies of FOLIO


class Keeper:
    """A responder that gives one reply and records its requests."""

    def __init__(self, reply: str) -> None:
        self.reply = (DOCUMENTS / reply).read_bytes()
        self.asked: list[NcipMessage] = []

    async def post(self, _url: str, body: bytes, _timeout_s: float) -> HttpReply:
        self.asked.append(decode(body))
        return HttpReply(status=200, content_type="application/xml", body=self.reply, retry_after_s=0)


def folio(store: SoleStore, reply: str) -> tuple[Ncip, Keeper]:
    keeper, health = Keeper(reply), CircuitBreaker("connector", lambda: NOW)
    outside = ConnectorServices(
        now=lambda: NOW,
        health=health,
        line=lambda: DirectConnection(SimulatedIls("HKU", lambda: NOW), health),
        post=keeper.post,
    )
    return Ncip(
        ConnectorTools(
            store=store,
            agency="HKU",
            verify=never,
            settings=NcipSettings.model_validate({"url": URL, **(SYSTEMS["folio"].ils or {})}),
            outside=outside,
        )
    ), keeper


def test_folio_gets_the_user_id_and_verifies_the_pin(store: SoleStore) -> None:
    ils, keeper = folio(store, "folio-lookup-user.xml")

    assert finished(ils.verify_pin("UG1", Sensitive("1234")))
    (asked,) = keeper.asked
    assert asked.text("UserId/UserIdentifierValue") == "UG1"
    assert asked.texts("AuthenticationInput/AuthenticationInputType") == ("PIN",)
    assert asked.texts("UserElementType") == ("User Id",)


@pytest.mark.parametrize("reply", ["folio-lookup-user-wrong-pin.xml", "folio-lookup-user-unknown.xml"])
def test_pin_result_of_folio_is_read_from_the_problem_detail(store: SoleStore, reply: str) -> None:
    ils, _ = folio(store, reply)
    assert [finished(ils.verify_pin("UG1", Sensitive("1"))) for _ in range(4)] == [False] * 4


def test_folio_failure_is_not_a_pin_result(store: SoleStore) -> None:
    ils, _ = folio(store, "folio-lookup-user-failed.xml")
    with pytest.raises(Unreachable):
        finished(ils.borrower("UG1"))


def test_loaded_loan_count_is_kept_because_folio_returns_no_loans(store: SoleStore) -> None:
    ils, _ = folio(store, "folio-lookup-user.xml")
    borrower = finished(ils.borrower("P1")).borrower  # the reply has the card UG1, which no file has loaded
    assert borrower is not None
    assert (borrower.barcode, borrower.local_loans, borrower.email.reveal()) == ("UG1", 7, "ug1@connect.test")


def test_folio_is_not_queried_about_items(store: SoleStore) -> None:
    assert Verb.COPIES not in folio(store, "folio-lookup-user.xml")[0].supports


@pytest.mark.parametrize(
    ("kind", "read"),
    [("mailto", True), ("mailserver", True), ("Electronic Mail Address", True), ("TEL", False), ("http", False)],
)
def test_any_electronic_address_with_email_syntax_is_used(kind: str, read: bool) -> None:
    where: Fields = {"ElectronicAddressType": kind, "ElectronicAddressData": "a@b.test"}
    person: Fields = {"UserAddressInformation": [{"UserAddressRoleType": "OTH", "ElectronicAddress": where}]}
    assert (
        bool(borrower_facts(NcipMessage(service="LookupUserResponse", fields={"UserOptionalFields": person}), NOW).email)
        is read
    )
