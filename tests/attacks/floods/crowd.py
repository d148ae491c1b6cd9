"""Two thousand hostile connections of every kind from four addresses, opened by a separate process.

`python -m tests.attacks.floods.crowd PLAIN SECURE NCIP RAW OPS NUMBER SECONDS` opens the connections, keeps each at its kind of
attack, reopens a closed connection after one second, and ends by itself. It prints the highest number of open connections and
how many were closed.
"""

from __future__ import annotations

import os
import selectors
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import Final

from tests.attacks.expensive_documents import BARE, DOCUMENTS, END, posted

HOST: Final = "127.0.0.1"
ADDRESSES: Final = ("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5")
AGAIN_S: Final = 1.0
DRIP_S: Final = 0.5
PIECE: Final = 65_536
HTTP: Final = b"POST /ncip HTTP/1.1\r\nHost: x\r\n"
WRONG: Final = b"9300CNcounter-1|COwrong|\r"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of attack: its first bytes, its repeated bytes (in drips or as fast as possible), and whether it reads."""

    services: str
    first: bytes = b""
    again: bytes = b""
    drips: bool = False
    reads: bool = True


KINDS: Final[Mapping[str, Kind]] = {
    "silent terminal":      Kind("plain"),
    "half a line":          Kind("plain", b"93", b"0", drips=True),
    "resends":              Kind("plain", b"", b"97\r" * 100, reads=False),
    "questions":            Kind("plain", b"", b"9900302.00\r" * 10, reads=False),
    "rubbish":              Kind("plain", b"", b"zz\r" * 1000),
    "wrong logins":         Kind("plain", b"", WRONG, drips=True),
    "half-open TLS":        Kind("secure"),
    "rubbish in TLS":       Kind("secure", b"\x16\x03\x01\x00\xf8" + b"x" * 400),
    "silent partner":       Kind("ncip"),
    "half a head":          Kind("ncip", HTTP, b"X-More: and more\r\n", drips=True),
    "half a body":          Kind("ncip", HTTP + b"Content-Length: 1000000\r\n\r\n" + b"a" * 900_000),
    "pipelined":            Kind("ncip", b"", b"GET /ncip HTTP/1.1\r\nHost: x\r\n\r\n" * 20, reads=False),
    "tiny chunks":          Kind("ncip", HTTP + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n" * 100),
    "attributes":           Kind("ncip", b"", posted(DOCUMENTS["40,000 attributes"])),
    "all that is allowed":  Kind("ncip", b"", posted(DOCUMENTS["all that is allowed"])),
    "visible identifiers":  Kind("ncip", b"", posted(DOCUMENTS["fewer of them"])),
    "blanks":               Kind("raw", b"", b" ", drips=True),
    "a document in drips":  Kind("raw", BARE, b"<a/>", drips=True),
    "tiny documents":       Kind("raw", b"", END * 100),
    "raw namespaces":       Kind("raw", b"", DOCUMENTS["32,500 namespaces"]),
    "a dripping operator":  Kind("ops", b"GET /metrics HTTP/1.1\r\n", b"X-More: and more\r\n", drips=True),
    "a deaf operator":      Kind("ops", b"", b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 10, reads=False),
}  # fmt: skip


class Hostile:
    """One connection of a kind, reopened whenever it is closed."""

    def __init__(self, kind: Kind, port: int, source: str, picker: selectors.BaseSelector) -> None:
        self._kind, self._where, self._source, self._picker = kind, (HOST, port), source, picker
        self.line: socket.socket | None = None
        self.due_s, self._left = 0.0, memoryview(b"")

    def tick(self, now_s: float) -> None:
        """Open the connection, or send the next drip, if due."""
        if now_s < self.due_s:
            return
        self.due_s = now_s + (AGAIN_S if self.line is None else DRIP_S)
        if self.line is None:
            self._open()
        elif self._kind.drips and not self._left:
            self._left = memoryview(self._kind.again)
            self._watch(writing=True)

    def handle(self, events: int, now_s: float) -> bool:
        """Read and write what is possible; return True if the peer has closed."""
        assert self.line is not None
        try:
            if events & selectors.EVENT_READ and not self.line.recv(PIECE):
                raise ConnectionResetError
            if events & selectors.EVENT_WRITE:
                self._write()
        except BlockingIOError:
            return False
        except OSError:
            self.close()
            self.due_s = now_s + AGAIN_S
            return True
        return False

    def close(self) -> None:
        if self.line is not None:
            self._picker.unregister(self.line)
            self.line.close()
            self.line = None

    def _open(self) -> None:
        self.line = socket.socket()
        self.line.setblocking(False)
        self.line.bind((self._source, 0))
        self.line.connect_ex(self._where)
        self._left = memoryview(self._kind.first or b"")
        self._picker.register(self.line, selectors.EVENT_READ | selectors.EVENT_WRITE, self)

    def _write(self) -> None:
        assert self.line is not None
        if not self._left and self._kind.again and not self._kind.drips:
            self._left = memoryview(self._kind.again)
        if self._left:
            self._left = self._left[self.line.send(self._left[:PIECE]) :]
        self._watch(writing=bool(self._left) or (bool(self._kind.again) and not self._kind.drips))

    def _watch(self, *, writing: bool) -> None:
        events = (selectors.EVENT_READ if self._kind.reads or not writing else 0) | (selectors.EVENT_WRITE if writing else 0)
        assert self.line is not None
        self._picker.modify(self.line, events or selectors.EVENT_READ, self)


def main(plain: int, secure: int, ncip: int, raw: int, ops: int, number: int, seconds: int) -> None:
    """Attack for the given seconds."""
    doors = {"plain": plain, "secure": secure, "ncip": ncip, "raw": raw, "ops": ops}
    os.nice(19)  # real attackers would not use this machine's CPU
    picker, refused, most = selectors.DefaultSelector(), 0, 0
    wanted = [(kind, source) for kind in KINDS.values() for source in ADDRESSES]
    crowd = [
        Hostile(kind, doors[kind.services], source, picker)
        for _, (kind, source) in zip(range(number), cycle(wanted), strict=False)
    ]
    end_s = time.monotonic() + seconds
    while (now_s := time.monotonic()) < end_s:
        for one in crowd:
            one.tick(now_s)
        for key, events in picker.select(0.05):
            refused += key.data.handle(events, now_s)
        most = max(most, sum(one.line is not None for one in crowd))
    print(most, refused)  # noqa: T201  # the process's answer


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
