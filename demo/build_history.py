"""Plays eighteen months of four libraries and keeps the first one's database: `python -m demo.build_history`.

The simulator's gateways lend to each other as in `hkall-gateway simulate`, without faults: every request, letter, fine and line
of the journal is the work of a gateway. The same seed makes the same story. Its last week is kept in steps, so that the demo
can begin on any day of the week; `demo/history.py` reads what this module writes. The databases of the run are temporary files:
with TMPDIR=/dev/shm it takes about five minutes.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from random import Random
from typing import Final

import click
from sqlalchemy import Engine, select

from demo import demo_setup, history
from demo import titles as catalogue
from demo.history import BEGIN
from hkall_gateway.db import schema
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.loads import loading
from hkall_gateway.db.tables import FINES, IS_UNPAID, METADATA, NOTICES, TITLES
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.ils import exports
from hkall_gateway.ncip.codec.documents import decode
from hkall_gateway.net.http_post import HttpReply
from hkall_gateway.rules import dates
from hkall_gateway.rules.callers import Client
from hkall_gateway.rules.lifecycle import TABLE, side_of
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.settings import Policy, Return
from hkall_gateway.rules.stored_words import NoticeState
from hkall_gateway.rules.vocabulary import Borrower, Holding, ItemKey, Position, Request, Sensitive, Side, Title
from hkall_gateway.simulator.consortium.daily_life import REGRETS, People, midnight
from hkall_gateway.simulator.consortium.faults import LossyChannel
from hkall_gateway.simulator.consortium.gateways import XML, Consortium
from hkall_gateway.simulator.consortium.patron_behaviour import BEHAVIOURS
from hkall_gateway.simulator.consortium.simulate import be_quiet
from hkall_gateway.simulator.consortium.staff import SimulatedCopy
from hkall_gateway.simulator.databases import Memory
from hkall_gateway.simulator.scenario.scripted_partner import reply
from hkall_gateway.simulator.scenario.world import World
from hkall_gateway.simulator.scenario.world_file import Start, terminal

US: Final = "HKU"
AGENCIES: Final = catalogue.AGENCIES
SEED: Final = 88
PATRONS_HERE, PATRONS_ELSEWHERE = 400, 80
REQUESTS: Final = {"weekday": 8, "weekend": 3}
"""Requests a day at our library. `demo/history.py` leaves some out where the day falls into a vacation."""
OTHERS_REQUEST: Final = 0.7
"""What another library requests, as a share of it."""
CHANCES: Final = {"lose": 0.0008, "damage": 0.0006, "claim": 0.001, "recall": 0.003, "cancel_recall": 0.05, "cancel": 0.006}
"""Daily chances of what the simulator's patrons and staff otherwise do far more often."""
PAYS, USES_THE_DROP, READS_ON, LEFT = 0.08, 0.2, 0.35, 0.25
"""Daily chance that a patron pays a fine, and chances that a book is dropped, that a patron keeps it for
some more days, and that staff leave a pull slip or a book on the desk until the next time."""
FRIDAY: Final = 4
PULL_LIST, LEFT_OF_PULL_LIST = 5, 7
"""Copies that our staff have to fetch at any time of the last week, at least, and that they leave until the next day."""
STEP_HOURS: Final = (9.75, 14.5)
"""Times of day that the demo may begin with, before our staff work through their lists."""
LISTS_AT: Final = 15
"""Hour at which our staff fetch books, pack parcels and put uncollected books away."""
FORGETS: Final = timedelta(days=2)
"""Time after which a lost pull slip is found, at most."""
LETTERS_KEPT: Final = timedelta(days=42)
CATEGORIES: Final = {
    "undergraduates": 40,
    "postgraduates": 18,
    "academic_staff": 10,
    "non_academic_staff": 6,
    "space_community_college": 5,
    "space_cdp": 4,
    "space_academic_staff": 3,
    "space_non_academic_staff": 3,
    "technicians": 3,
    "visiting_scholars": 3,
    "honorary_staff": 3,
    "centennial_college": 3,
}
"""Shares of the patrons that are made here, by category of the published rules."""

