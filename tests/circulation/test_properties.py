"""After any sequence of events both quotas hold, final positions are final, and the journal is complete."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hkall_gateway.db.tables import FINES, REQUESTS
from hkall_gateway.rules.lifecycle import Event
from hkall_gateway.rules.messages.json_records import from_json
from hkall_gateway.rules.positions import FINAL, TAKES_QUOTA
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.vocabulary import Holding, ItemKey, Position, Request, Side
from tests.examples import example_count
from tests.readers import POLICY

if TYPE_CHECKING:
    from tests.circulation.conftest import DeskWorld

P = Position
QUOTA, LOCAL, TOTAL = 3, 2, 4
SMALL = Policy(categories=tuple(replace(c, quota=QUOTA) for c in POLICY.categories))
TITLES = [f"t{number}" for number in range(8)]
OURS = "ours"
LENDERS = ("CUHK", "HKUST")
CARDS = {"UG1": QUOTA, "UG2": TOTAL - LOCAL}
"""Each patron with the number of items that both quotas allow: UG2 has two of four as local loans."""

WISHES = st.tuples(st.just("wish"), st.sampled_from(sorted(CARDS)), st.sampled_from(TITLES))
DEEDS = st.tuples(
    st.sampled_from(
        ["receive", "return", "return_unused", "dispatch", "cancel", "lost", "claim", "damaged", "settle", "extend", "recall"]
    ),
    st.integers(1, 6),
)
SCANS = st.tuples(st.sampled_from(["check_in", "check_out", "renew", "undo_check_out"]), st.integers(1, 6))
HEARD = st.tuples(
    st.sampled_from(["shipped", "received", "request_cancelled", "recalled", "recall_cancelled", "renewed"]),
    st.integers(1, 6),
)
TIMES = st.tuples(st.just("wait"), st.sampled_from([1, 1, 1, 2, 9, 20]))
ONWARD = st.tuples(st.just("onward"), st.integers(1, 6))
LENDING = st.tuples(st.sampled_from(["borrow", "ship", "decline"]), st.integers(1, 6))
EVENTS = st.lists(
    st.one_of(WISHES, WISHES, ONWARD, ONWARD, ONWARD, ONWARD, DEEDS, SCANS, HEARD, TIMES, LENDING), min_size=20, max_size=60
)
USUAL = {
    P.REQUESTED: "shipped",
    P.IN_TRANSIT: "check_in",
    P.RECEIVED: "check_out",
    P.ON_LOAN: "check_in",
    P.TO_RETURN: "dispatch",
    P.RETURN_TRANSIT: "received",
    P.PAGED: "ship",
    P.SHIPPED: "received",
    P.AT_BORROWER: "shipped",
}
"""The usual next event: random events alone would rarely complete a loan."""
LENT = [("wish", "UG1", "t0"), ("wish", "UG1", "t1"), *[("onward", n) for n in (0, 1) for _ in range(3)]]
"""Two items already on loan: most loan events start here."""
QUICK = settings(max_examples=example_count(30), suppress_health_check=list(HealthCheck))


@pytest.fixture
def make_small(make_library: Callable[..., DeskWorld]) -> Callable[[], DeskWorld]:
    """A library with small quotas, eight titles at each of two lenders, and a patron who has two items of our own."""

    def make() -> DeskWorld:
        library = make_library(SMALL)
        library.add_copies(
            [
                Holding(agency=agency, barcode=f"{agency}-{title}", bib_id=title, title=title)
                for agency in LENDERS
                for title in TITLES
            ]
        )
        library.add_copies([Holding(agency="HKU", barcode="K1", bib_id=OURS, title=OURS)])
        library.set_patron("UG2", local_loans=LOCAL, total_quota=TOTAL)
        return library

    return make


def happen(library: DeskWorld, event: tuple[Any, ...]) -> None:
    """Run one event; a refused event has no effect."""
    name, what = event[0], event[1]
    request = _numbered(library, what) if isinstance(what, int) else None
    if name == "wish":
        library.wish(what, event[2], f"d-{library.count()}")
    elif name == "wait":
        library.now += timedelta(days=what)
        for round_ in library.rounds_by_name():
            library.round(round_)
    elif name == "borrow":
        library.borrow_from_us(OURS, f"b-{library.count()}")
    elif request is not None:
        _about(library, USUAL.get(request.position, "check_in") if name == "onward" else name, request)


def _numbered(library: DeskWorld, number: int) -> Request | None:
    found = library.requests()
    return found[number % len(found)] if found else None


def _about(library: DeskWorld, name: str, request: Request) -> None:
    barcode = request.item_barcode or "none"
    if name in {"check_out", "undo_check_out"}:
        library.check_out(request.patron or "CUHK-INST", barcode, undo=name.startswith("undo"))
    elif name == "check_in":
        library.check_in(barcode)
    elif name == "renew":
        library.renew(request.patron, barcode)
    elif name in {"shipped", "received", "request_cancelled", "recalled", "recall_cancelled", "renewed"}:
        library.say(name, request)
    else:
        day = library.today() + timedelta(days=9) if name in {"extend", "recall"} else None
        library.act(name, request.id, reason="x", on=day)


def places(library: DeskWorld) -> dict[str, int]:
    """The quota places each patron uses."""
    taking = [r for r in library.requests() if r.position in TAKES_QUOTA and not r.unwanted and r.side is Side.BORROWING]
    return {card: sum(r.patron == card for r in taking) for card in CARDS}


@QUICK
@given(begun=st.sampled_from([(), LENT]), events=EVENTS)
def test_r20_r21_invariants_hold_after_any_sequence_of_events(
    make_small: Callable[[], DeskWorld], begun: Sequence[tuple[Any, ...]], events: list[tuple[Any, ...]]
) -> None:
    library = make_small()
    first = library.today()
    ended: dict[str, Request] = {}
    for event in (*begun, *events):
        happen(library, event)
        assert all(count <= CARDS[card] for card, count in places(library).items()), event
        now = {r.id: r for r in library.requests()}
        assert {number: now[number] for number in ended} == ended, event
        ended = {number: r for number, r in now.items() if r.position in FINAL}
    assert replayed(library.journal()) == library.requests()
    assert wrong_dates(library.journal()) == []
    assert too_dear(library.rows(FINES), (library.today() - first).days) == []
    library.close()


RULE_OF_DATES: Mapping[str, Callable[[date, date, date], bool]] = {
    "RENEW": lambda was, now, _floor: now > was,
    "OWNER_RENEW": lambda was, now, _floor: now >= was,
    "RENEWAL_DENIED": lambda was, now, _floor: now <= was,
    "RECALL": lambda was, now, floor: min(was, floor) <= now <= was,
    "CANCEL_RECALL": lambda was, now, _floor: now >= was,
    "AMEND": lambda was, now, _floor: now >= was,
}
"""How an event may change a due date: a renewal never shortens it (R32), a recall never lengthens it and keeps the minimum use,
whose last day is `floor` (R25, R26); other events never change it."""


def wrong_dates(journal: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Journal lines that change a due date against the rules."""
    facts: dict[str, dict[str, Any]] = {}
    return [
        line for line in journal if line["event"] in CHANGES and _moves_wrongly(facts.setdefault(line["request"], {}), line)
    ]


