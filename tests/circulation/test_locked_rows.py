"""Each command of the registry: the objects whose rows it changes are locked, and its refusals are in the journal.

`DeskWorld` asserts both for requests and money after every command (`witness.py`). Here each command runs once with
an effect and once without, so that no row of the registry escapes, and the other tables are looked at too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from typing import Any, Final

import pytest
from sqlalchemy import Table, insert, update

from hkall_gateway.circulation.borrowing import CancelRequest, RequestTitle
from hkall_gateway.circulation.cards import BlockCard, EnableCard, Hold, HoldMode, NoteProperties
from hkall_gateway.circulation.command import Command
from hkall_gateway.circulation.fines import Pay, Refund, Waive
from hkall_gateway.circulation.lending import BorrowFromUs
from hkall_gateway.circulation.loans import CheckOut, Renew, RenewAll
from hkall_gateway.circulation.partner_notice import (
    ItemCheckedIn,
    ItemCheckedOut,
    ItemReceived,
    ItemRenewed,
    ItemShipped,
    RequestAccepted,
    RequestCancelled,
)
from hkall_gateway.circulation.partners.broker_services import BrokerCommand
from hkall_gateway.circulation.partners.deliveries import CIRCUIT_SETTINGS, Delivered, MarkBounced
from hkall_gateway.circulation.partners.local_messages import (
    BeginTransaction,
    EndTransaction,
    EnqueueLocal,
    MarkDelivered,
    MarkRefused,
    MarkUndelivered,
    TakeOffline,
)
from hkall_gateway.circulation.partners.partner_reports import Bill, ChangeRequest, CopyReport, KeepUnplaced, SetStatus
from hkall_gateway.circulation.partners.reconciling import Correct, PartnerState, compare
from hkall_gateway.circulation.partners.unsent import MarkReplayed, Settle
from hkall_gateway.circulation.patron_record import ChooseHistory
from hkall_gateway.circulation.recalls import ItemRecalled, RecallCancelled, RenewalRefused
from hkall_gateway.circulation.registry import HANDLERS
from hkall_gateway.circulation.results import DeliveryResult, Refused
from hkall_gateway.circulation.returning import CheckIn
from hkall_gateway.circulation.settling import SettleCharge, SettlePayment
from hkall_gateway.circulation.staff.actions import Act, Reopen
from hkall_gateway.circulation.staff.closure_changes import CloseDay
from hkall_gateway.circulation.staff.examinations import RecordExamination
from hkall_gateway.circulation.staff.tokens import MakeToken, RevokeToken
from hkall_gateway.db.api_tokens import ApiToken
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.tables import (
    CARD_BLOCKS,
    FINES,
    HOLDINGS,
    METADATA,
    PATRON_CHOICES,
    PAYMENTS,
    PROPERTIES,
)
from hkall_gateway.rules.messages.outbox_messages import LocalMessage, LocalSend
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import DeliveryKind, RenewalSync
from hkall_gateway.rules.vocabulary import Actor, ItemKey, Position, Side
from tests.circulation.conftest import CLERK, COUNTER, TERMINAL, DeskWorld, sent_as

P = Position
Make = Callable[[DeskWorld], Command[Any, Any]]
PEER = Actor(who="CUHK", channel="ncip", message="Item")
K9 = ItemKey("HKU", "K9")
DAY = date(2017, 3, 10)
LENT: Mapping[str, Any] = {"side": Side.LENDING}


def given(position: Position, make: Make, **facts: Any) -> Make:
    """The command of `make`, in a library with a request at this position."""

    def arrange(library: DeskWorld) -> Command[Any, Any]:
        library.given(position, **facts)
        return make(library)

    return arrange


def on_loan(make: Make, **facts: Any) -> Make:
    def arrange(library: DeskWorld) -> Command[Any, Any]:
        library.lent_out(**facts)
        return make(library)

    return arrange


def owing(make: Make) -> Make:
    """The command of `make`, in a library whose patron owes 6 dollars for R1."""

    def arrange(library: DeskWorld) -> Command[Any, Any]:
        library.lent_out()
        library.go_to("2017-03-19 10:00")
        library.check_in()
        return make(library)

    return arrange


def refund_owed(library: DeskWorld) -> Command[Any, Any]:
    library.lent_out()
    library.act("lost", reason="on a bus")
    library.pay(library.owed())
    library.check_in()
    return Refund(by=CLERK, card="UG1", cents=100)


def overpaid(library: DeskWorld) -> Command[Any, Any]:
    command = owing(lambda _: SettleCharge(by=CLERK, fine=1, reason="as the journal says"))(library)
    library.store.now(lambda unit: unit.execute(update(FINES).values(paid_cents=900)))
    return command


def unbooked_payment(library: DeskWorld) -> Command[Any, Any]:
    payment = {"patron": "UG1", "who": "kiosk", "cents": 900, "currency": "HKD", "outcome": ""}
    command = owing(lambda _: SettlePayment(by=CLERK, payment=1, reason="it was taken"))(library)
    library.store.now(lambda unit: unit.execute(insert(PAYMENTS).values(**payment, at=library.now)))
    return command


def notice(kind: Any, **facts: Any) -> Make:
    """A notice about R1, under the number and with the copy that it has there."""

    def make(library: DeskWorld) -> Command[Any, Any]:
        request = library.request()
        named = {"wire_agency": request.wire_agency, "wire_id": request.wire_id, "item": request.item, **facts}
        command: Command[Any, Any] = sent_as(kind, library.heard(**named))
        return command

    return make


def unknown_notice(kind: Any) -> Make:
    def make(library: DeskWorld) -> Command[Any, Any]:
        command: Command[Any, Any] = sent_as(kind, library.heard(wire_agency="HKU", wire_id="R77-1", item=None))
        return command

    return make


def local(library: DeskWorld, send: LocalSend = LocalSend.TELL_ILS_LENT) -> LocalMessage:
    return LocalMessage(send=send.value, at=library.now, request="R1", patron="UG1", barcode="C1")


def queued(make: Callable[[int, LocalMessage], Command[Any, Any]]) -> Make:
    """The command of `make` about a message to the local system that waits in the outbox."""

    def arrange(library: DeskWorld) -> Command[Any, Any]:
        library.lent_out()
        message = local(library)
        number = library.ask(library.circulation.execute(EnqueueLocal(message, TERMINAL)))
        return make(number, message)

    return arrange


def delivered(library: DeskWorld) -> Command[Any, Any]:
    library.wish()
    (row,) = library.store.now(lambda unit: unit.outbox.rows())
    answer = DeliveryResult(kind=DeliveryKind.REFUSED, problem="Not on shelf")
    return Delivered(row=row, answer=answer, retry_at=None, circuit_settings=CIRCUIT_SETTINGS)


def dead_message(library: DeskWorld) -> Command[Any, Any]:
    library.wish()
    (row,) = library.store.now(lambda unit: unit.outbox.rows())
    return Settle(by=CLERK, number=row.id, reason="by telephone", kind="outbox", how="drop")


def sent_letter(library: DeskWorld) -> Command[Any, Any]:
    library.lent_out()
    library.ask(library.circulation.execute(sent_as(ItemRecalled, library.heard())))
    return MarkBounced(by=CLERK, letter=1, request="R1", status="5.1.1")


def corrected(library: DeskWorld) -> Command[Any, Any]:
    library.wish()
    line = PartnerState("HKU:R1-1", ("SHIPPED",), "C1")
    (pair,) = library.store.now(compare, "CUHK", {line.wire_id: line})
    return Correct(by=CLERK, pair=pair, theirs=line, reason="their list")


def blocked(library: DeskWorld) -> Command[Any, Any]:
    library.ask(library.circulation.execute(BlockCard(by=TERMINAL, card="UG1")))
    return EnableCard(TERMINAL, "UG1")


def kept(library: DeskWorld) -> Command[Any, Any]:
    keep = KeepUnplaced(by=PEER, digest="d", document="<a/>", why=Reason.UNKNOWN_REQUEST)
    library.ask(library.circulation.execute(keep))
    return MarkReplayed(CLERK, 1, "replayed")


def new_token(library: DeskWorld) -> MakeToken:
    return MakeToken(token=ApiToken(name="t", token_hash="h", role="desk", made_by="mei", made_at=library.now))


def made_token(library: DeskWorld) -> Command[Any, Any]:
    library.ask(library.circulation.execute(new_token(library)))
    return RevokeToken(name="t")


def twice(library: DeskWorld) -> None:
    """Let the barcode C1 stand for copies of two libraries, which are both on loan."""
    library.lent_out()
    library.lent_out(partner="HKUST", item_agency="HKUST", wire_id="R2-1", patron="UG2")


def recalled(library: DeskWorld) -> Command[Any, Any]:
    library.lent_out()
    library.ask(library.circulation.execute(notice(ItemRecalled)(library)))
    return notice(RecallCancelled)(library)


def hold(mode: HoldMode, **facts: Any) -> Make:
    return lambda _library: Hold(by=TERMINAL, mode=mode, card="UG1", **facts)


def ask_for(bib_id: str = "dune", card: str = "UG1") -> Make:
    return lambda _library: RequestTitle(by=CLERK, patron=card, bib_id=bib_id, placed_by="D", placed_id="d-1")


CANCEL = CancelRequest(by=CLERK, patron="UG1", request="R1")
LATER = ChangeRequest(by=PEER, agency="HKU", value="R1-1", caller="CUHK", need_before=date(2017, 4, 10))

# fmt: off
EFFECTS: Final[Mapping[type[Any], Make]] = {
    CheckOut:         given(P.RECEIVED, lambda _: CheckOut(by=TERMINAL, place=COUNTER, card="UG1", barcode="C1")),
    CheckIn:          on_loan(lambda _: CheckIn(by=TERMINAL, place=COUNTER, barcode="C1")),
    Renew:            on_loan(lambda _: Renew(by=TERMINAL, card="UG1", barcode="C1"), on="2017-02-20"),
    RenewAll:         on_loan(lambda _: RenewAll(by=TERMINAL, card="UG1"), on="2017-02-20"),
    RequestTitle:     ask_for(),
    CancelRequest:    given(P.REQUESTED, lambda _: CANCEL),
    Hold:             given(P.REQUESTED, hold(HoldMode.CANCEL, title="Dune")),
    BlockCard:        lambda _: BlockCard(by=TERMINAL, card="UG1"),
    EnableCard:       blocked,
    NoteProperties:   lambda _: NoteProperties(by=TERMINAL, barcode="K9", text="large"),
    ChooseHistory:    lambda _: ChooseHistory(CLERK, "UG1", keep=True),
    Pay:              owing(lambda _: Pay(by=TERMINAL, card="UG1", cents=100)),
    EnqueueLocal:     lambda library: EnqueueLocal(local(library), TERMINAL),
    TakeOffline:      lambda library: TakeOffline(local(library), TERMINAL),
    BeginTransaction: lambda library: BeginTransaction(local(library, LocalSend.CHECK_ILS_LOAN), TERMINAL),
    EndTransaction:   queued(lambda number, message: EndTransaction(number=number, message=message, by=TERMINAL, done=True)),
    MarkDelivered:    queued(lambda number, message: MarkDelivered(number=number, message=message, by=TERMINAL)),
    MarkUndelivered:  queued(lambda number, told: MarkUndelivered(number=number, message=told, by=TERMINAL, unsure=True)),
    MarkRefused:      queued(lambda number, message: MarkRefused(number, message, TERMINAL)),
    BorrowFromUs:     lambda _: BorrowFromUs(by=PEER, partner="CUHK", wire_agency="CUHK", wire_id="c-1", bib_id="lend"),
    ItemShipped:      given(P.REQUESTED, notice(ItemShipped, item=ItemKey("CUHK", "C1"))),
    ItemReceived:     given(P.SHIPPED, notice(ItemReceived), **LENT),
    RequestAccepted:  given(P.REQUESTED, notice(RequestAccepted)),
    RequestCancelled: given(P.REQUESTED, notice(RequestCancelled)),
    ItemCheckedOut:   given(P.SHIPPED, notice(ItemCheckedOut), **LENT),
    ItemCheckedIn:    given(P.RETURN_TRANSIT, notice(ItemCheckedIn)),
    ItemRenewed:      on_loan(notice(ItemRenewed, due=date(2017, 5, 1))),
    RenewalRefused:   given(P.ON_LOAN, notice(RenewalRefused), due=date(2017, 3, 16), renewal_sync=RenewalSync.PENDING),
    ItemRecalled:     on_loan(notice(ItemRecalled)),
    RecallCancelled:  recalled,
    BrokerCommand:    given(P.RECEIVED, lambda _: BrokerCommand(by=PEER, partner="CUHK", card="UG1", wire_agency="HKU",
                            wire_id="R1-1", barcode="C1", agency="CUHK", service="check_out", due=date(2017, 3, 20))),
    Delivered:        delivered,
    CopyReport:       given(P.AT_BORROWER, lambda _: CopyReport(by=PEER, command="lost", item=K9, partner="CUHK"), **LENT),
    KeepUnplaced:     lambda _: KeepUnplaced(by=PEER, digest="d", document="<a/>", why=Reason.UNKNOWN_REQUEST),
    ChangeRequest:    given(P.REQUESTED, lambda _: LATER),
    SetStatus:        lambda _: SetStatus(PEER, ItemKey("CUHK", "C1"), "On Loan"),
    Bill:             lambda _: Bill(by=PEER, card="UG1", cents=500, kind="fee", reference="b-1"),
    Act:              on_loan(lambda _: Act(by=CLERK, request="R1", action="lost", reason="on a bus")),
    Reopen:           given(P.UNFILLED, lambda _: Reopen(by=CLERK, request="R1", reason="a copy came back")),
    Refund:           refund_owed,
    Waive:            owing(lambda _: Waive(by=CLERK, fine=1, reason="ill")),
    SettleCharge:     overpaid,
    SettlePayment:    unbooked_payment,
    Settle:           dead_message,
    MarkBounced:      sent_letter,
    Correct:          corrected,
    MarkReplayed:     kept,
    CloseDay:         lambda _: CloseDay(by=CLERK, day=DAY, reason="typhoon"),
    RecordExamination: lambda _: RecordExamination(failed=3),
    MakeToken:        new_token,
    RevokeToken:      made_token,
}
"""Command -> an example that changes something."""

REFUSALS: Final[Mapping[type[Any], Make]] = {
    CheckOut:         lambda _: CheckOut(by=TERMINAL, place=COUNTER, card="PG1", barcode="C1"),
    CheckIn:          lambda _: CheckIn(by=TERMINAL, place=COUNTER, barcode="X9"),
    Renew:            lambda _: Renew(by=TERMINAL, card="UG1", barcode="C1"),
    RenewAll:         lambda _: RenewAll(by=TERMINAL, card="X1"),
    RequestTitle:     ask_for("lend"),
    CancelRequest:    on_loan(lambda _: CANCEL),
    Hold:             hold(HoldMode.CANCEL, title="Dune"),
    BlockCard:        lambda _: BlockCard(by=TERMINAL, card="X1"),
    EnableCard:       lambda _: EnableCard(TERMINAL, "X1"),
    NoteProperties:   lambda _: NoteProperties(by=TERMINAL, barcode="X9", text="large"),
    Pay:              lambda _: Pay(by=TERMINAL, card="UG1", cents=100),
    BorrowFromUs:     lambda _: BorrowFromUs(by=PEER, partner="CUHK", wire_agency="CUHK", wire_id="c-1", bib_id="none"),
    ItemShipped:      unknown_notice(ItemShipped),
    ItemReceived:     unknown_notice(ItemReceived),
    RequestAccepted:  unknown_notice(RequestAccepted),
    RequestCancelled: unknown_notice(RequestCancelled),
    ItemCheckedOut:   unknown_notice(ItemCheckedOut),
    ItemCheckedIn:    unknown_notice(ItemCheckedIn),
    ItemRenewed:      unknown_notice(ItemRenewed),
    RenewalRefused:   unknown_notice(RenewalRefused),
    ItemRecalled:     unknown_notice(ItemRecalled),
    RecallCancelled:  unknown_notice(RecallCancelled),
    BrokerCommand:    lambda _: BrokerCommand(by=PEER, partner="CUHK", card="UG1", wire_agency="HKU", wire_id="R7-1",
                            barcode="X9", agency="CUHK", service="check_out"),
    CopyReport:       lambda _: CopyReport(by=PEER, command="lost", item=K9, partner="CUHK"),
    ChangeRequest:    lambda _: replace(LATER, value="R77-1"),
    SetStatus:        lambda _: SetStatus(PEER, ItemKey("CUHK", "X9"), "On Loan"),
    Bill:             lambda _: Bill(by=PEER, card="X1", cents=500, kind="fee", reference="b-1"),
    Act:              lambda _: Act(by=CLERK, request="R77", action="lost", reason="on a bus"),
    Reopen:           on_loan(lambda _: Reopen(by=CLERK, request="R1", reason="a copy came back")),
    Refund:           lambda _: Refund(by=CLERK, card="UG1", cents=100),
    Waive:            owing(lambda _: Waive(by=CLERK, fine=1, reason=" ")),
    SettleCharge:     owing(lambda _: SettleCharge(by=CLERK, fine=1, reason=" ")),
    SettlePayment:    lambda _: SettlePayment(by=CLERK, payment=9, reason="taken"),
    Settle:           lambda _: Settle(by=CLERK, number=9, reason="by telephone", kind="outbox", how="drop"),
    MarkBounced:      lambda _: MarkBounced(by=CLERK, letter=9, request="R1", status="5.1.1"),
    Correct:          lambda library: replace(corrected(library), reason=" "),  # type: ignore[type-var]
    MarkReplayed:     lambda _: MarkReplayed(CLERK, 9, "replayed"),
    CloseDay:         lambda _: CloseDay(by=CLERK, day=DAY, reason=" "),
}
"""Command -> an example that is refused in its unit of work."""

NEVER_REFUSED: Final = frozenset({
    ChooseHistory, Delivered, KeepUnplaced, MakeToken, RecordExamination, RevokeToken,
    EnqueueLocal, TakeOffline, BeginTransaction, EndTransaction, MarkDelivered, MarkUndelivered, MarkRefused,
})

GUARDED: Final[Mapping[Table, Callable[[Any, LockSet], bool]]] = {
    CARD_BLOCKS:    lambda row, locks: row["card"] == locks.patron,
    HOLDINGS:       lambda row, locks: row["barcode"] == locks.item[1],
    PATRON_CHOICES: lambda row, locks: row["patron"] == locks.patron,
    PAYMENTS:       lambda row, locks: row["patron"] == locks.patron,
    PROPERTIES:     lambda row, locks: row["barcode"] == locks.item[1],
}
"""Table -> whether these locks cover a row. `witness.py` has requests and charges."""
# fmt: on


def contents(library: DeskWorld) -> dict[Table, list[Mapping[str, Any]]]:
    return {table: library.rows(table) for table in METADATA.sorted_tables}


def execute(library: DeskWorld, command: Command[Any, Any]) -> tuple[Any, LockSet]:
    """Execute a command, and return its result and the locks that its row has asked for."""
    result = library.ask(library.circulation.execute(command))
    locks = HANDLERS[type(command)].locks
    assert locks is not None
    return result, locks(command)


def test_each_command_has_an_example_with_an_effect() -> None:
    assert EFFECTS.keys() == {kind for kind in HANDLERS if issubclass(kind, Command)}


def test_each_command_has_an_example_that_is_refused_or_is_never_refused() -> None:
    assert REFUSALS.keys() | NEVER_REFUSED == EFFECTS.keys()
    assert not REFUSALS.keys() & NEVER_REFUSED


@pytest.mark.parametrize("kind", EFFECTS, ids=lambda kind: kind.__name__)
def test_command_locks_what_it_changes(library: DeskWorld, kind: type[Any]) -> None:
    command = EFFECTS[kind](library)
    before = contents(library)

    result, locks = execute(library, command)

    after = contents(library)
    changed = {table: [row for row in rows if row not in before[table]] for table, rows in after.items()}
    assert not isinstance(result, Refused), result
    assert after != before, "the example changes nothing"
    unlocked = [row for table, covers in GUARDED.items() for row in changed[table] if not covers(row, locks)]
    assert unlocked == []


def test_change_of_a_request_that_is_named_by_our_number_locks_it(library: DeskWorld) -> None:
    """A discovery system may name the request by our number instead of its own."""
    library.given(P.REQUESTED)
    _, locks = execute(library, replace(LATER, value="R1", caller="D", client=True, card="UG1"))
    assert library.request().need_before == LATER.need_before
    assert ("number", ("R1",)) in set(locks.requests())


@pytest.mark.parametrize("kind", REFUSALS, ids=lambda kind: kind.__name__)
def test_refused_command_is_in_the_journal(library: DeskWorld, kind: type[Any]) -> None:
    command = REFUSALS[kind](library)
    before = len(library.journal())

    result, _ = execute(library, command)

    assert isinstance(result, Refused), result
    assert [line["event"] for line in library.journal()[before:]] == ["REFUSED"]


@pytest.mark.parametrize(
    "make",
    [
        lambda _: CheckIn(by=TERMINAL, place=COUNTER, barcode="C1"),
        lambda _: CheckOut(by=TERMINAL, place=COUNTER, card="PG1", barcode="C1"),
        lambda _: Renew(by=TERMINAL, card="PG1", barcode="C1"),
        lambda _: NoteProperties(by=TERMINAL, barcode="C1", text="large"),
    ],
)
def test_scan_of_a_barcode_that_two_libraries_use_is_refused_in_the_journal(library: DeskWorld, make: Make) -> None:
    twice(library)
    result, _ = execute(library, make(library))
    assert result.why is Reason.AMBIGUOUS_ITEM
    assert library.journal()[-1]["outcome"] == Reason.AMBIGUOUS_ITEM.value