READER: Final = "P0001"
"""The patron of the README."""
NO_ADDRESS: Final = ("P0060", "P0090")
"""Patrons without an e-mail address, who request only what is planned."""


class PackedCopies(LossyChannel):
    """Delivers documents. A lender answers that it is too late to cancel a request whose RequestId is in `packed`."""

    packed: Final = set[str]()

    async def __call__(self, url: str, body: bytes, timeout_s: float) -> HttpReply:
        """Send a document."""
        if self.packed and b"CancelRequestItem" in body:
            message = decode(body)
            if message.text("RequestId/RequestIdentifierValue") in self.packed:
                lender = message.text("InitiationHeader/ToAgencyId/AgencyId")
                return HttpReply(
                    status=200, content_type=XML, body=reply(message, lender, "Request Already Processed"), retry_after_s=0
                )
        return await super().__call__(url, body, timeout_s)


class Campus(People):
    """The people of four universities. READER does only what `plan` says, and so does everybody with the copies of a plan."""

    def __init__(self, consortium: Consortium, books: list[SimulatedCopy]) -> None:
        super().__init__(consortium, books, 0)
        self._collects: dict[str, datetime | None] = {}
        self._regretted: set[str] = set()
        last = dates.civil(consortium.now).replace(year=2026)
        able = [one for one in consortium.worlds[US].start.patrons if one.email.reveal() and (one.expires or last) >= last]
        self._cards = [patron.barcode for patron in able if patron.barcode != READER]
        self.draw.shuffle(self._cards)
        self._kept: set[ItemKey] = set()

    # ---- times of day

    def play_day(self, day: datetime) -> None:
        """Simulate all actions of a day."""
        self._requests_a_day = REQUESTS["weekend" if day.weekday() > FRIDAY else "weekday"]
        self._schedule(day, 16, self._pay_fines)
        super().play_day(day)

    def _schedule(self, day: datetime, hour: float, what: Callable[[], object]) -> None:
        super()._schedule(day, hour if hour == int(hour) else 8 + hour * 15 / 24, what)

    def after_days(self, days: float, what: Callable[[], None]) -> None:
        """Schedule an action after `days`, between nine and eight o'clock."""
        then = (self.all.now + timedelta(days=days)).astimezone(dates.HONG_KONG)
        hours = 9 + 11 * (then.hour + then.minute / 60 + then.second / 3600) / 24
        day = datetime.combine(then.date(), time(), dates.HONG_KONG)
        self.all.schedule_at(day + timedelta(hours=hours), what)

    # ---- staff

    def check_in(self, agency: str, book: SimulatedCopy, *, undo: bool = False) -> bool:
        """Check in a copy."""
        cancel = "BIY|" if undo else ""
        return self.sip2(agency, f"09N{{now}}{{now}}AP{place_of(agency)}|AO{agency}|AB{book.item.barcode}|AC|{cancel}")

    def work_through_lists(self, agency: str) -> None:
        """Work through the lists: at our library once a day."""
        if agency != US or self._is_time_for_lists():
            super().work_through_lists(agency)

    def _handle_desk_copy(self, agency: str, book: SimulatedCopy) -> None:
        held = self.find_holding(agency, book)
        waits = book.bib_id in self._collects and held is not None and held.position is Position.RECEIVED
        if agency != US or not (waits or self._leaves_work()):
            super()._handle_desk_copy(agency, book)

    def _is_time_for_lists(self) -> bool:
        return self.all.now.astimezone(dates.HONG_KONG).hour == LISTS_AT

    def _leaves_work(self) -> bool:
        """Return whether staff leave a piece of work: some of it on weekdays, all at weekends."""
        return self.all.now.astimezone(dates.HONG_KONG).weekday() > FRIDAY or self.draw_chance(LEFT)

    def _send_by_courier(self, book: SimulatedCopy, to: str) -> None:
        """Send a book to another library, which receives it one or two days later, but not at a weekend."""
        book.place, book.holder, book.since = "bag", to, self.all.now
        days = self.draw.uniform(0.6, 2.2)
        weekday = (self.all.now + timedelta(days=days)).astimezone(dates.HONG_KONG).weekday()
        self.after_days(days + (7 - weekday if weekday > FRIDAY else 0), lambda: self.take_in(to, book))

    def _send_home(self, agency: str, book: SimulatedCopy, held: Request | None) -> None:
        if agency != US or self._is_time_for_lists():
            super()._send_home(agency, book, held)

    def _pull_copy(self, agency: str, request: Request) -> None:
        if request.bib_id not in self._collects:
            few = agency == US and len(self.list_requests(US, Position.PAGED)) <= LEFT_OF_PULL_LIST
            if not (few or self._leaves_work()):
                super()._pull_copy(agency, request)
                if forgotten := self._forgotten.get((agency, request.id)):
                    self._forgotten[agency, request.id] = min(forgotten, self.all.now + FORGETS)
            return
        if request.bib_id in self._regretted:
            return
        assert request.item is not None
        book = self.books[request.item]
        assert self.check_out(agency, f"{request.partner}-INST", book)
        self._send_by_courier(book, request.partner)

    # ---- patrons

    def request_title(self, agency: str) -> None:
        """Place a request, at our library of any patron but READER. Some patrons request far more often than others."""
        if agency != US:
            if self.draw_chance(OTHERS_REQUEST):
                super().request_title(agency)
            return
        reader = self._cards[min(self.draw.randrange(len(self._cards)), self.draw.randrange(len(self._cards)))]
        number = f"q-{next(self._numbers)}"
        document = f"RequestItem user={reader} bib={self.draw.choice(self._titles[US])} request={number}"
        self.retry(lambda: self._send_document(US, document))
        if self.draw_chance(REGRETS):
            cancel = f"CancelRequestItem user={reader} request={number}"
            self.after_days(self.draw.uniform(0, 2), lambda: self.retry(lambda: self._send_document(US, cancel)))

    def schedule_visit(self, agency: str, request: Request) -> None:
        """Schedule the patron's visit."""
        if request.bib_id not in self._collects:
            super().schedule_visit(agency, request)
        elif (when := self._collects[request.bib_id]) is not None:
            self.all.schedule_at(when, lambda: self._collect_if_there(agency, request.id))

    def bring_back(self, agency: str, book: SimulatedCopy) -> None:
        """Return the book at the counter, or in the book drop, from which it comes to the counter the next day."""
        if agency == US and book.place == "reader" and book.bib_id not in self._collects and self.draw_chance(USES_THE_DROP):
            now = self.all.now.astimezone(dates.HONG_KONG).strftime("%Y%m%d    %H%M%S")
            line = f"09N{now}{now}AP{place_of(US)}|AO{US}|AB{book.item.barcode}|AC|"
            self.all.perform(US, lambda world: world.sip2("bookdrop-1", line))
            self.after_days(0.7, lambda: super(Campus, self).bring_back(agency, book))
        elif agency == US and book.item not in self._kept and self.draw_chance(READS_ON):
            self._kept.add(book.item)
            self.after_days(self.draw.uniform(3, 12), lambda: self.bring_back(agency, book))
        elif book.bib_id not in self._collects:
            self._kept.discard(book.item)
            super().bring_back(agency, book)

    def cards_of_undergraduates(self) -> list[str]:
        """Return the cards of undergraduates who may borrow."""
        patrons = {patron.barcode: patron for patron in self.all.worlds[US].start.patrons}
        found = (patrons[card] for card in self._cards)
        return [patron.barcode for patron in found if patron.category == "undergraduates" and not patron.blocked]

    def _play_chance_events(self, agency: str) -> None:
        for request in self.read(agency, lambda unit: unit.requests.open_list()):
            for behaviour in BEHAVIOURS:
                chance = CHANCES.get(behaviour.name, behaviour.chance / 4)
                if request.position in behaviour.where and request.bib_id not in self._collects and self.draw_chance(chance):
                    behaviour.act(self, agency, request)

    def _pay_fines(self) -> None:
        owed = select(FINES.c.patron, FINES.c.cents).where(IS_UNPAID).order_by(FINES.c.id)
        for row in self.read(US, lambda unit: unit.execute(owed).mappings().all()):
            if row["patron"] not in ("", READER) and self.draw_chance(PAYS):
                amount = f"{row['cents'] / 100:.2f}"
                self.sip2(US, f"37{{now}}0100HKDBV{amount}|AO{US}|AA{row['patron']}|BK{self.draw.randrange(10**6)}|")

    # ---- what is planned

    def plan(
        self,
        card: str,
        asks: datetime,
        collects: datetime | None,
        returns: datetime | None = None,
        recalled: datetime | None = None,
        lost: datetime | None = None,
        cancels: datetime | None = None,
    ) -> None:
        """Plan when a patron requests a title, collects and returns it, its owner recalls it, the patron loses it.

        A patron who cancels does so too late, when the lender has packed the copy. None means never.
        """
        book = next(
            book for book in self.books.values() if book.bib_id in self._titles[US] and book.bib_id not in self._collects
        )
        bib_id = book.bib_id
        for agency in self._titles:  # nobody else asks for it
            self._titles[agency] = [title for title in self._titles[agency] if title != bib_id]
        self._collects[bib_id] = collects
        document = f"RequestItem user={card} bib={bib_id} request=p-{len(self._collects)}"
        self.all.schedule_at(asks, lambda: self.retry(lambda: self._send_document(US, document)))
        if cancels is not None:
            self._regretted.add(bib_id)
        for when, what in (
            (cancels, lambda: self._cancel(bib_id)),
            (returns, lambda: self.take_in(US, self._copy_with_patron(bib_id))),
            (recalled, lambda: self._recall(bib_id)),
            (lost, lambda: self._lose(bib_id)),
        ):
            if when is not None:
                self.all.schedule_at(when, what)

    def _copy_with_patron(self, bib_id: str) -> SimulatedCopy:
        return next(one for one in self.books.values() if one.bib_id == bib_id and (one.place, one.holder) == ("reader", US))

    def _held(self, bib_id: str, position: Position) -> Request:
        (held,) = (one for one in self.list_requests(US, position) if one.bib_id == bib_id)
        return held

    def _cancel(self, bib_id: str) -> None:
        held = self._held(bib_id, Position.REQUESTED)
        PackedCopies.packed.add(held.wire_id)
        assert self.run_command(US, "cancel", held, "not needed")

    def _recall(self, bib_id: str) -> None:
        held = self._held(bib_id, Position.ON_LOAN)
        lent = self.read(held.partner, lambda unit: unit.requests.find_lent(US, held.wire_id))
        assert lent is not None
        assert self.run_command(held.partner, "recall", lent)

    def _lose(self, bib_id: str) -> None:
        assert self.run_command(US, "lost", self._held(bib_id, Position.ON_LOAN))
        self._copy_with_patron(bib_id).place = "lost"


