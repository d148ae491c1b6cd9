"""Verifies secrets without blocking the reactor, and limits guesses."""

from __future__ import annotations

import hmac
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from argon2 import PasswordHasher, Type, extract_parameters
from argon2.exceptions import VerificationError

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

# OWASP's minimum parameters. A hash takes 21 ms on the reference machine, and 118 ms with argon2-cffi's defaults.
HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def hash_secret(text: str) -> str:
    """Hash a password or PIN with Argon2id and a new salt. This is slow and must not be called on the reactor's thread."""
    return HASHER.hash(text)


def is_hash(text: str) -> bool:
    """Return whether `text` is an Argon2id hash that `Secrets` can verify."""
    try:
        return extract_parameters(text).type is Type.ID
    except ValueError:
        return False


T = TypeVar("T")

DECOY: Final = "$argon2id$v=19$m=19456,t=2,p=1$aGthbGwtZ2F0ZXdheS1ubw$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
"""A hash that no secret matches. Comparing with it makes logins with unknown names as slow as logins with known names."""


class InThread(Protocol):
    """Runs slow work outside the reactor's thread, such as `deferToThreadPool` with a small pool."""

    def __call__(self, work: Callable[..., T], /, *args: object) -> Awaitable[T]:
        """Call `work` in a thread and return a Deferred for its result."""


def are_equal(a: str, b: str) -> bool:
    """Compare two plain secrets in constant time."""
    return hmac.compare_digest(_encode_secret(a), _encode_secret(b))


def ignore_lock(_subject: str, _seconds: float) -> None:
    """Do nothing. This is the default callback of WrongPins."""


@dataclass(eq=False)
class WrongPins:
    """Counts recent wrong secrets for each subject, and locks a subject with too many.

    Attributes:
        attempts: Number of wrong secrets within `window_s` after which a subject is locked.
        window_s: Seconds for which a wrong secret counts.
        seconds: Returns the current time in seconds.
        told: Called with each subject that becomes locked, and the number of seconds until the lock ends.
        room: Maximum number of subjects. Beyond it, the subject whose last wrong secret is oldest is forgotten.
    """

    attempts: int
    window_s: float
    seconds: Callable[[], float]
    told: Callable[[str, float], None] = ignore_lock
    room: int = 10_000
    _wrong: OrderedDict[str, deque[float]] = field(default_factory=OrderedDict, init=False, repr=False)

    def shut(self, subject: str, pending: int = 0) -> bool:
        """Return whether `subject` is locked, counting its `pending` unfinished checks as wrong."""
        return len(self._recent_failures(subject)) + pending >= self.attempts

    def count(self, subject: str) -> None:
        """Count a wrong secret for `subject`."""
        times = self._recent_failures(subject)
        times.append(self.seconds())
        self._wrong[subject] = times
        self._wrong.move_to_end(subject)
        if len(self._wrong) > self.room:
            self._wrong.popitem(last=False)
        if len(times) >= self.attempts:
            self.told(subject, times[0] + self.window_s - self.seconds())

    def forget(self, subject: str) -> None:
        """Reset the count for `subject` after a correct secret."""
        self._wrong.pop(subject, None)

    def _recent_failures(self, subject: str) -> deque[float]:
        times = self._wrong.get(subject, deque())
        while times and times[0] <= self.seconds() - self.window_s:
            times.popleft()
        return times


@dataclass(eq=False)
class Secrets:
    """Verifies secrets against Argon2id hashes, and caches correct secrets. Use it only on the reactor's thread.

    A cache entry is a keyed BLAKE2b of subject, stored hash and secret. It is useless without this process's key and becomes
    invalid when the stored hash changes. Wrong secrets are never stored in any form.

    Attributes:
        key: Up to 64 random bytes, created by this process.
        kept_s: Lifetime of a cache entry, in seconds of `seconds()`.
        room: Maximum number of cache entries.
    """

    in_thread: InThread
    seconds: Callable[[], float]
    key: bytes = field(repr=False)
    wrong: WrongPins
    kept_s: float = 900.0
    room: int = 10_000
    _right: OrderedDict[bytes, float] = field(default_factory=OrderedDict, init=False, repr=False)
    _asked: dict[str, dict[bytes, list[Deferred[bool]]]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.key:
            raise ValueError("Secrets: the key is empty")

    async def verify(self, subject: str, stored: str, secret: str) -> bool:
        """Check whether `secret` matches the hash `stored`.

        `subject` names the kind of account and the account ("patron P1", "terminal counter-1"). An empty secret is wrong, but
        does not count as a guess. A subject with too many wrong guesses is refused even if the secret is correct.
        """
        pending = self._asked.get(subject, {})
        digest = self._cache_key(subject, stored, secret)
        if not secret or (digest not in pending and self.wrong.shut(subject, pending=len(pending))):
            return False
        if self._right.get(digest, 0.0) > self.seconds():
            self.wrong.forget(subject)
            return True
        self._right.pop(digest, None)
        if digest in pending:
            from twisted.internet.defer import Deferred  # imported here, so that commands that only hash do not need Twisted

            # If many connections with one login reconnect together, they share one hash computation and count as one guess.
            answer: Deferred[bool] = Deferred()
            pending[digest].append(answer)
            return await answer
        return await self._verify_on_thread(subject, stored, secret, digest)

    async def compare(self, stored: str, secret: str) -> bool:
        """Check a secret against a hash without counting guesses. An empty hash never matches, but takes the same time."""
        return await self.in_thread(matches, stored or DECOY, secret) and bool(secret)

    async def _verify_on_thread(self, subject: str, stored: str, secret: str, digest: bytes) -> bool:
        waiting = self._asked.setdefault(subject, {}).setdefault(digest, [])
        right = False
        try:
            right = await self.in_thread(matches, stored, secret)
            if right:
                self.wrong.forget(subject)
                self._right[digest] = self.seconds() + self.kept_s
                if len(self._right) > self.room:
                    self._right.popitem(last=False)
            else:
                self.wrong.count(subject)
        finally:
            del self._asked[subject][digest]
            if not self._asked[subject]:
                del self._asked[subject]
            for joined in waiting:
                joined.callback(right)
        return right

    def _cache_key(self, subject: str, stored: str, secret: str) -> bytes:
        parts = [_encode_secret(part) for part in (subject, stored, secret)]
        # Length prefixes make the encoding unambiguous.
        text = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        return blake2b(text, key=self.key, digest_size=32).digest()


def matches(stored: str, secret: str) -> bool:
    """Check a secret against an Argon2id hash. This is slow and must not be called on the reactor's thread."""
    try:
        return is_hash(stored) and HASHER.verify(stored, _encode_secret(secret))
    except (VerificationError, ValueError):
        return False


def _encode_secret(text: str) -> bytes:
    # A terminal may send undecodable bytes, which become surrogates. Compare such a secret as usual instead of raising.
    return text.encode("utf-8", "surrogatepass")
