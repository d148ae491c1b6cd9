"""Marks of erased patrons and revoked tokens. A restore compares the backup with them, so that it brings back neither.

A mark is a hash of a card number, with a salt that all marks of one database share. If the site has a key, the mark is a keyed
digest, which takes microseconds and cannot be computed without the key. Otherwise it is a slow hash (scrypt, about ten
milliseconds), because an attacker with the marks could try all card numbers of a known format. Releases up to 0.2.0 made slow
hashes with a key, too, which are still recognised. Marks are stored in the table `erased` and in a file outside the database,
because the restore of an older backup loses the table, and a disk failure may lose the file.

A revoked token is marked by the hash that the database keeps. Its mark stands in the file alone, since the table `api_tokens`
has revoked tokens, too.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from functools import partial
from hashlib import blake2b, scrypt
from pathlib import Path
from typing import Final

from sqlalchemy import select

from hkall_gateway.db import api_tokens
from hkall_gateway.db.engine.compiled import insert_or_write_over
from hkall_gateway.db.privacy.archive import replace_target
from hkall_gateway.db.tables import ERASED
from hkall_gateway.db.unit_of_work import UnitOfWork

COST: Final = 2**12


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The mark of an erased card or of a revoked token, with the time `at` of the last erasure or of the revocation.

    `key` is the fingerprint of the site's key, with the prefix KEYED for a keyed digest, or "" without a key. For a revoked
    token `key` is REVOKED, and `mark` is the token's hash.
    """

    mark: str
    salt: str
    key: str
    at: datetime


class OtherKey(Exception):
    """A mark was made with a key other than the site's current key."""


KEYED: Final = "keyed-"
"""Prefix of the key's fingerprint in a mark that is a keyed digest."""

REVOKED: Final = "revoked"
"""`Mark.key` of a revoked token, which is no fingerprint: those are hexadecimal."""

Watch = Callable[[int, int], None]
"""Called during a long comparison with the number of compared cards and the number of all cards."""

CHUNK: Final = 256


def unwatched(_done: int, _all: int) -> None:
    """Ignore the progress. This is the default `watch`."""


def keyed_mark_of(card: str, salt: str, key: bytes) -> str:
    """Return the digest of a card number, computed with the site's key."""
    short = key if len(key) <= blake2b.MAX_KEY_SIZE else blake2b(key).digest()
    return blake2b(f"{salt}\0{card}".encode(), key=short, digest_size=16, person=b"hkall-erased").hexdigest()


def slow_mark_of(card: str, salt: str, key: bytes) -> str:
    """Return the slow hash of a card number, which takes about ten milliseconds."""
    seasoned = blake2b(salt.encode(), key=key[:64]).digest()
    return scrypt(card.encode(), salt=seasoned, n=COST, r=8, p=1, dklen=16).hex()


def fingerprint(key: bytes) -> str:
    """Return a short hash that distinguishes the site's keys, or "" for an empty key."""
    return blake2b(key, digest_size=4, person=b"hkall-erased").hexdigest() if key else ""


def _key_label(key: bytes) -> str:
    """Return the `Mark.key` of new marks made with this key."""
    return KEYED + fingerprint(key) if key else ""


def make_marks(cards: Iterable[str], known: Sequence[Mark], key: bytes, now: datetime) -> tuple[Mark, ...]:
    """Make marks for these cards, with the salt of the known marks."""
    kind = _key_label(key)
    salt = next((mark.salt for mark in known if mark.key == kind), "") or secrets.token_hex(16)
    mark_of = keyed_mark_of if key else slow_mark_of
    return tuple(Mark(mark=mark_of(card, salt, key), salt=salt, key=kind, at=now) for card in cards)


