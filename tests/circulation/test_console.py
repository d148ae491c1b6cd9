"""The console's queries: one request in full, search, unsent messages, and the limits of statistics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert

from hkall_gateway.circulation.command import InboxKey
from hkall_gateway.circulation.partner_notice import ItemShipped
from hkall_gateway.circulation.partners.deliveries import Delivered
from hkall_gateway.circulation.recalls import ItemRecalled
from hkall_gateway.circulation.results import DeliveryResult, Refused
from hkall_gateway.circulation.staff import console
from hkall_gateway.circulation.staff.console import RequestPage, facts_in
from hkall_gateway.db import fines, quarantine
from hkall_gateway.db.database import finished
from hkall_gateway.db.loads import former_cards, loading
from hkall_gateway.db.queries.request_search import FoundBy
from hkall_gateway.db.queries.work_lists import ListName, PageOrder, SortKey
from hkall_gateway.db.tables import OUTBOX
from hkall_gateway.rules.circuit import CircuitSettings
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.json_records import to_json
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import DeliveryKind, NoticeState, OutboxState, StaffRole
from hkall_gateway.rules.vocabulary import Actor, Holding, ItemKey, Position, Sensitive, Side, Title
from tests.circulation.conftest import DeskWorld, sent_as

P = Position


@pytest.fixture
def desk(library_on_each: DeskWorld) -> DeskWorld:
    return library_on_each


def ask(desk: DeskWorld, query: Callable[..., Any], *args: Any) -> Any:
    """Run a query of the console."""
    return finished(desk.circulation.execute(query(*args)))


def page(desk: DeskWorld, number: str = "R1", role: StaffRole = StaffRole.CLERK) -> RequestPage:
    found = ask(desk, console.request_page, number, role)
    assert isinstance(found, RequestPage)
    return found


# ---- one request


def test_unknown_request_is_refused(desk: DeskWorld) -> None:
    found = ask(desk, console.request_page, "R-NONE", StaffRole.CLERK)
    assert isinstance(found, Refused)
    assert found.why is Reason.UNKNOWN_REQUEST


def test_journal_of_a_request_shows_the_rule_of_each_step(desk: DeskWorld) -> None:
    desk.wish()
    desk.go_to("2017-03-02 10:00")
    desk.act("cancel", reason="no longer wanted")
    lines = [(e.line.event, e.line.who, e.line.source, e.line.target, e.line.rule) for e in page(desk).events]
    assert lines == [
        ("OPEN", "mei", "", "NEW", ""),
        ("ASK", "mei", "NEW", "REQUESTED", page(desk).events[1].line.rule),
        ("CANCEL", "mei", "REQUESTED", "CANCELLING", "R34"),
    ]
    assert page(desk).events[-1].facts["reason"] == "no longer wanted"
    assert page(desk).events[-1].facts["position"] == "CANCELLING"


def test_sent_message_is_shown_with_its_data_attempts_and_partner(desk: DeskWorld) -> None:
    desk.wish()
    row = replace(desk.store.now(lambda unit: unit.outbox.rows())[0], attempts=1)  # as one that the courier claimed
    later = desk.now + timedelta(minutes=10)
    desk.ask(
        desk.circulation.execute(
            Delivered(
                row=row,
                answer=DeliveryResult(kind=DeliveryKind.UNREACHABLE, detail="refused"),
                retry_at=later,
                circuit_settings=CircuitSettings(),
            )
        )
    )
    (told,) = page(desk).sent
    assert (told.row.send, told.partner and told.partner.agency, told.sent_at) == (Notification.ASK_LENDER, "CUHK", None)
    assert [(one.kind, one.detail) for one in told.tries] == [("unreachable", "refused")]
    assert isinstance(row.payload, PartnerMessage)
    assert (told.facts["title"], told.facts["item"], told.facts["wire_id"]) == ("Dune", "CUHK, C1", row.payload.wire_id)
    desk.delivered(Notification.ASK_LENDER, DeliveryResult(kind=DeliveryKind.ACCEPTED))
    (told,) = page(desk).sent
    assert told.sent_at == desk.now


def test_letter_is_listed_without_its_email_address(desk: DeskWorld) -> None:
    desk.given(P.IN_TRANSIT)
    desk.check_in()
    found = page(desk)
    assert [(n.kind, n.state) for n in found.notices] == [("letter_pickup", "queued")]
    (letter,) = [told for told in found.sent if told.row.kind == "mail"]
    assert letter.partner is None
    assert letter.facts["patron"] == "UG1"
    assert "@" not in str(letter.facts)


def test_received_document_is_shown_with_its_stored_reply(desk: DeskWorld) -> None:
    desk.wish()
    notice = desk.heard(by=Actor(who="CUHK", channel="ncip", message="ItemShipped", corr="abc123"))
    desk.ask(
        desk.circulation.execute(sent_as(ItemShipped, notice), inbox=InboxKey(agency="CUHK", digest="abc123def", keep_s=60))
    )
    desk.go_to("2017-03-03 10:00")
    desk.check_in()
    (heard,) = page(desk).received
    assert (heard.sender, heard.service, heard.corr, heard.refused) == ("CUHK", "ItemShipped", "abc123", "")
    assert heard.answer is not None
    assert heard.answer["request"] == "R1"
    assert heard.kept_until == desk.clock("2017-03-01 10:01")


def test_refused_document_is_shown_with_reason_and_rule(desk: DeskWorld) -> None:
    desk.wish()
    desk.ask(
        desk.circulation.execute(
            sent_as(
                ItemRecalled,
                desk.heard(partner="POLYU", by=Actor(who="POLYU", channel="ncip", message="ItemRecalled", corr="x")),
            )
        )
    )
    refused = [heard for heard in page(desk).received if heard.refused]
    assert [(h.sender, h.service, h.refused, h.rule, h.answer) for h in refused] == [
        ("POLYU", "ItemRecalled", "agency_not_owner", "R23", None)
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<RequestIdentifierValue>", "</RequestIdentifierValue>"),
        ('{"request": ["HKU", "', '"]}'),
    ],
    ids=["xml", "json"],
)
def test_unassignable_document_is_shown_with_the_request_it_names(desk: DeskWorld, before: str, after: str) -> None:
    desk.wish()
    wire = desk.request().wire_id
    for agency, said in (("CUHK", wire), ("CUHK", wire + "9"), ("HKUST", wire)):
        text = f"{before}{said}{after}"
        desk.store.now(quarantine.keep, agency, f"{agency}{said}", "ItemShipped", text, "unknown_request", desk.now)
    assert [(one.agency, one.service) for one in page(desk).unplaced] == [("CUHK", "ItemShipped")]


def test_request_page_includes_candidates_item_patron_and_charges(desk: DeskWorld) -> None:
    loan = desk.lent_out()
    desk.store.now(fines.charge, loan, "damaged", 5_000, "R45", desk.now, Actor(who="mei", channel="cli"))
    desk.store.now(former_cards.replace_cards, {"OLD1": "UG1"}, desk.now, Actor(who="load", channel="import"))
    found = page(desk)
    assert [(c.agency, c.wire_id) for c in found.candidates] == [("CUHK", "R1-1"), ("HKUST", "")]
    assert [(c.kind, c.cents) for c in found.charges] == [("damaged", 5_000)]
    assert found.copy is not None
    assert found.patron is not None
    assert (found.copy.key, found.patron.barcode, found.former_cards) == (ItemKey("CUHK", "C1"), "UG1", ("OLD1",))
    assert "Chan" not in repr(found)


def test_available_actions_depend_on_the_role(desk: DeskWorld) -> None:
    desk.lent_out()
    allowed = [{a.name for a in page(desk, role=role).actions if a.allowed} for role in (StaffRole.VIEWER, StaffRole.CLERK)]
    assert allowed[0] == set()
    assert "return" in allowed[1]


def test_printed_slip_is_recorded(desk: DeskWorld) -> None:
    desk.borrow_from_us("lend", "x-1")
    assert page(desk).printed_at is None
    desk.act("print")
    assert page(desk).printed_at == desk.now


def test_borrowing_slip_is_printed_once_per_position_and_journalled(desk: DeskWorld) -> None:
    desk.given(P.IN_TRANSIT)
    assert isinstance(desk.act("print"), Refused)
    desk.check_in()
    assert page(desk).printed_at is None
    assert (desk.act("print").again, desk.act("print").again) == (False, True)
    assert page(desk).printed_at == desk.now
    assert [e.line.event for e in page(desk).events].count("PRINT") == 1
    desk.go_to("2017-03-02 10:00")
    desk.act("return_unused")
    assert page(desk).printed_at is None
    assert desk.act("print").again is False


def test_request_page_needs_few_statements(desk: DeskWorld) -> None:
    desk.wish()
    desk.ask(desk.circulation.execute(sent_as(ItemShipped, desk.heard())))
    seen: list[str] = []

    def listen(_c: object, _cursor: object, statement: str, *_more: object) -> None:
        seen.append(statement)

    event.listen(desk.engine, "before_cursor_execute", listen)
    page(desk)
    event.remove(desk.engine, "before_cursor_execute", listen)
    assert len([text for text in seen if text.startswith("SELECT")]) <= 22


def test_viewer_sees_the_category_but_neither_card_nor_document(desk: DeskWorld) -> None:
    desk.wish()
    seen, shown = page(desk), page(desk, role=StaffRole.VIEWER)
    assert (seen.named, seen.request.patron, seen.category) == (True, "UG1", shown.category)
    assert (shown.named, shown.request.patron, shown.patron, shown.patron_number) == (False, "", None, "")
    assert [told.facts for told in shown.sent] == [{}]
    assert seen.sent[0].facts


def test_secret_in_a_record_is_masked() -> None:
    secret = to_json(
        {"pin": Sensitive("1234"), "item": ItemKey("CUHK", "C1"), "day": date(2017, 3, 1), "none": None, "no": False}
    )
    assert facts_in(secret) == {"pin": "•", "item": "CUHK/C1", "day": "2017-03-01"}


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '"x"'])
def test_undecodable_record_is_shown_without_data(text: str) -> None:
    assert facts_in(text) == {}


# ---- search


def found(desk: DeskWorld, words: str, most: int = 100) -> list[tuple[str, FoundBy]]:
    matches = ask(desk, console.search_requests, words, StaffRole.CLERK, most)
    return [(match.request.id, match.by) for match in matches]


@pytest.fixture
def searched(desk: DeskWorld) -> DeskWorld:
    """R1 is borrowed and on loan, R2 lent, R3 ended, and R4 belongs to another patron."""
    desk.lent_out(wire_id="w-77")
    desk.given(P.SHIPPED, side=Side.LENDING, wire_id="cu-5", title="Love in a Fallen City")
    desk.given(P.CLOSED, title="Dune Messiah", item_barcode="C8", wire_id="w-78")
    desk.given(P.REQUESTED, title="紅樓夢", patron="UG2", wire_id="w-79")
    desk.store.now(lambda unit: unit.candidates.update(unit.candidates.of_request("R4")[0], their_number="CUHK:4711"))
    desk.store.now(lambda unit: unit.circuits.keep(replace(unit.circuits.find("CUHK"), state="up")))
    return desk


@pytest.mark.parametrize(
    ("words", "numbers", "by"),
    [
        ("R1", ["R1"], FoundBy.NUMBER),
        ("r2", ["R2"], FoundBy.NUMBER),
        (" R3 ", ["R3"], FoundBy.NUMBER),
        ("w-78", ["R3"], FoundBy.NUMBER),
        ("cu-5", ["R2"], FoundBy.NUMBER),
        ("CUHK:4711", ["R4"], FoundBy.NUMBER),
        ("4711", ["R4"], FoundBy.NUMBER),
        ("C1", ["R1"], FoundBy.BARCODE),
        ("K9", ["R2"], FoundBy.BARCODE),
        ("UG1", ["R3", "R1"], FoundBy.CARD),
        ("UG2", ["R4"], FoundBy.CARD),
        ("dune", ["R3", "R1"], FoundBy.TITLE),
        ("fallen CITY", ["R2"], FoundBy.TITLE),
        ("紅樓", ["R4"], FoundBy.TITLE),
        ("%", [], FoundBy.TITLE),
        ("d_ne", [], FoundBy.TITLE),
        ("", [], FoundBy.TITLE),
        ("x", [], FoundBy.TITLE),
    ],
)
def test_request_is_found_by_any_identifier_a_clerk_has(
    searched: DeskWorld, words: str, numbers: list[str], by: FoundBy
) -> None:
    assert found(searched, words) == [(number, by) for number in numbers]


@pytest.mark.parametrize("words", ["城市里的鸟", "城市裡的鳥", "chengshi lide niao", "Cheng shi li de niao", "林海音"])
def test_request_is_found_by_either_script_of_its_title(searched: DeskWorld, words: str) -> None:
    title = Title(
        bib_id="b-birds",
        title="Cheng shi li de niao",
        author="Lin, Haiyin",
        linked_title="城市裡的鳥",
        linked_author="林海音",
        language="chi",
    )
    copy = Holding(agency="CUHK", barcode="C9", bib_id=title.bib_id, title=title.title)
    searched.store.now(loading.write_copies, [copy], 1, None, {title.bib_id: title})
    searched.given(P.REQUESTED, title=title.title, bib_id=title.bib_id, wire_id="w-80")
    assert found(searched, words) == [("R5", FoundBy.TITLE)]


def test_former_card_finds_requests_of_its_patron(searched: DeskWorld) -> None:
    searched.store.now(former_cards.replace_cards, {"OLD1": "UG2"}, searched.now, Actor(who="load", channel="import"))
    assert found(searched, "OLD1") == [("R4", FoundBy.CARD)]


def test_anonymised_request_is_not_found_by_card(searched: DeskWorld) -> None:
    searched.store.now(lambda unit: unit.requests.forget_people(["R3"]))
    assert found(searched, "UG1") == [("R1", FoundBy.CARD)]


def test_number_of_search_results_is_limited(searched: DeskWorld) -> None:
    assert found(searched, "dune", most=1) == [("R3", FoundBy.TITLE)]


# ---- lists, unsent, statistics


def test_stuck_list_uses_the_time_limits_of_the_policy(desk: DeskWorld) -> None:
    desk.given(P.IN_TRANSIT)
    desk.go_to("2017-03-20 10:00")
    for days, numbers in ((5, ["R1"]), (30, [])):
        waits = replace(desk.library.policy.waits, in_transit_days=days)
        desk.library = replace(desk.library, policy=replace(desk.library.policy, waits=waits))
        rows = ask(desk, console.work_list, ListName.STUCK, StaffRole.CLERK, PageOrder(key=SortKey.TITLE)).rows
        assert [row.request.id for row in rows] == numbers
        assert ask(desk, console.list_counts)[ListName.STUCK] == len(numbers)


def test_unsent_messages_are_paged(desk: DeskWorld) -> None:
    desk.wish()
    row = {"kind": "ncip", "send": "ask_lender", "recipient": "CUHK", "made_at": desk.now, "next_at": desk.now}
    message = to_json(desk.message())
    rows = [{**row, "request": f"X{n}", "payload": message, "state": "dead" if n % 2 else "sent"} for n in range(10)]
    desk.store.now(lambda unit: unit.execute(insert(OUTBOX), rows))
    for n in range(5):
        desk.store.now(quarantine.keep, "CUHK", f"d{n}", "ItemShipped", "<x/>", "unknown_request", desk.now)
    dead = (OutboxState.DEAD,)
    first = desk.store.now(lambda unit: unit.outbox.rows(states=dead, most=3))
    rest = desk.store.now(lambda unit: unit.outbox.rows(partner="CUHK", states=dead, after=first[-1].id, most=3))
    assert [one.request for one in (*first, *rest)] == ["X1", "X3", "X5", "X7", "X9"]
    kept = ask(desk, console.quarantined, "", 0, 3)
    assert len(kept) == 3
    counts = {"waiting": 1, "unsure": 0, "dead": 5, "quarantine": 5, "undelivered": 0}
    assert ask(desk, console.unsent_counts) == counts
    assert len(ask(desk, console.quarantined, "", kept[-1].id, 3)) == 2


def test_undelivered_letters_are_paged(desk: DeskWorld) -> None:
    for copy in ("C1", "C2", "C3"):
        desk.given(P.IN_TRANSIT, item_barcode=copy, wire_id=copy)
        desk.check_in(copy)
    for notice in ask(desk, console.undelivered_letters):
        raise AssertionError(notice)
    for number in (1, 3):
        undelivered = (number, NoticeState.UNDELIVERABLE, "no such user", desk.now)
        desk.store.now(lambda unit: unit.notices.set_state(*undelivered))  # noqa: B023  # it runs at once
    assert ask(desk, console.unsent_counts)["undelivered"] == 2
    first = ask(desk, console.undelivered_letters, 0, 1)
    assert [row["id"] for row in first] == [1]
    assert [row["id"] for row in ask(desk, console.undelivered_letters, 1, 5)] == [3]


@pytest.mark.parametrize(("days", "allowed"), [(-1, False), (0, True), (1_099, True), (1_100, False)])
def test_period_of_statistics_is_limited(desk: DeskWorld, days: int, allowed: bool) -> None:
    first = date(2017, 3, 1)
    said = ask(desk, console.statistics_of, first, first + timedelta(days=days))
    assert isinstance(said, Refused) is not allowed
    if allowed:
        assert asdict(said)["counts"] == ()
