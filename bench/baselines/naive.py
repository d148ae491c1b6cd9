"""The naive designs: a checkout in a pool of ten threads, one commit each, through the ORM or Core. Its own process.

`python -m …designs NAME URL CLIENTS SECONDS` reads a line "card barcode id" for every checkout and prints, as JSON, the
seconds that it took and each checkout's waiting time, from a client's request to the commit.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import UTC, date, datetime
from typing import Any, Final

from sqlalchemy import Engine, create_engine, event, func, select, text
from sqlalchemy.orm import Session, registry

from bench.baselines.transaction import STATEMENTS
from hkall_gateway.store.tables import IS_OPEN, JOURNAL, OUTBOX, PATRONS, REQUESTS

POOL: Final = 10
LOCKED_S: Final = 60
NOW: Final = datetime(2017, 3, 1, 4, tzinfo=UTC)
Book = Sequence[str]
"""Card, barcode, number of the request."""


def open_pool(url: str) -> Engine:
    """An engine like a web application's; on SQLite with the same durability as ours, and a write lock from the start."""
    if not url.startswith("sqlite"):
        return create_engine(url, pool_size=POOL)
    engine = create_engine(url, pool_size=POOL, connect_args={"timeout": LOCKED_S})
    event.listen(engine, "connect", _durable)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def _durable(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver's own BEGIN is deferred and takes the write lock too late
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")


def core(engine: Engine) -> Callable[[Book], None]:
    """A checkout through Core."""
    statements = [text(statement) for statement in STATEMENTS]

    def check_out(book: Book) -> None:
        values = dict(zip(("card", "barcode", "id"), book, strict=True))
        with engine.begin() as connection:
            patron, request, *changes = statements
            connection.execute(patron, values).one()
            connection.execute(request, values).one()
            for change in changes:
                connection.execute(change, values)

    return check_out


class _Patron:
    taken: Any


class _Request:
    position: Any
    due: Any
    first_checkout: Any
    loan_days: Any
    used: Any
    moved_at: Any


class _Line:
    def __init__(self, **values: object) -> None:
        self.__dict__.update(values)


class _Message(_Line):
    pass


def orm(engine: Engine) -> Callable[[Book], None]:
    """A checkout through mapped objects and sessions."""
    mapped = registry()
    for kind, table in ((_Patron, PATRONS), (_Request, REQUESTS), (_Line, JOURNAL), (_Message, OUTBOX)):
        mapped.map_imperatively(kind, table)

    def check_out(book: Book) -> None:
        card, barcode, number = book
        with Session(engine) as session, session.begin():
            session.get_one(_Patron, card)
            session.scalar(select(func.count()).select_from(_Request).where(REQUESTS.c.patron == card, IS_OPEN))
            found = session.scalars(select(_Request).where(REQUESTS.c.item_barcode == barcode, IS_OPEN)).one()
            found.position, found.due, found.first_checkout = "ON_LOAN", date(2017, 3, 16), date(2017, 3, 1)
            found.loan_days, found.used, found.moved_at = 15, True, NOW
            session.add_all([_journal(card, number), _outbox(number)])

    return check_out


def _journal(card: str, number: str) -> _Line:
    moved = {"event": "CHECK_OUT", "source": "RECEIVED", "target": "ON_LOAN", "rule": "R19", "outcome": "ok", "detail": "{}"}
    return _Line(at=NOW, request=number, patron=card, who="counter-1", channel="sip2", message="11", corr="bench", **moved)


def _outbox(number: str) -> _Message:
    told = {"kind": "ncip", "send": "tell_lender_on_loan", "recipient": "CUHK", "payload": "{}", "corr": "bench"}
    return _Message(request=number, state="waiting", made_at=NOW, next_at=NOW, **told)


DESIGNS: Final[Mapping[str, Callable[[Engine], Callable[[Book], None]]]] = {"orm": orm, "core": core}
"""The designs, by the first word of the command."""


def work(
    check_out: Callable[[Book], None], books: Iterator[Book], clients: int, seconds: float, clock: Callable[[], float]
) -> tuple[float, list[float]]:
    """Runs so many clients in a closed loop over a pool of threads: (seconds, each checkout's waiting time)."""
    waits: list[float] = []
    begun = clock()
    with ThreadPoolExecutor(POOL) as pool:
        asked: dict[Future[None], float] = {}
        wanted = clients
        while True:
            for book in _next(books, wanted if clock() - begun < seconds else 0):
                asked[pool.submit(check_out, book)] = clock()
            if not asked:
                return clock() - begun, waits
            done, _ = wait(asked, return_when=FIRST_COMPLETED)
            wanted = len(done)
            for future in done:
                future.result()
                waits.append(clock() - asked.pop(future))


def _next(books: Iterator[Book], count: int) -> Iterator[Book]:
    return (book for _, book in zip(range(count), books, strict=False))


def main(name: str, url: str, clients: str, seconds: str) -> None:
    """Runs one design with the arguments of the command line."""
    engine = open_pool(url)
    books = (line.split() for line in sys.stdin)
    took_s, waits = work(DESIGNS[name](engine), books, int(clients), float(seconds), time.perf_counter)
    engine.dispose()
    print(json.dumps({"took_s": took_s, "waits_s": waits}))  # noqa: T201  # the process's answer


if __name__ == "__main__":
    main(*sys.argv[1:])
