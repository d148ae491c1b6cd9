"""How another system is that we depend on: a circuit breaker in memory, counted, and said in the log when it changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from hkall_gateway.edge.counters import Counters
from hkall_gateway.rules import breaker
from hkall_gateway.rules.breaker import DOWN, Link, Patience

LOG = structlog.get_logger()

PATIENCE: Final = Patience(failures=3, probe_s=5)
"""After three misses in a row nobody waits for it any more; one question in five seconds tries whether it is back."""


class Health:
    """Whether the local system may be asked now, and since when it has not answered.

    `channel` is who asks, for the counters: "connector" or "relay". `now` answers the aware UTC instant.
    """

    def __init__(
        self, channel: str, now: Callable[[], datetime], counters: Counters | None = None, patience: Patience = PATIENCE
    ) -> None:
        self._channel, self._now, self._patience = channel, now, patience
        self._counters = counters or Counters()
        self._link = Link(channel)

    @property
    def up(self) -> bool:
        return self._link.state != DOWN

    @property
    def down_since(self) -> datetime | None:
        return self._link.down_since

    def may_ask(self) -> bool:
        """Whether a question may leave; while it is down, the one that may is the trial, and no other before the next."""
        now = self._now()
        if not breaker.room(self._link, 1_000_000, 0, now):
            return False
        if not self.up:
            self._link = replace(self._link, rests_until=now + timedelta(seconds=self._patience.probe_s))
        return True

    def heard(self, question: str, took_s: float) -> None:
        """It answered, whatever it said."""
        self._count(question, "ok")
        self._counters.observe("ils_latency_seconds", took_s, self._channel)
        if not self.up:
            LOG.info("ils.up", channel="ils", asked_by=self._channel, down_since=self.down_since)
        self._link = breaker.heard(self._link, self._now())
        self._tell()

    def missed(self, question: str, why: str, *, grave: bool = True) -> None:
        """It did not answer, or not usably; `grave` False: which says nothing of its answers to other questions."""
        self._count(question, "unreachable")
        LOG.info("ils.missed", channel="ils", asked_by=self._channel, question=question, why=why)
        if not grave:
            return
        was_up, self._link = self.up, breaker.missed(self._link, self._patience, self._now())
        if was_up and not self.up:
            LOG.warning("ils.down", channel="ils", asked_by=self._channel, why=why)
        self._tell()

    def rested(self, question: str) -> None:
        """A question that was not asked, since it is down."""
        self._count(question, "resting")

    def _count(self, question: str, outcome: str) -> None:
        self._counters.add("ils_calls_total", self._channel, question, outcome)

    def _tell(self) -> None:
        self._counters.put("ils_up", float(self.up), self._channel)
