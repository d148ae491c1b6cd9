"""A peer's public keys: reread when their file changes, fetched again when a token names an unknown key."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import OctKey, RSAKey
from twisted.internet.defer import Deferred, ensureDeferred

from hkall_gateway.db.database import finished
from hkall_gateway.net.http_post import HttpReply, NoReply, NotSent
from hkall_gateway.peers.key_sets import FileKeys, UrlKeys, key_set, no_get

NOW = datetime(2026, 11, 27, 2, tzinfo=UTC)
URL = "https://dcb.example.org/peer-auth/.well-known/jwks.json"


@cache
def row(kid: str) -> dict[str, Any]:
    found: dict[str, Any] = RSAKey.generate_key(2048, {"kid": kid}).as_dict(private=False)
    return found


def page(*kids: str) -> bytes:
    return json.dumps({"keys": [row(kid) for kid in kids]}).encode()


class Web:
    """URLs and their replies; an exception is raised."""

    def __init__(self, *answers: bytes | HttpReply | Exception) -> None:
        self.answers, self.asked = list(answers), 0

    async def get(self, url: str, timeout_s: float) -> HttpReply:
        assert url == URL
        self.asked += 1
        said = self.answers.pop(0)
        if isinstance(said, Exception):
            raise said
        return said if isinstance(said, HttpReply) else HttpReply(status=200, content_type="application/json", body=said)


def kids(keys: Any, kid: str, now: datetime = NOW) -> list[str]:
    found = finished(keys.having(kid, now))
    return [] if found is None else [str(key.kid) for key in found.keys]


def test_keys_are_fetched_once_while_every_token_finds_its_key() -> None:
    web = Web(page("a"))
    keys = UrlKeys(URL, web.get)
    assert [kids(keys, "a"), kids(keys, "a", NOW + timedelta(minutes=59))] == [["a"], ["a"]]
    assert web.asked == 1


def test_keys_are_refetched_after_an_hour() -> None:
    web = Web(page("a"), page("a", "b"))
    keys = UrlKeys(URL, web.get)
    assert [kids(keys, "a"), kids(keys, "a", NOW + timedelta(hours=1))] == [["a"], ["a", "b"]]


def test_new_key_of_the_peer_is_found_within_a_minute() -> None:
    web = Web(page("a"), page("b"))
    keys = UrlKeys(URL, web.get)
    assert [kids(keys, "a"), kids(keys, "b"), kids(keys, "b", NOW + timedelta(minutes=1))] == [["a"], ["a"], ["b"]]


def test_unknown_key_ids_cause_at_most_one_fetch_per_minute() -> None:
    web = Web(page("a"), page("a"))
    keys = UrlKeys(URL, web.get)
    for second in range(119):
        kids(keys, f"guess-{second}", NOW + timedelta(seconds=second))
    assert web.asked == 2


@pytest.mark.parametrize(
    "failed",
    [
        NotSent("no"),
        NoReply("cut"),
        HttpReply(status=503, content_type="", body=b""),
        b"<html>",
        page(),
        b"[]",
        b"[" * 60_000,
        page("a") + b" " * 70_000,
    ],
)
def test_failed_fetch_keeps_the_previous_keys(failed: bytes | HttpReply | Exception) -> None:
    keys = UrlKeys(URL, Web(page("a"), failed).get)
    assert [kids(keys, "a"), kids(keys, "a", NOW + timedelta(hours=2))] == [["a"], ["a"]]


def test_missing_keys_are_refetched_after_a_minute() -> None:
    web = Web(NotSent("no"), page("a"))
    keys = UrlKeys(URL, web.get)
    assert [kids(keys, "a"), kids(keys, "a"), kids(keys, "a", NOW + timedelta(minutes=1))] == [[], [], ["a"]]


def test_concurrent_tokens_share_one_fetch() -> None:
    asked: list[Deferred[HttpReply]] = []

    async def slow(url: str, timeout_s: float) -> HttpReply:
        asked.append(Deferred())
        return await asked[-1]

    keys = UrlKeys(URL, slow)
    first, second = (ensureDeferred(keys.having("a", NOW)) for _ in range(2))
    asked[0].callback(HttpReply(status=200, content_type="application/json", body=page("a")))
    assert (len(asked), len(finished(first).keys), len(finished(second).keys)) == (1, 1, 1)  # type: ignore[union-attr]


def test_token_with_a_known_key_does_not_wait_for_a_fetch() -> None:
    answers, asked = [Deferred[HttpReply](), Deferred[HttpReply]()], list[str]()

    async def slow(url: str, timeout_s: float) -> HttpReply:
        asked.append(url)
        return await answers[len(asked) - 1]

    keys = UrlKeys(URL, slow)
    ensureDeferred(keys.having("a", NOW))
    answers[0].callback(HttpReply(status=200, content_type="application/json", body=page("a")))
    ensureDeferred(keys.having("made-up", NOW + timedelta(minutes=2)))  # it is under way from here on
    assert (kids(keys, "a", NOW + timedelta(minutes=2)), len(asked)) == (["a"], 2)


def test_command_line_does_not_fetch_keys() -> None:
    assert kids(UrlKeys(URL, no_get), "a") == []


def test_changed_key_file_is_reloaded(tmp_path: Path) -> None:
    path = tmp_path / "peer.json"
    path.write_bytes(page("a"))
    keys = FileKeys(path)
    assert kids(keys, "a") == ["a"]
    path.write_bytes(page("b"))
    os.utime(path, ns=(1, 1))
    assert kids(keys, "b") == ["b"]


def test_damaged_or_missing_file_keeps_the_previous_keys(tmp_path: Path) -> None:
    path = tmp_path / "peer.json"
    path.write_bytes(page("a"))
    keys = FileKeys(path)
    assert kids(keys, "a") == ["a"]
    path.write_bytes(b"{")
    os.utime(path, ns=(1, 1))
    assert kids(keys, "a") == ["a"]
    path.unlink()
    assert kids(keys, "a") == ["a"]


def test_private_and_symmetric_keys_are_refused() -> None:
    for key in (RSAKey.generate_key(2048), OctKey.generate_key(256)):
        with pytest.raises(ValueError, match="private or a symmetric"):
            key_set(json.dumps({"keys": [key.as_dict(private=True)]}))