def plan_last_week(campus: Campus, week: datetime) -> None:
    """Plan what the demo shows on each day of the last week, whatever else happens.

    The README's patron has a loan that can be renewed (in the last seven days of its fifteen), one that cannot (recalled), a
    book to collect (for five days), and a fine. Others have books that are due on each day, overdue, lost, and not collected,
    have cancelled too late, or have no address for letters.
    """

    def at(days: float) -> datetime:
        return week + timedelta(days=days)

    others = iter(campus.cards_of_undergraduates())
    campus.plan(READER, at(-60.4), at(-54.5), returns=at(-36.4))  # returned late
    campus.plan(READER, at(-30.6), at(-25.5), returns=at(-14.6))
    campus.plan(READER, at(-14.4), at(-8.5))
    campus.plan(READER, at(-13.4), at(-7.4), recalled=at(-4.5))
    campus.plan(READER, at(-8.4), at(-2.4))
    for day in (-5.3, -0.6, 2.4):
        campus.plan(READER, at(day), None)
    for day in range(8):
        campus.plan(next(others), at(day - 20.4), at(day - 14.5))  # due on this day
    for day in (-4, -2):
        campus.plan(next(others), at(day - 25.4), at(day - 20.5))  # overdue
    campus.plan(next(others), at(-21.4), at(-15.5), lost=at(-5.4))
    for day in (-12, -11):
        campus.plan(next(others), at(day), None)  # not collected
    for day in (-2, 1, 3):
        campus.plan(next(others), at(day + 0.4), None, cancels=at(day + 0.5))
    for card, day in zip(NO_ADDRESS, (-8, -4), strict=True):
        campus.plan(card, at(day - 0.4), at(day + 5.5))


