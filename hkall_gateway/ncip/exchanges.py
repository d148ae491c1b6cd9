"""What is counted and logged of a document of ours and of what came back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from hkall_gateway.edge.metrics import Metrics
from hkall_gateway.ncip.messages import Message

LOG = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Exchange:
    """One document to one partner, and what came of it.

    `failure` is dns, connect, tls, timeout or http where no reply came, xml for one that cannot be read, problem for a no,
    "" otherwise; `notes` are the liberties that reading the reply took.
    """

    partner: str
    service: str
    seconds: float
    failure: str = ""
    notes: tuple[str, ...] = ()


Told = Callable[[Exchange], None]


def to_nobody(_one: Exchange) -> None:
    """Nobody counts."""


def untimed() -> float:
    """Nobody measures."""
    return 0.0


def replied(partner: str, service: str, seconds: float, reply: Message | None) -> Exchange:
    """The exchange that ended with this reply; None is one that cannot be read."""
    if reply is None:
        return Exchange(partner, service, seconds, "xml")
    return Exchange(partner, service, seconds, "problem" if reply.has("Problem") else "", reply.notes)


def note(metrics: Metrics, one: Exchange) -> None:
    """Count it; a reply that is valid in the partner's own way only is told to operators, and counts all the same."""
    metrics.ncip_latency.labels(one.partner, one.service, "out").observe(one.seconds)
    if one.failure:
        metrics.ncip_errors.labels(one.partner, one.failure).inc()
    if one.notes:
        LOG.info("ncip.reply_tolerated", partner=one.partner, service=one.service, notes=list(one.notes))
