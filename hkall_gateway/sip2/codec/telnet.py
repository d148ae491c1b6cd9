"""Telnet login: prompts for a name and a password, then ordinary SIP2 on the same connection."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from hkall_gateway.sip2.codec.lines import Sip2Message

LOGIN: Final = b"login: "
PASSWORD: Final = b"password: "
WELCOME: Final = b"Login OK.  Initiating SIP\r\n"
WRONG: Final = b"Login incorrect\r\n"
"""Scripts on terminals wait for these very texts. Source: atz `SIPServer.pm`, Koha likewise."""

LONGEST: Final = 1024
"""Maximum bytes of a name or password; a longer one is cut, and therefore wrong."""

MOST_KEPT: Final = 65536
"""Bytes that are kept while a login is being judged."""

_COMMAND: Final = re.compile(rb"\xff(?:[\xfb-\xfe].|[^\xff])", re.DOTALL)
"""Telnet's own negotiation, three bytes or two. Source: RFC 854."""


class Prompts:
    """The dialogue before the session.

    `receive` yields bytes to write and, once both answers are there, a login to check; `judged` returns the text to write
    then. While a login is being judged, and once one was right, bytes are kept for the session: `rest`.
    """

    __slots__ = ("_buffer", "_judging", "_name", "_was_cr")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._name: str | None = None
        self._judging = self._was_cr = False

    def receive(self, data: bytes) -> Iterator[bytes | Sip2Message]:
        """Yields prompts to write and at most one login to check."""
        self._buffer += data[: MOST_KEPT - len(self._buffer)]
        while not self._judging and (line := self._line()) is not None:
            text = _COMMAND.sub(b"", line).decode("utf-8", "replace").strip()
            if self._name is None:
                self._name = text
                yield PASSWORD
            else:
                self._judging = True
                yield Sip2Message("93", {"uid_algorithm": "0", "pwd_algorithm": "0", "CN": self._name, "CO": text})

    def judged(self, right: bool) -> bytes:
        """Returns the text to write after a login check. Call `receive(b"")` next if it failed, `rest` if it passed."""
        self._name, self._judging = None, False
        return WELCOME if right else WRONG + LOGIN

    def rest(self) -> bytes:
        """The bytes that came after the login; they are the session's."""
        kept = bytes(self._buffer)
        self._buffer.clear()
        return kept

    def _line(self) -> bytes | None:
        """The next line without its end: CR, LF, CR LF or CR NUL; None while it has not ended."""
        if self._was_cr and self._buffer.startswith((b"\n", b"\0")):
            del self._buffer[:1]
        ends = [at for at in (self._buffer.find(b"\r"), self._buffer.find(b"\n")) if at >= 0]
        if not ends:
            self._was_cr = self._was_cr and not self._buffer
            del self._buffer[LONGEST:]
            return None
        at = min(ends)
        line, self._was_cr = bytes(self._buffer[:at]), self._buffer[at] == 0x0D
        del self._buffer[: at + 1]
        return line[:LONGEST]
