"""Argon2id hashes of passwords and PINs."""

from __future__ import annotations

from typing import Final

from argon2 import PasswordHasher, Type, extract_parameters

# 21 ms a hash on the reference machine, where the library's default takes 118. Source: OWASP's minimum.
HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def hash_secret(text: str) -> str:
    """Return the Argon2id hash to store for a password or PIN, with a new salt each time. Slow: never on the reactor."""
    return HASHER.hash(text)


def is_hash(text: str) -> bool:
    """Return whether `text` is an Argon2id hash that `Secrets` can verify."""
    try:
        return extract_parameters(text).type is Type.ID
    except ValueError:
        return False
