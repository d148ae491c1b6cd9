"""A group prefetches the rows that its units lock; each unit sees the writes of those before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, event, insert, select

from hkall_gateway.db import bind, cards, inbox
from hkall_gateway.db.engine.group import run_group
from hkall_gateway.db.engine.locks import NOTHING, LockSet
from hkall_gateway.db.engine.worker import Job
from hkall_gateway.db.loads.loading import add_closure
from hkall_gateway.db.partners import records
from hkall_gateway.db.tables import CANDIDATES, HOLDINGS, INBOX, JOURNAL, OUTBOX, PATRONS, REQUESTS
from hkall_gateway.db.unit_of_work import UnitOfWork, in_savepoint
from hkall_gateway.rules.circuit import DOWN, CircuitState
from hkall_gateway.rules.lenders import UNKNOWN_RECORD, Record
from hkall_gateway.rules.lifecycle import Event
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.positions import TAKES_QUOTA
from hkall_gateway.rules.vocabulary import Actor, Candidate, ItemKey, LostRace, Position, Request, RequestChange, Side
from tests import databases
from tests.examples import example_count

NOW: Final = datetime.fromisoformat("2017-03-01T10:00:00Z")
BY: Final = Actor(who="counter-1", channel="sip2", message="11", corr="c-1")
WORLD: Final = replace(BY, channel="world")
CARDS: Final = ("P0", "P1", "P2", "P3")
COPIES: Final = ("C0", "C1", "C2", "C3")
Asked = tuple[Any, ...]


@dataclass
class Gateway:
    """A gateway whose groups run at once; `statements` are those of the last group."""

    connection: Connection
    statements: list[str]

    def group(self, *asked: Asked) -> list[Any]:
        """The results of (work, locks, *args) in one group."""
        heard: dict[int, Any] = {}
        jobs: list[Job] = [
            Job(bind(work, *args), locks, lambda said, error, n=n: heard.setdefault(n, error or said))  # type: ignore[misc, arg-type]
            for n, (work, locks, *args) in enumerate(asked)
        ]
        self.statements.clear()
        waiting: Sequence[Job] = jobs
        while waiting:  # a row that is there already is a conflict with another gateway on PostgreSQL, and tried again
            result = run_group(self.connection, lambda connection: UnitOfWork(connection, str), waiting)
            waiting = result.again
            for answer in result.answers:
                answer()
        return [heard[n] for n in range(len(jobs))]

    def close(self) -> None:
        """Release the database."""
        self.connection.close()
        self.connection.engine.dispose()

    def rows(self) -> list[tuple[Any, ...]]:
        """All mutable data; PostgreSQL sequence numbers lost in a rollback are not reused."""
        tables = (REQUESTS, CANDIDATES, JOURNAL, OUTBOX, INBOX)
        asked = (select(*[c for c in table.c if table is REQUESTS or c.name != "id"]) for table in tables)
        sorted_ = (one.order_by(*table.primary_key) for one, table in zip(asked, tables, strict=True))
        return [tuple(row) for one in sorted_ for row in self.connection.execute(one)]


def _gateway() -> Gateway:
    """Four patrons, each with an item on the hold shelf and a request that has no item yet."""
    engine = databases.empty()
    connection, statements = engine.connect(), list[str]()
    connection.execute(insert(PATRONS), [{"barcode": card, "name": card} for card in CARDS])
    titles = {"E0": "b2", **dict.fromkeys(COPIES, "b1"), **{f"F-{card}": f"of {card}" for card in CARDS}}
    connection.execute(insert(HOLDINGS), [{"agency": "CUHK", "barcode": copy, "bib_id": bib} for copy, bib in titles.items()])
    gateway = Gateway(connection, statements)
    for n, card in enumerate(CARDS):
        facts: dict[str, Any] = {"patron": card, "partner": "CUHK", "wire_agency": "HKU", "placed_at": NOW}
        ready = Request(
            id=f"R{n}", side=Side.BORROWING, position=Position.RECEIVED, title="Dune", bib_id="b1", item_agency="CUHK", **facts
        )
        gateway.group(
            (UnitOfWork.open, LockSet(), replace(ready, item_barcode=COPIES[n], received_on=date(2017, 3, 1)), NOW, WORLD),
            (UnitOfWork.open, LockSet(), replace(ready, id=f"S{n}", position=Position.IN_TRANSIT), NOW, WORLD),
        )
    event.listen(engine, "before_cursor_execute", lambda _c, _cursor, text, *_rest: statements.append(text))
    return gateway


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    found = _gateway()
    yield found
    found.close()


def _seen(unit: UnitOfWork, card: str, copy: str) -> tuple[Any, ...]:
    """All data that may have been prefetched."""
    owner, partner = unit.patrons.find(card), unit.partners.with_card(card)
    return (
        owner,
        partner,
        unit.requests.open_with_item(copy),
        unit.requests.quota_used(card, TAKES_QUOTA),
        unit.partners.closed_days("HKU"),
        unit.requests.open_of_patron(card, "b2"),
        inbox.find(unit, "D", copy, NOW),
    )


def _all_seen(unit: UnitOfWork, card: str, copy: str) -> tuple[Any, ...]:
    """Like `_seen`, with the rows for a request."""
    titles = ((unit.holdings.of_title(bib), unit.holdings.in_use(bib)) for bib in ("b1", "b2"))
    return *_seen(unit, card, copy), unit.requests.find_placed("D", copy), *titles


def _lend(unit: UnitOfWork, card: str, copy: str) -> tuple[Any, ...]:
    seen = _seen(unit, card, copy)
    for held in seen[2]:
        if unit.can(held, Event.CHECK_OUT):
            unit.advance(held, Event.CHECK_OUT, NOW, BY, due=date(2017, 3, 16), used=True)
    inbox.keep(unit, "D", copy, f"lent to {card}", NOW, NOW)
    return seen


def _end(unit: UnitOfWork, card: str, copy: str) -> tuple[Any, ...]:
    seen = _seen(unit, card, copy)
    for held in seen[2]:
        unit.force(held, Position.CLOSED, NOW, BY, "lost")
    inbox.keep(unit, "D", copy, "", NOW, NOW)
    return seen


def _arrive(unit: UnitOfWork, card: str, copy: str) -> tuple[Any, ...]:
    """Assign this item to another request of the patron."""
    seen = _seen(unit, card, copy)
    for awaited in unit.requests.open_of_patron(card):
        if not awaited.item_barcode and not seen[2]:
            unit.amend(awaited, NOW, BY, item_agency="CUHK", item_barcode=copy)
    return seen


def _request(unit: UnitOfWork, card: str, copy: str, bib: str = "b2") -> tuple[Any, ...]:
    """Ask the lender for a copy of another title, unless another patron's request has this RequestId."""
    number = f"N-{card}-{copy}"  # taken already if the same step was made before
    seen = known, *_ = unit.requests.find_placed("D", copy), unit.holdings.of_title(bib), unit.holdings.in_use(bib)
    if known is None or known.patron == card:
        facts: dict[str, Any] = {"patron": card, "placed_at": NOW, "placed_by": "D", "placed_id": copy}
        wish = unit.open(
            Request(id=number, side=Side.BORROWING, position=Position.NEW, title="Emma", bib_id=bib, **facts),
            NOW,
            BY,
            steps=True,
        )
        lender = Candidate(request=number, rank=1, agency="CUHK", barcode="E0", wire_id=f"{number}-1")
        unit.candidates.add([lender])
        asked: RequestChange = {"partner": "CUHK", "wire_agency": "HKU", "wire_id": lender.wire_id, "attempt": 1}
        unit.advance(wish, Event.ASK, NOW, BY, chosen=lender, **asked)
    return seen


