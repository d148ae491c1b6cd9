"""The archive: a file of compressed JSON lines that grows by whole blocks, each on disk before `append` returns.

Every block is a separate gzip member, so that `zcat` reads the whole file. Its header contains its length, so that a block cut
off by a crash is found without reading the other blocks. `append` removes such a block. `rewrite` creates a new file
beside the old file and renames it. A lock on the file prevents the loss of records that another process appends meanwhile.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

Record = dict[str, Any]

# RFC 1952: magic, deflate, FEXTRA, no time, no hint, unknown system; then the extra field: "HK" and the length of the block.
_HEAD: Final = bytes([0x1F, 0x8B, 8, 4, 0, 0, 0, 0, 0, 255]) + struct.pack("<H2sH", 8, b"HK", 4)
_LENGTH: Final = struct.Struct("<I")
_START: Final = len(_HEAD) + _LENGTH.size


class NotAnArchive(Exception):
    """The file contains data that this program did not write. The file is left unchanged."""


def append(path: Path, records: Iterable[Mapping[str, object]]) -> None:
    """Append records, one per line, and return once they are on disk. Raises NotAnArchive, OSError."""
    block = _make_block("".join(_json_line(record) for record in records).encode())
    fresh = not path.exists()
    with _open_locked(path, os.O_RDWR | os.O_CREAT) as file:
        file.truncate(max((end for _start, end in _spans(file, path, 0)), default=0))
        file.seek(0, os.SEEK_END)
        file.write(block)
        file.flush()
        os.fsync(file.fileno())
    if fresh:
        sync_folder(path.parent)


def records(path: Path) -> Iterator[Record]:
    """Yield the records of the file in order, except a last block cut off by a crash. Raises NotAnArchive, OSError."""
    with path.open("rb") as file:
        for block in _read_blocks(file, path, 0):
            yield from _read_records(block)


def rewrite(path: Path, change: Callable[[Record], Record]) -> int:
    """Replace each record by `change(record)`, and return the number of changed records. Raises NotAnArchive, OSError.

    Unchanged blocks are copied. The old file is replaced once the new file is on disk. Other processes may append during most
    of the rewrite, because the lock is held only while their records are copied.
    """
    new = path.with_name(path.name + ".new")
    with path.open("rb") as old, _open_locked(new, os.O_RDWR | os.O_CREAT, fcntl.LOCK_NB) as file:
        try:
            file.truncate(0)  # a killed rewrite may have left data
            return _replace_file(old, path, file, new, change)
        finally:
            if _is_named(file, new):  # the new file has not replaced the old file
                new.unlink()


def _replace_file(old: BinaryIO, path: Path, file: BinaryIO, new: Path, change: Callable[[Record], Record]) -> int:
    count = _copy_changed(old, path, file, change)
    with _open_locked(path, os.O_RDWR) as current:
        if not os.path.samestat(os.fstat(old.fileno()), os.fstat(current.fileno())):
            raise OSError(f"{path}: another process has rewritten it at this moment; try again")
        count += _copy_changed(old, path, file, change)
        file.flush()
        replace_target(new, path)
    return count


def _copy_changed(old: BinaryIO, path: Path, new: BinaryIO, change: Callable[[Record], Record]) -> int:
    """Copy `old` from its current position, and return the number of records that `change` has changed."""
    count = 0
    for block in _read_blocks(old, path, old.tell()):
        found = list(_read_records(block))
        wanted = [change(record) for record in found]
        changed = sum(a != b for a, b in zip(found, wanted, strict=True))
        new.write(_make_block("".join(map(_json_line, wanted)).encode()) if changed else block)
        count += changed
    return count


def _read_blocks(file: BinaryIO, path: Path, start: int) -> Iterator[bytes]:
    """Yield each whole block, beginning at `start`, and leave the file's position after the last block."""
    for place, end in _spans(file, path, start):
        file.seek(place)
        yield file.read(end - place)
        start = end
    file.seek(start)


def _spans(file: BinaryIO, path: Path, start: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each complete block, beginning at `start`. Only the headers are read."""
    size = os.fstat(file.fileno()).st_size
    while start + _START <= size:
        file.seek(start)
        head = file.read(_START)
        if not head.startswith(_HEAD):
            raise NotAnArchive(f"{path}: byte {start} begins no block of an archive")
        end = start + int(_LENGTH.unpack(head[len(_HEAD) :])[0])
        if end > size:
            return
        yield start, end
        start = end


def _read_records(block: bytes) -> Iterator[Record]:
    yield from map(json.loads, zlib.decompress(block[_START:-8], -zlib.MAX_WBITS).decode().split("\n")[:-1])


@contextmanager
def _open_locked(path: Path, flags: int, how: int = 0) -> Iterator[BinaryIO]:
    """Open and lock a file. Retry if it is replaced meanwhile. With LOCK_NB, raise BlockingIOError if it is locked."""
    while True:
        with os.fdopen(os.open(path, flags, 0o600), "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | how)
            if _is_named(file, path):
                yield file
                return


def _is_named(file: BinaryIO, path: Path) -> bool:
    """Return whether an open file still has this name."""
    return path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))


def _json_line(record: Mapping[str, object]) -> str:
    return json.dumps(record, ensure_ascii=False, default=lambda value: value.isoformat()) + "\n"


def _make_block(data: bytes) -> bytes:
    press = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = press.compress(data) + press.flush()
    tail = struct.pack("<II", zlib.crc32(data), len(data))
    return _HEAD + _LENGTH.pack(_START + len(body) + len(tail)) + body + tail


def replace_target(new: Path, target: Path) -> None:
    """Rename the new file to `target`, once it is on disk, and sync the change."""
    with new.open("rb") as file:
        os.fsync(file.fileno())
    new.replace(target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Sync a folder to disk, so that the names of new files in it are durable."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
