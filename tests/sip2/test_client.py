"""The client of the local system: messages sent, accepted replies, and behaviour without a reply."""

from __future__ import annotations

import socket
from contextvars import copy_context
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from hkall_gateway.circulation.ports import Unreachable
from hkall_gateway.net.circuit_breaker import CircuitBreaker
from hkall_gateway.net.limits.timeout import begin_budget
from hkall_gateway.observability.metrics import Metrics
from hkall_gateway.rules.vocabulary import Sensitive
from hkall_gateway.sip2.client import ARE_YOU_THERE, MOST_BYTES, NOBODY, HungUp, LineConnection, Login, Unanswered, Upstream
from hkall_gateway.sip2.codec.dialects import DIALECTS, Sip2Dialect
from hkall_gateway.sip2.codec.lines import checksum
from tests.metrics import value

LOGIN = Login("gateway", Sensitive("s3cret"), "MAIN")
LOOK = b"1720170301    100000AOHKU|AB1|AC|"
LOAN = b"11NN20170301    100000                  AOHKU|AAP1|AB1|AC|"
STATUS = b"98YYYYYY10000320170301    1000002.00AOHKU|BXYYYYYYYYYYYYYYYY|"
SEEN = b"180301011720170301    100000AB1|AJEmma|"
LENT = b"121NNY20170301    100000AOHKU|AAP1|AB1|AJEmma|AH|"


GONE: Any = Failure(ConnectionDone())  # type: ignore[no-untyped-call]  # Twisted's own


def sealed(body: bytes, number: int | str = "") -> bytes:
    line = body + (f"AY{number}".encode() if number != "" else b"") + b"AZ"
    return line + checksum(line) + b"\r"


class Abroad:
    """The local system's side: its connections, the data received, and its replies."""

    def __init__(self, login: Login = NOBODY, dialect: Sip2Dialect = DIALECTS["standard"]) -> None:
        self.clock, self.refuses = Clock(), False
        self.wires: list[LineConnection] = []
        self.metrics = Metrics()
        self.health = CircuitBreaker("relay", self._now, self.metrics, timer=self.clock)
        self.line = self.another(login, dialect)

    def _now(self) -> datetime:
        return datetime(2017, 3, 1, tzinfo=UTC) + timedelta(seconds=self.clock.seconds())

    def another(self, login: Login = NOBODY, dialect: Sip2Dialect = DIALECTS["standard"]) -> Upstream:
        """Return the connection of another terminal to the same system."""
        return Upstream(self._dial, self.clock, 3.0, dialect, self.health, login)

    async def _dial(self) -> LineConnection:
        if self.refuses:
            raise ConnectError
        wire = LineConnection()
        connected: Any = wire
        connected.makeConnection(Aborting(wire))
        self.wires.append(wire)
        return wire

    def asks(self, body: bytes, line: Upstream | None = None) -> list[Any]:
        """Return a list that receives the outcome as its only element."""
        outcome: list[Any] = []
        Deferred.fromCoroutine((line or self.line)(body)).addBoth(outcome.append)
        return outcome

    def is_tried(self) -> None:
        """Run the background probes that follow the first failure."""
        self.clock.advance(0)
        self.clock.advance(1)

    def is_found_again(self) -> None:
        """Reply to the first of these probes."""
        self.clock.advance(0)
        self.says(sealed(STATUS, 0))

    def heard(self) -> bytes:
        """Return the data received on the last connection since the last call."""
        transport: Any = self.wires[-1].transport
        sent: bytes = transport.value()
        transport.clear()
        return sent

    def says(self, line: bytes) -> None:
        self.wires[-1].dataReceived(line)

    def hangs_up(self) -> None:
        self.wires[-1].connectionLost(GONE)


class Aborting(StringTransport):
    def __init__(self, wire: LineConnection) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's own
        self._wire, self.aborted = wire, False

    def abortConnection(self) -> None:  # noqa: N802  # Twisted's own name
        self.aborted = True
        self._wire.connectionLost(GONE)