def _place(unit: UnitOfWork, card: str, copy: str) -> tuple[Any, ...]:
    return _request(unit, card, copy), _all_seen(unit, card, copy)


def _relabel(unit: UnitOfWork, card: str, copy: str) -> tuple[Any, ...]:
    """Change the status of the copy in the catalogue."""
    unit.holdings.set_status(ItemKey("CUHK", copy), card)
    return _all_seen(unit, card, copy)


def _flag(unit: UnitOfWork, card: str, copy: str) -> tuple[Any, ...]:
    """Change each request of the patron twice."""
    for request in unit.requests.open_of_patron(card):
        unit.amend(unit.amend(request, NOW, BY, flags=copy), NOW, BY, flags=f"{request.flags} {copy}")
    return _all_seen(unit, card, copy)


def _hand_on(unit: UnitOfWork, card: str, copy: str) -> tuple[Any, ...]:
    """Give the request of this item to another patron."""
    for held in unit.requests.open_with_item(copy):
        unit.amend(held, NOW, BY, patron=card)
    return _all_seen(unit, card, copy)


def _fail(unit: UnitOfWork, card: str, copy: str) -> tuple[Any, ...]:
    """Check out the item, then fail."""

    def poison(about: str) -> None:
        _lend(unit, about, copy)
        raise LookupError("poison")

    error = in_savepoint(unit, poison, card)
    return repr(error), *_all_seen(unit, card, copy)


