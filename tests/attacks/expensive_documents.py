"""Documents made to be expensive to parse; a separate process posts them without pause."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from itertools import cycle
from threading import Thread
from typing import Final

TIMEOUT_S: Final = 20.0
PIECE: Final = 65_536

V1: Final = b'<NCIPMessage version="http://www.niso.org/ncip/v1_0/imp1/dtd/ncip_v1_0.dtd">'
BARE: Final = b"<NCIPMessage>"
END: Final = b"</NCIPMessage>"


def _numbered(pattern: bytes, count: int) -> bytes:
    return b" ".join(pattern % (number, number) for number in range(count))


def _around(body: bytes) -> bytes:
    return BARE + b"<LookupUser>" + body + b"</LookupUser>" + END


DOCUMENTS: Final = {
    "40,000 attributes":       b"<NCIPMessage " + _numbered(b"b%d='%d'", 40_000) + b"></NCIPMessage>",
    "32,500 namespaces":       b"<NCIPMessage " + _numbered(b"xmlns:b%d='b%d'", 32_500) + b"></NCIPMessage>",
    "64 attributes, 300 times": BARE + (b"<a " + _numbered(b"b%d='%d'", 64) + b"/>") * 300 + END,
    "250,000 elements":        BARE + b"<a/>" * 250_000 + END,
    "200,000 levels":          BARE + b"<a>" * 200_000,
    "150,000 comments":        BARE + b"<!---->" * 140_000 + END,
    "200,000 instructions":    BARE + b"<?a?>" * 200_000 + END,
    "80,000 CDATA sections":   BARE + b"<![CDATA[]]>" * 80_000 + END,
    "250,000 references":      BARE + b"&lt;" * 250_000 + END,
    "entities of a DTD":       b'<!DOCTYPE NCIPMessage SYSTEM "x">' + BARE + b"&a;" * 300_000 + END,
    "a text of 1 MB":          BARE + b"a" * 1_000_000 + END,
    "a name of 1 MB":          BARE + b"<" + b"a" * 500_000 + b"/>" + b"b" * 400_000 + END,
    "quotation marks":         b"<!DOCTYPE " + b"a'" * 500_000,
    "a prologue of comments":  b"<!--a-->" * 120_000 + b"<!DOCTYPE a",
    "addresses in addresses":  BARE + b"<FromAgencyId>" * 60 + b"<a/>" * 900 + b"</FromAgencyId>" * 60 + END,
    "visible identifiers":     V1 + b"<LookupItem>" + b"<VisibleItemId/>" * 19_000 + b"</LookupItem>" + END,
    "fewer of them":           V1 + b"<LookupItem>" + b"<VisibleItemId/>" * 990 + b"</LookupItem>" + END,
    "schemes that never end":  b"<UniqueAgencyId>" + b"<Scheme>aaaaaa" * 60_000,
    "ampersands":              b"<UniqueAgencyId>" + b"&" * 1_000_000,
    "ampersands and words":    b"<UniqueAgencyId>" + b"&aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" * 28_000,
    "foreign elements":        BARE + b"<LookupUser><Ext>" + b"<zz xmlns='a'/>" * 9_000 + b"</Ext></LookupUser>" + END,
    "fewer foreign elements":  BARE + b"<LookupUser><Ext>" + b"<zz/>" * 990 + b"</Ext></LookupUser>" + END,
    "all that is allowed":     _around(b"<UserId><AgencyId>a</AgencyId></UserId>" * 490),
    "UTF-16":                  (BARE + b"<a/>" * 100_000 + END).decode().encode("utf-16"),
    "GB 18030":                b'<?xml version="1.0" encoding="gb18030"?>' + BARE + "中文".encode("gb18030") * 200_000 + END,
}  # fmt: skip
"""Each at most 1 MiB, as the default `max_body_bytes` allows."""


def posted(document: bytes) -> bytes:
    """Return a document as an HTTP request on a persistent connection."""
    return b"POST /ncip HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(document) + document


def post_without_pause(port: int, connections: int, go_on: Callable[[], bool]) -> int:
    """Post every document repeatedly on all connections until `go_on` returns False; return the number of replies."""
    counts = [0] * connections

    def post(mine: int) -> None:
        for document in cycle(DOCUMENTS.values()):
            if not go_on():
                return
            try:
                counts[mine] += _answered(port, document)
            except OSError:
                continue

    posting = [Thread(target=post, args=(mine,)) for mine in range(connections)]
    for thread in posting:
        thread.start()
    for thread in posting:
        thread.join()
    return sum(counts)


def _answered(port: int, document: bytes) -> bool:
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as line:
        line.sendall(posted(document))
        return line.recv(PIECE).startswith(b"HTTP/1.1 200")


def main(port: int, connections: int, seconds: float) -> None:
    """Post for the given seconds, and print how many documents were answered."""
    end = time.monotonic() + seconds
    print(post_without_pause(port, connections, lambda: time.monotonic() < end))  # noqa: T201  # the process's answer


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
