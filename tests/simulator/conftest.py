"""Shared by the consortium tests: three libraries on one day without faults."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hkall_gateway.simulator.consortium.simulate import PreparedSimulation, Setting, prepare_simulation

CALM = Setting(libraries=3, days=1, loss=0, crash=False)


@pytest.fixture
def story() -> Iterator[PreparedSimulation]:
    """Three libraries with reliable connections whose gateways do not crash; nothing has happened yet."""
    made = prepare_simulation(CALM)
    yield made
    made.consortium.close()
