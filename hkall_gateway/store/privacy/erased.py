"""Marks of erased patrons: a restored backup is compared with them, so that no erased patron comes back.

A mark is a slow hash (scrypt) of a card number, under a salt common to the marks of one database and under the site's own key,
if it has one. It is stored in the table `erased` and in a file outside the database: a restore of an older backup loses the
first, and a lost disk the second. Without a key, an attacker with the marks can try all card numbers of a known form and find
the erased ones, at about ten milliseconds each; a key that is kept elsewhere prevents that.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from hashlib import blake2b, scrypt
from pathlib import Path
from typing import Final

from sqlalchemy import select

from hkall_gateway.store.engine.upsert import insert_or_write_over
from hkall_gateway.store.privacy.archive import sync_folder
from hkall_gateway.store.queries.queries import Queries
from hkall_gateway.store.tables import ERASED
from hkall_gateway.store.unit import Unit

COST: Final = 2**12


@dataclass(frozen=True, slots=True)
class Mark:
    """One erased card. `key` is the fingerprint of the site's key, "" for none; `at` is the time of its last erasure."""

    mark: str
    salt: str
    key: str
    at: datetime


class OtherKey(Exception):
    """Marks were made under a key that is not the present one."""


def mark_of(card: str, salt: str, key: bytes) -> str:
    """Return the mark of a card; takes about ten milliseconds."""
    seasoned = blake2b(salt.encode(), key=key[:64]).digest()
    return scrypt(card.encode(), salt=seasoned, n=COST, r=8, p=1, dklen=16).hex()


def fingerprint(key: bytes) -> str:
    """Return a short hash that tells one key from another; "" for no key."""
    return blake2b(key, digest_size=4, person=b"hkall-erased").hexdigest() if key else ""


def made(cards: Iterable[str], known: Sequence[Mark], key: bytes, now: datetime) -> tuple[Mark, ...]:
    """Make marks of these cards, under the salt of the known ones."""
    print_ = fingerprint(key)
    salt = next((mark.salt for mark in known if mark.key == print_), "") or secrets.token_hex(16)
    return tuple(Mark(mark_of(card, salt, key), salt, print_, now) for card in cards)


def matching(cards: Iterable[str], marks: Sequence[Mark], key: bytes) -> Iterator[tuple[str, Mark]]:
    """Yield those of these cards that have a mark.

    Raises OtherKey if a mark was made under a key that is not the present one.
    """
    keys = {"": b"", fingerprint(key): key}
    if any(mark.key not in keys for mark in marks):
        raise OtherKey("erased patrons are marked under another key than the present one ([privacy] erased_key_env)")
    by_mark = {mark.mark: mark for mark in marks}
    ways = sorted({(mark.salt, mark.key) for mark in marks})
    for card in dict.fromkeys(cards) if marks else ():
        for salt, of in ways:
            if found := by_mark.get(mark_of(card, salt, keys[of])):
                yield card, found


def merged(*lists: Iterable[Mark]) -> tuple[Mark, ...]:
    """Return every mark once, with its latest time, oldest first."""
    found: dict[str, Mark] = {}
    for mark in sorted((mark for marks in lists for mark in marks), key=lambda mark: mark.at):
        found[mark.mark] = mark
    return tuple(sorted(found.values(), key=lambda mark: (mark.at, mark.mark)))


# ---- in the database


def kept(unit: Queries) -> tuple[Mark, ...]:
    """Return the marks in the database, oldest first."""
    asked = select(*(ERASED.c[field.name] for field in fields(Mark))).order_by(ERASED.c.at, ERASED.c.mark)
    return tuple(Mark(**row) for row in unit.execute(asked).mappings())


def keep(unit: Unit, marks: Iterable[Mark]) -> None:
    """Write these marks into the database."""
    rows = [asdict(mark) for mark in merged(kept(unit), marks)]
    if rows:
        unit.execute(insert_or_write_over(ERASED, unit.dialect, rows[0]), rows)


# ---- in a file


def read(path: Path) -> tuple[Mark, ...]:
    """Return the marks of a file; none if there is no file. Raises OSError, ValueError for a file in another format."""
    if not path.exists():
        return ()
    return tuple(_mark(line, path) for line in path.read_text(encoding="utf-8").splitlines() if line)


def add(path: Path, marks: Iterable[Mark]) -> tuple[Mark, ...]:
    """Add marks to a file, and return all its marks once they are on disk. Raises OSError, ValueError."""
    with _alone(path):
        found = merged(read(path), marks)
        if not found:
            return ()
        new = path.with_name(path.name + ".new")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(mark) | {"at": mark.at.isoformat()}) + "\n" for mark in found)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        sync_folder(path.parent)
    return found


def _mark(line: str, path: Path) -> Mark:
    try:
        row = json.loads(line)
        return Mark(row["mark"], row["salt"], row["key"], datetime.fromisoformat(row["at"]))
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path}: is no list of erased marks") from None


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let one process at a time add to a file; the lock is on its folder, since the file itself is replaced."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
