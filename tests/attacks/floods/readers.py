"""Many visitors running the most expensive searches: `python -m tests.attacks.floods.readers PORT SECONDS ADDRESSES`.

Each address of this machine runs four searches at once without pause, whatever the reply. Prints how often each status came.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from itertools import cycle
from threading import Thread
from typing import Final
from urllib.parse import quote

from hkall_gateway.rules.vocabulary import Holding

AT_ONCE, PATIENCE_S = 4, 30.0
ENGLISH: Final = tuple("the of and history law city water light tea stone river school music garden island numbers".split(" "))  # noqa: SIM905
CHINESE: Final = "的香港中國文學史研究大學歷社會人生水火山海天地書圖館"
COMMON: Final = "的"
"""A character that every second title contains."""


def copies(number: int) -> Iterator[Holding]:
    """Yield one item for each of `number` titles, built from few words, which makes searches expensive."""
    for n in range(number):
        words = " ".join(ENGLISH[(n * step) % len(ENGLISH)] for step in (1, 3, 5, 7))
        script = "".join(CHINESE[(n * step + step) % len(CHINESE)] for step in (1, 2, 3, 5, 7, 11))
        title = f"{script}{COMMON if n % 2 else ''}{CHINESE[n % 7]} {words} {n}"
        call = f"QA{n % 900}.{n % 70}"
        yield Holding(
            agency="CUHK" if n % 3 else "HKU",
            barcode=f"X{n:07d}",
            bib_id=f"x{n:07d}",
            title=title,
            author=f"{script[:3]} ; {words}",
            call_number=call,
        )


def queries() -> list[str]:
    """Return the paths: common words, phrases that rarely match, the maximum number of words, the last page."""
    typed = [COMMON, "的香", "香的港的", "the of and", '"of the" "the and"', "的 " * 64, "香港 " * 32, "the " * 64, "qa"]
    typed += ["".join(CHINESE[-n] for n in range(1, 20)), "的中國文學史研究", "zz 的 the of 香"]
    paths = [f"/search?q={quote(words)}" for words in typed]
    return [*paths, *(f"{path}&available=1&page=25" for path in paths), "/openurl?rft.btitle=the+of%3A+the&rft.au=the"]


def ask(port: int, source: str, end: float, found: Counter[int]) -> None:
    """Send requests on new connections until the end; -1 counts a refused or cut connection."""
    for path in cycle(queries()):
        if time.monotonic() > end:
            return
        line = HTTPConnection("127.0.0.1", port, PATIENCE_S, (source, 0))
        try:
            line.request("GET", path)
            reply = line.getresponse()
            reply.read()
            found[reply.status] += 1
        except (OSError, HTTPException):
            found[-1] += 1
        finally:
            line.close()


def main(port: int, seconds: float, addresses: int) -> None:
    """Search from this many addresses for this many seconds."""
    end, found = time.monotonic() + seconds, Counter[int]()
    sources = [f"127.7.{n // 250}.{n % 250 + 1}" for n in range(addresses)]
    asking = [Thread(target=ask, args=(port, source, end, found)) for source in sources for _ in range(AT_ONCE)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    print(json.dumps(found))  # noqa: T201  # the process's answer


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
