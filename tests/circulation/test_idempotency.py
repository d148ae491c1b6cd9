"""Repeated documents: the stored reply within the window, a new request afterwards; refusals are never stored."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from hkall_gateway.circulation.command import Context, InboxKey, Library, in_context
from hkall_gateway.circulation.idempotency import once
from hkall_gateway.circulation.results import Refused, Renewed
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.vocabulary import ItemKey
from hkall_gateway.simulator.databases import SoleStore

LIBRARY = Library(
    agency="HKU", name="The University of Hong Kong Libraries", policy=Policy(), pickup_locations=("HKU-MAIN-LENDING",)
)
KEY = InboxKey(agency="HKU-DISCOVERY", digest="d1", keep_s=900)
RENEWED = Renewed(request="R1", item=ItemKey("CUHK", "C1"), card="P1", title="Dune", due=None, renewals=1)
WINDOW = timedelta(seconds=KEY.keep_s)


class Wish:
    """Work that counts its runs."""

    def __init__(self, *outcomes: Renewed | Refused) -> None:
        self._outcomes = list(outcomes)
        self.done = 0

    def __call__(self, _context: Context) -> Renewed | Refused:
        self.done += 1
        return self._outcomes.pop(0)


@pytest.fixture
def ask(store: SoleStore) -> Callable[[Wish, datetime, InboxKey], Renewed | Refused]:
    """Receive one document at a given time."""
    return lambda wish, when, key: store.now(in_context(once, LIBRARY, when, key, wish))


Ask = Callable[[Wish, datetime, InboxKey], Renewed | Refused]


def test_repeated_document_gets_the_stored_reply_within_its_retention_time(ask: Ask, now: datetime) -> None:
    wish = Wish(RENEWED, Refused(why=Reason.RENEWAL_TOO_SOON))
    outcomes = [ask(wish, now, KEY), ask(wish, now + WINDOW, KEY)]
    assert (outcomes, wish.done) == ([RENEWED, RENEWED], 1)


def test_repeated_document_is_processed_anew_after_its_retention_time(ask: Ask, now: datetime) -> None:
    wish = Wish(RENEWED, Refused(why=Reason.RENEWAL_TOO_SOON))
    ask(wish, now, KEY)
    assert ask(wish, now + WINDOW + timedelta(seconds=1), KEY) == Refused(why=Reason.RENEWAL_TOO_SOON)


def test_retention_time_of_a_stored_reply_restarts_when_it_has_expired(ask: Ask, now: datetime) -> None:
    later = now + WINDOW + timedelta(seconds=1)
    wish = Wish(RENEWED, RENEWED)
    for when in (now, later, later + WINDOW):
        ask(wish, when, KEY)
    assert wish.done == 2


def test_expired_reply_does_not_affect_other_stored_replies(ask: Ask, now: datetime) -> None:
    long = InboxKey(agency="HKU-DISCOVERY", digest="d2", keep_s=86_400)
    short_wish, long_wish = Wish(RENEWED, RENEWED), Wish(RENEWED)
    ask(short_wish, now, KEY)
    ask(long_wish, now, long)
    ask(short_wish, now + timedelta(hours=1), KEY)
    ask(long_wish, now + timedelta(hours=1), long)
    assert (short_wish.done, long_wish.done) == (2, 1)


def test_repeated_document_is_reevaluated_after_a_refusal(ask: Ask, now: datetime) -> None:
    wish = Wish(Refused(why=Reason.RENEWAL_TOO_SOON), RENEWED)
    assert [ask(wish, now, KEY), ask(wish, now, KEY)] == [Refused(why=Reason.RENEWAL_TOO_SOON), RENEWED]