@pytest.fixture
def abroad() -> Abroad:
    return Abroad()


def unreachable(outcome: list[Any]) -> bool:
    return len(outcome) == 1 and isinstance(getattr(outcome[0], "value", None), Unreachable)


# ---- requests


def test_request_has_its_own_sequence_number_and_checksum(abroad: Abroad) -> None:
    outcome = abroad.asks(LOOK)
    assert abroad.heard() == sealed(LOOK, 0)
    abroad.says(sealed(SEEN, 0))
    assert outcome == [SEEN]


def test_sequence_numbers_wrap_from_nine_to_zero(abroad: Abroad) -> None:
    numbers = []
    for number in (*range(10), 0):
        abroad.asks(LOOK)
        numbers.append(abroad.heard() == sealed(LOOK, number))
        abroad.says(sealed(SEEN, number))
    assert all(numbers)
    assert len(abroad.wires) == 1


def test_local_system_without_error_detection_is_supported() -> None:
    abroad = Abroad(dialect=replace(DIALECTS["standard"], error_detection=False))
    outcome = abroad.asks(LOOK)
    assert abroad.heard() == LOOK + b"\r"
    abroad.says(SEEN + b"\r\n")
    assert outcome == [SEEN]


def test_reply_may_arrive_byte_by_byte(abroad: Abroad) -> None:
    outcome = abroad.asks(LOOK)
    for at in range(len(sealed(SEEN, 0))):
        abroad.says(sealed(SEEN, 0)[at : at + 1])
    assert outcome == [SEEN]


def test_client_logs_in_before_its_first_request() -> None:
    abroad = Abroad(LOGIN)
    outcome = abroad.asks(LOOK)
    assert abroad.heard() == sealed(b"9300CNgateway|COs3cret|CPMAIN|", 0)
    abroad.says(sealed(b"941", 0))
    assert abroad.heard() == sealed(LOOK, 1)
    abroad.says(sealed(SEEN, 1))
    assert outcome == [SEEN]


def test_refused_login_counts_as_an_outage_and_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    abroad = Abroad(LOGIN)
    outcome = abroad.asks(LOOK)
    abroad.says(sealed(b"940", 0))
    assert unreachable(outcome)
    said = capsys.readouterr().out
    assert "the login was refused" in said
    assert "s3cret" not in said


# ---- garbled and unrelated replies


def test_request_is_resent_when_the_local_system_could_not_read_it(abroad: Abroad) -> None:
    outcome = abroad.asks(LOAN)
    abroad.heard()
    abroad.says(b"96AZFEF6\r")
    assert abroad.heard() == sealed(LOAN, 0)
    abroad.says(sealed(LENT, 0))
    assert outcome == [LENT]


def test_garbled_reply_is_requested_again_without_repeating_the_checkout(abroad: Abroad) -> None:
    outcome = abroad.asks(LOAN)
    abroad.heard()
    abroad.says(sealed(LENT, 0).replace(b"Emma", b"Ewwa"))
    assert abroad.heard() == b"97AZFEF5\r"
    abroad.says(sealed(LENT, 0))
    assert outcome == [LENT]


@pytest.mark.parametrize("number", ["0", ""])
def test_repeated_reply_may_have_another_sequence_number(abroad: Abroad, number: str) -> None:
    """SIPServer always repeats a reply with AY0, and the 2.00 document without AY."""
    for _ in range(3):
        abroad.asks(LOOK)
        abroad.says(sealed(SEEN, abroad.heard()[-8:-7].decode()))
    outcome = abroad.asks(LOAN)
    abroad.says(sealed(LENT, 3).replace(b"Emma", b"Ewwa"))
    abroad.says(sealed(LENT, number))
    assert outcome == [LENT]


