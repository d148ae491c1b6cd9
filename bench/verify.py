"""Check that every answer of a gateway is in its database exactly once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import func, select

from demo.demo_setup import DISCOVERY
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.tables import JOURNAL, OUTBOX, REQUESTS
from hkall_gateway.rules.lifecycle import Event, Notification
from hkall_gateway.rules.vocabulary import Position

_LENT = JOURNAL.c.event == Event.CHECK_OUT.name, JOURNAL.c.channel == "sip2"
_ASKED = JOURNAL.c.event == Event.ASK.name, JOURNAL.c.channel == "ncip"

# fmt: off
TALLIES: Final = {
    "sip2_11": {
        "loans":   select(func.count()).select_from(REQUESTS).where(REQUESTS.c.position == Position.ON_LOAN),
        "journal": select(func.count(JOURNAL.c.request.distinct())).where(*_LENT),
        "lines":   select(func.count()).select_from(JOURNAL).where(*_LENT),
        "outbox":  select(func.count()).select_from(OUTBOX).where(OUTBOX.c.send == Notification.TELL_LENDER_ON_LOAN.value),
    },
    "request_item": {
        "requests": select(func.count()).select_from(REQUESTS).where(REQUESTS.c.placed_by == DISCOVERY),
        "journal":  select(func.count(JOURNAL.c.request.distinct())).where(*_ASKED),
        "lines":    select(func.count()).select_from(JOURNAL).where(*_ASKED),
        "outbox":   select(func.count()).select_from(OUTBOX).where(OUTBOX.c.send == Notification.ASK_LENDER.value),
    },
}
"""Counts that must be equal after a work that writes. They exclude the bulk history, which came through no protocol.

More journal lines than requests in the journal mean duplicates.
"""
# fmt: on


def check(url: str, answered: Mapping[str, int]) -> None:
    """Raise AssertionError if the database lacks an answered request or has one twice. `answered` has counts by work."""
    engine = open_engine(url)
    try:
        with engine.connect() as connection:
            for work in TALLIES.keys() & answered.keys():
                found = {name: connection.execute(question).scalar_one() for name, question in TALLIES[work].items()}
                assert len(set(found.values())) == 1, f"{work}: the tables disagree: {found}"
                assert min(found.values()) >= answered[work], f"{work}: {answered[work]} were answered, but there are {found}"
    finally:
        engine.dispose()
