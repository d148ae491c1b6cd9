"""How the line to a partner is, and how many messages may leave to it now: a circuit breaker as plain values.

A line goes down after so many failures in a row. From then on one message an interval tries it, whichever is due first;
the first answer of any kind, a no included, brings it up again. A line whose partner does not take us is down at once: its
fault is for a person to mend, and the line is tried ever more seldom.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

UP, DOWN = "up", "down"
LONGEST_REST_S = 900
"""The longest wait between two tries at a partner that does not take us: peers lock out who guesses at secrets."""


@dataclass(frozen=True, slots=True)
class Patience:
    """When a line counts as down and how often it is tried then; `give_up_s` after it fell a trial costs its message."""

    failures: int = 5
    probe_s: int = 60
    give_up_s: int = 259_200


@dataclass(frozen=True, slots=True)
class Link:
    """The line to one partner. `failures` in a row since `heard_at`; nothing leaves before `rests_until`.

    `fault`: what the partner says of our agency, version or service, while it takes nothing of us; "" for none.
    """

    agency: str
    state: str = UP
    failures: int = 0
    down_since: datetime | None = None
    heard_at: datetime | None = None
    rests_until: datetime | None = None
    fault: str = ""


def heard(link: Link, now: datetime) -> Link:
    """The partner answered."""
    return replace(link, state=UP, failures=0, down_since=None, heard_at=now, rests_until=None, fault="")


def missed(link: Link, patience: Patience, now: datetime, retry_after_s: int = 0) -> Link:
    """It did not, or only said that it is busy: for `retry_after_s` seconds where it named them."""
    failures = link.failures + 1
    wait_s = retry_after_s
    if failures < patience.failures:
        return replace(link, failures=failures, rests_until=_later(link.rests_until, now, wait_s))
    wait_s = max(wait_s, patience.probe_s)
    since = link.down_since or now
    return replace(link, state=DOWN, failures=failures, down_since=since, rests_until=_later(None, now, wait_s))


def faulted(link: Link, patience: Patience, now: datetime, fault: str) -> Link:
    """The partner does not take us: the line is down at once, and is tried after `probe_s`, twice that, and so on."""
    failures = link.failures + 1 if link.fault else 1
    wait_s = min(patience.probe_s * 2 ** (failures - 1), max(LONGEST_REST_S, patience.probe_s))
    rests = {"rests_until": _later(None, now, wait_s), "down_since": link.down_since or now}
    return replace(link, state=DOWN, failures=failures, fault=fault, **rests)  # type: ignore[arg-type]  # instants, both


def room(link: Link, in_flight: int, under_way: int, now: datetime) -> int:
    """How many more messages may leave now, where `under_way` have left and are not answered."""
    if link.rests_until is not None and link.rests_until > now:
        return 0
    limit = 1 if link.state == DOWN else in_flight
    return max(limit - under_way, 0)


def circuit(link: Link, now: datetime) -> str:
    """The breaker in the usual words: closed (messages pass), open (none does), half-open (one may try)."""
    if link.state != DOWN:
        return "closed"
    return "open" if link.rests_until is not None and link.rests_until > now else "half-open"


def counts(link: Link, patience: Patience, now: datetime) -> bool:
    """Whether a message that could not leave has used up one of its attempts: not while the line, not it, is at fault."""
    if link.state != DOWN or link.down_since is None:
        return True
    return now - link.down_since >= timedelta(seconds=patience.give_up_s)


def _later(until: datetime | None, now: datetime, wait_s: int) -> datetime | None:
    named = now + timedelta(seconds=wait_s) if wait_s else None
    return max((at for at in (until, named) if at is not None), default=None)