@pytest.mark.parametrize("cut", [LENT[:40], LENT[:-1], LENT[:10], sealed(LENT, 0)[:-6]])
def test_truncated_reply_is_requested_again(abroad: Abroad, cut: bytes) -> None:
    outcome = abroad.asks(LOAN)
    abroad.heard()
    abroad.says(cut + b"\r")
    assert (outcome, abroad.heard()) == ([], b"97AZFEF5\r")
    abroad.says(sealed(LENT, 0))
    assert outcome == [LENT]


def test_reply_without_error_detection_is_accepted_when_repeated(abroad: Abroad) -> None:
    outcome = abroad.asks(LOAN)
    abroad.says(LENT + b"\r")
    assert outcome == []
    abroad.says(LENT + b"\r")
    again = abroad.asks(LOOK)
    abroad.says(SEEN + b"\r")
    assert (outcome, again) == ([LENT], [SEEN])


def test_error_detection_is_off_after_a_login_reply_without_it() -> None:
    abroad = Abroad(LOGIN)
    outcome = abroad.asks(LOOK)
    abroad.says(b"941\r")
    abroad.says(SEEN + b"\r")
    assert outcome == [SEEN]


def test_checkout_is_not_repeated_when_the_resend_request_was_unreadable(abroad: Abroad) -> None:
    abroad.asks(LOAN)
    abroad.says(LENT[:40] + b"\r")
    abroad.heard()
    abroad.says(b"96AZFEF6\r")
    assert abroad.heard() == b"97AZFEF5\r"


def test_duplicate_reply_is_not_taken_for_the_next_reply() -> None:
    abroad = Abroad(dialect=replace(DIALECTS["standard"], error_detection=False))
    abroad.asks(LOAN)
    abroad.says(LENT + b"\r" + LENT + b"\r")
    assert abroad.asks(LOAN.replace(b"AB1", b"AB2")) == []


@pytest.mark.parametrize("before", [sealed(SEEN, 7), sealed(LENT, 0), b"zz\r", b"\r\n\r"])
def test_unrelated_reply_is_skipped(abroad: Abroad, before: bytes) -> None:
    outcome = abroad.asks(LOOK)
    abroad.says(before + sealed(SEEN, 0))
    assert outcome == [SEEN]


def test_unrelated_replies_do_not_extend_the_time_limit(abroad: Abroad) -> None:
    outcome = abroad.asks(LOOK)
    abroad.says(b"96AZFEF6\r" * 4)
    assert unreachable(outcome)


def test_local_system_that_reports_offline_counts_as_unavailable(abroad: Abroad) -> None:
    outcome = abroad.asks(LOOK)
    abroad.says(sealed(b"98NNNNNN100003201703010000001000002.00AOHKU|BXNNNNNNNNNNNNNNNN|", 0))
    assert unreachable(outcome)


# ---- missing replies


def test_request_times_out_as_configured_and_its_late_reply_is_dropped(abroad: Abroad) -> None:
    outcome = abroad.asks(LOOK)
    abroad.clock.advance(2.9)
    assert outcome == []
    abroad.clock.advance(0.1)
    assert unreachable(outcome)
    late = abroad.wires[0]
    abroad.is_found_again()
    again = abroad.asks(LOOK)
    late.dataReceived(sealed(LENT, 0))
    assert again == []
    assert len(abroad.wires) == 3


def test_refused_connection_is_reported_at_once(abroad: Abroad) -> None:
    abroad.refuses = True
    assert unreachable(abroad.asks(LOOK))


def test_after_a_timeout_requests_fail_at_once_while_probing_continues(abroad: Abroad) -> None:
    abroad.refuses = True
    abroad.asks(LOOK)
    abroad.refuses = False
    assert unreachable(abroad.asks(LOOK))
    assert abroad.wires == []
    abroad.clock.advance(0)
    assert abroad.heard() == sealed(ARE_YOU_THERE, 0)
    assert unreachable(abroad.asks(LOOK))  # requests do not wait for the probe
    abroad.says(sealed(STATUS, 0))
    assert abroad.line.up
    outcome = abroad.asks(LOOK)
    abroad.says(sealed(SEEN, 0))
    assert outcome == [SEEN]