class OneFile(Memory):
    """Databases in memory, but the first, which is a file with the current revision."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file: Path | None = file

    def fresh(self) -> Engine:
        """Return an empty database."""
        if self._file is None:
            return super().fresh()
        engine = open_engine(f"sqlite:///{self._file}")
        schema.upgrade(engine)
        self._file = None
        return engine


def place_of(agency: str) -> str:
    """Return the only pickup location of a library."""
    return demo_setup.LOCATION if agency == US else f"{agency}-LENDING"


def start_of(agency: str, patrons: tuple[Borrower, ...], copies: Sequence[Holding]) -> Start:
    """Return a library on its first day."""
    policy = replace(Policy(), return_=Return("on_dispatch"))  # so that there is a list of books to send back
    names = {US: "The University of Hong Kong Libraries", **demo_setup.NAMES}
    terminals = tuple(
        terminal(policy, login, role, place_of(agency)) for login, role in demo_setup.TERMINALS.items() if role != "selfcheck"
    )
    return Start(
        time=datetime.combine(BEGIN, time(), dates.HONG_KONG).astimezone(UTC),
        agency=agency,
        name=names[agency],
        pickup_locations=(place_of(agency),),
        policy=policy,
        partners=tuple(
            Partner(
                agency=other,
                name=names[other],
                url=f"http://{other}/ncip",
                institutional_card=f"{other}-INST",
                priority=rank * 10,
            )
            for rank, other in enumerate([other for other in AGENCIES if other != agency], 1)
        ),
        clients=(Client(agency=f"{agency}-DISCOVERY"),),
        terminals=terminals,
        patrons=patrons,
        holdings=() if agency == US else tuple(copies),
    )


def patrons_here(draw: Random) -> tuple[Borrower, ...]:
    """Return the patrons of the demo's file, and more whose names are made of the parts of theirs."""
    known = exports.read_patrons(demo_setup.DEMO_FILES / "patrons.csv")
    names = [(patron.name.reveal().split(" ", 1), patron.name_zh.reveal()) for patron in known]
    made: list[Borrower] = []
    while len(known) + len(made) < PATRONS_HERE:
        (surname, _), surname_zh = draw.choice(names)
        (_, given), given_zh = draw.choice(names)
        name, card = f"{surname} {given}", f"P{len(known) + len(made) + 1:04}"
        category = draw.choices(list(CATEGORIES), list(CATEGORIES.values()))[0]
        made.append(
            replace(
                known[0],
                barcode=card,
                name=Sensitive(name),
                name_zh=Sensitive(surname_zh[0] + given_zh[1:]),
                category=category,
                study_mode="full_time" if category in ("space_cdp", "space_community_college") else "",
                email=Sensitive(f"{card.lower()}@connect.example.hk"),
                language=draw.choice(("en", "zh-Hant")),
                local_loans=draw.randrange(12),
            )
        )
    return (*known, *made)


