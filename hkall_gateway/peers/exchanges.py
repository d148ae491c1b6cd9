"""Documents sent to partners, as they are counted and logged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

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


FORMER: Final = "ncip"
"""The protocol whose documents are also counted under the former names of the metrics."""


def observe(metrics: Metrics, protocol: str, partner: str, service: str, direction: str, seconds: float) -> None:
    """Measure a document in the metrics. `direction` is "in" or "out"."""
    metrics.partner_latency.labels(protocol, partner, service, direction).observe(seconds)
    if protocol == FORMER:
        metrics.ncip_latency.labels(partner, service, direction).observe(seconds)


def count_error(metrics: Metrics, protocol: str, partner: str, kind: str) -> None:
    """Count a failed exchange in the metrics. `kind` is a `PartnerExchange.failure`."""
    metrics.partner_errors.labels(protocol, partner, kind).inc()
    if protocol == FORMER:
        metrics.ncip_errors.labels(partner, kind).inc()


def note(metrics: Metrics, protocol: str, one: PartnerExchange) -> None:
    """Count an exchange in the metrics, and log the tolerances used while decoding the reply."""
    observe(metrics, protocol, one.partner, one.service, "out", one.seconds)
    if one.failure:
        count_error(metrics, protocol, one.partner, one.failure)
    if one.notes:
        LOG.info("ncip.reply_tolerated", partner=one.partner, service=one.service, notes=list(one.notes))
