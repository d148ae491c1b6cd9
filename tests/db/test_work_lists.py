"""The work lists: contents, order and paging, and that no page reads all requests."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event

from hkall_gateway.circulation.jobs.rounds import filter_stalled, may_stand_still
from hkall_gateway.db import rounds
from hkall_gateway.db.loads import loading
from hkall_gateway.db.queries import cli_lists, work_lists
from hkall_gateway.db.queries.work_lists import ListName, ListPage, Moment, Only, PageOrder, SortKey
from hkall_gateway.rules.circuit import CircuitState
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.outbox_messages import partner_message
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.settings import Waits
from hkall_gateway.rules.shelving import shelving_key
from hkall_gateway.rules.vocabulary import Actor, Holding, Position, Request, Side
from hkall_gateway.simulator.databases import SoleStore
from tests import bulk, open_work

pytestmark = pytest.mark.sql_differs

P = Position
Standing = Callable[..., Request]
OPEN = 300
LEND = Side.LENDING


@pytest.fixture
def at(now: datetime) -> Moment:
    return Moment(now, Waits())


@pytest.fixture
def counter(engine: Engine, store: SoleStore, now: datetime) -> SoleStore:
    """Open requests in every position beside ended ones."""
    bulk.fill(engine, bulk.Amounts(requests=200, lines=2, days=600), now)
    open_work.fill(engine, OPEN, now)
    return store


def ids(page: ListPage) -> list[str]:
    return [row.request.id for row in page.rows]


def pages(
    store: SoleStore, name: ListName, at: Moment, key: SortKey, most: int = 7, reverse: bool = False
) -> Iterator[ListPage]:
    place = ""
    while True:
        page = store.now(work_lists.page, name, at, PageOrder(key=key, reverse=reverse, after=place, most=most))
        yield page
        place = page.next
        if not place:
            return


# ---- what is in a list

# fmt: off
HAS: dict[ListName, list[tuple[Position, dict[str, Any]]]] = {
    ListName.PULL:      [(P.PAGED, {"side": LEND})],
    ListName.EXPECTED:  [(P.IN_TRANSIT, {}), (P.RETURN_TRANSIT, {"side": LEND})],
    ListName.SHELF:     [(P.RECEIVED, {}), (P.RECEIVED, {"expired_pickup": True})],
    ListName.EXPIRED:   [(P.RECEIVED, {"expired_pickup": True})],
    ListName.TO_RETURN: [(P.TO_RETURN, {})],
    ListName.ON_LOAN:   [(P.ON_LOAN, {}), (P.ON_LOAN, {"due": "yesterday"})],
    ListName.OVERDUE:   [(P.ON_LOAN, {"due": "yesterday"})],
    ListName.RECALLS:   [(P.IN_TRANSIT, {"recalled_on": "yesterday"}), (P.ON_LOAN, {"recalled_on": "yesterday"})],
    ListName.LENDING:   [(P.SHIPPED, {"side": LEND}), (P.AT_BORROWER, {"side": LEND}), (P.RETURN_TRANSIT, {"side": LEND})],
    ListName.FLAGGED:   [(P.ON_LOAN, {"flags": "drop"})],
    ListName.STUCK:     [(P.PAGED, {"side": LEND, "moved_at": 30})],
}
NEVER: list[tuple[Position, dict[str, Any]]] = [
    (P.NEW, {}),
    (P.REQUESTED, {}),
    (P.CLOSED, {"recalled_on": "yesterday", "flags": "drop"}),
    (P.CLOSED, {"side": LEND}),
]
# fmt: on


def test_every_work_list_is_tested() -> None:
    assert set(HAS) == set(ListName)


@pytest.mark.parametrize("name", list(ListName))
def test_work_list_contains_exactly_its_requests(
    store: SoleStore, standing: Standing, now: datetime, at: Moment, name: ListName
) -> None:
    words: dict[Any, Any] = {"yesterday": now.date() - timedelta(days=1), 30: now - timedelta(days=30)}
    plain: dict[str, Any] = {"due": now.date(), "recalled_on": None}
    rows: list[tuple[Position, dict[str, Any]]] = [*NEVER, *(row for rows in HAS.values() for row in rows)]
    there = [
        standing(position, copy=f"C{number}", **{**plain, **{k: words.get(v, v) for k, v in facts.items()}})
        for number, (position, facts) in enumerate(rows)
    ]

    found = {number for page in pages(store, name, at, SortKey.DAYS, 50) for number in ids(page)}

    assert found == {request.id for request in there if _belongs(request, name, now)}
    assert len(found) >= len(HAS[name])


def _belongs(r: Request, name: ListName, now: datetime) -> bool:
    lent, there = r.side is LEND, r.position
    return {
        ListName.PULL: there is P.PAGED,
        ListName.EXPECTED: there is P.IN_TRANSIT or (there is P.RETURN_TRANSIT and lent),
        ListName.SHELF: there is P.RECEIVED,
        ListName.EXPIRED: there is P.RECEIVED and r.expired_pickup,
        ListName.TO_RETURN: there is P.TO_RETURN,
        ListName.ON_LOAN: there is P.ON_LOAN,
        ListName.OVERDUE: there is P.ON_LOAN and r.due is not None and r.due < now.date(),
        ListName.RECALLS: r.recalled_on is not None and there is not P.CLOSED,
        ListName.LENDING: lent and there in {P.SHIPPED, P.AT_BORROWER, P.RETURN_TRANSIT},
        ListName.FLAGGED: bool(r.flags) and there is not P.CLOSED,
        ListName.STUCK: r.moved_at is not None and r.moved_at < now - timedelta(days=1),
    }[name]


def test_command_line_shows_the_same_list(counter: SoleStore, at: Moment) -> None:
    for command, name in cli_lists.LISTS.items():
        if isinstance(name, tuple):  # conditions of its own
            continue
        told = [request.id for request in counter.now(cli_lists.open_list, command, at)]
        assert told == [number for page in pages(counter, name, at, SortKey.DAYS, 50) for number in ids(page)] != []


def test_stalled_list_follows_the_rules(counter: SoleStore, now: datetime, at: Moment) -> None:
    may = counter.now(may_stand_still, at.waits, now)
    idle = {request.id for request in counter.now(filter_stalled, may, at.waits, now)}
    assert {request.id for request in counter.now(cli_lists.open_list, "stuck", at)} == idle
    assert 0 < len(idle) < OPEN


def test_items_in_transit_are_allowed_the_courier_days(store: SoleStore, standing: Standing, now: datetime, at: Moment) -> None:
    store.now(
        lambda unit: unit.partners.write(
            [Partner(agency="CUHK", name="CUHK", courier_days=10), Partner(agency="LU", name="LU", courier_days=0)]
        )
    )
    for number, agency in enumerate(("CUHK", "LU", "ELSEWHERE")):
        standing(P.IN_TRANSIT, copy=f"C{number}", partner=agency, moved_at=now - timedelta(days=8))
    found = [row.request.partner for row in store.now(work_lists.page, ListName.STUCK, at).rows]
    assert sorted(found) == ["ELSEWHERE", "LU"]


def test_rows_failed_in_rounds_or_refused_by_partners_are_listed_as_stuck(
    store: SoleStore, standing: Standing, now: datetime, at: Moment
) -> None:
    store.now(lambda unit: unit.partners.write([Partner(agency="LU", name="Lingnan University")]))
    aside, untold = standing(P.ON_LOAN, copy="C1"), standing(P.ON_LOAN, copy="C2", partner="LU")
    standing(P.ON_LOAN, copy="C3")
    store.now(rounds.set_aside, rounds.FailedRequest(round="overdue", request=aside.id, at=now, error="no price"))
    store.now(
        lambda unit: unit.outbox.put(
            Notification.TELL_LENDER_LOST, partner_message(Notification.TELL_LENDER_LOST, untold, now), "", now
        )
    )
    assert ids(store.now(work_lists.page, ListName.STUCK, at)) == [aside.id]
    store.now(lambda unit: unit.circuits.keep(CircuitState(agency="LU", state="down", failures=3, fault="wrong secret")))

    rows = store.now(work_lists.page, ListName.STUCK, at).rows

    assert {(row.request.id, row.set_aside, row.fault) for row in rows} == {
        (aside.id, "overdue: no price", ""),
        (untold.id, "", "wrong secret"),
    }


def test_counts_equal_list_lengths(counter: SoleStore, at: Moment) -> None:
    counts = counter.now(work_lists.counts, at)
    assert counts == {name: sum(len(page.rows) for page in pages(counter, name, at, SortKey.DAYS, 50)) for name in ListName}
    assert all(counts.values())


# ---- order and pages


def test_pages_of_a_list_contain_each_request_once_in_order(counter: SoleStore, at: Moment) -> None:
    for key, reverse in itertools.product(SortKey, (False, True)):
        whole = ids(counter.now(work_lists.page, ListName.ON_LOAN, at, PageOrder(key=key, reverse=reverse, most=200)))
        parts = [ids(page) for page in pages(counter, ListName.ON_LOAN, at, key, 7, reverse)]
        assert [number for part in parts for number in part] == whole
        assert len(set(whole)) == len(whole) == counter.now(work_lists.counts, at)[ListName.ON_LOAN]
        assert {len(part) for part in parts[:-1]} == {7}
        other = ids(counter.now(work_lists.page, ListName.ON_LOAN, at, PageOrder(key=key, reverse=not reverse, most=200)))
        assert other == whole[::-1]


def test_call_number_order_is_shelf_order(counter: SoleStore, at: Moment) -> None:
    rows = counter.now(work_lists.page, ListName.PULL, at, PageOrder(key=SortKey.CALL_NUMBER, most=200)).rows
    numbers = [row.call_number for row in rows]
    known = [number for number in numbers if number]
    assert known == sorted(known, key=shelving_key)
    assert len({number[:2] for number in known}) > 2


def test_item_without_a_call_number_comes_last(store: SoleStore, standing: Standing, at: Moment) -> None:
    copies = {"C1": "QA9 .B3", "C2": "", "C3": "QA76 .B3", "C4": "B1", "C5": "史記 2"}
    store.now(
        loading.write,
        "holdings",
        [Holding(agency="CUHK", barcode=c, bib_id="b1", title="Dune", call_number=n) for c, n in copies.items()],
        1,
    )
    for copy in (*copies, "C6"):
        standing(P.ON_LOAN, copy=copy)
    rows = store.now(work_lists.page, ListName.ON_LOAN, at, PageOrder(key=SortKey.CALL_NUMBER)).rows
    assert [row.request.item_barcode for row in rows] == ["C4", "C1", "C3", "C5", "C2", "C6"]


def test_title_order_is_case_insensitive(store: SoleStore, standing: Standing, at: Moment) -> None:
    for number, title in enumerate(("dune", "Dune Messiah", "Ada", "紅樓夢", "Zorba")):
        _amend(store, standing(P.ON_LOAN, copy=f"C{number}"), at.now, title=title)
    rows = store.now(work_lists.page, ListName.ON_LOAN, at, PageOrder(key=SortKey.TITLE)).rows
    assert [row.request.title for row in rows] == ["Ada", "dune", "Dune Messiah", "Zorba", "紅樓夢"]


def test_each_list_shows_its_relevant_date(store: SoleStore, standing: Standing, at: Moment) -> None:
    day = at.today
    shelf = standing(P.RECEIVED, copy="C1", pickup_last=day + timedelta(days=2), due=None, flags="drop")
    loan = standing(P.ON_LOAN, copy="C2", due=day + timedelta(days=1), flags="drop")
    lent = standing(P.AT_BORROWER, copy="C3", side=LEND, due=None, lender_due=day + timedelta(days=3), flags="drop")
    none = standing(P.REQUESTED, due=None, flags="drop")
    found = ids(store.now(work_lists.page, ListName.FLAGGED, at, PageOrder(key=SortKey.DUE)))
    assert found == [loan.id, shelf.id, lent.id, none.id]


def test_days_in_position_are_counted_in_library_days(store: SoleStore, standing: Standing, now: datetime, at: Moment) -> None:
    for hours, days in ((1, 0), (11, 1), (35, 2)):  # it is ten in the morning
        request = standing(P.TO_RETURN, copy=f"C{hours}", moved_at=now - timedelta(hours=hours))
        rows = store.now(work_lists.page, ListName.TO_RETURN, at).rows
        assert [row.days for row in rows if row.request.id == request.id] == [days]


@pytest.mark.parametrize(
    ("only", "fits"),
    [
        (Only(partner="LU"), lambda row: row.request.partner == "LU"),
        (Only(pickup="HKU-LAW"), lambda row: row.request.pickup_location == "HKU-LAW"),
        (Only(material="score"), lambda row: row.material == "score"),
        (Only(partner="LU", pickup="HKU-LAW", material="dvd"), lambda row: False),
    ],
)
def test_list_is_filtered_as_requested(counter: SoleStore, at: Moment, only: Only, fits: Callable[..., bool]) -> None:
    everything = counter.now(work_lists.page, ListName.ON_LOAN, at, PageOrder(most=200)).rows
    found = counter.now(work_lists.page, ListName.ON_LOAN, at, PageOrder(most=200), only).rows
    if only.partner and only.pickup:
        assert all((r.request.partner, r.request.pickup_location, r.material) == ("LU", "HKU-LAW", "dvd") for r in found)
        return
    assert found == tuple(row for row in everything if fits(row))
    assert 0 < len(found) < len(everything)


def test_paging_cursor_contains_no_title_or_call_number(counter: SoleStore, at: Moment) -> None:
    for key in (SortKey.TITLE, SortKey.CALL_NUMBER):
        page = counter.now(work_lists.page, ListName.ON_LOAN, at, PageOrder(key=key, most=3))
        assert page.next == f"~{page.rows[-1].request.id}"


@pytest.mark.parametrize("place", ["?", "~", "yesterday~O1", "~O1", "2017-03-01~", "2017-03-01T02:00:00~O1"])
def test_invalid_paging_cursor_starts_at_the_beginning(counter: SoleStore, at: Moment, place: str) -> None:
    for key in SortKey:
        first = counter.now(work_lists.page, ListName.PULL, at, PageOrder(key=key))
        assert counter.now(work_lists.page, ListName.PULL, at, PageOrder(key=key, after=place)) == first


def test_request_that_moves_between_two_pages_causes_no_skipped_rows(
    store: SoleStore, standing: Standing, now: datetime, at: Moment
) -> None:
    all_of = [standing(P.TO_RETURN, copy=f"C{n}", moved_at=now - timedelta(hours=9 - n)) for n in range(6)]
    for key in (SortKey.DAYS, SortKey.TITLE):
        first = store.now(work_lists.page, ListName.TO_RETURN, at, PageOrder(key=key, most=2))
        last = first.rows[-1].request
        _amend(store, last, now, moved_at=now, flags="touched")
        then = store.now(work_lists.page, ListName.TO_RETURN, at, PageOrder(key=key, after=first.next))
        others = [r.id for r in all_of if r.id not in ids(first)]
        assert [number for number in ids(then) if number != last.id] == others
        _amend(store, last, now, moved_at=last.moved_at, flags="")


def test_page_size_is_limited(counter: SoleStore, at: Moment) -> None:
    assert len(counter.now(work_lists.page, ListName.STUCK, at, PageOrder(most=10_000)).rows) <= work_lists.MOST
    assert len(counter.now(work_lists.page, ListName.PULL, at, PageOrder(most=0)).rows) == 1


def _amend(store: SoleStore, request: Request, now: datetime, **facts: Any) -> None:
    store.now(
        lambda unit: unit.amend(unit.requests.find(request.id) or request, now, Actor(who="test", channel="world"), **facts)
    )


# ---- how the database finds it


def asked(engine: Engine, store: SoleStore, work: Callable[..., Any], *args: Any) -> list[tuple[str, Any]]:
    """Every query that a function runs."""
    seen: list[tuple[str, Any]] = []

    def listen(_c: object, _cursor: object, statement: str, parameters: Any, *_more: object) -> None:
        seen.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", listen)
    store.now(work, *args)
    event.remove(engine, "before_cursor_execute", listen)
    queries = (one for one in seen if one[0].lstrip().startswith(("SELECT", "WITH")))
    return [one for one in queries if "pg_current_xact_id" not in one[0]]


def full_scans(plan: str) -> list[str]:
    """The steps of a query plan that read all requests: the table, or an index that includes ended ones."""
    lines = plan.splitlines()
    whole = [line for line in lines if "SCAN requests" in line and "USING INDEX ix_requests_open" not in line]
    return whole + [line for line in lines if "Seq Scan on requests" in line]


def test_paging_reads_only_one_page_of_rows(engine: Engine, counter: SoleStore, at: Moment, plan: Callable[..., str]) -> None:
    for name, key in itertools.product(ListName, SortKey):
        order = PageOrder(key=key, after=counter.now(work_lists.page, name, at, PageOrder(key=key, most=2)).next)
        for number in range(len(asked(engine, counter, work_lists.page, name, at, order))):
            assert full_scans(plan(work_lists.page, name, at, order, question=number)) == []


def test_counts_are_one_statement_that_reads_only_open_requests(
    engine: Engine, counter: SoleStore, at: Moment, plan: Callable[..., str]
) -> None:
    questions = asked(engine, counter, work_lists.counts, at)
    assert len([1 for text, _ in questions if "count" in text]) == 1
    for number in range(len(questions)):
        assert full_scans(plan(work_lists.counts, at, question=number)) == []