def patrons_elsewhere(agency: str) -> tuple[Borrower, ...]:
    """Return nameless patrons of another library."""
    reader = Sensitive("Reader")
    return tuple(
        Borrower(barcode=f"{agency}-P{number}", name=reader, category="undergraduates", total_quota=60)
        for number in range(PATRONS_ELSEWHERE)
    )


def load_catalogue(world: World, copies: Sequence[Holding], titles: dict[str, Title]) -> None:
    """Load the union catalogue into our database."""
    number = world.store.now(loading.begin, "holdings")
    for first in range(0, len(copies), loading.CHUNK):
        world.store.now(loading.write_copies, copies[first : first + loading.CHUNK], number, None, titles)
    world.store.now(loading.finish, "holdings", number, False, world.now)


Rows = dict[str, dict[tuple[object, ...], tuple[object, ...]]]


class Recorder:
    """Keeps what changes in a database from one step to the next."""

    def __init__(self, file: Path) -> None:
        self._file = file
        with closing(sqlite3.connect(file)) as connection:
            names = [table.name for table in METADATA.sorted_tables if table is not TITLES]
            self._columns = {
                name: [(row[1], bool(row[5])) for row in connection.execute(f"PRAGMA table_info({name})")] for name in names
            }
        self._known = self._read()

    def step(self, at: datetime) -> dict[str, object]:
        """Return what has changed since the last step."""
        known, self._known = self._known, self._read()
        written, gone = dict[str, list[object]](), dict[str, list[object]]()
        for name, columns in self._columns.items():
            before, after = known[name], self._known[name]
            if rows := [list(row) for key, row in after.items() if before.get(key) != row]:
                written[name] = [[column for column, _ in columns], *rows]
            if keys := [list(key) for key in before.keys() - after.keys()]:
                gone[name] = [[column for column, is_key in columns if is_key], *sorted(keys, key=repr)]
        return {"at": at.isoformat(), "written": written, "gone": gone}

    def _read(self) -> Rows:
        found: Rows = {}
        with closing(sqlite3.connect(self._file)) as connection:
            for name, columns in self._columns.items():
                of_key = [number for number, (_, is_key) in enumerate(columns) if is_key]
                rows = connection.execute(f"SELECT {', '.join(column for column, _ in columns)} FROM {name}")  # noqa: S608  # our own names
                found[name] = {tuple(row[number] for number in of_key): row for row in rows}
        return found


