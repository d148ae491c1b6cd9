"""A document that arrives whole, as nearly all do: its head taken in at one look, its answer written in one piece.

twisted.web makes two dozen objects of a request from which the door needs two values. What is posted in any other manner (in
pieces, with a question first, by an older HTTP, not at all) is left to it, and so is whatever would be wrong in a head.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from twisted.python.failure import Failure
from twisted.web.http import datetimeToString
from twisted.web.server import version

from hkall_gateway.ncip.transport import CONTENT_TYPE

# A header that changes nothing here, those that say what the document is, and the one kind of connection that is usual.
# Whatever else a header may say goes the usual way: the names stand in front, so that it cannot pass for a harmless one.
_VALUE: Final = rb"[ \t]*+([^\x00\r\n]*+)\r\n"
_HEAD: Final = re.compile(
    rb"POST /ncip HTTP/1\.1\r\n(?:"
    rb"(?i:Content-Type):" + _VALUE + rb"|(?i:Content-Length):[ \t]*+([0-9]{1,9}+)\r\n|(?i:Connection: *+keep-alive)\r\n|"
    rb"(?!(?i:Transfer-Encoding|Expect|Connection|Content-Type|Content-Length):)[!#$%&'*+.^_`|~0-9A-Za-z-]++:"
    + _VALUE
    + rb")++\r\n"
)
_LENGTH: Final = b"content-length:"
_LONGEST: Final = 8192
_ANSWERED: Final = (
    b"HTTP/1.1 200 OK\r\nServer: %s\r\nDate: %s\r\nContent-Type: " + CONTENT_TYPE.encode() + b"\r\nContent-Length: %d\r\n\r\n%s"
)


def whole(data: bytes, most_bytes: int) -> tuple[bytes, str] | None:
    """The body of a POST that `data` is, no more and no less, and its Content-Type; None for anything else.

    It has at most `most_bytes`, and is of a caller that keeps its connection.
    """
    head = _HEAD.match(data, 0, _LONGEST)
    if head is None or head[2] is None:
        return None
    begins, length = head.end(), int(head[2])
    if length > most_bytes or len(data) != begins + length or head[0].lower().count(_LENGTH) != 1:
        return None
    return data[begins:], (head[1] or b"").decode("latin-1")


@dataclass(slots=True, eq=False)
class Posted:
    """One such document while it is answered; in its channel's line of requests it stands for a `Request`."""

    channel: Any
    gone: bool = False

    def send(self, reply: bytes, now: datetime) -> None:
        """The answer, and the channel is free for the next."""
        self.channel.transport.write(_ANSWERED % (version, _date(int(now.timestamp())), len(reply), reply))
        self.channel.answered(self)

    def connectionLost(self, _reason: Failure) -> None:  # noqa: N802  # Twisted's own name
        """Nobody is there to be answered."""
        self.gone = True


@lru_cache(maxsize=1)
def _date(second: int) -> bytes:
    return bytes(datetimeToString(second))  # type: ignore[no-untyped-call]
