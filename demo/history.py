"""The history with which the demo begins: eighteen months of a library, moved to end today.

`history.tar.xz` has the database of the library at the beginning of a Monday, the changes of that week in steps, and the
letters that the library sent in the last weeks. `demo/build_history.py` makes it. The demo moves all dates by whole weeks, so
that weekdays stay, and plays the steps up to the present time of the week. The history is busy throughout; requests of the past
that fall into a vacation, and those for which staff would have worked on a closed day, are left out, so that terms, vacations
and holidays are where they are in the year.
"""

from __future__ import annotations

import json
import re
import sqlite3
import tarfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import date, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryDirectory
from typing import IO, Any, Final
from zlib import crc32

from sqlalchemy import Date, Engine, Text

from demo import demo_setup
from hkall_gateway.circulation.command import Library, in_context
from hkall_gateway.circulation.staff import closure_changes
from hkall_gateway.config.library import make_unit
from hkall_gateway.db import schema
from hkall_gateway.db.engine.connect import open_engine, private
from hkall_gateway.db.loads import loading
from hkall_gateway.db.tables import HOLDINGS, METADATA, PATRONS, TITLES, UtcDateTime
from hkall_gateway.ils import exports
from hkall_gateway.rules import dates
from hkall_gateway.rules.positions import Stage
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.vocabulary import Actor
from hkall_gateway.simulator.databases import SoleStore

ARCHIVE: Final = Path(__file__).with_name("history.tar.xz")
DATABASE, STEPS, LETTERS = "hkall.db", "steps.jsonl", "letters.jsonl"
BEGIN: Final = date(2017, 9, 4)
WEEKS: Final = 78
LAST_WEEK: Final = BEGIN + timedelta(weeks=WEEKS)
"""The Monday at whose beginning the database of the archive stands; the steps lead through its week."""
UNMOVED: Final = (PATRONS, HOLDINGS, TITLES)
"""Tables whose dates and numbers are no dates of the history."""
OF_A_REQUEST: Final = ("candidates", "journal", "outbox", "notices")
SEASONS: Final = (
    ((1, 1), 0.15),
    ((1, 4), 0.45),
    ((1, 18), 1.0),
    ((4, 27), 0.8),
    ((5, 24), 0.4),
    ((8, 31), 1.0),
    ((12, 1), 0.8),
    ((12, 20), 0.15),
)
"""Share of the requests that are kept from each day (month, day) of the year on: fewer in vacations, few at Christmas."""
MOST_OPEN: Final = 10_000
_ISO: Final = re.compile(r"(?<![0-9-])20(?:17|18|19)-[01]\d-[0-3]\d(?![0-9-])")
_LONG: Final = re.compile(r"\b(\d{1,2}) ([A-Z][a-z]+) (20(?:17|18|19))\b")
_CHINESE: Final = re.compile(r"(20(?:17|18|19))年(\d{1,2})月(\d{1,2})日")


def begin(database: Path, mailbox: Path, now: datetime) -> None:
    """Write the database of the demo, and the letters that its patrons have got until `now`. Both paths must be new."""
    today = dates.civil(now)
    shift = today - timedelta(days=today.weekday()) - LAST_WEEK
    with TemporaryDirectory(dir=database.parent) as folder, tarfile.open(ARCHIVE) as archive:
        unfinished = Path(folder) / DATABASE
        with unfinished.open("wb") as file:
            copyfileobj(_part(archive, DATABASE), file)
        steps, letters = ([json.loads(line) for line in _part(archive, name)] for name in (STEPS, LETTERS))
        past = [step for step in steps if datetime.fromisoformat(step["at"]) + shift <= now]
        while past and past[-1]["missing"]:  # a list would be empty
            past.pop()
        with _changing(unfinished) as connection:
            for step in past:
                _play(connection, step)
        engine = open_engine(f"sqlite:///{unfinished}")
        schema.upgrade(engine)
        closed = exports.read_closures(demo_setup.DEMO_FILES / "closures.csv")
        with _changing(unfinished) as connection:
            move(connection, shift)
            thin_out(connection, {day for _, day, _ in closed})
        close_days(engine, closed, now)
        engine.dispose()
        mailbox.mkdir(parents=True, exist_ok=True)
        for number, row in enumerate(letters):
            if datetime.fromisoformat(row["at"]) + shift <= now:
                (mailbox / f"{number:05}.eml").write_bytes(_letter(row, shift).as_bytes())
        private(database)
        unfinished.replace(database)


