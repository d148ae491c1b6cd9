"""Documents sent to partners, as they are counted and logged."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from hkall_gateway.observability.metrics import Metrics

LOG = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class PartnerExchange:
    """One document sent to a partner, and the outcome.

    Attributes:
        seconds: Time until the reply or the failure.
        failure: dns, connect, tls, timeout, http (no reply), xml (unreadable reply), problem (the reply is a Problem), or "".
        notes: Tolerances used while decoding the reply.
    """

    partner: str
    service: str
    seconds: float
    failure: str = ""
    notes: tuple[str, ...] = ()


def note(metrics: Metrics, one: PartnerExchange) -> None:
    """Count an exchange in the metrics, and log the tolerances used while decoding the reply."""
    metrics.ncip_latency.labels(one.partner, one.service, "out").observe(one.seconds)
    if one.failure:
        metrics.ncip_errors.labels(one.partner, one.failure).inc()
    if one.notes:
        LOG.info("ncip.reply_tolerated", partner=one.partner, service=one.service, notes=list(one.notes))
