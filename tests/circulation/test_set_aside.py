"""A request that a round cannot process is set aside and retried in the next round; the other requests are processed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from hkall_gateway.db import rounds
from hkall_gateway.db.tables import OUTBOX
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.vocabulary import Position

if TYPE_CHECKING:
    from tests.circulation.conftest import DeskWorld

P = Position
POISONED = {
    "sqlite": (
        "CREATE TRIGGER poison BEFORE UPDATE ON requests WHEN old.id = 'R2' BEGIN SELECT RAISE(ABORT, 'poisoned'); END",
    ),
    "postgresql": (
        "CREATE FUNCTION poison() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'poisoned'; END $$ LANGUAGE plpgsql",
        "CREATE TRIGGER poison BEFORE UPDATE ON requests FOR EACH ROW WHEN (old.id = 'R2') EXECUTE FUNCTION poison()",
    ),
}
HEALED = {
    "sqlite": ("DROP TRIGGER poison",),
    "postgresql": ("DROP TRIGGER poison ON requests", "DROP FUNCTION poison()"),
}


def say(library: DeskWorld, statements: dict[str, tuple[str, ...]]) -> None:
    for statement in statements[library.engine.dialect.name]:
        library.store.now(lambda unit: unit.connection.exec_driver_sql(statement))  # noqa: B023  # it runs at once


def three_late(library: DeskWorld) -> None:
    """Three loans due on the same day; the second cannot be written."""
    for barcode in ("C1", "C2", "C3"):
        library.lent_out(item_barcode=barcode)
    say(library, POISONED)
    library.go_to("2017-03-17 00:00")


def test_failing_row_does_not_stop_the_letters_of_others(library_on_each: DeskWorld) -> None:
    library = library_on_each
    three_late(library)

    assert library.round("overdue") == 2

    assert library.letters(Notification.LETTER_OVERDUE) == 2
    assert [library.request(f"R{n}").overdue_notice_for is not None for n in (1, 2, 3)] == [True, False, True]
    say(library, HEALED)


def test_failing_row_is_set_aside_and_logged(library: DeskWorld) -> None:
    three_late(library)
    with capture_logs() as logs:
        library.round("overdue")

    assert [(one.round, one.request) for one in library.store.now(rounds.all_aside)] == [("overdue", "R2")]
    assert "poisoned" in library.store.now(rounds.all_aside)[0].error
    assert [(line["job"], line["request_id"]) for line in logs if line["event"] == "timer.set_aside"] == [("overdue", "R2")]


def test_failing_row_is_rolled_back_with_its_messages(library: DeskWorld) -> None:
    three_late(library)
    library.round("overdue")

    assert [line["event"] for line in library.journal() if line["request"] == "R2"] == ["OPEN"]
    assert not any(line["request"] == "R2" for line in library.rows(OUTBOX))


def test_row_set_aside_is_retried_in_the_next_round(library_on_each: DeskWorld) -> None:
    library = library_on_each
    three_late(library)
    library.round("overdue")
    library.go_to("2017-03-18 00:00")
    library.round("overdue")
    assert [one.at for one in library.store.now(rounds.all_aside)] == [library.now]

    say(library, HEALED)
    library.go_to("2017-03-19 00:00")

    assert library.round("overdue") == 1
    assert library.store.now(rounds.all_aside) == ()
    assert library.letters(Notification.LETTER_OVERDUE) == 3


def test_batch_with_only_failing_rows_does_not_end_the_round(library: DeskWorld) -> None:
    three_late(library)
    small = library.gateway("small", batch=1)

    assert library.ask(small.do("overdue")) == 2


@pytest.mark.parametrize(
    ("name", "position", "facts"),
    [
        ("pickup_expiry", P.RECEIVED, {"pickup_last": "2017-03-06"}),
        ("not_needed_after", P.REQUESTED, {"need_before": "2017-03-06"}),
        ("silence", P.REQUESTED, {}),
        ("overdue", P.ON_LOAN, {"due": "2017-03-06"}),
    ],
)
def test_every_round_sets_failing_rows_aside(library: DeskWorld, name: str, position: Position, facts: dict[str, str]) -> None:
    dates = {fact: library.clock(f"{day} 12:00").date() for fact, day in facts.items()}
    for barcode in ("C1", "C2", "C3"):
        held = {} if position is P.REQUESTED else {"item_barcode": barcode}
        library.given(position, **held, **dates, wire_id=f"w-{barcode}")
    say(library, POISONED)
    library.go_to("2017-03-20 10:00")

    assert library.round(name) == 2
    assert [one.request for one in library.store.now(rounds.all_aside)] == ["R2"]
