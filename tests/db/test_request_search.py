"""The request search uses an index for every query. Its results are tested with the console."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest
from sqlalchemy import Engine

from hkall_gateway.db.queries import request_search
from hkall_gateway.simulator.databases import SoleStore
from tests import bulk, open_work

pytestmark = pytest.mark.sql_differs


@pytest.mark.parametrize("question", range(6))
def test_request_search_does_not_scan_a_table(
    engine: Engine, store: SoleStore, now: datetime, plan: Callable[..., str], question: int
) -> None:
    bulk.fill(engine, bulk.Amounts(requests=300, lines=2, days=600), now)
    open_work.fill(engine, 100, now)
    lines = plan(request_search.search, "Title", ("UG1", "OLD"), "HKU", question=question).splitlines()
    whole = [line for line in lines if "SCAN requests" in line or "SCAN candidates" in line or "Seq Scan on" in line]
    bounded = ("ix_requests_open", "ix_requests_closed", "Seq Scan on links")
    assert [line for line in whole if not any(part in line for part in bounded)] == []
