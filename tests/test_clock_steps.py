"""The system clock is stepped under a running gateway: it answers and delivers as before, and logs the step.

The clock is libfaketime's, which reads its offset from a file; the monotonic clock is unaffected.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from demo import demo_setup
from tests.company import COPY, Gateway, stamp, until

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
pytestmark = [pytest.mark.long, pytest.mark.skipif(not LIBRARIES, reason="needs libfaketime")]
ANSWER_S = 5.0
"""Time limit of an answer. If timers followed the system clock, the gateway would wait as long as the clock was set back."""


class Clock:
    """The offset of the gateway's time of day."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "faketime"
        self.set("+0s")
        self.under = (
            "env",
            f"LD_PRELOAD={LIBRARIES[-1]}",
            f"FAKETIME_TIMESTAMP_FILE={self.path}",
            "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
            "DONT_FAKE_MONOTONIC=1",
        )

    def set(self, offset: str) -> None:
        """Set the offset. The file is replaced by a rename, so that no reader sees a partial file."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(f"{offset}\n")
        os.replace(fresh, self.path)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


@pytest.fixture
def gateway(reactor: Any, tmp_path: Path, clock: Clock) -> Iterator[Gateway]:
    made = Gateway(reactor, tmp_path / "site", under=clock.under)
    made.do(made.party.start)
    made.start()
    yield made
    made.end()


def _events(gateway: Gateway, name: str) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in gateway.log().splitlines() if f'"{name}"' in line)
    return [line for line in lines if line["event"] == name]


@pytest.mark.parametrize(("offset", "step_s"), [("-1h", -3600), ("+3h", 10_800)])
def test_gateway_answers_and_delivers_after_a_clock_step(gateway: Gateway, clock: Clock, offset: str, step_s: int) -> None:
    cuhk = gateway.party.partners["CUHK"]
    assert not gateway.request("before").has("Problem")
    (asked,) = until(lambda: cuhk.seen, "the lender is asked")
    counter = gateway.counter()
    clock.set(offset)
    began = time.monotonic()
    assert gateway.ask(counter, "9900302.00")[:2] == "98"
    with urlopen(f"http://127.0.0.1:{gateway.ports.ops}/readyz", timeout=ANSWER_S) as page:
        assert page.status == 200
    number = asked.text("RequestId/RequestIdentifierValue")
    assert not gateway.do(lambda: cuhk.ship(number, COPY)).has("Problem")
    assert gateway.ask(counter, f"09N{stamp()}{stamp()}AP{demo_setup.LOCATION}|AOHKU|AB{COPY}|AC|")[:3] == "101"
    until(lambda: gateway.party.mailbox.messages, "the letter that the book waits")
    until(lambda: len(cuhk.seen) > 1, "the lender is told")
    assert time.monotonic() - began < ANSWER_S * 2
    (line,) = until(lambda: _events(gateway, "clock.stepped"), "the log says so")
    assert abs(line["step_s"] - step_s) < 5
    assert gateway.stop() == 0
    assert len(gateway.party.mailbox.messages) == 1
