"""Ended requests are selected in batches, one after another, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import pytest
from sqlalchemy import Text

from hkall_gateway.db.privacy import retention
from hkall_gateway.db.requests import NO_PERSON
from hkall_gateway.db.tables import REQUESTS
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


KEPT_TEXTS: Final = frozenset(
    {
        # The request, the copy and the libraries.
        *("id", "side", "position", "stage", "kind", "partner", "wire_agency", "wire_id", "reopened_from"),
        *("bib_id", "title", "volume", "linked_title", "item_agency", "item_barcode"),
        *("pickup_location", "renewal_sync", "skipped"),
    }
)
"""The text columns that anonymisation keeps, because they name no person. The others are in NO_PERSON."""


@pytest.mark.walks_a_table
def test_every_text_column_of_a_request_is_blanked_or_kept_on_purpose() -> None:
    texts = {column.name for column in REQUESTS.columns if isinstance(column.type, Text)}
    blanked = texts & NO_PERSON.keys()
    assert blanked & KEPT_TEXTS == set()
    assert texts == blanked | KEPT_TEXTS
