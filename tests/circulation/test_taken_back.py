"""A recall is cancelled while the outcome of its letter is unknown: the patron is notified of the cancellation."""

from __future__ import annotations

from email.message import EmailMessage

import pytest
from twisted.mail.smtp import SMTPConnectError, SMTPDeliveryError

from hkall_gateway.circulation.command import in_context
from hkall_gateway.circulation.partners import unsent
from hkall_gateway.circulation.partners.deliveries import CIRCUIT_SETTINGS, Delivered
from hkall_gateway.circulation.recalls import ItemRecalled, RecallCancelled
from hkall_gateway.db.outbox import OutboxRow
from hkall_gateway.db.tables import NOTICES
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.delivery.courier import LEASE_S
from hkall_gateway.delivery.letters import Sender
from hkall_gateway.delivery.smtp import Mailer
from tests.circulation.conftest import CLERK, DeskWorld, sent_as

UNKNOWN = SMTPConnectError(-1, b"gone")  # type: ignore[no-untyped-call]  # twisted.mail has no types
BUSY = SMTPDeliveryError(450, b"busy")


class Post:
    """A mail server that fails as told, one result per letter, then accepts every letter."""

    def __init__(self, library: DeskWorld) -> None:
        self.library, self.fails, self.taken = library, list[Exception](), list[str]()
        self.mailer = Mailer(
            library.store,
            self._post,
            Sender(address="lending@lib.hk", library="HKU"),
            lambda: library.library,
            lambda: library.now,
        )

    async def _post(self, message: EmailMessage, _sender: str) -> None:
        if self.fails:
            raise self.fails.pop(0)
        self.taken.append(str(message["Subject"]))

    def round(self, *, again: bool = True) -> None:
        """Deliver all sendable messages; a failed one is retried `again` at once, or becomes a dead letter."""
        while rows := self.library.store.now(self._claim):
            for row in rows:
                answer = self.library.ask(self.mailer.deliver(row))
                retry_at = self.library.now if again else None
                self.library.ask(
                    self.library.circulation.execute(
                        Delivered(row=row, answer=answer, retry_at=retry_at, circuit_settings=CIRCUIT_SETTINGS)
                    )
                )
                if answer.kind in {"unknown", "later"}:
                    return

    def _claim(self, unit: UnitOfWork) -> tuple[OutboxRow, ...]:
        return unit.outbox.claim(self.library.now, "here", LEASE_S, 1)


@pytest.fixture
def post(library: DeskWorld) -> Post:
    library.set_patron("UG1", email="ug1@connect.test")
    library.lent_out(days=30)
    library.go_to("2017-03-11 10:00")
    library.ask(library.circulation.execute(sent_as(ItemRecalled, library.heard())))
    return Post(library)


def take_back(library: DeskWorld) -> None:
    library.ask(library.circulation.execute(sent_as(RecallCancelled, library.heard())))


def letters(library: DeskWorld) -> list[tuple[str, str, bool]]:
    """(kind, state, whether the time of sending is stored) of every letter."""
    return [(row["kind"], row["state"], row["sent_at"] is not None) for row in library.rows(NOTICES)]


def drop(library: DeskWorld) -> None:
    library.store.now(
        in_context(
            unsent.drop, library.library, library.now, unsent.Settle(by=CLERK, number=1, reason="the server was replaced")
        )
    )


def test_r26_cancelled_recall_sends_a_letter_if_the_recall_letter_may_have_arrived(library: DeskWorld, post: Post) -> None:
    post.fails = [UNKNOWN]
    post.round()
    take_back(library)

    post.round()

    assert post.taken == ["No longer recalled: Dune"]
    assert letters(library) == [("letter_recalled", "unsure", False), ("letter_recall_cancelled", "sent", True)]


def test_r26_undelivered_recall_letter_is_withdrawn_and_no_cancellation_letter_is_sent(library: DeskWorld, post: Post) -> None:
    post.fails = [BUSY]
    post.round()
    take_back(library)

    post.round()

    assert (post.taken, library.store.now(lambda unit: unit.outbox.rows())) == ([], ())


@pytest.mark.parametrize("moment", ["before", "after"])
def test_r26_dropped_recall_letter_of_unknown_outcome_needs_a_cancellation_letter(
    library: DeskWorld, post: Post, moment: str
) -> None:
    post.fails = [UNKNOWN]
    post.round(again=False)
    if moment == "before":
        take_back(library)
    drop(library)
    if moment == "after":
        take_back(library)

    post.round()

    assert post.taken == ["No longer recalled: Dune"]
    assert letters(library) == [("letter_recalled", "unsure", False), ("letter_recall_cancelled", "sent", True)]


def test_r26_dropped_undelivered_recall_letter_needs_no_cancellation_letter(library: DeskWorld, post: Post) -> None:
    post.fails = [BUSY]
    post.round(again=False)
    take_back(library)
    drop(library)

    post.round()

    assert post.taken == []
