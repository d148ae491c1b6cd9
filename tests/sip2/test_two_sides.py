"""Patron, terminal, relay and local system: whatever is lost, every difference in a loan or payment is shown to staff."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from hkall_gateway.circulation.circulation import Circulation
from hkall_gateway.circulation.command import Library
from hkall_gateway.db.database import finished
from hkall_gateway.db.outbox import UNSETTLED, OutboxRow
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
from hkall_gateway.sip2.client import NOBODY, Upstream
from hkall_gateway.sip2.codec.dialects import DIALECTS
from hkall_gateway.sip2.codec.session import SendBytes, Session
from hkall_gateway.sip2.dispatch import Sip2Services, respond
from hkall_gateway.sip2.queued_messages import QueuedMessages
from tests import databases
from tests.examples import example_count
from tests.readers import POLICY
from tests.sip2.conftest import TERMINALS, LocalIls, PlainSecrets
from tests.sip2.lossy_system import FAULTS, LossySystem

START = datetime(2017, 3, 1, 2, tzinfo=UTC)
DATE = "20170301    100000"
READERS, BOOKS, LOGINS = ("P1", "P2"), ("L1", "L2"), ("counter-1", "selfcheck-1")
faults = st.lists(st.sampled_from(FAULTS), max_size=3)
readers, books, logins = st.sampled_from(READERS), st.sampled_from(BOOKS), st.sampled_from(LOGINS)
GATEWAY = "gateway"


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

    @rule(login=logins, reader=readers, number=st.sampled_from("12"), faults=faults)
    def pays(self, login: str, reader: str, number: str, faults: list[str]) -> None:
        """Let a terminal repeat a payment until it has been accepted."""
        self.will_fail(faults)
        key = reader, f"{login}-{number}"
        if key not in self.accepted and self.asks(login, f"37{DATE}0100HKDBV1.00|AOHKU|AA{reader}|AC|BK{key[1]}|").startswith(
            "38Y"
        ):
            self.accepted.add(key)

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
        """Let staff of the local system lend or receive the item and tell the patron."""
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
            else:
                self.shown[row.payload.barcode] = self.lossy.system.books[row.payload.barcode].reader or None
            self.store.now(lambda unit: unit.outbox.close(row.id, OutboxState.DONE, "looked up", self.now()))  # noqa: B023  # it runs at once

    def rows(self) -> tuple[OutboxRow, ...]:
        return finished(self.store.read(lambda unit: unit.outbox.rows(), is_long=True))

    def messages(self, *states: OutboxState) -> list[LocalMessage]:
        """Return the messages that are unsettled, or in these states."""
        return [
            row.payload for row in self.rows() if isinstance(row.payload, LocalMessage) and row.state in (states or UNSETTLED)
        ]

    # ---- invariants

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
        for minute in range(3 * 24 * 60):
            if minute >= 60 and len(self.messages()) == len(self.messages(OutboxState.DEAD)):
                break
            self.wait(60)
            self.delivers()
        shown = {message.ordering_key for message in self.messages()}
        for book, copy in self.lossy.system.books.items():
            assert copy.reader == (self.shown[book] or "") or key_of_copy(book) in shown, (book, copy, self.shown)
        self.a_payment_that_was_taken_is_known_or_shown()
        assert shown == {message.ordering_key for message in self.messages(OutboxState.DEAD)}  # no message may wait forever
        self.health.stop()
        self.store.close()
        self.engine.dispose()


class TwoSidesUndone(TwoSides):
    """TwoSides for a site at which unanswered checkouts are undone."""

    undoes = True


TestTwoSides = TwoSides.TestCase
TestTwoSidesUndone = TwoSidesUndone.TestCase
TestTwoSides.settings = TestTwoSidesUndone.settings = settings(max_examples=example_count(40), stateful_step_count=30)