def test_unavailable_local_system_is_probed_every_five_seconds(abroad: Abroad) -> None:
    abroad.refuses = True
    abroad.asks(LOOK)
    abroad.is_tried()
    for _ in range(4):
        abroad.clock.advance(5)
    assert value(abroad.metrics, "ils_calls_total", "relay", "99", "unreachable") == 2 + 4
    abroad.health.stop()
    assert abroad.clock.getDelayedCalls() == []


# ---- disconnects caused by one message


def test_disconnect_caused_by_one_message_is_not_an_outage(abroad: Abroad) -> None:
    for _ in range(5):
        outcome = abroad.asks(LOAN)
        abroad.hangs_up()
        assert isinstance(outcome[0].value, HungUp)
        abroad.clock.advance(0)
        abroad.says(sealed(STATUS, 0))  # the probe is answered
    assert abroad.line.up
    assert value(abroad.metrics, "ils_calls_total", "relay", "11", "hung_up") == 5
    other = abroad.another()
    outcome = abroad.asks(LOOK, other)
    abroad.says(sealed(SEEN, 0))
    assert outcome == [SEEN]


def test_local_system_that_disconnects_on_every_request_counts_as_unavailable(abroad: Abroad) -> None:
    """For example, a tunnel without a server behind it."""
    abroad.asks(LOAN)
    abroad.hangs_up()
    for _ in range(3):
        abroad.clock.advance(1)
        abroad.hangs_up()
    assert not abroad.line.up


def test_local_system_that_disconnects_on_login_counts_as_unavailable() -> None:
    abroad = Abroad(LOGIN)
    assert unreachable(hung_up_on(abroad, abroad.line))
    for _ in range(3):
        abroad.clock.advance(1)
        abroad.hangs_up()
    assert not abroad.line.up


def hung_up_on(abroad: Abroad, line: Upstream) -> list[Any]:
    outcome = abroad.asks(LOOK, line)
    abroad.hangs_up()
    return outcome


def test_disconnect_on_one_terminals_login_does_not_affect_other_terminals() -> None:
    abroad = Abroad(LOGIN)
    bad = abroad.another(LOGIN)
    bad.login = Login("selfcheck-9", Sensitive("old"))
    for _ in range(4):
        assert unreachable(hung_up_on(abroad, bad))
        abroad.clock.advance(0)  # the probe first uses the gateway's own login
        assert b"93" in abroad.heard()
        abroad.says(sealed(b"941", 0))
        abroad.says(sealed(b"98YYYYYN60000320170301    1000002.00AOT|BX" + b"Y" * 16 + b"|", 1))
        assert abroad.line.up
    outcome = abroad.asks(LOOK)
    abroad.says(sealed(b"941", 0))
    abroad.says(sealed(SEEN, 1))
    assert outcome == [SEEN]


def test_local_system_is_available_again_once_it_accepts_a_login() -> None:
    abroad = Abroad(LOGIN)
    line = abroad.another(LOGIN)
    line.login = Login("selfcheck-1", Sensitive("right"))
    abroad.refuses = True
    abroad.asks(LOOK, line)
    abroad.is_tried()
    assert not line.up
    abroad.refuses = False
    abroad.clock.advance(5)
    abroad.hangs_up()  # the system disconnects on the gateway's own login
    abroad.says(sealed(b"941", 0))
    abroad.says(sealed(b"98YYYYYN60000320170301    1000002.00AOT|BX" + b"Y" * 16 + b"|", 1))
    assert line.up


# ---- time budgets


