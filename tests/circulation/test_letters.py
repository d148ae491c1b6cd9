"""Recording the outcome of a letter: not needed any more, or bounced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hkall_gateway.circulation.partners import deliveries
from hkall_gateway.circulation.partners.deliveries import CIRCUIT_SETTINGS, Delivered
from hkall_gateway.circulation.patron_record import ChooseHistory
from hkall_gateway.circulation.recalls import ItemRecalled
from hkall_gateway.circulation.registry import HANDLERS
from hkall_gateway.circulation.results import DeliveryResult, Refused
from hkall_gateway.db.queries import cli_lists
from hkall_gateway.rules.stored_words import DeliveryKind, NoticeState
from hkall_gateway.rules.vocabulary import Actor, Position, Sensitive
from tests.circulation.conftest import sent_as

if TYPE_CHECKING:
    from tests.circulation.conftest import DeskWorld

ALIAS = Actor(who="hkall", channel="cli", message="bounce")
STATES = (NoticeState.QUEUED, NoticeState.SENT, NoticeState.NOT_NEEDED, NoticeState.UNDELIVERABLE)


def register(library: DeskWorld) -> list[tuple[str, str]]:
    """(state, error) of every letter."""
    return [(row["state"], row["error"]) for row in library.store.now(lambda unit: cli_lists.notices(unit, STATES))]


def recalled(library: DeskWorld) -> None:
    library.lent_out()
    library.go_to("2017-03-10 10:00")
    library.ask(library.circulation.execute(sent_as(ItemRecalled, library.heard())))


def test_obsolete_letter_is_removed_from_the_outbox_but_stays_registered(library: DeskWorld) -> None:
    recalled(library)
    (row,) = library.store.now(lambda unit: unit.outbox.rows())

    library.ask(
        library.circulation.execute(
            Delivered(
                row=row,
                answer=DeliveryResult(kind=DeliveryKind.NOT_NEEDED, detail="it holds no more"),
                retry_at=None,
                circuit_settings=CIRCUIT_SETTINGS,
            )
        )
    )

    assert library.store.now(lambda unit: unit.outbox.rows()) == ()
    assert register(library) == [("not_needed", "it holds no more")]
    assert library.store.now(lambda unit: unit.notices.earlier("R1")) == ()


def test_delivery_of_a_letter_excludes_a_choice_of_its_patron_about_the_history(library: DeskWorld) -> None:
    """Otherwise the text of a letter could be kept after its patron has deleted the history at another gateway."""
    recalled(library)
    (row,) = library.store.now(lambda unit: unit.outbox.rows())
    report = Delivered(
        row=row,
        answer=DeliveryResult(kind=DeliveryKind.ACCEPTED, text=Sensitive("Dear")),
        retry_at=None,
        circuit_settings=CIRCUIT_SETTINGS,
    )
    commands: list[Any] = [report, ChooseHistory(ALIAS, library.request().patron, keep=False)]
    locks = [HANDLERS[type(command)].locks for command in commands]
    names = [set(lock(command).names()) for lock, command in zip(locks, commands, strict=True) if lock]
    assert names[0] & names[1]


def test_r42_bounced_letter_is_marked_once_and_its_request_continues(library: DeskWorld) -> None:
    recalled(library)
    (row,) = library.store.now(lambda unit: unit.outbox.rows())
    library.ask(
        library.circulation.execute(
            Delivered(
                row=row, answer=DeliveryResult(kind=DeliveryKind.ACCEPTED), retry_at=None, circuit_settings=CIRCUIT_SETTINGS
            )
        )
    )
    earlier = library.store.now(lambda unit: unit.notices.earlier("R1"))
    assert [letter.kind for letter in earlier] == ["letter_recalled"]
    before = library.request()

    bounced = deliveries.MarkBounced(by=ALIAS, letter=1, request="R1", status="5.1.1")
    first, again = (library.ask(library.circulation.execute(bounced)) for _ in range(2))

    assert (first, again) == (deliveries.LetterBounced(1), deliveries.LetterBounced(1, again=True))
    assert register(library) == [("undeliverable", "bounced 5.1.1")]
    assert library.request() == before
    assert before.position is Position.ON_LOAN
    history = library.store.now(lambda unit: unit.journal.history("R1"))
    assert [line["event"] for line in history].count("LETTER_BOUNCED") == 1


@pytest.mark.parametrize("number", [0, 2, 10**9 - 1])
def test_unknown_letter_cannot_bounce(library: DeskWorld, number: int) -> None:
    recalled(library)
    bounced = deliveries.MarkBounced(by=ALIAS, letter=number, request="R1", status="5.1.1")
    assert isinstance(library.ask(library.circulation.execute(bounced)), Refused)
