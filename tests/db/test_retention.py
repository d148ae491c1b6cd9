"""Ended requests are selected in batches, one after another, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from hkall_gateway.db.privacy import retention
from hkall_gateway.rules.vocabulary import Position, Request
from hkall_gateway.simulator.databases import SoleStore


@pytest.mark.parametrize("ask", [retention.closed, retention.personal])
def test_retention_batch_starts_after_the_previous_batch(
    store: SoleStore, standing: Callable[..., Request], now: datetime, ask: Callable[..., tuple[Request, ...]]
) -> None:
    for days in (3, 1, 2, 2):
        standing(Position.CLOSED, moved_at=now - timedelta(days=days), returned_on=now.date())
    found: list[Request] = []
    while batch := store.now(ask, now, (found[-1].moved_at, found[-1].id) if found else None, 1):
        found += batch
    assert [(request.moved_at, request.id) for request in found] == [
        (now - timedelta(days=days), number) for days, number in ((3, "R1"), (2, "R3"), (2, "R4"), (1, "R2"))
    ]
