"""Messages queued for the local system, and the interpretation of its replies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from hkall_gateway.circulation.ports import Unreachable
from hkall_gateway.circulation.results import DeliveryResult
from hkall_gateway.db.outbox import OutboxRow
from hkall_gateway.rules.dates import HONG_KONG
from hkall_gateway.rules.messages.json_records import from_json, to_json
from hkall_gateway.rules.messages.outbox_messages import ILS_RECIPIENT, LocalMessage, LocalSend
from hkall_gateway.rules.stored_words import OutboxKind, OutboxState
from hkall_gateway.sip2.client import NOBODY, HungUp, Unanswered
from hkall_gateway.sip2.codec.dialects import DIALECTS
from hkall_gateway.sip2.queued_messages import DELIVERIES, QueuedMessages

NOW = datetime(2017, 3, 1, 2, tzinfo=UTC)
DATE = "20170301    100000"
S = LocalSend
LENT, SHELVED, UNKNOWN = f"18040101{DATE}ABL1|AJEmma|", f"18030101{DATE}ABL1|AJEmma|", f"18010101{DATE}ABL1|AJ|"
RECORD = f"64{' ' * 14}001{DATE}{'0000' * 6}AOTHEIRS|AAP1|AEChan|BLY|"


def record(count: str, *entries: str) -> str:
    """Return a 64 reply with this loan count and these items."""
    return f"64{' ' * 14}001{DATE}{'0000' * 2}{count}{'0000' * 3}AOTHEIRS|AAP1|AEChan|BLY|" + "".join(
        f"AU{e}|" for e in entries
    )


class Line:
    """A connection that replies from a list; an exception in the list is raised."""

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
        """Nothing to close."""

    @property
    def codes(self) -> str:
        """Return the codes of the messages sent, in order."""
        return " ".join(body[:2].decode() for body in self.asked)


def carried(line: Line, send: LocalSend, state: str = "waiting", age_s: int = 0, **facts: Any) -> DeliveryResult:
    message = LocalMessage(send=send.value, at=NOW, **{"patron": "P1", "barcode": "L1", **facts})
    row = OutboxRow(
        id=1,
        kind=OutboxKind.ILS,
        send=send,
        recipient=ILS_RECIPIENT,
        line=ILS_RECIPIENT,
        request=message.ordering_key,
        payload=message,
        corr="",
        state=OutboxState(state),
        made_at=NOW - timedelta(seconds=age_s),
        next_at=NOW,
        attempts=1,
        last_error="",
    )
    found: list[Any] = []
    carry: Callable[[OutboxRow], Awaitable[DeliveryResult]] = QueuedMessages(line, "THEIRS", lambda: NOW, HONG_KONG)
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
def test_queued_action_is_sent_as_an_offline_transaction(send: LocalSend, reply: str, kind: str, asked: str) -> None:
    line = Line(reply, Unreachable("whether it is so already"))
    assert carried(line, send, text="lost", retained=True).kind == kind
    assert line.asked[0] == asked.encode()


TAKEN, NOT_TAKEN = f"121NUY{DATE}AOT|AAP1|ABL1|AJ|AH|", f"120NUN{DATE}AOT|AAP1|ABL1|AJ|AH|"
BACK, NOT_BACK = f"101YUN{DATE}AOT|ABL1|AQ|", f"100NUN{DATE}AOT|ABL1|AQ|"


@pytest.mark.parametrize(
    ("send", "says", "kind", "asked"),
    [
        (S.TELL_ILS_LENT, (NOT_TAKEN, LENT, RECORD + "AUL1 Emma|"), "accepted", "11 17 63"),  # the system already has this loan
        (S.TELL_ILS_LENT, (NOT_TAKEN, LENT, record("0001", "L2")), "refused", "11 17 63"),  # another patron has the item
        (S.TELL_ILS_BACK, (NOT_BACK, SHELVED), "accepted", "09 17"),
        (S.TELL_ILS_BACK, (NOT_BACK, LENT), "refused", "09 17"),
    ],
)
def test_action_already_in_effect_at_the_local_system_counts_as_delivered(
    send: LocalSend, says: tuple[str, ...], kind: str, asked: str
) -> None:
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
def test_action_of_unknown_outcome_is_looked_up_before_resending(
    send: LocalSend, says: tuple[str | Exception, ...], asked: str
) -> None:
    line = Line(*says)
    assert (carried(line, send, state="unsure", age_s=60).kind, line.codes) == ("accepted", asked)


@pytest.mark.parametrize("send", [S.TELL_ILS_LENT, S.TELL_ILS_BACK])
def test_action_of_unknown_outcome_rests_while_it_may_still_take_effect(send: LocalSend) -> None:
    """If it was repeated at once, the first one could take effect after a later action of the same item."""
    line = Line()
    answer = carried(line, send, state="unsure", age_s=59)
    assert (answer.kind, answer.retry_after_s, line.codes) == ("later", 60, "")


@pytest.mark.parametrize("send", [S.TELL_ILS_LENT, S.TELL_ILS_BACK])
def test_action_is_not_resent_when_its_lookup_fails(send: LocalSend) -> None:
    line = Line(Unanswered("TimeoutError"))
    assert (carried(line, send, state="unsure", age_s=60).kind, line.codes) == ("unknown", "17")


def test_unanswered_action_rests_until_it_can_no_longer_take_effect() -> None:
    answer = carried(Line(Unanswered("TimeoutError")), S.TELL_ILS_LENT)
    assert (answer.kind, answer.retry_after_s) == ("unknown", 60)


@pytest.mark.parametrize(
    ("holder", "says", "kind"),
    [
        ("", (SHELVED,), "accepted"),
        ("", (LENT,), "refused"),  # an unanswered checkout was carried out after the return
        ("P1", (LENT, RECORD + "AUL1|"), "accepted"),
        ("P1", (SHELVED,), "refused"),  # an unanswered return was carried out after the checkout
        ("P1", (LENT, record("0001", "L2")), "refused"),
    ],
)
def test_item_must_be_where_the_last_answered_action_left_it(holder: str, says: tuple[str, ...], kind: str) -> None:
    assert carried(Line(*says), S.CHECK_ILS_COPY, patron=holder).kind == kind


@pytest.mark.parametrize(
    ("says", "kind"),
    [
        ((SHELVED,), "accepted"),  # the checkout was not executed
        ((LENT, record("0002", "L1 Emma", "L2")), "refused"),  # the checkout was executed, so staff must act
        ((LENT, record("0001", "L2")), "accepted"),  # another patron has the item
        ((LENT, record("0000")), "accepted"),
        ((LENT, record("0002", "L2")), "refused"),  # the list is incomplete
        ((LENT, record("    ", "L2")), "refused"),  # there is no count to compare with the list
        ((LENT, record("0001", "Emma / Jane Austen")), "refused"),  # the list has titles instead of barcodes
    ],
)
def test_checkout_without_a_reply_is_looked_up(says: tuple[str, ...], kind: str) -> None:
    line = Line(*says)
    assert carried(line, S.CHECK_ILS_LOAN, age_s=60).kind == kind
    assert line.codes == "17 63"[: 2 if len(says) == 1 else 5]


@pytest.mark.parametrize(("says", "kind"), [(SHELVED, "refused"), (LENT, "accepted"), (UNKNOWN, "accepted")])
def test_return_without_a_reply_is_looked_up(says: str, kind: str) -> None:
    assert carried(Line(says), S.CHECK_ILS_RETURN, age_s=60).kind == kind


@pytest.mark.parametrize(("send", "says"), [(S.CHECK_ILS_LOAN, SHELVED), (S.CHECK_ILS_RETURN, LENT)])
def test_unperformed_action_is_looked_up_again_while_it_may_still_take_effect(send: LocalSend, says: str) -> None:
    answer = carried(Line(says), send, age_s=59)
    assert (answer.kind, answer.retry_after_s) == ("later", 60)


def test_queued_checkout_is_cancelled_when_its_item_was_returned() -> None:
    line = Line(LENT, record("0001", "L1"), f"101YUN{DATE}AOT|ABL1|AQ|")
    assert carried(line, S.CHECK_ILS_LOAN, was_in=True).kind == "accepted"
    assert line.asked[-1] == f"09Y{DATE}{DATE}AOTHEIRS|AP|ABL1|AC|BIY|".encode()


@pytest.mark.parametrize(
    ("was_in", "age_s", "listed"),
    [
        (False, 0, record("0001", "L1")),  # the loan may be older than the checkout
        (True, 16, record("0001", "L1")),  # the loan may have been made later, at the system's own desk
        (True, 0, record("0002", "L2")),  # the borrower is unknown
    ],
)
def test_ambiguous_checkout_is_left_to_staff(was_in: bool, age_s: int, listed: str) -> None:
    """It is left to them when it can no longer be carried out, so that they do not settle it too early."""
    line = Line(LENT, listed, LENT, listed)
    assert carried(line, S.CHECK_ILS_LOAN, was_in=was_in, age_s=age_s).kind == "later"
    assert carried(line, S.CHECK_ILS_LOAN, was_in=was_in, age_s=60).kind == "refused"
    assert line.codes == "17 63 17 63"


@pytest.mark.parametrize(("age_s", "kind"), [(59, "later"), (60, "refused")])
def test_unanswered_payment_becomes_a_staff_task_when_it_can_no_longer_be_resent(age_s: int, kind: str) -> None:
    line = Line()
    answer = carried(line, S.CHECK_ILS_PAYMENT, age_s=age_s, amount="3.50", terminal="counter-1", transaction="t-1")
    assert (answer.kind, line.asked) == (kind, [])
    assert answer.detail == ("counter-1 t-1 3.50: look it up there" if kind == "refused" else "")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (Unreachable("ConnectionRefusedError"), "unreachable"),
        (Unanswered("TimeoutError"), "unknown"),
        (HungUp("ConnectionDone"), "unknown"),
        ("12", "unknown"),
    ],
)
def test_missing_reply_causes_a_retry(said: str | Exception, kind: str) -> None:
    assert carried(Line(said), S.TELL_ILS_LENT).kind == kind


def test_every_queued_message_type_has_an_action() -> None:
    assert DELIVERIES.keys() == set(LocalSend)


def test_queued_message_round_trips_and_its_key_contains_no_card() -> None:
    about_a_card = LocalMessage(send=S.TELL_ILS_BLOCKED.value, at=NOW, patron="P1", text="lost", retained=True)
    assert from_json(to_json(about_a_card)) == about_a_card
    assert "P1" not in about_a_card.ordering_key
    assert LocalMessage(send="", at=NOW, patron="P1", barcode="L1").ordering_key == "item:L1"
    assert LocalMessage(send="", at=NOW, request="R7", patron="P1", barcode="L1").ordering_key == "item:L1"


def paid(**facts: str) -> str:
    """Return the key of a payment by one card."""
    told: dict[str, Any] = {"patron": "P1", "amount": "3.50", "terminal": "counter-1", **facts}
    return LocalMessage(send=S.CHECK_ILS_PAYMENT.value, at=NOW, **told).ordering_key


def test_payment_awaiting_staff_does_not_block_later_messages() -> None:
    keys = [
        LocalMessage(send=S.TELL_ILS_ENABLED.value, at=NOW, patron="P1").ordering_key,
        paid(transaction="1"),
        paid(transaction="2"),
        paid(transaction="1", terminal="counter-2"),
        paid(),
        paid(amount="4.00"),
        paid(text="7"),
        paid(patron="P2"),
    ]
    assert len(set(keys)) == len(keys)


def test_repeated_payment_has_the_same_key() -> None:
    assert paid(transaction="1") == paid(transaction="1", amount="3.5")
    assert paid() == paid(terminal="counter-2")
