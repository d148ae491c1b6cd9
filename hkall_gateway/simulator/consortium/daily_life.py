"""Simulates the days of a consortium: patrons' requests and visits, nightly jobs, network outages and chance events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime, time, timedelta
from itertools import count
from typing import Final

from hkall_gateway.db.database import finished
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.ncip.tables.problems import TRY_LATER
from hkall_gateway.rules import dates
from hkall_gateway.rules.vocabulary import ItemKey, Position, Request
from hkall_gateway.simulator.consortium.clerks import Clerks
from hkall_gateway.simulator.consortium.gateways import Consortium
from hkall_gateway.simulator.consortium.patron_behaviour import BEHAVIOURS
from hkall_gateway.simulator.consortium.staff import FUMBLED, SOON, SimulatedCopy, Staff
from hkall_gateway.simulator.scenario.steps import CommandLine
from hkall_gateway.simulator.scenario.world import World

P = Position
OUTAGES: Final = 0.06
"""Chance per day that a library loses its network connection for hours or days."""
ISOLATIONS, CLOCK_STEPS = 0.15, 0.1
"""Chances per day that one of a library's gateways loses the database, and that a gateway's clock is set wrong."""
ROUNDS_AT: Final = (0, 1, 5)
"""Hours of the day at which due rounds run: more than one, since a clock may be wrong at midnight."""
CLERKS_AT: Final = (11, 16)
"""Hours of the day at which the clerks work."""
REGRETS, DEADLINES, NO_SHOWS, LATECOMERS = 0.12, 0.1, 0.15, 0.12
"""Chances that a request is cancelled, has a last day, or is not collected, and that a patron keeps a book too long."""
READING_DAYS, TOO_LONG_DAYS, DEADLINE_DAYS = (1.0, 12.0), (14.0, 24.0), (1, 8)


class People(Staff):
    """Patrons and staff of all libraries.

    Args:
        requests_a_day: Number of requests per library and day.
        command_line: Runs the commands of the clerk at the command line. None if there is no such clerk.
    """

    def __init__(
        self,
        consortium: Consortium,
        books: list[SimulatedCopy],
        requests_a_day: int,
        command_line: CommandLine | None = None,
    ) -> None:
        super().__init__(consortium, books)
        self._clerks = Clerks(self, command_line)
        self._requests_a_day = requests_a_day
        self._titles = {
            agency: sorted({b.bib_id for b in books} - {b.bib_id for b in books if b.item.agency == agency})
            for agency in consortium.worlds
        }
        self._numbers, self._loaded_states = count(1), dict[str, dict[ItemKey, str]]()
        self.asked = self.placed = 0
        self.behaviours: Counter[str] = Counter()

    def play_day(self, day: datetime) -> None:
        """Simulate all actions of the day that begins at `day` in Hong Kong."""
        for agency in self.all.worlds:
            self._schedule_rounds(agency, day)
            if self.all.trouble.loss and self.draw_chance(OUTAGES):
                self._schedule_outage(day, self.draw.uniform(0, 24), self.all.disconnect_network, agency, (1, 150))
            if self.all.trouble.loss and self.draw_chance(ISOLATIONS):
                self._schedule_outage(day, self.draw.uniform(8, 20), self.all.disconnect_database, agency, (0.1, 8))
            if self.all.trouble.loss and self.draw_chance(CLOCK_STEPS):
                self._schedule(day, self.draw.uniform(0, 24), lambda agency=agency: self._set_wrong_clock(agency))  # type: ignore[misc]
            for hour in (10, 15):
                self._schedule(day, hour, lambda agency=agency: self.work_through_lists(agency))  # type: ignore[misc]  # agency is bound now
            self._schedule(day, 17, lambda agency=agency: self._play_chance_events(agency))  # type: ignore[misc]
            for hour in CLERKS_AT:
                self._schedule(day, hour, lambda agency=agency: self._clerks.work(agency))  # type: ignore[misc]
            for _ in range(self._requests_a_day if self.busy else 0):
                self._schedule(day, self.draw.uniform(0, 24), lambda agency=agency: self.request_title(agency))  # type: ignore[misc]

    def _schedule_outage(
        self, day: datetime, hour: float, what: Callable[[str, timedelta], None], agency: str, hours: tuple[float, float]
    ) -> None:
        """Schedule an outage, whose length is drawn when it begins."""
        self._schedule(day, hour, lambda: what(agency, timedelta(hours=self.draw.uniform(*hours))))

    def _schedule(self, day: datetime, hour: float, what: Callable[[], object]) -> None:
        self.all.schedule_at(day + timedelta(hours=hour), what)

    def _schedule_rounds(self, agency: str, day: datetime) -> None:
        def rounds() -> bool:
            return self.all.perform(agency, lambda world: finished(world.rounds.run_due()) or True) is not None

        for hour in ROUNDS_AT:
            self._schedule(day, hour, lambda: self.retry(rounds))
        self._schedule(day, 13, lambda: self.all.perform(agency, lambda world: world.round("silence")))
        self._schedule(day, 3, lambda: self._load_availability(agency))

    def _set_wrong_clock(self, agency: str) -> None:
        """Set a gateway's clock wrong for some hours."""
        self.all.set_clock(agency, timedelta(minutes=self.draw.choice((-50, -5, 5, 50))))
        self.all.schedule_after(timedelta(hours=self.draw.uniform(1, 20)), lambda: self.all.set_clock(agency, timedelta()))

    def _load_availability(self, agency: str) -> None:
        """Load the availability of the other libraries' books, as a nightly job would."""
        states = {item: "Available On Shelf" if b.place == "shelf" else "On Loan" for item, b in self.books.items()}
        known = self._loaded_states.setdefault(agency, {})
        changed = [(item, status) for item, status in states.items() if item.agency != agency and known.get(item) != status]

        def write(unit: UnitOfWork) -> bool:
            for item, status in changed:
                unit.holdings.set_status(item, status)
            return True

        if self.all.perform(agency, lambda world: world.store.now(write)):
            known.update(changed)

    def _play_chance_events(self, agency: str) -> None:
        """Simulate chance events that patrons and staff cause in open requests."""
        if not self.all.is_up(agency):
            return
        for request in self.read(agency, lambda unit: unit.requests.open_list()):
            for behaviour in BEHAVIOURS:
                if (
                    request.position in behaviour.where
                    and self.draw_chance(behaviour.chance)
                    and behaviour.act(self, agency, request)
                ):
                    self.behaviours[behaviour.name] += 1

    def request_title(self, agency: str) -> None:
        """Place a patron's request for another library's title. Some patrons request far more often than others."""
        patrons = self.all.worlds[agency].start.patrons
        reader = patrons[min(self.draw.randrange(len(patrons)), self.draw.randrange(len(patrons)))].barcode
        title, number = self.draw.choice(self._titles[agency]), f"d-{next(self._numbers)}"
        self.asked += 1
        document = f"RequestItem user={reader} bib={title} request={number}"
        if self.draw_chance(DEADLINES):
            last = dates.civil(self.all.now) + timedelta(days=self.draw.randint(*DEADLINE_DAYS))
            document += f" NeedBeforeDate={dates.end_of(last):%Y-%m-%dT%H:%M:%SZ}"
        self.retry(lambda: self._send_document(agency, document))
        if self.draw_chance(REGRETS):
            cancel = f"CancelRequestItem user={reader} request={number}"
            self.after_days(self.draw.uniform(0, 2.5), lambda: self.retry(lambda: self._send_document(agency, cancel)))

    def _send_document(self, agency: str, document: str) -> bool:
        reply = self.all.perform(agency, lambda world: world.tell(f"{agency}-DISCOVERY", document))
        if reply is not None and reply.service == "RequestItemResponse" and not reply.has("Problem"):
            self.placed += 1
        return reply is not None and reply.text("Problem/ProblemType") != TRY_LATER

    def schedule_visit(self, agency: str, request: Request) -> None:
        """Schedule the patron's visit within the next days, unless the patron never comes."""
        if not self.draw_chance(NO_SHOWS):
            self.after_days(self.draw.uniform(0.05, 4), lambda: self._collect_if_there(agency, request.id))

    def _collect_if_there(self, agency: str, number: str) -> None:
        request = self.request(agency, number)
        if request and request.position is P.RECEIVED and request.item and self.books[request.item].holder == agency:
            # The patron collects the book, and returns it some days later.
            book = self.books[request.item]
            lent = self.check_out(agency, request.patron, book)
            if not lent or (self.draw_chance(FUMBLED) and self.check_in(agency, book, undo=True)):
                self.all.schedule_after(SOON, lambda: self._collect_if_there(agency, request.id))
                return
            book.place, book.since = "reader", self.all.now
            days = self.draw.uniform(*(TOO_LONG_DAYS if self.draw_chance(LATECOMERS) else READING_DAYS)) if self.busy else 1
            self.after_days(days, lambda: self.bring_back(agency, book))

    def bring_back(self, agency: str, book: SimulatedCopy) -> None:
        """Return the book at the counter that lent it, unless it was moved in the meantime."""
        if book.place == "reader" and book.holder == agency:
            self.take_in(agency, book)


def midnight(world: World, days: int) -> datetime:
    """Return the start of the day in Hong Kong that is `days` after the world's first day."""
    first = world.start.time.astimezone(dates.HONG_KONG).date() + timedelta(days=days)
    return datetime.combine(first, time(), dates.HONG_KONG)
