"""The rows of browser sessions, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hkall_gateway.db import web_sessions
from hkall_gateway.db.loads.former_cards import replace_card
from hkall_gateway.db.web_sessions import BROWSER, LONGEST, PATRON, PATRON_API, STAFF, WebSession
from hkall_gateway.rules.vocabulary import Actor
from hkall_gateway.simulator.databases import SoleStore

NOW = datetime(2017, 3, 1, 2, 0, tzinfo=UTC)


def session(token: str, now: datetime = NOW, **changed: str) -> WebSession:
    named = {"login": "clerk", "patron": "", "name": "Desk", "role": "clerk", "source": "local", "csrf": "c"} | changed
    return WebSession(token_hash=token, kind=STAFF, **named, created_at=now, seen_at=now, ends_at=now + LONGEST)


def test_session_is_found_only_by_its_token(store: SoleStore) -> None:
    store.now(web_sessions.begin, session("one"), NOW)
    assert store.now(web_sessions.find, "one") == session("one")
    assert store.now(web_sessions.find, "two") is None


def test_new_session_replaces_the_previous_one(store: SoleStore) -> None:
    store.now(web_sessions.begin, session("one"), NOW)
    store.now(web_sessions.begin, session("two"), NOW, "one")
    assert store.now(web_sessions.find, "one") is None


def test_older_request_does_not_decrease_the_last_use_time(store: SoleStore) -> None:
    store.now(web_sessions.begin, session("one"), NOW)
    store.now(web_sessions.seen, "one", NOW + timedelta(minutes=5))
    store.now(web_sessions.seen, "one", NOW + timedelta(minutes=4))
    found = store.now(web_sessions.find, "one")
    assert found is not None
    assert found.seen_at == NOW + timedelta(minutes=5)


def test_card_replacement_ends_its_sessions(store: SoleStore) -> None:
    """The session may belong to a person who found the lost card."""
    theirs = WebSession(
        token_hash="old",
        kind=PATRON,
        login="",
        patron="UG1",
        name="",
        role="",
        source="pin",
        csrf="c",
        created_at=NOW,
        seen_at=NOW,
        ends_at=NOW + LONGEST,
    )
    with_card = [theirs, *(replace(theirs, token_hash=kind, kind=kind) for kind in (PATRON_API, BROWSER))]
    for made in (*with_card, replace(theirs, token_hash="other", patron="UG2"), session("staff")):
        store.now(web_sessions.begin, made, NOW)
    store.now(replace_card, "UG1", "UG1-NEW", NOW, Actor(who="mei", channel="cli"))
    assert [store.now(web_sessions.find, made.token_hash) for made in with_card] == [None] * 3
    assert store.now(web_sessions.find, "other") is not None
    assert store.now(web_sessions.find, "staff") is not None


def test_scans_are_numbered_and_only_the_latest_are_kept(store: SoleStore) -> None:
    store.now(web_sessions.begin, session("one"), NOW)
    numbers = [store.now(web_sessions.add, "one", f"answer {n}", NOW) for n in range(1, web_sessions.MOST + 3)]
    assert numbers == list(range(1, web_sessions.MOST + 3))
    assert [row.number for row in store.now(web_sessions.of, "one")] == numbers[:1:-1]
    assert store.now(web_sessions.of, "two") == ()


def test_scans_are_deleted_with_their_session(store: SoleStore) -> None:
    for token in ("one", "two"):
        store.now(web_sessions.begin, session(token), NOW)
        store.now(web_sessions.add, token, token, NOW)
    store.now(web_sessions.end, "one")
    assert store.now(web_sessions.of, "one") == ()
    assert [row.answer for row in store.now(web_sessions.of, "two")] == ["two"]
    store.now(web_sessions.begin, session("three", NOW + LONGEST), NOW + LONGEST)
    assert store.now(web_sessions.of, "two") == ()