def match_cards(
    cards: Iterable[str], marks: Sequence[Mark], key: bytes, watch: Watch = unwatched
) -> Iterator[tuple[str, Mark]]:
    """Yield (card, mark) for each card that has a mark. Slow hashes use all processors, and `watch` receives the progress.

    Raises OtherKey if a mark was made with a key other than `key`.
    """
    marks = of_cards(marks)
    ways = {"": partial(slow_mark_of, key=b"")}
    if key:
        ways |= {fingerprint(key): partial(slow_mark_of, key=key), _key_label(key): partial(keyed_mark_of, key=key)}
    if any(mark.key not in ways for mark in marks):
        raise OtherKey("erased patrons are marked under another key than the present one ([privacy] erased_key_env)")
    by_mark = {mark.mark: mark for mark in marks}
    made_as = sorted({(mark.salt, mark.key) for mark in marks})

    def found(card: str) -> list[Mark]:
        mine = (by_mark.get(ways[kind](card, salt)) for salt, kind in made_as)
        return [mark for mark in mine if mark is not None]

    distinct = list(dict.fromkeys(cards)) if marks else []
    is_slow = any(not kind.startswith(KEYED) for _salt, kind in made_as)
    for card, mine in _find_in_parallel(found, distinct, watch) if is_slow else ((card, found(card)) for card in distinct):
        yield from ((card, mark) for mark in mine)


def _find_in_parallel(
    find: Callable[[str], list[Mark]], cards: Sequence[str], watch: Watch
) -> Iterator[tuple[str, list[Mark]]]:
    """Yield each card with its marks, in order. scrypt releases the GIL, so that threads use all processors."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for start in range(0, len(cards), CHUNK):
            watch(start, len(cards))
            chunk = cards[start : start + CHUNK]
            yield from zip(chunk, pool.map(find, chunk), strict=True)
    watch(len(cards), len(cards))


def token_marks(unit: UnitOfWork) -> tuple[Mark, ...]:
    """Return the marks of all tokens that are revoked in the database."""
    revoked = ((token.token_hash, token.revoked_at) for token in api_tokens.listed(unit))
    return tuple(Mark(mark=token_hash, salt="", key=REVOKED, at=at) for token_hash, at in revoked if at is not None)


def of_tokens(marks: Iterable[Mark]) -> tuple[Mark, ...]:
    """Return the marks of revoked tokens."""
    return tuple(mark for mark in marks if mark.key == REVOKED)


def of_cards(marks: Iterable[Mark]) -> tuple[Mark, ...]:
    """Return the marks of erased cards."""
    return tuple(mark for mark in marks if mark.key != REVOKED)


def merge_marks(*lists: Iterable[Mark]) -> tuple[Mark, ...]:
    """Return every mark once, with its latest time, oldest first."""
    found: dict[str, Mark] = {}
    for mark in sorted((mark for marks in lists for mark in marks), key=lambda mark: mark.at):
        found[mark.mark] = mark
    return tuple(sorted(found.values(), key=lambda mark: (mark.at, mark.mark)))


def stored_marks(unit: UnitOfWork) -> tuple[Mark, ...]:
    """Return the marks in the database, oldest first."""
    query = select(*(ERASED.c[field.name] for field in fields(Mark))).order_by(ERASED.c.at, ERASED.c.mark)
    return tuple(Mark(**row) for row in unit.execute(query).mappings())


def store_marks(unit: UnitOfWork, marks: Iterable[Mark]) -> None:
    """Write these marks into the database."""
    rows = [asdict(mark) for mark in merge_marks(stored_marks(unit), of_cards(marks))]
    if rows:
        unit.execute(insert_or_write_over(ERASED, unit.dialect, rows[0]), rows)


def read_file(path: Path) -> tuple[Mark, ...]:
    """Return the marks in a file, or () if the file does not exist. Raises OSError, and ValueError for another file format."""
    if not path.exists():
        return ()
    return tuple(_parse_mark(line, path) for line in path.read_text(encoding="utf-8").splitlines() if line)


def add_to_file(path: Path, marks: Iterable[Mark]) -> tuple[Mark, ...]:
    """Add marks to a file, and return all of the file's marks once they are on disk. Raises OSError, ValueError."""
    with _folder_locked(path):
        found = merge_marks(read_file(path), marks)
        if not found:
            return ()
        new = path.with_name(path.name + ".new")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(mark) | {"at": mark.at.isoformat()}) + "\n" for mark in found)
        replace_target(new, path)
    return found


def _parse_mark(line: str, path: Path) -> Mark:
    try:
        row = json.loads(line)
        return Mark(mark=row["mark"], salt=row["salt"], key=row["key"], at=datetime.fromisoformat(row["at"]))
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path}: is no list of erased marks") from None


@contextmanager
def _folder_locked(path: Path) -> Iterator[None]:
    """Lock a file against other processes by locking its folder, because the file itself is replaced."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
