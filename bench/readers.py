"""Readers who search the catalogue without pause, in a process: `python -m bench.readers URL READERS SECONDS TITLES`.

Their threads search in turn, as those of the gateway's pages do.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from threading import Thread
from typing import Final

from sqlalchemy import Engine

from bench.catalogue import typed
from hkall_gateway.store.engine.connect import open_engine
from hkall_gateway.store.search.searching import FoundTitles, search
from hkall_gateway.web.precedence import Precedence
from hkall_gateway.web.turns import Turn

QUERIES: Final = 400
"""Different queries of each reader."""


def read(engine: Engine, readers: int, titles: int, go_on: Callable[[], bool]) -> list[float]:
    """Search with so many readers, each on a connection, until `go_on` returns False; return the waiting times in seconds.

    AssertionError if a query is refused.
    """
    waits, bad, precedence = list[float](), list[str](), Precedence()
    turn = Turn(time.perf_counter, precedence)
    own = turn.engine(engine)

    def look(queries: Sequence[str]) -> None:
        with own.connect() as connection:
            for query in cycle(queries):
                if not go_on():
                    return
                begun = time.perf_counter()
                with turn:
                    found = search(connection, query, lambda _agency, status, *_facts: status == "Available On Shelf")
                    connection.rollback()
                waits.append(time.perf_counter() - begun)
                if not isinstance(found, FoundTitles):
                    bad.append(f"{query}: {found}")
                    return

    asked = [[typed(titles, number) for number in range(mine, QUERIES * readers, readers)] for mine in range(readers)]
    looking = [Thread(target=look, args=(queries,)) for queries in asked]
    precedence.begin()
    for thread in looking:
        thread.start()
    for thread in looking:
        thread.join()
    precedence.end()
    assert not bad, bad[0]
    return waits


def main(url: str, readers: int, seconds: float, titles: int) -> None:
    """Search for so many seconds and print the waiting times; those of the first tenth, which warms up, are left out."""
    engine = open_engine(url)
    until = time.perf_counter() + seconds
    waits = read(engine, readers, titles, lambda: time.perf_counter() < until)
    print(json.dumps(waits[len(waits) // 10 :]))  # noqa: T201  # the process's answer


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