@contextmanager
def _changing(database: Path) -> Iterator[sqlite3.Connection]:
    """Open a database that nobody else knows yet, and commit at the end."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        yield connection
        connection.commit()


def pack(folder: Path, file: Path) -> None:
    """Write an archive from its parts in `folder`."""
    with tarfile.open(file, "w:xz", preset=9) as archive:
        for name in (DATABASE, STEPS, LETTERS):
            archive.add(folder / name, name, filter=_nameless)


def _nameless(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    return entry.replace(mtime=0, mode=0o644, uid=0, gid=0, uname="", gname="", deep=False)


def _part(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    file = archive.extractfile(name)
    assert file is not None
    return file


def _play(connection: sqlite3.Connection, step: dict[str, Any]) -> None:
    """Bring the database to the end of a step. The first row of each table has the names of the columns."""
    for name, (columns, *rows) in step["written"].items():
        places = ", ".join("?" * len(columns))
        connection.executemany(f"INSERT OR REPLACE INTO {name} ({', '.join(columns)}) VALUES ({places})", rows)  # noqa: S608  # our own names
    for name, (columns, *keys) in step["gone"].items():
        same = " AND ".join(f"{column} = ?" for column in columns)
        connection.executemany(f"DELETE FROM {name} WHERE {same}", keys)  # noqa: S608  # our own names


_CHANGE: Final = "{0} = CASE WHEN {0} GLOB '*20[12][0-9]-[01][0-9]-*' THEN moved({0}) ELSE {0} END"


def move(connection: sqlite3.Connection, shift: timedelta) -> None:
    """Move every date and time of the history."""
    connection.create_function("moved", 1, lambda text: moved(text, shift), deterministic=True)
    for table in METADATA.sorted_tables:
        if table in UNMOVED:
            continue
        changes = [
            _CHANGE.format(column.name)
            for column in table.columns
            if isinstance(column.type, Text | Date | UtcDateTime) and column.computed is None
        ]
        connection.execute(f"UPDATE {table.name} SET {', '.join(changes)}")  # noqa: S608  # our own names


def moved(text: str, shift: timedelta) -> str:
    """Return a text with its dates moved, as they stand in tables and in letters of both languages."""
    text = _ISO.sub(lambda found: f"{date.fromisoformat(found[0]) + shift}", text)
    text = _LONG.sub(lambda found: _long(datetime.strptime(found[0], "%d %B %Y").date() + shift), text)  # noqa: DTZ007  # a day
    return _CHINESE.sub(lambda found: _chinese(date(*map(int, found.groups())) + shift), text)


def _long(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def _chinese(day: date) -> str:
    return f"{day.year}年{day.month}月{day.day}日"


def thin_out(connection: sqlite3.Connection, closed: Collection[date]) -> None:
    """Leave out ended requests, except those with a fine.

    The season in which a request was placed gives its chance to stay. None stays for which staff worked on a `closed` day.
    """
    worked = connection.execute("SELECT request, date(at, '+8 hours') FROM journal WHERE channel IN ('sip2', 'cli')")
    holidays = {f"{day}" for day in closed}
    impossible = {number for number, day in worked if day in holidays}
    ended = connection.execute(
        "SELECT id, placed_at FROM requests WHERE stage = ? AND id NOT IN (SELECT request FROM fines)", (Stage.ENDED,)
    )
    dropped = [
        (number,)
        for number, at in ended
        if number in impossible or crc32(number.encode()) / 2**32 >= season(date.fromisoformat(at[:10]))
    ]
    connection.execute("CREATE TEMP TABLE dropped (id TEXT PRIMARY KEY)")
    connection.executemany("INSERT INTO dropped VALUES (?)", dropped)
    connection.execute('DELETE FROM attempts WHERE "row" IN (SELECT id FROM outbox WHERE request IN dropped)')
    for name in OF_A_REQUEST:
        connection.execute(f"DELETE FROM {name} WHERE request IN dropped")  # noqa: S608  # our own names
    connection.execute("DELETE FROM requests WHERE id IN dropped")


def close_days(engine: Engine, closed: Sequence[tuple[str, date, str]], now: datetime) -> None:
    """Load the holidays until next year for all libraries, and move the dates of open requests that fall on them."""
    library = Library(agency="HKU", name="", policy=Policy(), pickup_locations=(demo_setup.LOCATION,))
    store = SoleStore(engine, make_unit(library))
    known = [(day, reason) for _, day, reason in closed if day.year <= now.year + 1]
    store.now(loading.write_closures, [(agency, *one) for agency in ("HKU", *demo_setup.NAMES) for one in known])
    by = Actor(who="staff", channel="cli", message="closures")
    command = closure_changes.MoveClosedDays(by=by, reason="general holidays")
    store.now(in_context(closure_changes.move, library, now, command, "", MOST_OPEN))
    store.close()


def season(day: date) -> float:
    """Return the share of a day's requests that are kept."""
    return [share for first, share in SEASONS if first <= (day.month, day.day)][-1]


def _letter(row: dict[str, str], shift: timedelta) -> EmailMessage:
    message = EmailMessage()
    at = datetime.fromisoformat(row["at"]) + shift
    message["From"], message["To"], message["Subject"] = row["from"], row["to"], moved(row["subject"], shift)
    message["Date"], message["Message-ID"] = at.astimezone(dates.HONG_KONG), row["number"]
    message.set_content(moved(row["text"], shift))
    return message
