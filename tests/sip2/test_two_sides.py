"""Patron, terminal, relay and local system: whatever is lost, every difference in a loan or payment is shown to staff."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from hkall_gateway.circulation.circulation import Circulation
from hkall_gateway.circulation.command import Library
from hkall_gateway.db.database import finished
from hkall_gateway.db.outbox import UNSETTLED, WAITING, OutboxRow
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.delivery.courier import ChannelTerms, Courier, Schedule
from hkall_gateway.ils.local_system import ConnectedSystem
from hkall_gateway.net.circuit_breaker import CircuitBreaker
from hkall_gateway.observability.metrics import Metrics
from hkall_gateway.rules.dates import HONG_KONG
from hkall_gateway.rules.messages.outbox_messages import LocalMessage, LocalSend, key_of_copy
from hkall_gateway.rules.stored_words import OutboxKind, OutboxState
from hkall_gateway.simulator.databases import SoleStore
from hkall_gateway.simulator.ils import IlsBook, IlsPatron, SimulatedIls
from hkall_gateway.simulator.scenario.in_memory import Seal
from hkall_gateway.sip2.client import NOBODY, LastKnown, Upstream
from hkall_gateway.sip2.codec.dialects import DIALECTS
from hkall_gateway.sip2.codec.session import SendBytes, Session
from hkall_gateway.sip2.dispatch import Sip2Services, respond
from hkall_gateway.sip2.queued_messages import QueuedMessages
from tests import databases
from tests.examples import example_count
from tests.metrics import value
from tests.readers import POLICY
from tests.sip2.conftest import TERMINALS, LocalIls, PlainSecrets
from tests.sip2.lossy_system import FAULTS, LossySystem

START = datetime(2017, 3, 1, 2, tzinfo=UTC)
DATE = "20170301    100000"
READERS, BOOKS, LOGINS = ("P1", "P2"), ("L1", "L2"), ("counter-1", "selfcheck-1")
OFF_LINE = "offline-2"
UPLOADS = 30
"""Number of terminals that send what they did off line, in one outage."""
EVENTS = (LocalSend.TELL_ILS_LENT, LocalSend.TELL_ILS_BACK)
"""Messages about what happened at a terminal. All others look something up."""
faults = st.lists(st.sampled_from(FAULTS), max_size=3)
readers, books, logins = st.sampled_from(READERS), st.sampled_from(BOOKS), st.sampled_from(LOGINS)
omissions = st.sampled_from([frozenset(), frozenset({"CQ"}), frozenset({"CQ", "AF", "BV", "CB"})])
GATEWAY = "gateway"
SESSION = f"63001{DATE}{' ' * 10}AOHKU|AA{{reader}}|AC|AD1234|"


class Died(BaseException):
    """The gateway was killed."""


class Terminal:
    """One terminal: its connection to the gateway, and the gateway's connection for it to the local system."""

    def __init__(self, login: str, services: Sip2Services, upstream: Upstream) -> None:
        self.session, self.seal, self.upstream = Session(DIALECTS["standard"]), Seal("utf-8"), upstream
        self.session.log_in(login, services.terminals[login].dialect)
        self.last = b""


