"""Number of SQL statements per command, from BEGIN to COMMIT, without the delivery of messages. The limits may only fall."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import event

from hkall_gateway.circulation.borrowing import RequestTitle
from hkall_gateway.circulation.command import InboxKey
from hkall_gateway.rules.vocabulary import Position
from tests.circulation.conftest import CLERK, DeskWorld

Count = Callable[[Callable[[], Any]], list[str]]


@pytest.fixture
def world() -> Iterator[DeskWorld]:
    made = DeskWorld()
    yield made
    made.close()


@pytest.fixture
def statements(world: DeskWorld) -> Count:
    """The SQL statements of a function."""
    heard: list[str] = []
    event.listen(world.engine, "before_cursor_execute", lambda _c, _cursor, text, *_rest: heard.append(text))

    def of(work: Callable[[], Any]) -> list[str]:
        heard.clear()
        work()
        return list(heard)

    return of


def test_placing_a_request_needs_few_statements(world: DeskWorld, statements: Count) -> None:
    ask = RequestTitle(by=CLERK, patron="UG1", bib_id="dune", placed_by="D", placed_id="d-1")
    found = statements(
        lambda: world.ask(world.circulation.execute(ask, inbox=InboxKey(agency="D", digest="digest", keep_s=60)))
    )
    assert [request.position for request in world.requests()] == [Position.REQUESTED]
    assert len(found) <= (18 if world.engine.dialect.name == "sqlite" else 20), found  # PostgreSQL has locks and a clock


def test_checking_out_needs_few_statements(world: DeskWorld, statements: Count) -> None:
    world.given(Position.RECEIVED, received_on=world.today())
    found = statements(world.check_out)
    assert [request.position for request in world.requests()] == [Position.ON_LOAN]
    assert len(found) <= 16, found


def test_journal_lines_are_inserted_in_one_statement(world: DeskWorld, statements: Count) -> None:
    found = statements(world.wish)
    assert sum(text.startswith("INSERT INTO journal") for text in found) == 1
    assert len(world.journal()) == 2
