"""Several complete gateways in one process, which send real NCIP to each other over faulty connections, crash and restart.

They share one clock, which advances from event to event. Every random value comes from one seeded generator, so that the same
seed gives the same journals.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from itertools import count
from random import Random
from typing import Final, TypeVar, cast

from sqlalchemy import func, select

from hkall_gateway.app.heartbeat import after_step_back
from hkall_gateway.db.database import finished
from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.db.journal import JournalEntry
from hkall_gateway.db.outbox import OutboxRow
from hkall_gateway.db.tables import JOURNAL
from hkall_gateway.net.http_post import HttpReply, NoReply, NotSent, Post
from hkall_gateway.rules.circuit import CircuitSettings
from hkall_gateway.simulator.consortium.faults import (
    CUT_OFF,
    DISK_ERRORS,
    LATE,
    FaultSource,
    Later,
    LossyChannel,
    TwoWayStore,
    disk_error,
)
from hkall_gateway.simulator.consortium.faults import LATEST_S as LATEST_COMMAND_S
from hkall_gateway.simulator.databases import DatabaseFactory, Memory
from hkall_gateway.simulator.scenario.world import Died, World
from hkall_gateway.simulator.scenario.world_file import Start, secret_of

T = TypeVar("T")

XML: Final = 'application/xml; charset="utf-8"'
COMMITS_OF_A_LIFE: Final = 150
LONGEST_DOWN_S: Final = 3600
PROBE_S: Final = 3600
SOON: Final = timedelta(minutes=1)


ChannelMaker = Callable[[Post, FaultSource, Later], LossyChannel]


@dataclass(frozen=True, slots=True)
class Moved:
    """A journal entry committed at a library. `refused` is set if the command's caller had been told to try again."""

    agency: str
    move: JournalEntry
    refused: bool = False


