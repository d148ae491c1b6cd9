"""The rows of browsers' sessions, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hkall_gateway.store import web_sessions
from hkall_gateway.store.engine.immediate import Immediate
from hkall_gateway.store.web_sessions import LONGEST, STAFF, WebSession

NOW = datetime(2017, 3, 1, 2, 0, tzinfo=UTC)


def session(token: str, now: datetime = NOW, **changed: str) -> WebSession:
    named = {"login": "clerk", "patron": "", "name": "Desk", "role": "clerk", "source": "local", "csrf": "c"} | changed
    return WebSession(token, STAFF, **named, created_at=now, seen_at=now, ends_at=now + LONGEST)


def test_a_session_is_found_by_its_token_alone(store: Immediate) -> None:
    store.now(web_sessions.begin, session("one"), NOW)
    assert store.now(web_sessions.find, "one") == session("one")
    assert store.now(web_sessions.find, "two") is None


def test_a_new_session_takes_the_place_of_the_one_before_it(store: Immediate) -> None:
    store.now(web_sessions.begin, session("one"), NOW)
    store.now(web_sessions.begin, session("two"), NOW, "one")
    assert store.now(web_sessions.find, "one") is None


def test_an_older_request_does_not_turn_the_clock_back(store: Immediate) -> None:
    store.now(web_sessions.begin, session("one"), NOW)
    store.now(web_sessions.seen, "one", NOW + timedelta(minutes=5))
    store.now(web_sessions.seen, "one", NOW + timedelta(minutes=4))
    found = store.now(web_sessions.find, "one")
    assert found is not None
    assert found.seen_at == NOW + timedelta(minutes=5)
