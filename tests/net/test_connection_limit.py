"""The connection limits of one protocol, for unauthenticated and authenticated clients."""

from __future__ import annotations

from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from hkall_gateway.net.limits.connection_limit import ConnectionLimit, ConnectionSlot


def nothing() -> None:
    """Do nothing when a connection is closed."""


def seats(limit: ConnectionLimit, address: str, number: int) -> list[ConnectionSlot]:
    return [seat for seat in (limit.enter(address, nothing) for _ in range(number)) if seat]


def test_unauthenticated_connections_are_limited_by_address() -> None:
    limit = ConnectionLimit(total=500, per_address=500)
    assert len(seats(limit, "10.0.0.1", 30)) == 20
    assert not limit.has_room("10.0.0.1")
    assert limit.has_room("10.0.0.2")


def test_unauthenticated_connections_are_limited_by_ipv6_network() -> None:
    limit = ConnectionLimit(total=500, per_address=500)
    assert sum(len(seats(limit, f"2001:db8:1:2::{number:x}", 1)) for number in range(30)) == 20
    assert limit.has_room("2001:db8:1:3::1")


def test_connections_of_one_address_are_admitted_as_they_authenticate() -> None:
    limit = ConnectionLimit(total=500, per_address=500)
    for number in range(200):
        (seat,) = seats(limit, "10.0.0.1", 1)
        assert seat.prove(f"terminal-{number}", 5)
    assert limit.inside == 200


def test_client_is_limited_to_its_own_number_of_connections() -> None:
    limit = ConnectionLimit(total=10, per_address=10)
    first, second, third = seats(limit, "10.0.0.1", 3)
    assert (first.prove("CUHK", 2), second.prove("CUHK", 2), third.prove("CUHK", 2)) == (True, True, False)
    first.leave()
    assert third.prove("CUHK", 2)


def test_repeated_authentication_counts_once_and_another_moves_the_connection() -> None:
    limit = ConnectionLimit(total=10, per_address=10)
    first, second = seats(limit, "10.0.0.1", 2)
    assert (first.prove("CUHK", 1), first.prove("CUHK", 1), first.prove("LU", 1)) == (True, True, True)
    assert second.prove("CUHK", 1)


def test_oldest_unauthenticated_connection_closes_at_the_limit() -> None:
    limit, closed = ConnectionLimit(total=2, per_address=9), list[str]()
    limit.enter("10.0.0.1", lambda: closed.append("first"))
    limit.enter("10.0.0.2", lambda: closed.append("second"))
    assert limit.enter("10.0.0.3", nothing)
    assert (closed, limit.inside) == (["first"], 2)


def test_authenticated_connections_are_never_displaced() -> None:
    limit = ConnectionLimit(total=2, per_address=9)
    for seat in seats(limit, "10.0.0.1", 2):
        seat.prove("counter-1", 9)
    assert not limit.has_room("10.0.0.2")
    assert limit.enter("10.0.0.2", nothing) is None


def test_repeated_release_changes_nothing() -> None:
    limit = ConnectionLimit(total=2, per_address=2)
    first, _ = seats(limit, "10.0.0.1", 2)
    first.leave()
    first.leave()
    assert (limit.inside, first.prove("counter-1", 9)) == (1, False)


def test_queued_connection_is_admitted_when_another_closes_or_authenticates() -> None:
    limit, admitted = ConnectionLimit(total=9, per_address=9, unproven=1, queues=True), list[int]()
    slots = [limit.enter("10.0.0.1", nothing, partial(admitted.append, number)) for number in range(4)]
    first, second, third, _fourth = (slot for slot in slots if slot is not None)
    assert [slot.queued for slot in (first, second, third)] == [False, True, True]
    third.leave()  # the queued client gives up
    first.prove("counter-1", 9)
    assert admitted == [1]
    second.leave()
    assert (admitted, limit.inside) == ([1, 3], 2)
    other = limit.enter("10.0.0.2", nothing)
    assert other is not None
    assert not other.queued


@given(steps=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans()), max_size=60))
def test_counts_equal_the_open_connections_after_any_sequence(steps: list[tuple[int, int, bool]]) -> None:
    limit, inside = ConnectionLimit(total=6, per_address=4, unproven=2), dict[ConnectionSlot, None]()
    for address, row, goes in steps:
        if goes and inside:
            gone = next(iter(inside))
            inside.pop(gone)
            gone.leave()
            continue
        evicted: list[ConnectionSlot] = []
        seat = limit.enter(f"10.0.0.{address}", lambda: evicted.append(made))  # noqa: B023
        if seat is None:
            continue
        made = seat
        inside[seat] = None
        seat.prove(f"row-{row}", 2) if row else None
    alive = [seat for seat in inside if seat._open]
    assert limit.inside == len(alive) <= 6
    for address in range(4):
        assert sum(seat.address == f"10.0.0.{address}" and not seat.row for seat in alive) <= 2
    for row in range(4):
        assert sum(seat.row == f"row-{row}" for seat in alive) <= (2 if row else 6)