def _moves_wrongly(known: dict[str, Any], line: Mapping[str, Any]) -> bool:
    """Whether a journal line changes the due date of its request against the rules; updates the replayed state."""
    was, new = known.get("due"), from_json(line["detail"])
    known.update(new)
    if line["outcome"] != "ok" or not was or not new.get("due"):
        return False
    return not RULE_OF_DATES[line["event"]](was, new["due"], known["first_checkout"] + timedelta(SMALL.recall.min_use_days))


def too_dear(charges: list[Mapping[str, Any]], days: int) -> list[Mapping[str, Any]]:
    """Overdue charges of zero, of negative amounts, or above the days at the higher rate."""
    overdue = [row for row in charges if row["kind"] == "overdue"]
    sums = {row["request"]: sum(one["cents"] for one in overdue if one["request"] == row["request"]) for row in overdue}
    return [row for row in overdue if row["cents"] <= 0 or sums[row["request"]] > days * SMALL.fine.recalled_cents]


def test_planted_defects_in_recalls_and_renewals_are_detected(make_small: Callable[[], DeskWorld]) -> None:
    """Verify that the checks of this file detect defects."""
    library = make_small()
    for event in (*LENT, ("recalled", 1), ("wait", 9), ("renewed", 0)):
        happen(library, event)
    moved = [line for line in library.journal() if line["event"] in {"RECALL", "OWNER_RENEW"} and "due" in line["detail"]]
    others = [line for line in library.journal() if line not in moved]

    assert {line["event"] for line in moved} >= {"OWNER_RENEW"}
    assert wrong_dates(library.journal()) == []
    assert len(wrong_dates([*others, *({**line, "event": "RECALL"} for line in moved if line["event"] == "OWNER_RENEW")])) == 1
    assert too_dear([{"kind": "overdue", "request": "R1", "cents": 500}], 1) != []


CHANGES = frozenset({"OPEN", "AMEND", *(event.name for event in Event)})
"""Journal fields that change a request; all other fields are stored elsewhere."""


def replayed(journal: list[Mapping[str, Any]]) -> list[Request]:
    """The requests reconstructed from the journal alone."""
    blank = Request(id="", side=Side.BORROWING, position=P.NEW, title="", bib_id="")
    facts: dict[str, dict[str, Any]] = {}
    for line in journal:
        if line["outcome"] == "ok" and line["event"] in CHANGES:
            facts.setdefault(line["request"], {}).update(from_json(line["detail"]))
    return [replace(blank, **changed) for changed in facts.values()]


def test_journal_covers_every_request_column_that_is_not_derived() -> None:
    assert {column.name for column in REQUESTS.columns} - {"stage"} == {field.name for field in fields(Request)}


def test_generated_events_reach_every_final_position(make_small: Callable[[], DeskWorld]) -> None:
    """Verify that the generated sequences cover the whole life cycle."""
    library = make_small()
    for event in [("wish", "UG1", "t0"), ("shipped", 0), ("check_in", 0), ("check_out", 0), ("check_in", 0), ("received", 0)]:
        happen(library, event)
    happen(library, ("borrow", 1))
    happen(library, ("onward", 1))

    assert [r.position for r in library.requests()] == [P.CLOSED, P.SHIPPED]
    assert json.loads(library.journal()[0]["detail"])["patron"] == "UG1"
    assert library.requests()[1].item == ItemKey("HKU", "K1")