class TwoSides(RuleBasedStateMachine):
    """Random loans and payments at terminals, the relay and the local system.

    Attributes:
        shown: The patron, or None, that terminals showed last for each item.
        accepted: Payments that terminals showed as accepted.

    The system lists only some of the loans of P2. Its own desk lends and receives items as well. Staff tell patrons what they
    do or see there.
    """

    undoes = False

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.engine, self.names = Clock(), databases.empty(), (f"R{number}" for number in count(1))
        system = SimulatedIls(
            "HKU",
            self.now,
            {"P1": IlsPatron("P1"), "P2": IlsPatron("P2", loans=3)},
            {book: IlsBook(book, book) for book in BOOKS},
        )
        self.lossy = LossySystem(system, self.clock)
        self.shown: dict[str, str | None] = dict.fromkeys(BOOKS)
        self.accepted: set[tuple[str, str]] = set()
        self.start()

    def now(self) -> datetime:
        return START + timedelta(seconds=self.clock.seconds())

    def before_commit(self) -> None:
        if self.commits_left:
            self.commits_left -= 1
            if not self.commits_left:
                raise Died

    def boot(self) -> None:
        """Kill and restart the gateway, which loses everything in memory."""
        self.store.close()
        self.lossy.lose_all_connections()
        self.start()

    def start(self) -> None:
        self.commits_left, self.reactor = 0, Clock()
        self.store = SoleStore(
            self.engine, lambda connection: UnitOfWork(connection, lambda: next(self.names)), self.before_commit
        )
        library = Library(agency="HKU", name="HKU Libraries", policy=POLICY, pickup_locations=("HKU-MAIN-LENDING",))
        self.health = CircuitBreaker("relay", self.now, Metrics(), timer=self.reactor)
        circulation = Circulation(
            self.store, ConnectedSystem(self.store, LocalIls(self.store), lambda: library, self.now), lambda: library, self.now
        )
        self.known = LastKnown()
        self.services = Sip2Services(
            circulation=circulation,
            terminals={row.login: row for row in TERMINALS},
            secrets=PlainSecrets(),
            agency="HKU",
            library_name="HKU",
            timezone=HONG_KONG,
            metrics=Metrics(),
            now=self.now,
            budget_until=lambda: self.reactor.seconds() + 2,
            undoes_checkouts=self.undoes,
            known=self.known,
        )
        self.terminals = {login: Terminal(login, self.services, self.line()) for login in LOGINS}
        carry = QueuedMessages(self.line(), "HKU", self.now, HONG_KONG)
        schedule = Schedule(attempts=12, first_wait_s=30, longest_wait_s=21_600, draw=lambda: 0.0)
        self.courier = Courier(
            self.store,
            circulation,
            {OutboxKind.ILS: carry},
            schedule,
            self.reactor,
            self.now,
            GATEWAY,
            lambda _: ChannelTerms(in_flight=1),
        )
        self.store.now(lambda unit: unit.outbox.release(GATEWAY, self.now()))

    def line(self) -> Upstream:
        return Upstream(self.lossy.dial, self.reactor, 3.0, DIALECTS["standard"], self.health, NOBODY)

    def runs(self, work: Awaitable[Any]) -> Any:
        """Return the result of a call that may wait for the clock; time passes while it waits."""
        outcome: list[Any] = []
        Deferred.fromCoroutine(work).addBoth(outcome.append)  # type: ignore[arg-type]  # it is a coroutine
        while not outcome:
            self.wait(0.5)
        return outcome[0]

    def wait(self, seconds: float) -> None:
        """Advance the time of the local system and this gateway; the time of a killed gateway stands still."""
        self.clock.advance(seconds)
        self.reactor.advance(seconds)

    # ---- terminals

    def asks(self, login: str, line: str) -> str:
        """Return the reply that the terminal shows, "" if the gateway was killed meanwhile."""
        terminal = self.terminals[login]
        terminal.last = terminal.seal.sealed(line)
        reply = self.sends(terminal)
        self.delivers()  # the courier delivers immediately, since each commit wakes it up
        return terminal.seal.opened(reply) if reply else ""

    def sends(self, terminal: Terminal) -> bytes:
        (piece,) = terminal.session.receive(terminal.last)
        if isinstance(piece, SendBytes):
            return piece.data
        reply = self.runs(respond(self.services, terminal.session, piece, "10.0.0.7", terminal.upstream))  # type: ignore[arg-type]  # a message
        if isinstance(reply, bytes):
            return reply
        reply.trap(Died)
        self.boot()
        return b""

    @rule(faults=faults)
    def will_fail(self, faults: list[str]) -> None:
        """Apply these faults to the next messages, including those of the courier."""
        self.lossy.faults.extend(faults)

    @rule(login=logins, reader=readers, book=books, faults=faults)
    def checks_out(self, login: str, reader: str, book: str, faults: list[str]) -> None:
        self.will_fail(faults)
        if self.asks(login, f"11YN{DATE}{' ' * 18}AOHKU|AA{reader}|AB{book}|AC|").startswith("121"):
            self.shown[book] = reader

    @rule(login=logins, book=books, faults=faults)
    def returns(self, login: str, book: str, faults: list[str]) -> None:
        self.will_fail(faults)
        if self.asks(login, f"09N{DATE}{DATE}AP|AOHKU|AB{book}|AC|").startswith("101"):
            self.shown[book] = None

    @rule(login=logins, other=logins, reader=readers, book=books, comes_back=st.booleans())
    def goes_to_another_terminal(self, login: str, other: str, reader: str, book: str, comes_back: bool) -> None:
        """Let a checkout without an answer be carried out after the next message about the same item, which is answered."""
        self.lossy.faults.clear()
        self.checks_out(login, reader, book, ["none", "overtaken"] if self.undoes else ["overtaken"])
        if comes_back:
            self.returns(other, book, [])
        else:
            self.checks_out(other, reader, book, [])

    @rule(login=logins, reader=readers, number=st.sampled_from("12"), faults=faults)
    def pays(self, login: str, reader: str, number: str, faults: list[str]) -> None:
        """Let a terminal repeat a payment until it has been accepted."""
        self.will_fail(faults)
        key = reader, f"{login}-{number}"
        if key not in self.accepted and self.asks(login, f"37{DATE}0100HKDBV1.00|AOHKU|AA{reader}|AC|BK{key[1]}|").startswith(
            "38Y"
        ):
            self.accepted.add(key)

    @rule(omits=omissions)
    def answers_without_optional_fields(self, omits: frozenset[str]) -> None:
        self.lossy.system.omits = omits

    @rule()
    def drops_idle_connections(self) -> None:
        """Let the connections rest until a firewall drops them."""
        self.time_passes(60)
        self.lossy.drop_silently()

    @rule(login=logins, reader=readers, omits=omissions)
    def opens_a_session(self, login: str, reader: str, omits: frozenset[str]) -> None:
        """Let a reader enter the right PIN, and once more right after the system went away."""
        self.lossy.system.omits = omits
        self.lossy.faults.clear()
        self.commits_left = 0
        self.is_found_again()
        record = self.asks(login, SESSION.format(reader=reader))
        assert record.startswith("64 "), record
        assert "BLY|" in record
        if "CQ" in self.lossy.system.omits:
            return
        assert "CQY|" in record
        self.goes_away()
        again = self.asks(login, SESSION.format(reader=reader))
        self.comes_back()
        assert again.startswith("64 "), again
        assert "BLY|CQY|" in again
        assert "away: HKALL only" in again

    @rule(steps=st.lists(st.tuples(books, st.sampled_from([*READERS, None])), min_size=UPLOADS, max_size=UPLOADS))
    def uploads_after_an_outage(self, steps: list[tuple[str, str | None]]) -> None:
        """Let thirty terminals send, while the system is away, what they did off line; the books have left or are back."""
        self.commits_left = 0
        self.goes_away()
        for book, reader in steps:
            terminal = Terminal(OFF_LINE, self.services, self.line())
            line = f"09Y{DATE}{DATE}AP|AOHKU|AB{book}|AC|"
            if reader is not None:
                line = f"11YY{DATE}{' ' * 18}AOHKU|AA{reader}|AB{book}|AC|"
            terminal.last = terminal.seal.sealed(line)
            reply = terminal.seal.opened(self.sends(terminal))
            assert reply[2] == "1", reply
            self.shown[book] = reader
        self.comes_back()

    def goes_away(self) -> None:
        self.lossy.faults.clear()
        self.lossy.is_away = True
        self.lossy.hang_up_all()

    def comes_back(self) -> None:
        self.lossy.is_away = False
        self.is_found_again()

    def is_found_again(self) -> None:
        """Let the background probes, which follow one another in seconds, find the system."""
        for _ in range(20):
            self.wait(1)
        self.delivers()

    @rule(login=logins)
    def repeats_its_line(self, login: str) -> None:
        """Lose the reply and repeat the message; the reply must be the same."""
        terminal = self.terminals[login]
        if terminal.last:
            before = len(self.lossy.system.heard)
            self.sends(terminal)
            assert len(self.lossy.system.heard) == before

    # ---- crashes, time and staff

    @rule(commits=st.integers(1, 2))
    def will_be_killed(self, commits: int) -> None:
        """Kill the gateway at the first or second commit from now, when a message may have been sent and answered."""
        self.commits_left = commits

    @rule(login=logins, reader=readers, book=books)
    def is_killed_in_a_checkout(self, login: str, reader: str, book: str) -> None:
        """Kill the gateway after sending a checkout and before its reply."""
        terminal, outcome = self.terminals[login], list[Any]()
        self.lossy.faults.appendleft("answered late")
        (piece,) = terminal.session.receive(terminal.seal.sealed(f"11YN{DATE}{' ' * 18}AOHKU|AA{reader}|AB{book}|AC|"))
        asked = respond(self.services, terminal.session, piece, "10.0.0.7", terminal.upstream)  # type: ignore[arg-type]  # a message
        Deferred.fromCoroutine(asked).addBoth(outcome.append)
        self.boot()

    @rule(seconds=st.sampled_from([1, 10, 40, 70, 200]))
    def time_passes(self, seconds: int) -> None:
        while seconds > 0:
            self.wait(min(seconds, 10))
            seconds -= 10
            self.delivers()

    def delivers(self) -> None:
        while rows := self.killable(lambda: self.store.now(self.courier.claim)):
            for row in rows:
                failed = self.runs(self.courier.deliver(row))
                if failed is not None:
                    failed.trap(Died)
                    self.boot()

    def killable(self, work: Any) -> Any:
        try:
            return work()
        except Died:
            self.boot()
            return ()

    @rule(book=books, reader=st.sampled_from([*READERS, None]))
    def is_lent_at_the_systems_own_desk(self, book: str, reader: str | None) -> None:
        """Let staff of the local system lend or receive the item and tell the patron.

        They wait until the system has heard what terminals did off line before, which it would take as done now, and until no
        unanswered message can be carried out after their act any more. No question of SIP2 would reveal either.
        """
        if self.is_expected(key_of_copy(book), (*EVENTS, LocalSend.CHECK_ILS_COPY)):
            return
        copy = self.lossy.system.books[book]
        if copy.reader == "" or reader is None:
            copy.reader = reader or ""
            self.shown[book] = reader

    @rule()
    def staff_settle_what_they_are_shown(self) -> None:
        """Let staff look up each flagged row in the local system, tell the patron, and settle the row."""
        self.commits_left = 0
        for row in self.rows():
            assert isinstance(row.payload, LocalMessage)
            if row.state != OutboxState.DEAD:
                continue
            if row.send is LocalSend.CHECK_ILS_PAYMENT:
                key = row.payload.patron, row.payload.transaction
                self.accepted |= {key} if self.lossy.payments[key] else set()
            elif not self.is_expected(row.request, EVENTS, after=row.id):
                self.shown[row.payload.barcode] = self.lossy.system.books[row.payload.barcode].reader or None
            self.store.now(lambda unit: unit.outbox.close(row.id, OutboxState.DONE, "looked up", self.now()))  # noqa: B023  # it runs at once

    def is_expected(self, copy: str, sends: tuple[LocalSend, ...], after: int = 0) -> bool:
        """Check whether such messages about an item wait behind a row, so that the system's record of it may yet change."""
        behind = [row for row in self.rows() if row.request == copy and row.id > after]
        return any(row.send in sends and row.state in WAITING for row in behind)

    def rows(self) -> tuple[OutboxRow, ...]:
        return finished(self.store.read(lambda unit: unit.outbox.rows(), is_long=True))

    def messages(self, *states: OutboxState) -> list[LocalMessage]:
        """Return the messages that are unsettled, or in these states."""
        return [
            row.payload for row in self.rows() if isinstance(row.payload, LocalMessage) and row.state in (states or UNSETTLED)
        ]

    def keys(self, *states: OutboxState) -> set[str]:
        """Return the ordering keys of the messages in these states."""
        return {message.ordering_key for message in self.messages(*states)}

    # ---- invariants

    @invariant()
    def no_right_pin_counts_as_wrong(self) -> None:
        """Every PIN in this test is right, so none may shut a terminal."""
        assert not any(value(self.services.metrics, "wrong_pins_total", "sip2", login) for login in LOGINS)

    @invariant()
    def no_payment_is_made_twice(self) -> None:
        assert max(self.lossy.payments.values(), default=0) <= 1

    @invariant()
    def a_payment_that_was_taken_is_known_or_shown(self) -> None:
        """Assert that each accepted payment is recorded or shown as undelivered, even while a check is pending."""
        shown = {(message.patron, message.transaction) for message in self.messages()}
        taken = {key for key, number in self.lossy.payments.items() if number}
        assert self.accepted <= taken
        assert taken <= self.accepted | shown

    def teardown(self) -> None:
        """Assert that without further events both sides agree on each loan, or staff are shown the difference.

        An hour passes, or at most three days while a message that has failed often waits for its next attempt.
        """
        self.commits_left = 0
        self.lossy.faults.clear()
        self.lossy.is_away = False
        for minute in range(3 * 24 * 60):
            if minute >= 60 and self.keys() == self.keys(OutboxState.DEAD):  # a dead letter holds up those behind it
                break
            self.wait(60)
            self.delivers()
        shown = self.keys()
        for book, copy in self.lossy.system.books.items():
            assert copy.reader == (self.shown[book] or "") or key_of_copy(book) in shown, (book, copy, self.shown)
        self.a_payment_that_was_taken_is_known_or_shown()
        assert shown == self.keys(OutboxState.DEAD)  # no message may wait forever
        self.health.stop()
        self.store.close()
        self.engine.dispose()