CONFIGURED: Final = {
    False: {demo_setup.LOCATION: demo_setup.PLACE},
    True: {
        demo_setup.LOCATION: demo_setup.PLACE_ZH,
        "The University of Hong Kong Libraries": "香港大學圖書館",
        **{name: demo_setup.NAMES_ZH[agency] for agency, name in demo_setup.NAMES.items()},
    },
}
"""Names that the demo configures and the simulator's worlds lack, for letters in English (False) and Chinese (True)."""


class LetterBox:
    """Collects our library's letters with the time at which they were sent."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._patrons = {patron.barcode: patron for patron in world.start.patrons}
        self.rows: list[dict[str, str]] = []

    def collect(self, _moved: object) -> None:
        """Take the letters of this moment."""
        while self._world.letters:
            letter = self._world.letters.popleft()
            patron, text = self._patrons[letter.patron], letter.text
            for code, name in CONFIGURED[patron.language.startswith("zh")].items():
                text = text.replace(code, name)
            self.rows.append(
                {
                    "at": self._world.now.isoformat(),
                    "from": f"{self._world.start.name} <lending@lib.example.hk>",
                    "to": patron.email.reveal(),
                    "subject": letter.subject,
                    "text": text,
                    "number": letter.number,
                }
            )


ALWAYS: Final = {f"{side_of(step.event)} {step.source}": 0 for step in TABLE if step.source is not Position.NEW}
"""Positions that always have a request. One stays NEW only while the service is suspended: the transaction that opens a
request also asks a lender, or ends it.
"""


def promises(campus: Campus) -> dict[str, int]:
    """Count what the demo promises to show, at this moment."""
    now = campus.all.now
    today = dates.civil(now)

    def read(unit: UnitOfWork) -> dict[str, int]:
        opened = unit.requests.open_list()
        ours = [one for one in opened if one.side is Side.BORROWING]
        loans = [one for one in ours if one.position is Position.ON_LOAN]
        reader = [one for one in loans if one.patron == READER]
        unpaid = unit.execute(select(FINES.c.patron).where(IS_UNPAID)).scalars().all()
        found = ALWAYS | Counter(f"{one.side} {one.position}" for one in opened)
        return found | {
            "pull list": int(found["lend PAGED"] >= PULL_LIST),
            "letters that came back": len(
                unit.execute(select(NOTICES.c.id).where(NOTICES.c.state == NoticeState.UNDELIVERABLE)).all()
            ),
            "due today": sum(one.due == today for one in loans),
            "overdue": sum(one.due is not None and one.due < today and one.lost_on is None for one in loans),
            "recalled": sum(one.recalled_on is not None for one in loans),
            "lost": sum(one.lost_on is not None for one in loans),
            "expired": sum(one.expired_pickup for one in ours),
            "unpaid": len(unpaid),
            "reader: renewable": sum(
                one.recalled_on is None and one.due is not None and 0 <= (one.due - today).days <= 7 for one in reader
            ),
            "reader: recalled": sum(one.recalled_on is not None for one in reader),
            "reader: to collect": sum(
                one.position is Position.RECEIVED and one.pickup_last is not None and one.pickup_last >= today
                for one in ours
                if one.patron == READER
            ),
            "reader: fines": unpaid.count(READER),
        }

    return campus.read(US, read)


def build(weeks: int, archive: Path) -> None:
    """Play the story and write the archive."""
    draw = Random(SEED)  # noqa: S311  # a story, not a secret
    titles = {title.bib_id: title for title in (*catalogue.titles(), *demo_setup.invented_titles())}
    copies = tuple(catalogue.copies())
    further = (*exports.read_holdings(demo_setup.DEMO_FILES / "holdings.csv"), *demo_setup.invented_copies())
    lent = [copy for copy in copies if copy.lendable and copy.status != "On Loan"]
    books = [SimulatedCopy(ItemKey(copy.agency, copy.barcode), copy.bib_id, holder=copy.agency) for copy in lent]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        database = folder / "story.db"
        starts = [start_of(one, patrons_here(draw) if one == US else patrons_elsewhere(one), copies) for one in AGENCIES]
        consortium = Consortium(starts, draw, 0.0, crash=False, channel=PackedCopies, ground=OneFile(database))
        world = consortium.worlds[US]
        load_catalogue(world, (*copies, *further), titles)
        campus, letters = Campus(consortium, books), LetterBox(world)
        consortium.watch = letters.collect
        plan_last_week(campus, midnight(world, weeks * 7))
        for day in range(weeks * 7):
            campus.play_day(midnight(world, day))
            consortium.run_until(midnight(world, day + 1))
            if day % 28 == 0:
                click.echo(f"{midnight(world, day):%d %B %Y}")
        show(campus)
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("VACUUM INTO ?", (str(folder / history.DATABASE),))
        steps, recorder = [], Recorder(database)
        for day in range(weeks * 7, weeks * 7 + 7):
            campus.play_day(midnight(world, day))
            for hour in STEP_HOURS:
                at = midnight(world, day) + timedelta(hours=hour)
                consortium.run_until(at)
                missing = show(campus)
                steps.append({"missing": missing, **recorder.step(at)})
            consortium.run_until(midnight(world, day + 1))
        consortium.close()
        first = midnight(world, weeks * 7) - LETTERS_KEPT
        kept = [row for row in letters.rows if datetime.fromisoformat(row["at"]) >= first]
        _write_lines(folder / history.STEPS, steps)
        _write_lines(folder / history.LETTERS, kept)
        history.pack(folder, archive)


def show(campus: Campus) -> list[str]:
    """Print what the demo has to show at this moment. Return what is missing."""
    counts = promises(campus)
    missing = [name for name, count in counts.items() if not count]
    click.echo(f"{campus.all.now.astimezone(dates.HONG_KONG):%a %H:%M} {counts} {f'MISSING {missing}' if missing else ''}")
    return missing


def _write_lines(file: Path, rows: Sequence[object]) -> None:
    file.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), encoding="utf-8")


@click.command()
@click.option("--weeks", default=history.WEEKS, show_default=True)
@click.option("--archive", type=click.Path(path_type=Path), default=history.ARCHIVE, show_default="that of the demo")
def main(weeks: int, archive: Path) -> None:
    """Play the history of the demo, and write its archive."""
    be_quiet()
    build(weeks, archive)


if __name__ == "__main__":
    main()
