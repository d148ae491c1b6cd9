"""Blocking lines on a socket, for commands and scenarios that have no other work while they wait."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field
from typing import Final

_LINE: Final = re.compile(rb"[\r\n]*([^\r\n]+)[\r\n]")


@dataclass(slots=True)
class SocketLines:
    """One connection of a terminal; replies come in the order of its lines. A reply has at most about `most` bytes."""

    socket: socket.socket
    most: int = 1_000_000
    _kept: bytearray = field(default_factory=bytearray)

    def ask(self, line: bytes) -> bytes:
        """Sends a whole line; returns the reply without its end. OSError if none comes, or one that does not end."""
        self.socket.sendall(line)
        return self.hear()

    def hear(self) -> bytes:
        """Reads the next line, without its end. OSError as above."""
        while not (found := _LINE.match(self._kept)):
            more = self.socket.recv(65536)
            if not more or len(self._kept) > self.most:
                raise OSError("the line was closed" if not more else "the reply has no end")
            self._kept += more
        line = bytes(found[1])
        del self._kept[: found.end()]
        return line
