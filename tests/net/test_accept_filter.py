"""Connections refused at accept: all counted, some logged."""

from __future__ import annotations

from typing import Any

from structlog.testing import capture_logs
from twisted.internet.address import IPv4Address
from twisted.internet.protocol import Factory, Protocol

from hkall_gateway.net.limits.connection_limit import LINES_A_MINUTE, AdmissionFactory
from hkall_gateway.observability.metrics import Metrics
from tests.bounds import refusals
from tests.metrics import value

HOME, AWAY = IPv4Address("TCP", "10.0.0.7", 1), IPv4Address("TCP", "192.0.2.1", 1)


def door(metrics: Metrics) -> Any:
    inner: Any = Factory.forProtocol(Protocol)
    return AdmissionFactory(inner, lambda address: "" if address == HOME.host else "address", refusals("ncip", metrics))


def test_refused_connection_creates_no_protocol() -> None:
    metrics = Metrics()
    with capture_logs() as logs:
        assert door(metrics).buildProtocol(AWAY) is None
    assert value(metrics, "connections_refused_total", "ncip", "address") == 1
    assert [(line["event"], line["peer"], line["why"]) for line in logs] == [("ncip.not_admitted", AWAY.host, "address")]


def test_admitted_connection_gets_the_inner_protocol() -> None:
    assert isinstance(door(Metrics()).buildProtocol(HOME), Protocol)


def test_log_lines_about_refused_connections_are_limited() -> None:
    metrics = Metrics()
    made = door(metrics)
    with capture_logs() as logs:
        for _ in range(500):
            made.buildProtocol(AWAY)
    assert value(metrics, "connections_refused_total", "ncip", "address") == 500
    assert len(logs) == LINES_A_MINUTE