def _raise(unit: UnitOfWork, card: str, copy: str) -> None:
    _lend(unit, card, copy)
    raise LookupError(card)


WORKS: Final = (_lend, _end, _arrive, _request, _place, _relabel, _flag, _hand_on, _fail, _raise)
STEPS: Final = st.lists(st.tuples(st.sampled_from(WORKS), st.sampled_from(CARDS), st.sampled_from(COPIES)), max_size=8)


def _locks(card: str, copy: str) -> LockSet:
    return LockSet(card, item=("", copy), document=("D", copy), placed=("D", copy), title=("b1", "b2")[copy > "C1"])


def _asked(steps: Sequence[tuple[Any, str, str]]) -> list[Asked]:
    return [(work, _locks(card, copy), card, copy) for work, card, copy in steps]


@settings(max_examples=example_count(60))
@given(STEPS)
def test_group_gives_the_same_replies_and_rows_as_sequential_units(steps: list[tuple[Any, str, str]]) -> None:
    with closing(_gateway()) as together, closing(_gateway()) as apart:
        answers = together.group(*_asked(steps))
        assert [repr(one) for one in answers] == [repr(one) for asked in _asked(steps) for one in apart.group(asked)]
        assert together.rows() == apart.rows()


def _checkouts(count: int) -> list[Asked]:
    pairs = [*zip(CARDS, COPIES, strict=True)][:count]
    return [(_lend, _locks(card, copy)._replace(placed=NOTHING, title=""), card, copy) for card, copy in pairs]


def test_further_checkouts_of_a_group_add_no_statement(gateway: Gateway) -> None:
    gateway.group(*_checkouts(2))
    two = list(gateway.statements)
    locks = 3 if databases.ON_POSTGRESQL else 0  # by name, of rows, and the number of the transaction
    kinds = ["BEGIN", *["SELECT"] * (locks + 6), "UPDATE", *["INSERT"] * 3, "COMMIT"]
    assert [text.split()[0] for text in two] == kinds
    other = _gateway()
    other.group(*_checkouts(4))
    assert [text.split()[0] for text in other.statements] == [text.split()[0] for text in two]
    other.close()


def test_further_requests_of_a_group_add_no_statement(gateway: Gateway) -> None:
    placed = [
        (_request, LockSet(card, placed=("D", copy), title=f"of {card}"), card, copy, f"of {card}")
        for card, copy in zip(CARDS, COPIES, strict=True)
    ]
    gateway.group(*placed[:2])
    two = [text.split()[:3] for text in gateway.statements]
    assert ["INSERT", "INTO", "requests"] in two
    other = _gateway()
    other.group(*placed)
    assert [text.split()[:3] for text in other.statements] == two
    other.close()


