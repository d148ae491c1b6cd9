"""Unknown clients on persistent connections: `python -m tests.attacks.floods.strangers PORT SECONDS ADDRESSES FORGED PATH …`.

Each address of this machine requests the paths repeatedly on one connection and always has the next request in flight, whatever
the reply; with FORGED = 1 it sends forged cookies and a forged token. Prints how often each status occurred.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import socket
import sys
import time
from collections import Counter
from itertools import cycle
from typing import Final

AT_ONCE: Final = 3
"""Requests in flight per connection: the gateway answers sequentially, and never waits for this process."""
STATUS: Final = re.compile(rb"HTTP/1\.1 (\d{3}) ")
CUT: Final = "-1"
"""Counts a connection that was refused or cut."""


class Stranger:
    """One client address with its connection, which is reopened when cut."""

    def __init__(self, port: int, source: str, paths: list[str], *, forged: bool) -> None:
        self._port, self._source, self._paths, self._forged = port, source, cycle(paths), forged
        self._asked = 0
        self.line = self._open()

    def heard(self, found: Counter[str]) -> bool:
        """Count the received replies and send as many new requests. Return False if the connection was closed."""
        try:
            data = self.line.recv(1 << 20)
            if not data:
                raise ConnectionResetError
            codes = STATUS.findall(data)
            found.update(code.decode() for code in codes)
            self._ask(len(codes))
        except BlockingIOError:
            return True
        except OSError:
            found[CUT] += 1
            return False
        return True

    def again(self) -> None:
        """Reopen the connection."""
        self.line.close()
        self.line = self._open()

    def _open(self) -> socket.socket:
        self.line = socket.create_connection(("127.0.0.1", self._port), 30, (self._source, 0))
        self._ask(AT_ONCE)
        self.line.setblocking(False)
        return self.line

    def _ask(self, times: int) -> None:
        self.line.sendall(b"".join(self._request() for _ in range(times)))

    def _request(self) -> bytes:
        self._asked += 1
        proof = f"{self._source}-{self._asked}"
        head = f"GET {next(self._paths)} HTTP/1.1\r\nHost: x\r\n"
        if self._forged:
            head += f"Cookie: __Host-hkall={proof}; __Host-hkall-browser={proof}\r\nAuthorization: Bearer hkallp_{proof}\r\n"
        return f"{head}\r\n".encode()


def main(port: int, seconds: float, addresses: int, forged: int, *paths: str) -> None:
    """Send requests from this many addresses for this many seconds."""
    os.nice(19)  # real clients would not use this machine's CPU
    picker, found, end = selectors.DefaultSelector(), Counter[str](), time.monotonic() + seconds
    for n in range(addresses):
        one = Stranger(port, f"127.8.{n // 250}.{n % 250 + 1}", list(paths), forged=bool(forged))
        picker.register(one.line, selectors.EVENT_READ, one)
    while time.monotonic() < end:
        for key, _ in picker.select(0.5):
            if not key.data.heard(found):
                picker.unregister(key.fileobj)
                key.data.again()
                picker.register(key.data.line, selectors.EVENT_READ, key.data)
    print(json.dumps(found))  # noqa: T201  # the process's answer


if __name__ == "__main__":
    port, seconds, addresses, forged, *paths = sys.argv[1:]
    main(int(port), float(seconds), int(addresses), int(forged), *paths)