def test_request_is_limited_to_the_remaining_time_budget(abroad: Abroad) -> None:
    in_budget = copy_context()
    in_budget.run(begin_budget, 2.0)
    first = in_budget.run(abroad.asks, LOOK)
    abroad.clock.advance(1.5)
    abroad.says(sealed(SEEN, 0))
    second = in_budget.run(abroad.asks, LOOK)
    abroad.clock.advance(0.5)
    third = in_budget.run(abroad.asks, LOOK)
    assert first == [SEEN]
    assert unreachable(second)
    assert unreachable(third)
    assert value(abroad.metrics, "ils_calls_total", "relay", "17", "unreachable") == 1


def test_request_with_almost_no_time_left_does_not_count_as_an_outage(abroad: Abroad) -> None:
    for _ in range(4):
        in_budget = copy_context()
        in_budget.run(begin_budget, abroad.clock.seconds() + 0.2)
        assert not in_budget.run(abroad.asks, LOOK)
        abroad.clock.advance(0.2)
    assert abroad.line.up


# ---- unknown outcomes


@pytest.mark.parametrize("ends", ["late", "hang-up"])
def test_request_that_was_sent_has_an_unknown_outcome(abroad: Abroad, ends: str) -> None:
    outcome = abroad.asks(LOAN)
    if ends == "late":
        abroad.clock.advance(3)
    else:
        abroad.hangs_up()
    assert isinstance(outcome[0].value, Unanswered if ends == "late" else HungUp)


def test_request_that_was_never_sent_had_no_effect(abroad: Abroad) -> None:
    abroad.refuses = True
    outcome = abroad.asks(LOAN)
    assert not isinstance(outcome[0].value, Unanswered | HungUp)


