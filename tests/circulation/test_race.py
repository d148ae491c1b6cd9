"""Two requests of one patron race for the fifteenth place (R20): two threads, then two processes, on one SQLite file.

Proof that they interleave: both start from a barrier, and whichever enters its transaction first waits before its commit until
the other one has started. Each records by the machine's clock, which both share, when it started and when it had decided;
`overlapped` counts the rounds in which the loser had started before the winner's decision was on disk, and that must be every
round. A gateway that counted in one transaction and wrote in another would grant both requests.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial
from itertools import count
from pathlib import Path
from queue import Queue
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Connection

from hkall_gateway.circulation import borrowing
from hkall_gateway.circulation.borrowing import Requested, RequestTitle
from hkall_gateway.circulation.command import Library, in_context
from hkall_gateway.circulation.ports import BorrowerFacts
from hkall_gateway.circulation.results import Refused
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.loads import loading
from hkall_gateway.db.requests import RequestRepository
from hkall_gateway.db.tables import create_all
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Actor, Borrower, Holding, Position, Request, Sensitive, Side
from hkall_gateway.simulator.databases import SoleStore
from tests.readers import CATEGORY, POLICY

ROUNDS = 15
PATIENCE_S = 20
NOW = datetime(2017, 3, 1, 2, 0, tzinfo=UTC)
HOUSE = Library(agency="HKU", name="HKU Libraries", policy=POLICY, pickup_locations=("HKU-MAIN-LENDING",))
WORLD = Actor(who="world", channel="world")
READER = Borrower(barcode="UG0", name=Sensitive("Chan"), category=CATEGORY.key, total_quota=60)
LOAN = Request(
    id="", side=Side.BORROWING, position=Position.ON_LOAN, title="t", bib_id="t", partner="CUHK", due=date(2017, 3, 16)
)
TITLES = ("left", "right")


class Turn(NamedTuple):
    """The result of one side of a round, and the times of its start and its decision in nanoseconds."""

    number: int
    side: int
    won: str
    why: str
    asked_ns: int
    decided_ns: int


def card(number: int) -> str:
    return f"UG{number}"


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A file database in which each of several patrons has fourteen of fifteen items."""
    url = f"sqlite:///{tmp_path / 'race.db'}"
    engine = open_engine(url)
    create_all(engine)
    with closing(opened(url, "world")) as store:
        store.now(lambda unit: unit.partners.write([Partner(agency="CUHK", name="Chinese University")]))
        store.now(
            loading.write, "holdings", [Holding(agency="CUHK", barcode=title, bib_id=title, title=title) for title in TITLES], 1
        )
        store.now(fill)
    engine.dispose()
    return url


def fill(unit: UnitOfWork) -> None:
    for number in range(ROUNDS):
        for book in range(14):
            unit.open(replace(LOAN, patron=card(number), item_agency="CUHK", item_barcode=f"C{number}-{book}"), NOW, WORLD)


def opened(url: str, name: str, before_commit: Callable[[], None] = lambda: None) -> SoleStore:
    """A store with its own connection, like each gateway has; request numbers start with its name."""
    numbers = count(1)

    def make_unit(connection: Connection) -> UnitOfWork:
        return UnitOfWork(connection, lambda: f"{name}-{next(numbers)}")

    return SoleStore(open_engine(url), make_unit, before_commit)


def race(url: str, side: int, begun: list[list[Any]], start: Any, answers: Any) -> None:
    """One racer: requests its own title for the same patron in every round. Sets `begun[round][side]` at its start."""
    now_in, decided = [0], [0]

    def wait_for_the_other() -> None:
        if not begun[now_in[0]][1 - side].wait(PATIENCE_S):
            raise AssertionError("the other one never asked")
        decided[0] = time.monotonic_ns()

    with closing(opened(url, TITLES[side], wait_for_the_other)) as store:
        for number in range(ROUNDS):
            now_in[0] = number
            start.wait(PATIENCE_S)
            asked = time.monotonic_ns()
            begun[number][side].set()
            answers.put(Turn(number, side, *outcome(store, number, side), asked, decided[0]))


def outcome(store: SoleStore, number: int, side: int) -> tuple[str, str]:
    ask = RequestTitle(
        by=Actor(who=TITLES[side], channel="ncip"),
        patron=card(number),
        bib_id=TITLES[side],
        placed_by="D",
        placed_id=f"{number}-{side}",
    )
    facts = BorrowerFacts(borrower=replace(READER, barcode=card(number)), source="test")
    match store.now(in_context(borrowing.request_title, HOUSE, NOW, ask, facts)):
        case Requested():
            return "won", ""
        case Refused(why=why):
            return "lost", why.value
    raise AssertionError("neither yes nor no")


def overlapped(turns: list[Turn]) -> int:
    """The number of rounds in which the loser started before the winner's place was on disk."""
    winner = {turn.number: turn for turn in turns if turn.won == "won"}
    return sum(turn.asked_ns < winner[turn.number].decided_ns for turn in turns if turn.won == "lost")


def run(url: str, racer: Callable[..., Any], event: Callable[[], Any], barrier: Callable[[int], Any], queue: Any) -> list[Turn]:
    begun = [[event(), event()] for _ in range(ROUNDS)]
    start = barrier(2)
    racers = [racer(target=partial(race, url, side, begun, start, queue)) for side in (0, 1)]
    for one in racers:
        one.start()
    answers = [queue.get(timeout=PATIENCE_S) for _ in range(2 * ROUNDS)]
    for one in racers:
        one.join(PATIENCE_S)
    return answers


def assert_one_wins_every_round(url: str, turns: list[Turn]) -> None:
    """Assert that one side wins each round, that the other was refused while overlapping, and that the database agrees."""
    by_round = [sorted((turn.won, turn.why) for turn in turns if turn.number == number) for number in range(ROUNDS)]
    assert by_round == [[("lost", Reason.QUOTA_HKALL.value), ("won", "")]] * ROUNDS
    assert overlapped(turns) == ROUNDS
    with closing(opened(url, "judge")) as store:
        assert [
            len(store.now(lambda unit: unit.requests.open_of_patron(card(number))))  # noqa: B023  # it runs at once
            for number in range(ROUNDS)
        ] == [15] * ROUNDS


def test_r20_only_one_of_two_threads_gets_the_last_quota_place(url: str) -> None:
    answers = run(url, partial(threading.Thread, daemon=True), threading.Event, threading.Barrier, Queue())

    assert_one_wins_every_round(url, answers)


def test_r20_only_one_of_two_processes_gets_the_last_quota_place(url: str) -> None:
    forking = multiprocessing.get_context("fork")  # the children run this file's functions as they are

    answers = run(url, partial(forking.Process, daemon=True), forking.Event, forking.Barrier, forking.Queue())

    assert_one_wins_every_round(url, answers)


def test_race_test_detects_counting_outside_the_transaction(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the places are counted too early, both sides win, and the check reports it."""
    monkeypatch.setattr(RequestRepository, "quota_used", lambda *_: 14)
    answers = run(url, partial(threading.Thread, daemon=True), threading.Event, threading.Barrier, Queue())

    with pytest.raises(AssertionError):
        assert_one_wins_every_round(url, answers)
