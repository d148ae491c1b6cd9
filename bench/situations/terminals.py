"""Shared by the situations: a running gateway, and the waiting times of terminals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bench.gateways import GatewaySubject
from bench.resources import Benchmark
from bench.tasks import Task


@contextmanager
def running(ground: Benchmark, name: str, url: str = "") -> Iterator[GatewaySubject]:
    """Run a gateway. At the end it is closed with its checks, or killed after an exception."""
    gateway = GatewaySubject(ground, name, url)
    try:
        yield gateway
        gateway.close()
    finally:
        gateway.abandon()


def waits_of_63(ground: Benchmark, gateway: GatewaySubject, seconds: float, terminals: int, a_second: float) -> list[float]:
    """Return the sorted waiting times of 63 in seconds, for `terminals` terminals that together send `a_second` questions."""
    order = gateway.order(Task("sip2_63", terminals, seconds, 0, a_second), ground.questions("sip2_63"))
    return sorted(ground.drive(order)[1])
