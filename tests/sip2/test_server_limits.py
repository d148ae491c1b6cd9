"""Connection limits, timeouts, and the graceful shutdown of a listener, with a fake clock and no network."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from structlog.testing import capture_logs
from twisted.internet.address import IPv4Address, UNIXAddress

from hkall_gateway.sip2.server import CLOSE_S, DRAIN_S, MOST_BEFORE_LOGIN, MOST_EARLY
from tests.metrics import value

if TYPE_CHECKING:
    from tests.sip2.conftest import Port

DATE = "20170301    100000"
LOGIN = b"9300CNcounter-1|COcounter-1-pw|\r"
WRONG = b"9300CNcounter-1|COwrong|\r"
STATUS = b"9900302.00\r"
END = f"35{DATE}AOHKU|AAP1|\r".encode()
ENDED = f"36Y{DATE}AOHKU|AAP1|\r".encode()
ITEM = f"17{DATE}AOHKU|ABI1|\r".encode()


# ---- admission and timeouts


def test_connection_from_an_unlisted_address_is_refused(port: Port) -> None:
    caller = port.call(IPv4Address("TCP", "192.0.2.1", 50000), log_in=False)
    assert (caller.hung_up, caller.hears(LOGIN)) == (True, b"")
    assert value(port.services.metrics, "connections_refused_total", "sip2", "address") == 1


def test_connection_without_an_address_is_refused(port: Port) -> None:
    assert port.call(UNIXAddress(None), log_in=False).hung_up


def test_full_listener_refuses_connections_until_one_closes(port: Port) -> None:
    small = replace(port, in_all=1)
    first = small.call()
    assert small.call(log_in=False).hung_up
    first.goes()
    assert small.call().hears(END) == ENDED


def test_refused_connection_does_not_count_when_it_closes(port: Port) -> None:
    small = replace(port, per_address=1)
    small.call()
    small.call(log_in=False).goes()
    assert small.limit.inside == 1


def test_third_wrong_login_is_answered_and_closes_the_connection(port: Port) -> None:
    caller = port.call(log_in=False)
    assert caller.hears(WRONG + WRONG) == b"940\r940\r"
    assert not caller.hung_up
    assert caller.hears(WRONG + END) == b"940\r"
    assert caller.hung_up


def test_connection_closes_without_a_login_within_a_minute(port: Port) -> None:
    caller = port.call(log_in=False)
    port.clock.advance(59)
    assert caller.hears(STATUS).startswith(b"98YYYY")
    assert not caller.hung_up
    port.clock.advance(1)
    assert caller.hung_up


def test_connection_closes_after_the_idle_time(port: Port) -> None:
    caller = port.call()
    port.clock.advance(899)
    caller.hears(END)
    port.clock.advance(899)
    assert not caller.hung_up
    port.clock.advance(1)
    assert caller.hung_up


def test_idle_timeout_is_paused_while_a_reply_is_pending(port: Port) -> None:
    caller = port.call()
    caller.hears(ITEM)
    port.clock.advance(900)
    assert not caller.hung_up
    port.circulation.found("I1")
    assert caller.hears().startswith(b"18")


def test_requests_of_a_closed_connection_are_neither_executed_nor_answered(port: Port) -> None:
    caller = port.call()
    caller.hears(ITEM + ITEM.replace(b"I1", b"I2"))
    caller.goes()
    port.circulation.found("I1")
    assert caller.hears() == b""
    assert "I2" not in port.circulation.looking
    assert port.clock.getDelayedCalls() == []


# ---- shutdown


def test_drain_closes_connections_after_their_pending_replies(port: Port) -> None:
    busy, idle = port.call(), port.call()
    busy.hears(ITEM + END)
    done: list[None] = []
    port.terminals.drain().addCallback(done.append)
    assert (idle.hung_up, busy.hung_up) == (True, False)
    port.circulation.found("I1")
    assert (busy.hung_up, busy.hears().endswith(ENDED)) == (True, True)
    busy.goes()
    assert done == []
    idle.goes()
    assert done == [None]


def test_drain_of_an_idle_listener_ends_at_once_without_a_timer(port: Port) -> None:
    assert port.terminals.drain().called
    assert port.clock.getDelayedCalls() == []


def test_drain_refuses_new_connections(port: Port) -> None:
    port.terminals.drain()
    assert port.call(log_in=False).hung_up


def test_drain_closes_connections_whose_requests_do_not_end(port: Port) -> None:
    caller = port.call()
    caller.hears(ITEM)
    port.terminals.drain()
    port.clock.advance(DRAIN_S)
    assert caller.socket.disconnected
    caller.goes()
    port.circulation.found("I1")
    assert caller.hears() == b""


def test_disconnect_is_logged_with_message_counts(port: Port) -> None:
    caller = port.call()
    caller.hears(END + b"88\r")
    with capture_logs() as logs:
        caller.goes()
    (closed,) = logs
    counts = closed["counters"]
    assert (closed["event"], closed["terminal"], closed["peer"]) == ("sip2.closed", "counter-1", "10.0.0.7")
    assert (counts["received"], counts["answered"], counts["unknown_command"]) == (3, 2, 1)


def test_metrics_count_every_message(port: Port) -> None:
    caller = port.call()
    caller.hears(END)
    metrics = port.services.metrics
    assert value(metrics, "sip2_events_total", "answered") == 2
    assert value(metrics, "sip2_sessions") == 1
    caller.goes()
    assert (value(metrics, "sip2_events_total", "answered"), value(metrics, "sip2_sessions")) == (2, 0)


# ---- unauthenticated clients, and clients that do not read replies


def test_unauthenticated_connections_take_turns_and_do_not_delay_authenticated_connections(port: Port) -> None:
    """For example, when all terminals behind one tunnel reconnect at once."""
    small = replace(port, unproven=2)
    for _ in range(5):
        small.call()  # these connections are authenticated
    first, second, third, fourth = (small.call(log_in=False) for _ in range(4))
    assert [caller.socket.producerState for caller in (first, second, third)] == ["producing", "producing", "paused"]
    assert (third.hears(LOGIN), fourth.hears(LOGIN)) == (b"", b"")
    assert first.hears(LOGIN) == b"941\r"
    assert (third.hears(), third.hears(END)) == (b"941\r", ENDED)
    second.goes()
    assert fourth.hears() == b"941\r"
    assert not any(caller.hung_up for caller in (first, third, fourth))


def test_queued_connection_times_out_like_any_unauthenticated_connection(port: Port) -> None:
    small = replace(port, unproven=1)
    silent, waiting, flooding = (small.call(log_in=False) for _ in range(3))
    flooding.hears(b"x" * (MOST_EARLY + 1))
    assert (flooding.hung_up, waiting.hung_up) == (True, False)
    small.clock.advance(60)
    assert (silent.hung_up, waiting.hung_up) == (True, True)


def test_oldest_unauthenticated_connection_closes_when_a_terminal_logs_in_at_the_limit(port: Port) -> None:
    small = replace(port, in_all=2)
    known, stranger = small.call(), small.call(log_in=False)
    assert small.call().hears(END) == ENDED
    assert (known.hung_up, stranger.hung_up) == (False, True)


def test_login_is_refused_beyond_the_terminals_connection_limit(port: Port) -> None:
    row = replace(port.services.terminals["counter-1"], max_connections=1)
    services = replace(port.services, terminals={**port.services.terminals, "counter-1": row})
    small = replace(port, services=services)
    first, second = small.call(), small.call(log_in=False)
    assert (second.hears(LOGIN), second.hung_up) == (b"", True)
    assert first.hears(END) == ENDED
    assert value(port.services.metrics, "connections_refused_total", "sip2", "terminal") == 1


def test_many_messages_in_one_segment_before_a_login_count_as_a_flood(port: Port) -> None:
    assert not port.call(log_in=False).line._closing
    caller = port.call(log_in=False)
    caller.hears(STATUS * (MOST_BEFORE_LOGIN + 1))
    assert caller.hung_up


def test_connection_is_not_read_while_replies_are_unread(port: Port) -> None:
    caller = port.call()
    caller.socket.producer.pauseProducing()  # a transport does this when its buffer is full
    assert caller.socket.producerState == "paused"
    caller.socket.producer.resumeProducing()
    assert caller.socket.producerState == "producing"


def test_connection_closes_when_its_client_never_reads_the_last_reply(port: Port) -> None:
    caller = port.call()
    port.clock.advance(900)
    assert (caller.hung_up, caller.socket.disconnected) == (True, False)
    port.clock.advance(CLOSE_S)
    assert caller.socket.disconnected
    caller.goes()
    assert port.clock.getDelayedCalls() == []