def test_wrong_checksums_are_reported_in_the_error(abroad: Abroad, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = abroad.asks(LOOK)
    for _ in range(4):
        abroad.says(SEEN + b"AY0AZ0000\r")
    assert unreachable(outcome)
    assert "checksums of its replies are wrong" in capsys.readouterr().out


def test_closed_connection_is_reopened(abroad: Abroad) -> None:
    abroad.asks(LOOK)
    abroad.says(sealed(SEEN, 0))
    abroad.hangs_up()
    outcome = abroad.asks(LOAN)
    assert abroad.heard() == sealed(LOAN, 0)
    abroad.says(sealed(LENT, 0))
    assert outcome == [LENT]


@pytest.mark.parametrize(("question", "again"), [(LOOK, True), (LOAN, False)])
def test_lookup_is_repeated_after_a_broken_connection_but_a_checkout_is_not(
    abroad: Abroad, question: bytes, again: bool
) -> None:
    abroad.asks(LOOK)
    abroad.says(sealed(SEEN, 0))
    outcome = abroad.asks(question)
    abroad.hangs_up()
    assert len(abroad.wires) == (2 if again else 1)
    assert unreachable(outcome) is not again


@pytest.mark.parametrize(("question", "idle_s", "connections"), [(LOOK, 30, 2), (LOOK, 29, 1), (LOAN, 30, 1)])
def test_lookup_is_asked_once_more_when_an_idle_connection_was_dropped_silently(
    abroad: Abroad, question: bytes, idle_s: int, connections: int
) -> None:
    abroad.asks(LOOK)
    abroad.says(sealed(SEEN, 0))
    abroad.clock.advance(idle_s)
    outcome = abroad.asks(question)
    abroad.clock.advance(1.5)
    assert len(abroad.wires) == connections
    if connections == 2:
        abroad.says(sealed(SEEN, 0))
        assert outcome == [SEEN]


def test_idle_connection_to_the_local_system_is_kept_alive() -> None:
    """Against a real socket: a firewall between us and the local system drops connections without traffic."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as ours:
            wire, transport = LineConnection(), StringTransport()  # type: ignore[no-untyped-call]  # Twisted's own
            kept: list[bool] = []
            handle: Any = transport
            handle.setTcpKeepAlive, handle.getHandle = kept.append, lambda: ours
            connected: Any = wire
            connected.makeConnection(transport)
            wire.keep_alive()
            assert kept == [True]
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30


def test_endless_reply_is_cut_off(abroad: Abroad) -> None:
    outcome = abroad.asks(LOOK)
    abroad.says(b"x" * (MOST_BYTES + 1))
    assert unreachable(outcome)


def test_connection_closed_by_us_stays_closed(abroad: Abroad) -> None:
    abroad.asks(LOOK)
    abroad.says(sealed(SEEN, 0))
    abroad.line.close()
    transport: Any = abroad.wires[0].transport
    assert transport.aborted
    abroad.line.close()


def test_terminal_disconnecting_during_a_request_is_not_an_outage(abroad: Abroad) -> None:
    for _ in range(4):
        outcome = abroad.asks(LOOK)
        abroad.line.close()
        assert unreachable(outcome)
    assert abroad.line.up


@pytest.mark.parametrize(("question", "still_up"), [(b"1920170301    100000AOHKU|AB1|AC|CHred|", True), (LOOK, False)])
def test_missing_reply_to_an_optional_message_is_not_an_outage(abroad: Abroad, question: bytes, still_up: bool) -> None:
    for _ in range(3):
        outcome = abroad.asks(question)
        abroad.clock.advance(3)
        assert unreachable(outcome)
    for _ in range(4):
        abroad.clock.advance(3)
    assert abroad.line.up is still_up


def test_refused_connection_is_an_outage_for_every_message(abroad: Abroad) -> None:
    abroad.refuses = True
    abroad.asks(b"1920170301    100000AOHKU|AB1|AC|CHred|")
    abroad.is_tried()
    assert not abroad.line.up


def test_refused_login_of_one_terminal_is_not_an_outage() -> None:
    abroad = Abroad(LOGIN)
    outcome = abroad.asks(LOOK)
    abroad.says(sealed(b"940", 0))
    assert unreachable(outcome)
    assert (abroad.line.up, abroad.line.refused) == (True, True)
    assert not abroad.another(Login("another", Sensitive("right"))).refused


def test_refused_login_is_logged_and_counted_and_retried_with_backoff(capsys: pytest.CaptureFixture[str]) -> None:
    abroad = Abroad(LOGIN)
    for logins, wait_s in enumerate((5, 10, 20, 40), start=1):
        abroad.asks(LOOK)
        abroad.says(sealed(b"940", 0))
        abroad.clock.advance(wait_s - 1)
        assert unreachable(abroad.asks(LOOK))
        assert len(abroad.wires) == logins
        abroad.clock.advance(1)
    said = capsys.readouterr().out
    assert said.count("ils.login_refused") == 4
    assert "s3cret" not in said
    assert value(abroad.metrics, "ils_login_refused", "relay", "gateway") == 1
    outcome = abroad.asks(LOOK)
    abroad.says(sealed(b"941", 0))
    abroad.says(sealed(SEEN, 1))
    assert outcome == [SEEN]
    assert value(abroad.metrics, "ils_login_refused", "relay", "gateway") == 0


def test_reconnecting_terminal_keeps_the_backoff_of_its_refused_login() -> None:
    abroad = Abroad(LOGIN)
    wrong = Login("selfcheck-9", Sensitive("wrong"))
    for _ in range(3):
        line = abroad.another(LOGIN)  # a reconnecting terminal gets a new client object
        line.login = wrong
        outcome = abroad.asks(LOOK, line)
        if not outcome:
            abroad.says(sealed(b"940", 0))
        assert unreachable(outcome)
        line.close()
    assert len(abroad.wires) == 1


def test_login_is_retried_at_once_after_a_password_change() -> None:
    abroad = Abroad(LOGIN)
    abroad.asks(LOOK)
    abroad.says(sealed(b"940", 0))
    abroad.line.close()
    abroad.line.login = Login("gateway", Sensitive("mended"))
    assert not abroad.line.refused
