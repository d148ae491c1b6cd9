"""Lines on a socket that is waited for: what a command and a scenario do that have nothing else to do meanwhile."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field
from typing import Final

_LINE: Final = re.compile(rb"[\r\n]*([^\r\n]+)[\r\n]")


@dataclass(slots=True)
class Wire:
    """One connection of a terminal; the replies come in the order of its lines. A reply has at most `most` bytes or so."""

    socket: socket.socket
    most: int = 1_000_000
    _kept: bytearray = field(default_factory=bytearray)

    def ask(self, line: bytes) -> bytes:
        """The reply to a whole line, without its end. OSError if none comes, or one that does not end."""
        self.socket.sendall(line)
        return self.hear()

    def hear(self) -> bytes:
        """The next line, without its end. OSError as above."""
        while not (found := _LINE.match(self._kept)):
            more = self.socket.recv(65536)
            if not more or len(self._kept) > self.most:
                raise OSError("the line was closed" if not more else "the reply has no end")
            self._kept += more
        line = bytes(found[1])
        del self._kept[: found.end()]
        return line