class TwoSidesUndone(TwoSides):
    """TwoSides for a site at which unanswered checkouts are undone."""

    undoes = True


TestTwoSides = TwoSides.TestCase
TestTwoSidesUndone = TwoSidesUndone.TestCase
TestTwoSides.settings = TestTwoSidesUndone.settings = settings(max_examples=example_count(40), stateful_step_count=30)


def machine() -> Iterator[TwoSides]:
    """Return a machine that checks its invariants at the end."""
    made = TwoSides()
    yield made
    made.teardown()


two_sides = pytest.fixture(machine)


def test_checkout_that_is_carried_out_after_the_return_is_shown_to_staff(two_sides: TwoSides) -> None:
    two_sides.checks_out(login="counter-1", reader="P1", book="L1", faults=["overtaken"])
    two_sides.time_passes(10)
    two_sides.returns(login="selfcheck-1", book="L1", faults=[])
    assert two_sides.shown["L1"] is None
    two_sides.time_passes(70)
    assert two_sides.lossy.system.books["L1"].reader == "P1"
    assert key_of_copy("L1") in two_sides.keys(OutboxState.DEAD)


def test_unanswered_checkout_is_settled_only_when_it_can_no_longer_be_carried_out(two_sides: TwoSides) -> None:
    """The reader has the book already. Staff look it up, and their desk takes it back, before the checkout is carried out."""
    two_sides.is_lent_at_the_systems_own_desk(book="L1", reader="P1")
    two_sides.checks_out(login="counter-1", reader="P1", book="L1", faults=["executed late"])
    two_sides.staff_settle_what_they_are_shown()
    two_sides.is_lent_at_the_systems_own_desk(book="L1", reader=None)
