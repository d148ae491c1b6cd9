"""A peer's public keys (JSON Web Key Set, RFC 7517), read from a file or fetched from a URL and cached."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import structlog
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from twisted.internet.defer import DeferredLock

from hkall_gateway.net.http_post import HttpReply, NoReply, NotSent

LOG = structlog.get_logger()

KEPT: Final = timedelta(hours=1)
"""Time for which fetched keys are cached, unless a token names a key id that is not among them."""
APART: Final = timedelta(minutes=1)
"""Minimum time between two fetches caused by tokens with unknown key ids."""
TIMEOUT_S: Final = 5.0
MOST_KEYS: Final = 20
MOST_BYTES: Final = 65_536

Get = Callable[[str, float], Awaitable[HttpReply]]
"""Function that maps (URL, timeout in seconds) to the response. Raises only NotSent or NoReply."""


async def no_get(_url: str, _timeout_s: float) -> HttpReply:
    """Raise NotSent. Used as `Get` by commands that check the configuration without network access."""
    raise NotSent("keys are fetched by the daemon alone")


def key_set(text: str | bytes) -> KeySet:
    """Read the public keys in a JSON Web Key Set. Raises ValueError if the set is malformed or contains a private key."""
    try:
        keys = KeySet.import_key_set(json.loads(text))
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as bad:
        raise ValueError(f"no JSON Web Key Set: {type(bad).__name__}") from bad
    if not 1 <= len(keys.keys) <= MOST_KEYS:
        raise ValueError(f"a JSON Web Key Set has 1 to {MOST_KEYS} keys here, this one {len(keys.keys)}")
    if any(key.is_private for key in keys.keys):
        raise ValueError("the JSON Web Key Set holds a private or a symmetric key")
    return keys


class FileKeys:
    """The keys in a file, reloaded when the file has changed."""

    def __init__(self, path: Path) -> None:
        self._path, self._read_at = path, 0
        self._keys: KeySet | None = None

    async def having(self, _kid: str, _now: datetime) -> KeySet | None:
        """Return all keys in the file. If the file cannot be read, return the previously read keys."""
        try:
            changed = self._path.stat().st_mtime_ns
            if changed != self._read_at:
                self._read_at, self._keys = changed, key_set(self._path.read_bytes())
        except (OSError, ValueError) as bad:
            LOG.error("ncip.keys_unreadable", source=str(self._path), reason=str(bad))
        return self._keys


class UrlKeys:
    """The keys at a URL, cached for an hour, but fetched again for a token with an unknown key id."""

    def __init__(self, url: str, get: Get) -> None:
        self._url, self._get = url, get
        self._keys: KeySet | None = None
        self._asked_at: datetime | None = None
        self._lock = DeferredLock()

    async def having(self, kid: str, now: datetime) -> KeySet | None:
        """Return the keys, fetched again if necessary. If the fetch fails, return the previously fetched keys.

        Concurrent calls share one fetch. A call does not wait if the key is cached and fresh.
        """
        if self._known(kid) and not self._due(kid, now):
            return self._keys
        await self._lock.acquire()
        try:
            if self._due(kid, now):
                self._asked_at = now
                try:
                    reply = await self._get(self._url, TIMEOUT_S)
                    if reply.status != 200:
                        raise ValueError(f"HTTP {reply.status}")
                    if len(reply.body) > MOST_BYTES:
                        raise ValueError(f"more than {MOST_BYTES} bytes")
                    self._keys = key_set(reply.body)
                except (NotSent, NoReply, ValueError) as bad:
                    LOG.error("ncip.keys_unreadable", source=self._url, reason=str(bad))
        finally:
            self._lock.release()
        return self._keys

    def _due(self, kid: str, now: datetime) -> bool:
        age = now - self._asked_at if self._asked_at else KEPT
        return age >= (KEPT if self._known(kid) else APART)

    def _known(self, kid: str) -> bool:
        return self._keys is not None and (kid == "" or kid in {key.kid for key in self._keys.keys})
