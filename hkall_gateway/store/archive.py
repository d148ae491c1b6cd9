"""The archive: a file of compressed JSON lines that grows by whole blocks, each on disk before `append` returns.

Every block is a gzip member of its own, so that `zcat` reads the file from end to end. Its header says how long it is: a block
that a crash cut off is found without reading the others, and cut away before the next one is written.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

# RFC 1952: magic, deflate, FEXTRA, no time, no hint, unknown system; then the extra field: "HK" and the length of the block.
_HEAD: Final = bytes([0x1F, 0x8B, 8, 4, 0, 0, 0, 0, 0, 255]) + struct.pack("<H2sH", 8, b"HK", 4)
_LENGTH: Final = struct.Struct("<I")
_START: Final = len(_HEAD) + _LENGTH.size


class NotAnArchive(Exception):
    """The file holds something that this program did not write; it is left as it is."""


def append(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Add records, one line each, and return when they are on disk. Raises NotAnArchive, OSError."""
    block = _block("".join(_line(record) for record in records).encode())
    fresh = not path.exists()
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
        file.truncate(_whole(file, path))
        file.seek(0, os.SEEK_END)
        file.write(block)
        file.flush()
        os.fsync(file.fileno())
    if fresh:
        _keep_name(path)


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, default=lambda value: value.isoformat()) + "\n"


def _block(data: bytes) -> bytes:
    press = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = press.compress(data) + press.flush()
    tail = struct.pack("<II", zlib.crc32(data), len(data))
    return _HEAD + _LENGTH.pack(_START + len(body) + len(tail)) + body + tail


def _whole(file: BinaryIO, path: Path) -> int:
    """Where the last complete block ends."""
    size, end = file.seek(0, os.SEEK_END), 0
    while end + _START <= size:
        file.seek(end)
        head = file.read(_START)
        if not head.startswith(_HEAD):
            raise NotAnArchive(f"{path}: byte {end} begins no block of an archive")
        (length,) = _LENGTH.unpack(head[len(_HEAD) :])
        if end + length > size:
            break
        end += length
    return end


def _keep_name(path: Path) -> None:
    """A new file's name is on disk when its folder is."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
