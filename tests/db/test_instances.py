"""The gateways on one database: each is listed, a silent one counts as gone, and its work is released."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from hkall_gateway.db import instances, rounds
from hkall_gateway.db.instances import FORGOTTEN, GONE_S, Instance
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage
from hkall_gateway.simulator.databases import SoleStore

LEASE_S = 600


def _gateway(name: str, seen_at: datetime) -> Instance:
    return Instance(name=name, host="host", pid=7, version="1.0", since=seen_at, seen_at=seen_at)


def _holds(store: SoleStore, name: str, now: datetime, request: str) -> None:
    """Claim a message for this gateway."""
    message = PartnerMessage(
        send=Notification.ASK_LENDER.value, request=request, partner="CUHK", wire_agency="HKU", wire_id="w-1", at=now
    )
    store.now(lambda unit: unit.outbox.put(Notification.ASK_LENDER, message, "", now))
    assert store.now(lambda unit: unit.outbox.claim(now, name, LEASE_S, 1))


def _states(store: SoleStore, now: datetime) -> dict[str, str]:
    return {one.name: one.state(now) for one in store.now(instances.list_instances)}


def _free(store: SoleStore, now: datetime) -> list[str]:
    return [row.request for row in store.now(lambda unit: unit.outbox.claim(now, "heir", LEASE_S, 10))]


@pytest.mark.parametrize(("silent_s", "state"), [(0, "up"), (GONE_S, "up"), (GONE_S + 1, "gone")])
def test_silent_gateway_counts_as_gone_after_a_minute(store: SoleStore, now: datetime, silent_s: int, state: str) -> None:
    store.now(instances.record_instance, _gateway("a", now))
    assert _states(store, now + timedelta(seconds=silent_s)) == {"a": state}


def test_stopped_gateway_can_start_again(store: SoleStore, now: datetime) -> None:
    store.now(instances.record_instance, replace(_gateway("a", now), left_at=now))
    assert _states(store, now) == {"a": "left"}
    store.now(instances.record_instance, _gateway("a", now))
    assert _states(store, now) == {"a": "up"}


def test_messages_of_a_gone_gateway_are_released_before_their_lease_ends(store: SoleStore, now: datetime) -> None:
    later = now + timedelta(seconds=GONE_S + 1)
    for name, seen_at, request in (("gone", now, "R1"), ("alive", later, "R2")):
        store.now(instances.record_instance, _gateway(name, seen_at))
        _holds(store, name, now, request)
    assert _free(store, later) == []
    assert store.now(instances.release_work, later) == 1
    assert _free(store, later) == ["R1"]


def test_rounds_of_a_gone_gateway_are_released(store: SoleStore, now: datetime) -> None:
    later = now + timedelta(seconds=GONE_S + 1)
    store.now(instances.record_instance, _gateway("gone", now))
    assert store.now(rounds.claim, "overdue", "gone", now, LEASE_S)
    assert store.now(rounds.claim, "overdue", "heir", later, LEASE_S) is None
    store.now(instances.release_work, later)
    assert store.now(rounds.claim, "overdue", "heir", later, LEASE_S)


def test_messages_of_a_stopped_gateway_are_released_at_once(store: SoleStore, now: datetime) -> None:
    store.now(instances.record_instance, replace(_gateway("left", now), left_at=now))
    _holds(store, "left", now, "R1")
    assert store.now(instances.release_work, now) == 1


def test_gateway_absent_for_a_month_is_deleted(store: SoleStore, now: datetime) -> None:
    store.now(instances.record_instance, _gateway("old", now - FORGOTTEN - timedelta(seconds=1)))
    store.now(instances.record_instance, _gateway("a", now))
    store.now(instances.release_work, now)
    assert _states(store, now) == {"a": "up"}


def test_restarted_gateway_keeps_one_row_per_name(store: SoleStore, now: datetime) -> None:
    for pid in (1, 2):
        store.now(instances.record_instance, replace(_gateway("a", now), pid=pid))
    assert [one.pid for one in store.now(instances.list_instances)] == [2]


def test_unknown_name_has_no_gateway(store: SoleStore) -> None:
    assert store.now(lambda unit: instances.named(unit, "a")) is None
