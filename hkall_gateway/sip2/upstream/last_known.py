"""Caches the local system's last answer about a card, for replies while it is unreachable."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from secrets import token_bytes
from typing import Final

from hkall_gateway.rules.vocabulary import Sensitive

MOST: Final = 5_000
"""Cards that are remembered; a library has no more readers within a quarter of an hour."""


@dataclass(frozen=True, slots=True)
class KnownFlags:
    """BL and CQ of a card; "" for a flag that is unknown."""

    valid: str = ""
    pin: str = ""


UNKNOWN: Final = KnownFlags()


@dataclass(frozen=True, slots=True)
class _Kept:
    valid: bool
    pin: bytes
    at: datetime


class LastKnown:
    """Remembers each card's BL and its last accepted PIN, the PIN as a keyed hash and only in memory.

    `keep_s` returns the seconds for which an answer is valid; 0: the cache is never used.
    """

    def __init__(self, keep_s: Callable[[], float] = lambda: 900.0) -> None:
        self._keep_s, self._key = keep_s, token_bytes(32)
        self._cards: OrderedDict[str, _Kept] = OrderedDict()

    def note(self, card: str, *, valid: bool, pin_ok: bool, pin: Sensitive, now: datetime) -> None:
        """Record the local system's answer about this card; `pin_ok`: it accepted this PIN."""
        before = self._cards.pop(card, None)
        kept = self._hash(pin) if pin_ok else before.pin if before else b""
        self._cards[card] = _Kept(valid, kept, now)
        if len(self._cards) > MOST:
            self._cards.popitem(last=False)

    def of(self, card: str, pin: Sensitive, now: datetime) -> KnownFlags:
        """Returns the answer for this card and PIN, if it is recent enough. Any PIN but the accepted one is unknown."""
        kept = self._cards.get(card)
        if kept is None or now - kept.at >= timedelta(seconds=self._keep_s()):
            return UNKNOWN
        right = bool(pin) and bool(kept.pin) and kept.pin == self._hash(pin)
        return KnownFlags("Y" if kept.valid else "N", "Y" if right else "")

    def is_right(self, card: str, pin: Sensitive, now: datetime) -> bool:
        """Whether this is the PIN of the card that the system accepted last, and recently enough."""
        return self.of(card, pin, now) == KnownFlags("Y", "Y")

    def _hash(self, pin: Sensitive) -> bytes:
        return blake2b(pin.reveal().encode(), key=self._key).digest()
