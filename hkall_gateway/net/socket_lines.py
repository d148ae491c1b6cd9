"""Blocking line-based I/O on a socket, for commands and scenarios that do nothing else while they wait."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field
from typing import Final

_LINE: Final = re.compile(rb"[\r\n]*([^\r\n]+)[\r\n]")


@dataclass(slots=True)
class SocketLines:
    """A terminal's connection, on which replies come in the order of the lines sent. A reply may have about `most` bytes."""

    socket: socket.socket
    most: int = 1_000_000
    _kept: bytearray = field(default_factory=bytearray)

    def ask(self, line: bytes) -> bytes:
        """Send a line with its terminator and return the reply without terminator. Raise OSError if none arrives in time."""
        self.socket.sendall(line)
        return self.hear()

    def hear(self) -> bytes:
        """Read the next line and return it without terminator. Raise OSError if no line arrives in time."""
        while not (found := _LINE.match(self._kept)):
            more = self.socket.recv(65536)
            if not more or len(self._kept) > self.most:
                raise OSError("the line was closed" if not more else "the reply has no end")
            self._kept += more
        line = bytes(found[1])
        del self._kept[: found.end()]
        return line