def test_prefetched_rows_are_reread_after_their_table_changed(gateway: Gateway) -> None:
    def block(unit: UnitOfWork, card: str) -> bool:
        return cards.block(unit, card, "lost", NOW, BY, retained=False)

    def close(unit: UnitOfWork) -> frozenset[date]:
        before = unit.partners.closed_days("HKU")
        add_closure(unit, "HKU", date(2017, 3, 4), "holiday")
        return before

    def direct(unit: UnitOfWork) -> None:
        unit.partners.write([Partner(agency="CUHK", name="Chinese University", institutional_card="P1")])

    see = ((_seen, _locks(card, copy), card, copy) for card, copy in zip(CARDS, COPIES, strict=True))
    _, _, _, _, first, second, *_ = gateway.group(
        (_seen, LockSet("P0"), "P0", "C0"), (block, LockSet("P0"), "P0"), (close, LockSet()), (direct, LockSet()), *see
    )
    assert first[0].blocked
    assert second[1] == Partner(agency="CUHK", name="Chinese University", institutional_card="P1")
    assert first[4] == {date(2017, 3, 4)}


def test_lender_record_is_read_once_per_group_and_reread_after_a_change(gateway: Gateway) -> None:
    def see(unit: UnitOfWork) -> Record:
        return records(unit, NOW, ["CUHK"], weighed=False)["CUHK"]

    def go_down(unit: UnitOfWork) -> None:
        unit.circuits.keep(CircuitState(agency="CUHK", state=DOWN, failures=9, down_since=NOW - timedelta(days=1)))

    gateway.group((lambda unit: unit.partners.write([Partner(agency="CUHK", name="Chinese University")]), LockSet()))
    of_cards = [LockSet(card) for card in CARDS]
    assert gateway.group(*((see, locks) for locks in of_cards)) == [UNKNOWN_RECORD] * len(CARDS)
    alike = [text for text in gateway.statements if "closures" in text or "FROM links" in text]
    assert len(alike) <= 3  # a library's closed days, its row, and the rows of the locked cards
    _, _, down, _, closed = gateway.group(
        (see, of_cards[0]),
        (go_down, of_cards[1]),
        (see, of_cards[2]),
        (add_closure, LockSet(), "CUHK", date(2017, 3, 1), "holiday"),
        (see, of_cards[3]),
    )
    assert down == Record(down=True)
    assert closed == Record(down=True, closures=frozenset({date(2017, 3, 1)}))


def test_unwritten_journal_row_is_visible_to_a_journal_query(gateway: Gateway) -> None:
    def count(unit: UnitOfWork) -> int:
        return len(unit.journal.history("R0"))

    before, _, after = gateway.group((count, LockSet()), *_checkouts(1), (count, LockSet()))
    assert after == before + 1


def test_first_partner_by_name_is_used_for_a_shared_card(gateway: Gateway) -> None:
    two = [Partner(agency=agency, name=agency, institutional_card="P2") for agency in ("HKUST", "CUHK")]
    gateway.group((lambda unit, rows: unit.partners.write(rows), LockSet(), two))
    alone = gateway.group((lambda unit, card: unit.partners.with_card(card), LockSet("P2"), "P2"))
    ahead = gateway.group(*((lambda unit, card: unit.partners.with_card(card), LockSet(card), card) for card in CARDS))
    assert alone[0].agency == ahead[2].agency == "CUHK"
    assert ahead[0] is None


def test_lost_race_that_another_unit_sends_fails_only_its_own_unit(gateway: Gateway) -> None:
    def find(unit: UnitOfWork, number: str) -> Request | None:
        return unit.requests.find(number)

    def flag(unit: UnitOfWork, request: Request) -> str:
        return unit.amend(request, NOW, BY, flags="late").flags

    stale, fresh = gateway.group((find, LockSet(), "R0"), (find, LockSet(), "R1"))
    gateway.group((UnitOfWork.force, LockSet(), stale, Position.CLOSED, NOW, BY, "lost"))
    first, lost, seen, last = gateway.group(
        (flag, LockSet(), fresh), (flag, LockSet(), stale), (find, LockSet(), "R1"), (flag, LockSet(), replace(fresh, id="R2"))
    )
    assert (first, seen.flags, last) == ("late", "late", "late")
    assert isinstance(lost, LostRace)
    found = gateway.group(*((find, LockSet(), f"R{n}") for n in range(3)))
    assert [request.flags for request in found] == ["", "late", "late"]
