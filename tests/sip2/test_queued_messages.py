"""What the local system is told later, and what is found out of its answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from hkall_gateway.desk.messages.results import DeliveryResult
from hkall_gateway.desk.ports import Unreachable
from hkall_gateway.rules.dates.calendar import HONG_KONG
from hkall_gateway.rules.messages.json_records import from_json, to_json
from hkall_gateway.rules.messages.local_messages import ILS_RECIPIENT, LocalMessage, LocalSend
from hkall_gateway.rules.stored_words import OutboxKind, OutboxState
from hkall_gateway.sip2.codec.dialects import DIALECTS
from hkall_gateway.sip2.queued_messages import DELIVERIES, QueuedMessages
from hkall_gateway.sip2.upstream.client import NOBODY, HungUp, Unanswered
from hkall_gateway.store.outbox import OutboxRow

NOW = datetime(2017, 3, 1, 2, tzinfo=UTC)
DATE = "20170301    100000"
S = LocalSend
LENT, SHELVED = f"18040101{DATE}ABL1|AJEmma|", f"18030101{DATE}ABL1|AJEmma|"
RECORD = f"64{' ' * 14}001{DATE}{'0000' * 6}AOTHEIRS|AAP1|AEChan|BLY|"


class Line:
    """Answers from a list; an exception is raised."""

    dialect, login, up, refused = DIALECTS["standard"], NOBODY, True, False

    def __init__(self, *says: str | Exception) -> None:
        self._says, self.asked = list(says), list[bytes]()

    async def __call__(self, body: bytes) -> bytes:
        self.asked.append(body)
        said = self._says.pop(0)
        if isinstance(said, Exception):
            raise said
        return said.encode()

    def close(self) -> None:
        """Nothing is open."""

    @property
    def codes(self) -> str:
        """What was asked, in order."""
        return " ".join(body[:2].decode() for body in self.asked)


def carried(line: Line, send: LocalSend, undoes: bool = False, state: str = "waiting", **facts: Any) -> DeliveryResult:
    message = LocalMessage(send.value, NOW, **{"patron": "P1", "barcode": "L1", **facts})
    row = OutboxRow(
        1,
        OutboxKind.ILS,
        send,
        ILS_RECIPIENT,
        ILS_RECIPIENT,
        message.ordering_key,
        message,
        "",
        OutboxState(state),
        NOW,
        NOW,
        1,
        "",
    )
    found: list[Any] = []
    carry: Callable[[OutboxRow], Awaitable[DeliveryResult]] = QueuedMessages(
        line, "THEIRS", lambda: NOW, HONG_KONG, undoes=undoes
    )
    Deferred.fromCoroutine(carry(row)).addBoth(found.append)  # type: ignore[arg-type]  # it is a coroutine
    assert isinstance(found[0], DeliveryResult)
    return found[0]


@pytest.mark.parametrize(
    ("send", "reply", "kind", "asked"),
    [
        (S.TELL_ILS_BLOCKED, f"24YYYY{' ' * 10}001{DATE}AOT|AAP1|AE|BLY|", "accepted", f"01Y{DATE}AOTHEIRS|ALlost|AAP1|AC|"),
        (S.TELL_ILS_BLOCKED, f"24YYYY{' ' * 10}001{DATE}AOT|AAP1|AE|BLN|", "refused", f"01Y{DATE}AOTHEIRS|ALlost|AAP1|AC|"),
        (S.TELL_ILS_ENABLED, f"26{' ' * 14}001{DATE}AOT|AAP1|AE|BLY|", "accepted", f"25{DATE}AOTHEIRS|AAP1|AC|"),
        (S.TELL_ILS_LENT, f"121NUY{DATE}AOT|AAP1|ABL1|AJ|AH|", "accepted",
         f"11NY{DATE}{' ' * 18}AOTHEIRS|AAP1|ABL1|AC|"),
        (S.TELL_ILS_LENT, f"120NUN{DATE}AOT|AAP1|ABL1|AJ|AH|", "refused",
         f"11NY{DATE}{' ' * 18}AOTHEIRS|AAP1|ABL1|AC|"),
        (S.TELL_ILS_BACK, f"101YUN{DATE}AOT|ABL1|AQ|", "accepted", f"09Y{DATE}{DATE}AOTHEIRS|AP|ABL1|AC|"),
        (S.TELL_ILS_BACK, f"100NUN{DATE}AOT|ABL1|AQ|", "refused", f"09Y{DATE}{DATE}AOTHEIRS|AP|ABL1|AC|"),
    ],
)  # fmt: skip
def test_each_deed_is_told_as_one_that_has_happened(send: LocalSend, reply: str, kind: str, asked: str) -> None:
    line = Line(reply, Unreachable("whether it is so already"))
    assert carried(line, send, text="lost", retained=True).kind == kind
    assert line.asked[0] == asked.encode()


TAKEN, NOT_TAKEN = f"121NUY{DATE}AOT|AAP1|ABL1|AJ|AH|", f"120NUN{DATE}AOT|AAP1|ABL1|AJ|AH|"
BACK, NOT_BACK = f"101YUN{DATE}AOT|ABL1|AQ|", f"100NUN{DATE}AOT|ABL1|AQ|"


@pytest.mark.parametrize(
    ("send", "says", "kind", "asked"),
    [
        (S.TELL_ILS_LENT, (NOT_TAKEN, LENT, RECORD + "AUL1 Emma|"), "accepted", "11 17 63"),  # it has that loan already
        (S.TELL_ILS_LENT, (NOT_TAKEN, LENT, RECORD + "AUL2|"), "refused", "11 17 63"),  # somebody else has it
        (S.TELL_ILS_BACK, (NOT_BACK, SHELVED), "accepted", "09 17"),
        (S.TELL_ILS_BACK, (NOT_BACK, LENT), "refused", "09 17"),
    ],
)
def test_what_is_so_already_there_is_told(send: LocalSend, says: tuple[str, ...], kind: str, asked: str) -> None:
    line = Line(*says)
    assert (carried(line, send).kind, line.codes) == (kind, asked)


@pytest.mark.parametrize(
    ("send", "says", "asked"),
    [
        (S.TELL_ILS_LENT, (LENT, RECORD + "AUL1|"), "17 63"),
        (S.TELL_ILS_LENT, (SHELVED, TAKEN), "17 11"),
        (S.TELL_ILS_BACK, (SHELVED,), "17"),
        (S.TELL_ILS_BACK, (LENT, BACK), "17 09"),
    ],
)
def test_what_may_have_been_heard_is_looked_up_before_it_is_told_again(
    send: LocalSend, says: tuple[str | Exception, ...], asked: str
) -> None:
    line = Line(*says)
    assert (carried(line, send, state="unsure").kind, line.codes) == ("accepted", asked)


@pytest.mark.parametrize("send", [S.TELL_ILS_LENT, S.TELL_ILS_BACK])
def test_it_is_not_told_again_where_that_look_has_no_answer(send: LocalSend) -> None:
    line = Line(Unanswered("TimeoutError"))
    assert (carried(line, send, state="unsure").kind, line.codes) == ("unknown", "17")


@pytest.mark.parametrize(
    ("says", "kind"),
    [
        ((SHELVED,), "accepted"),  # it was not done
        ((LENT, RECORD + "AUL1 Emma|AUL2|"), "refused"),  # it was, and a person must look
        ((LENT, RECORD + "AUL2|"), "accepted"),  # somebody else has it
        ((LENT, RECORD), "refused"),  # it does not say what the reader has
    ],
)
def test_a_checkout_without_an_answer_is_looked_up(says: tuple[str, ...], kind: str) -> None:
    assert carried(Line(*says), S.CHECK_ILS_LOAN).kind == kind


def test_it_is_cancelled_where_a_site_wants_that() -> None:
    line = Line(LENT, RECORD + "AUL1|", f"101YUN{DATE}AOT|ABL1|AQ|")
    assert carried(line, S.CHECK_ILS_LOAN, undoes=True).kind == "accepted"
    assert line.asked[-1] == f"09Y{DATE}{DATE}AOTHEIRS|AP|ABL1|AC|BIY|".encode()


def test_nothing_is_cancelled_where_it_is_not_known_who_has_the_copy() -> None:
    line = Line(LENT, RECORD)
    assert carried(line, S.CHECK_ILS_LOAN, undoes=True).kind == "refused"
    assert len(line.asked) == 2


def test_a_payment_without_an_answer_is_for_a_person_at_once() -> None:
    line = Line()
    answer = carried(line, S.CHECK_ILS_PAYMENT, amount="3.50")
    assert (answer.kind, "3.50" in answer.detail, line.asked) == ("refused", True, [])


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (Unreachable("ConnectionRefusedError"), "unreachable"),
        (Unanswered("TimeoutError"), "unknown"),
        (HungUp("ConnectionDone"), "unknown"),
        ("12", "unknown"),
    ],
)
def test_no_answer_is_tried_again(said: str | Exception, kind: str) -> None:
    assert carried(Line(said), S.TELL_ILS_LENT).kind == kind


def test_there_is_a_deed_for_everything_that_may_wait() -> None:
    assert DELIVERIES.keys() == set(LocalSend)


def test_what_waits_comes_back_as_it_was_and_its_key_shows_no_card() -> None:
    about_a_card = LocalMessage(S.TELL_ILS_BLOCKED.value, NOW, patron="P1", text="lost", retained=True)
    assert from_json(to_json(about_a_card)) == about_a_card
    assert "P1" not in about_a_card.ordering_key
    assert LocalMessage("", NOW, patron="P1", barcode="L1").ordering_key == "item:L1"
    assert LocalMessage("", NOW, request="R7", patron="P1", barcode="L1").ordering_key == "item:L1"


def test_a_payment_that_a_person_must_look_up_holds_nothing_else_of_its_card() -> None:
    paid = LocalMessage(S.CHECK_ILS_PAYMENT.value, NOW, patron="P1", amount="3.50")
    assert paid.ordering_key != LocalMessage(S.TELL_ILS_ENABLED.value, NOW, patron="P1").ordering_key
