"""Queries partners in the background for copy statuses when a visitor opens a title. Answers are cached for a minute.

A page shows the known statuses and never waits. Each partner gets one query at a time, at most MOST_A_MINUTE per minute, and no
query while its circuit breaker is open. Failed queries do not count for the courier's circuit breaker, so that visitors of a
public page cannot stop the courier.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Final

import structlog
from twisted.internet.defer import Deferred

from hkall_gateway.circulation.ports import CopyStatus, LiveStatuses
from hkall_gateway.db import bind
from hkall_gateway.db.database import Store
from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.net.limits.rate_limiter import RateLimiter
from hkall_gateway.rules.circuit import CircuitSettings, CircuitState, after_failure, after_reply, circuit, room
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.vocabulary import Holding, ItemKey

LOG = structlog.get_logger()

KEPT: Final = timedelta(minutes=1)
"""Time after which a partner is queried again about the same title."""
SHOWN: Final = timedelta(minutes=10)
"""Maximum age of a status that is shown until the partner has answered a new query."""
MOST_A_MINUTE: Final = 30
"""Maximum number of titles per minute about which one partner is queried."""
MOST_WAITING: Final = 10
"""Maximum number of titles queued for one partner. Beyond that, pages show the loaded statuses."""
ROOM: Final = 10_000
"""Maximum number of cached answers."""

AskStatuses = Callable[[Partner, str, Sequence[Holding]], Awaitable[Mapping[str, str] | None]]
"""Function that maps (partner, title number, copies) to statuses by barcode, or to None if there is no usable answer."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """The statuses of a partner's copies of a title at the time `at`. `asked_at` is the time of the last query."""

    asked_at: datetime
    statuses: Mapping[str, str] = field(default_factory=dict)
    at: datetime | None = None


@dataclass(slots=True)
class _Channel:
    """The queries to one partner: the current title, and the waiting titles with their copies, in order."""

    circuit: CircuitState
    title: str = ""
    waiting: dict[str, Sequence[Holding]] = field(default_factory=dict)


class LiveStatus:
    """Queries partners about their copies, and caches the answers.

    `command` sends one query. `in_reactor` schedules a function in the reactor's thread. Other threads may only use `__call__`.
    """

    def __init__(
        self,
        store: Store,
        command: AskStatuses,
        settings: CircuitSettings,
        now: Callable[[], datetime],
        in_reactor: Callable[[Callable[[], None]], object],
    ) -> None:
        self._store, self._ask, self._settings, self._now, self._in_reactor = store, command, settings, now, in_reactor
        self._answers: dict[tuple[str, str], _Answer] = {}
        self._channels: dict[str, _Channel] = {}
        self._rate, self._stopped = RateLimiter(), False

    def __call__(self, bib_id: str, copies: Sequence[Holding]) -> LiveStatuses:
        """Return the known statuses of `copies`, and start queries for missing or stale statuses."""
        by_library = {agency: tuple(theirs) for agency, theirs in groupby(sorted(copies, key=_AGENCY), _AGENCY)}
        wanted = {agency: theirs for agency, theirs in by_library.items() if self._is_due(agency, bib_id)}
        if wanted:
            self._in_reactor(partial(self._enqueue_questions, bib_id, wanted))
        # Check for open queries before reading statuses, so that an answer arriving in between is shown or polled for.
        asking = any(self._is_due(agency, bib_id) for agency in wanted)
        statuses = {copy.key: status for copy in copies if (status := self._known_status(copy.key, bib_id))}
        return LiveStatuses(statuses, asking)

    def stop(self) -> None:
        """Stop sending queries."""
        self._stopped = True

    def _is_due(self, agency: str, bib_id: str) -> bool:
        answer = self._answers.get((agency, bib_id))
        return answer is None or self._now() - answer.asked_at >= KEPT

    def _known_status(self, item: ItemKey, bib_id: str) -> CopyStatus | None:
        answer = self._answers.get((item.agency, bib_id))
        if answer is None or answer.at is None or self._now() - answer.at >= SHOWN:
            return None
        status = answer.statuses.get(item.barcode)
        return CopyStatus(status, answer.at) if status else None

    def _enqueue_questions(self, bib_id: str, wanted: Mapping[str, Sequence[Holding]]) -> None:
        for agency, copies in wanted.items():
            channel = self._channels.setdefault(agency, _Channel(CircuitState(agency=agency)))
            is_known = bib_id == channel.title or bib_id in channel.waiting or not self._is_due(agency, bib_id)
            if self._stopped or is_known or len(channel.waiting) >= MOST_WAITING:
                continue
            channel.waiting[bib_id] = copies
            if not channel.title:
                _ = Deferred.fromCoroutine(self._ask_all(channel))

    async def _ask_all(self, channel: _Channel) -> None:
        """Send a partner's waiting queries, one after another."""
        while channel.waiting and not self._stopped:
            channel.title = next(iter(channel.waiting))
            copies = channel.waiting.pop(channel.title)
            try:
                statuses = await self._ask_partner(channel, copies)
            except Unavailable:  # the store has logged the cause
                statuses = None
            except Exception:
                LOG.exception("live_status.failed", partner=channel.circuit.agency)
                statuses = None
            key, now = (channel.circuit.agency, channel.title), self._now()
            before = self._answers.pop(key, _Answer(now))
            self._answers[key] = replace(before, asked_at=now) if statuses is None else _Answer(now, statuses, now)
            if len(self._answers) > ROOM:
                del self._answers[next(iter(self._answers))]
        channel.title = ""

    async def _ask_partner(self, channel: _Channel, copies: Sequence[Holding]) -> Mapping[str, str] | None:
        agency = channel.circuit.agency
        partner, state = await self._store.read(bind(_directory, agency), is_long=True)
        now = self._now()
        if partner is None or not partner.url or not partner.can_lookup_items or circuit(state, now) != "closed":
            return None
        if not room(channel.circuit, 1, 0, now) or not self._rate.admits(agency, MOST_A_MINUTE, now):
            return None
        statuses = await self._ask(partner, channel.title, copies)
        if statuses is None:
            channel.circuit = after_failure(channel.circuit, self._settings, self._now())
        else:
            channel.circuit = after_reply(channel.circuit, self._now())
        return statuses


_AGENCY: Final = attrgetter("agency")


def _directory(unit: UnitOfWork, agency: str) -> tuple[Partner | None, CircuitState]:
    """Read a library's directory entry and the state of its circuit breaker."""
    return unit.partners.find(agency), unit.circuits.find(agency)
