"""Metrics and log lines for our documents and the partners' replies."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.observability.metrics import Metrics

LOG = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PartnerExchange:
    """One document to one partner, and its result.

    `failure` is dns, connect, tls, timeout or http where no reply came, xml for one that cannot be read, problem for a no,
    "" otherwise; `notes` are the liberties that reading the reply took.
    """

    partner: str
    service: str
    seconds: float
    failure: str = ""
    notes: tuple[str, ...] = ()


def ignore(_one: PartnerExchange) -> None:
    """Ignores the exchange; the default without metrics."""


def untimed() -> float:
    """Returns 0.0; the default clock without metrics."""
    return 0.0


def replied(partner: str, service: str, seconds: float, reply: NcipMessage | None) -> PartnerExchange:
    """The exchange that ended with this reply; None is one that cannot be read."""
    if reply is None:
        return PartnerExchange(partner, service, seconds, "xml")
    return PartnerExchange(partner, service, seconds, "problem" if reply.has("Problem") else "", reply.notes)


def note(metrics: Metrics, one: PartnerExchange) -> None:
    """Count an exchange in the metrics, and log the tolerances that reading its reply needed."""
    metrics.ncip_latency.labels(one.partner, one.service, "out").observe(one.seconds)
    if one.failure:
        metrics.ncip_errors.labels(one.partner, one.failure).inc()
    if one.notes:
        LOG.info("ncip.reply_tolerated", partner=one.partner, service=one.service, notes=list(one.notes))
