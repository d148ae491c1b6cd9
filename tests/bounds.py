"""Connection limits for ports that tests open."""

from __future__ import annotations

from datetime import UTC, datetime

from hkall_gateway.net.bounded_http import IDLE_S, Bounds
from hkall_gateway.net.limits.connection_limit import ConnectionLimit, Refusals
from hkall_gateway.net.limits.fair_reads import BodyBudget
from hkall_gateway.observability.metrics import Metrics

NOW = datetime(2017, 3, 1, 2, tzinfo=UTC)


def refusals(protocol: str, metrics: Metrics | None = None) -> Refusals:
    return Refusals(protocol, metrics or Metrics(), lambda: NOW)


def bounds(
    max_body_bytes: int = 65_536,
    *,
    total: int = 100,
    per_address: int = 100,
    unproven: int = 100,
    unfinished: int = 1_048_576,
    metrics: Metrics | None = None,
    protocol: str = "ncip",
    idle_s: float = IDLE_S,
) -> Bounds:
    limit = ConnectionLimit(total, per_address, unproven)
    return Bounds(
        connections=limit,
        bodies=BodyBudget(unfinished),
        refusals=refusals(protocol, metrics),
        max_body_bytes=max_body_bytes,
        idle_s=idle_s,
    )