class Consortium:
    """The gateways of `starts`, by agency.

    `loss` is the share of documents that meet a fault. With `crash`, gateways die. `ground` creates the databases, by default
    in memory. `watch` is called with the requests that moved after every step, which is one event with all deliveries that
    follow.
    """

    def __init__(
        self,
        starts: Sequence[Start],
        draw: Random,
        loss: float,
        *,
        crash: bool,
        channel: ChannelMaker = LossyChannel,
        ground: DatabaseFactory | None = None,
    ) -> None:
        self.draw, self._crash = draw, crash
        self._ground = ground or Memory()
        self.watch: Callable[[Sequence[Moved]], None] = lambda _moved: None
        self.now = starts[0].time
        self._queued_events: list[tuple[datetime, int, Callable[[], object]]] = []
        self._numbers = count()
        self._moved: list[Moved] = []
        self._stirred: set[str] = set()
        self._down_until: dict[str, datetime] = {}
        self._cut_until: dict[str, datetime] = {}
        self._alarm: dict[str, datetime] = {}
        self._isolated_until: dict[str, datetime] = {}
        self._ahead: dict[str, timedelta] = {}
        self._unsure: set[str] = set()
        self.deaths: Counter[str] = Counter()
        self.disk_errors: Counter[str] = Counter()
        self.trouble = FaultSource(loss, draw)
        self.channel = channel(self._deliver, self.trouble, self._arrive_later)
        self.worlds = {start.agency: self._make_world(start) for start in starts}

    def _make_world(self, start: Start) -> World:
        def listen(moves: Sequence[JournalEntry]) -> None:
            self._moved.extend(Moved(start.agency, move) for move in moves)
            self._stirred.add(start.agency)

        def secret(agency: str) -> str:
            clients = {client.agency for client in start.clients}
            return secret_of(agency if agency in clients else "+".join(sorted((agency, start.agency))))

        async def post(url: str, body: bytes, timeout_s: float) -> HttpReply:
            if self._cut_until.get(start.agency, self.now) > self.now:
                raise NotSent("no line out of the house")
            return await self.channel(url, body, timeout_s)

        world = World(
            start,
            self._ground.fresh(),
            post=post,
            secret=secret,
            listen=listen,
            circuit_settings=CircuitSettings(probe_s=PROBE_S),
            make_store=partial(TwoWayStore, waits=lambda: self._draw_waiting(start.agency)),
        )
        world.on_commit = lambda: self._before_commit(world)
        self._live_on(world)
        return world

    # ---- machine faults

    def disconnect_database(self, agency: str, how_long: timedelta) -> None:
        """Disconnect one of a library's two gateways from the database, so that half of the commands wait."""
        self.trouble.met["cut_off_from_database"] += 1
        self._isolated_until[agency] = self.now + how_long

    def set_clock(self, agency: str, ahead: timedelta) -> None:
        """Set the clock of a library's gateway ahead of or behind the true time. A difference of zero corrects the clock."""
        back = ahead < self._ahead.get(agency, timedelta())
        self.trouble.met["clock_step"] += 1
        self._ahead[agency] = ahead
        self._set_clock(self.now)
        if back:
            self.perform(agency, lambda world: world.store.now(after_step_back, world.now))
        self._stirred.add(agency)

    def _draw_waiting(self, agency: str) -> bool:
        """Draw whether a command waits at the paused or disconnected gateway. If so, schedule the end of the wait."""
        isolated = self._isolated_until.get(agency, self.now) > self.now
        if not self.trouble.loss or self.draw.random() >= (CUT_OFF if isolated else LATE):
            return False
        self.trouble.met["late_command"] += 1
        self.schedule_after(timedelta(seconds=self.draw.uniform(10, LATEST_COMMAND_S)), lambda: self.let_go(agency))
        return True

    def let_go(self, agency: str) -> None:
        """Run the commands that waited, although their callers had been told to try again."""
        known = len(self._moved)
        self.perform(agency, lambda world: cast(TwoWayStore, world.store).let_go())
        self._moved[known:] = [replace(one, refused=True) for one in self._moved[known:]]

    def _before_commit(self, world: World) -> None:
        if self._crash and self.draw.random() < DISK_ERRORS:
            self.trouble.met["disk_error"] += 1
            self.disk_errors[world.start.agency] += 1
            raise disk_error(world.engine)

    # ---- time

    def schedule_at(self, when: datetime, what: Callable[[], object]) -> None:
        """Schedule an action for `when`, or for now if `when` is in the past."""
        heapq.heappush(self._queued_events, (max(when, self.now), next(self._numbers), what))

    def schedule_after(self, how_long: timedelta, what: Callable[[], object]) -> None:
        """Schedule an action after `how_long`."""
        self.schedule_at(self.now + how_long, what)

    def run_until(self, end: datetime, *, stop: Callable[[], bool] = lambda: False) -> None:
        """Run every event before `end`, or until `stop` returns True."""
        while self._queued_events and self._queued_events[0][0] < end and not stop():
            when, _, what = heapq.heappop(self._queued_events)
            self._set_clock(when)
            what()
            # Deliver all due messages and the messages that follow from them. Then set each courier's next alarm.
            while self._stirred:
                agency = min(self._stirred)
                self._stirred.discard(agency)
                due = self.perform(agency, self._deliver_due)
                if due is None:
                    continue
                due -= self._ahead.get(agency, timedelta())
                if not self.now < self._alarm.get(agency, self.now) <= due:
                    self._alarm[agency] = due = max(due, self.now + timedelta(seconds=1))
                    self.schedule_at(due, partial(self._stirred.add, agency))
            moved, self._moved = self._moved, []
            self.watch(moved)
        self._set_clock(max(self.now, end) if not stop() else self.now)

    def disconnect_network(self, agency: str, how_long: timedelta) -> None:
        """Disconnect a library's network. Its patrons and staff continue to work."""
        self._cut_until[agency] = self.now + how_long

    def end_faults(self) -> None:
        """End all faults, so that no further message is lost and no further gateway dies."""
        self.trouble.loss, self._crash = 0.0, False
        self._cut_until.clear()
        self._isolated_until.clear()
        for agency in [agency for agency, ahead in self._ahead.items() if ahead]:
            self.set_clock(agency, timedelta())
        for world in self.worlds.values():
            world.crash(0)

    def _set_clock(self, now: datetime) -> None:
        self.now = now
        for agency, world in self.worlds.items():
            world.now = now + self._ahead.get(agency, timedelta())

    # ---- crashes and restarts

    def is_up(self, agency: str) -> bool:
        """Return whether a library's gateway is running at this moment."""
        return self._down_until.get(agency, self.now) <= self.now

    def perform(self, agency: str, what: Callable[[World], T]) -> T | None:
        """Perform an action at a gateway. Return None if it is down, dies, or its disk is full, so that the caller retries."""
        if not self.is_up(agency):
            return None
        try:
            return what(self.worlds[agency])
        except Died:
            self._restart_dead(agency)
            return None
        except Unavailable:
            self._unsure.add(agency)
            self.schedule_after(SOON, lambda: self._stirred.add(agency))
            return None

    def _restart_dead(self, agency: str) -> None:
        """Restart a gateway that died, immediately or after a random time."""
        self.deaths[agency] += 1
        world = self.worlds[agency]
        world.on_commit = None
        world.restart()
        world.on_commit = lambda: self._before_commit(world)
        self._live_on(world)
        if self.draw.random() * 2 > 1:
            self._down_until[agency] = self.now + timedelta(seconds=self.draw.randrange(60, LONGEST_DOWN_S))
            self.schedule_at(self._down_until[agency], lambda: self._stirred.add(agency))
        self._stirred.add(agency)

    def _live_on(self, world: World) -> None:
        world.crash(self.draw.randrange(1, 2 * COMMITS_OF_A_LIFE) if self._crash else 0)

    # ---- documents

    async def _deliver(self, url: str, body: bytes, _timeout_s: float) -> HttpReply:
        """Return the reply of the partner's gateway, which may be down, or die before it replies."""
        agency = url.removeprefix("http://").partition("/")[0]
        if not self.is_up(agency) or self._cut_until.get(agency, self.now) > self.now:
            raise NotSent(f"{agency} is down")
        try:
            return HttpReply(status=200, content_type=XML, body=self.worlds[agency].ncip("", body), retry_after_s=0)
        except Died:
            self._restart_dead(agency)
            raise NoReply(f"{agency} died") from None

    def _arrive_later(self, seconds: float, what: Callable[[], Awaitable[None]]) -> None:
        def arrive() -> None:
            try:
                finished(what())
            except (NotSent, NoReply):
                return  # the document is lost for good, and the sender gets no error

        self.schedule_after(timedelta(seconds=seconds), arrive)

    def _deliver_due(self, world: World) -> datetime | None:
        if world.start.agency in self._unsure:
            world.release()
            self._unsure.discard(world.start.agency)
        return world.pump()

    # ---- observations

    def outbox(self) -> list[tuple[str, OutboxRow]]:
        """Return all undelivered messages with the libraries that send them."""
        return [(agency, row) for agency, world in self.worlds.items() for row in world.outbox()]

    def events(self) -> Counter[str]:
        """Count how often each kind of event happened to requests, in all journals together."""
        ok, found = JOURNAL.c.outcome == "ok", Counter[str]()
        happened = select(JOURNAL.c.event, func.count()).where(ok).group_by(JOURNAL.c.event)
        for world in self.worlds.values():
            for event, times in finished(world.store.read(lambda unit: unit.execute(happened).all(), is_long=True)):
                found[event] += times
        return found

    def fingerprint(self) -> str:
        """Return a hash of the complete journals."""
        digest, lines = sha256(), select(JOURNAL).order_by(JOURNAL.c.id)
        for agency, world in self.worlds.items():
            for row in finished(world.store.read(lambda unit: unit.execute(lines).all(), is_long=True)):
                digest.update(f"{agency} {tuple(row)!r}\n".encode())
        return digest.hexdigest()

    def close(self) -> None:
        """Close all gateways and release their databases."""
        for world in self.worlds.values():
            world.close()
        self._ground.close()
