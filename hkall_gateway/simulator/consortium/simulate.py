"""Simulates libraries that lend to each other for weeks, with network faults and crashes.

The same seed gives the same journals, byte for byte, since it determines every random value, id and time.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing import get_context
from random import Random
from typing import Final

import structlog

from hkall_gateway.rules import dates
from hkall_gateway.rules.callers import Client
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.vocabulary import Borrower, Holding, ItemKey, Sensitive
from hkall_gateway.simulator import AGENCIES
from hkall_gateway.simulator.consortium.daily_life import People, midnight
from hkall_gateway.simulator.consortium.faults import LossyChannel
from hkall_gateway.simulator.consortium.gateways import ChannelMaker, Consortium
from hkall_gateway.simulator.consortium.invariants import Invariants
from hkall_gateway.simulator.consortium.staff import SimulatedCopy
from hkall_gateway.simulator.databases import ground
from hkall_gateway.simulator.scenario.steps import CommandLine
from hkall_gateway.simulator.scenario.world_file import Start, terminal

BEGIN: Final = datetime(2017, 3, 1, tzinfo=dates.HONG_KONG)
SETTLE_DAYS: Final = 45
"""Days after the last fault within which every request must have ended."""
READERS, TITLES, COPIES = 6, 60, 2
TOTAL_QUOTAS: Final = (60, 6)
REQUESTS_A_DAY: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Parameters of a simulation.

    Attributes:
        loss: Share of documents that meet a fault.
        crash: Whether gateways die at random commits.
        database: URL of a PostgreSQL database, in which each library gets a schema; "" for SQLite in memory.
    """

    libraries: int = 3
    days: int = 10
    seed: int = 1
    loss: float = 0.1
    crash: bool = True
    requests_a_day: int = REQUESTS_A_DAY
    database: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationReport:
    """Result of a simulation.

    Attributes:
        broken: Every loss and contradiction; must be empty.
        ends: Number of requests by side and last position.
        faults: Number of occurrences of each fault.
        events: Number of occurrences of each event.
    """

    setting: Setting
    broken: tuple[str, ...]
    asked: int
    placed: int
    ends: Mapping[str, int]
    faults: Mapping[str, int]
    deaths: int
    events: Mapping[str, int]
    settled_after: timedelta
    fingerprint: str


@dataclass(frozen=True, slots=True)
class PreparedSimulation:
    """A simulation before its first day: the gateways, the people, and the checker of the invariants."""

    consortium: Consortium
    people: People
    watcher: Invariants


def prepare_simulation(
    setting: Setting, channel: ChannelMaker = LossyChannel, command_line: CommandLine | None = None
) -> PreparedSimulation:
    """Create the libraries for a setting. The caller must close the consortium.

    Args:
        setting: The parameters.
        channel: Makes the faulty connections.
        command_line: Runs the commands of the clerk at the command line. None if there is no such clerk.
    """
    draw = Random(setting.seed)  # noqa: S311  # a simulation, not a secret
    # Each title has a copy in two libraries, so that a request has a second lender.
    agencies, titles = AGENCIES[: setting.libraries], TITLES * setting.libraries
    owners = [(title, agency) for title in range(titles) for agency in draw.sample(agencies, min(COPIES, len(agencies) - 1))]
    books = [SimulatedCopy(ItemKey(a, f"{a}{title:04}"), f"b{title:04}", holder=a) for title, a in owners]
    databases = ground(setting.database)
    holdings = tuple(
        Holding(agency=b.item.agency, barcode=b.item.barcode, bib_id=b.bib_id, title=f"Book {b.bib_id}") for b in books
    )
    starts = [_library_start(agency, agencies, holdings) for agency in agencies]
    consortium = Consortium(starts, draw, setting.loss, crash=setting.crash, channel=channel, ground=databases)
    people = People(consortium, books, setting.requests_a_day, command_line)
    watcher = Invariants(consortium, people)
    consortium.watch = watcher.watch
    return PreparedSimulation(consortium, people, watcher)


def simulate(
    setting: Setting, channel: ChannelMaker = LossyChannel, command_line: CommandLine | None = None
) -> SimulationReport:
    """Run from the first request until everything is settled, or until the time limit."""
    story = prepare_simulation(setting, channel, command_line)
    try:
        consortium, people = story.consortium, story.people
        world = next(iter(consortium.worlds.values()))
        for day in range(setting.days):
            people.play_day(midnight(world, day))
            consortium.run_until(midnight(world, day + 1))
        consortium.end_faults()
        people.busy = False
        healed = consortium.now
        for day in range(setting.days, setting.days + SETTLE_DAYS):
            people.play_day(midnight(world, day))
            consortium.run_until(midnight(world, day + 1))
            if story.watcher.is_settled():
                break
        settled_after = consortium.now - healed
        story.watcher.end()
        return SimulationReport(
            setting=setting,
            broken=tuple(story.watcher.broken),
            asked=story.people.asked,
            placed=story.people.placed,
            ends=story.watcher.count_ends(),
            faults=Counter(story.consortium.trouble.met),
            deaths=story.consortium.deaths.total(),
            events=story.consortium.events(),
            settled_after=settled_after,
            fingerprint=story.consortium.fingerprint(),
        )
    finally:
        story.consortium.close()


def simulate_all(
    settings: Sequence[Setting], jobs: int = 1, command_line: CommandLine | None = None
) -> Iterator[SimulationReport]:
    """Run the settings one after another, or `jobs` at a time in separate processes, to which `command_line` is pickled."""
    run = partial(simulate, command_line=command_line)
    if jobs < 2:
        yield from map(run, settings)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=be_quiet) as pool:
        yield from pool.map(run, settings)


def be_quiet() -> None:
    """Disable the gateways' log, which would take a third of the time."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def _library_start(agency: str, agencies: tuple[str, ...], holdings: tuple[Holding, ...]) -> Start:
    place = f"{agency}-DESK"
    others = [a for a in agencies if a != agency]
    return Start(
        time=BEGIN.astimezone(UTC),
        agency=agency,
        name=agency,
        pickup_locations=(place,),
        policy=Policy(),
        partners=tuple(
            Partner(
                agency=a,
                name=a,
                url=f"http://{a}/ncip",
                institutional_card=f"{a}-INST",
                can_lookup_request=rank % 2 == 0,
                renewal_mode="ask_first" if rank % 3 == 1 else "local_then_notify",
            )
            for rank, a in enumerate(others)
        ),
        clients=(Client(agency=f"{agency}-DISCOVERY"),),
        terminals=(terminal(Policy(), "counter-1", location=place),),
        patrons=tuple(_make_patron(agency, n) for n in range(READERS)),
        holdings=holdings,
    )


def _make_patron(agency: str, number: int) -> Borrower:
    card = f"{agency}-P{number}"
    name, address = Sensitive(f"Reader {number}"), Sensitive(f"{card.lower()}@{agency.lower()}.test")
    return Borrower(
        barcode=card, name=name, category="undergraduates", email=address, total_quota=TOTAL_QUOTAS[number % len(TOTAL_QUOTAS)]
    )
