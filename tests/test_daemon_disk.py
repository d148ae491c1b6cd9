"""The database disk fills up while the gateway runs, and has space again: no message is lost."""

from __future__ import annotations

import json
import sqlite3
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo import demo_setup
from hkall_gateway.ncip.tables.problems import TRY_LATER
from hkall_gateway.simulator.scenario.scripted_partner import OK, PartnerBehaviour
from tests.company import COPY, Gateway, stamp, until
from tests.small_disk import SmallDisk, mounted

pytestmark = pytest.mark.long

RESERVE_MB = 3


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with mounted(tmp_path, 16) as made:
        yield made


@pytest.fixture
def gateway(reactor: Any, tmp_path: Path, disk: SmallDisk) -> Iterator[Gateway]:
    made = Gateway(reactor, tmp_path, database=f"sqlite:///{disk.folder}/hkall.db")
    made.path.write_text(made.path.read_text().replace("[database]", f"[database]\nreserve_mb = {RESERVE_MB}"))
    yield made
    made.end()


class FillsTheDisk(deque[PartnerBehaviour]):
    """A partner that accepts a message and fills the gateway's disk before its reply."""

    def __init__(self, disk: SmallDisk) -> None:
        super().__init__([OK] * 99)
        self._disk = disk

    def popleft(self) -> PartnerBehaviour:
        self._disk.fill_beside(self._disk.folder / "hkall.db")
        return super().popleft()


def ready(gateway: Gateway) -> tuple[int, str]:
    """Return the status and body of /readyz."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{gateway.ports.ops}/readyz", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.read().decode()


def undelivered(gateway: Gateway) -> list[Any]:
    return list(json.loads(gateway.command("outbox", "list", "--json")))


def test_deliveries_resume_when_a_full_disk_has_space_again(gateway: Gateway, disk: SmallDisk) -> None:
    gateway.do(gateway.party.start)
    gateway.start()
    for library in gateway.party.partners.values():
        library.script = FillsTheDisk(disk)
    assert not gateway.request("d-1").has("Problem")
    until(lambda: disk.free < 4096, "the partner has the message")
    until(lambda: ready(gateway)[0] == 503, "the gateway is not ready")
    counter = gateway.counter()
    checked_in = gateway.ask(counter, f"09N{stamp()}{stamp()}AP{demo_setup.LOCATION}|AOHKU|AB{COPY}|AC|")
    assert "try again" in checked_in.lower()

    for library in gateway.party.partners.values():
        library.script = deque()
    disk.empty()
    until(lambda: undelivered(gateway) == [], "the answer is written after all")
    words = ("user=P0002", "bib=b0001", "request=d-2", f"pickup={demo_setup.LOCATION}")
    assert not gateway.do(lambda: gateway.party.discovery.say("RequestItem", *words)).has("Problem")
    until(lambda: undelivered(gateway) == [], "the next message is delivered")
    until(lambda: ready(gateway) == (200, "ready\n"), "the gateway is ready")
    log = [json.loads(line) for line in gateway.log().splitlines()]
    assert [line["event"] for line in log if "exception" in line or "trace" in line] == []
    assert len([line for line in log if line["event"] == "database.refused"]) in {1, 2}
    assert gateway.stop() == 0


def test_requests_are_refused_before_the_disk_is_full_but_returns_are_accepted(gateway: Gateway, disk: SmallDisk) -> None:
    gateway.do(gateway.party.start)
    gateway.start()
    assert not gateway.request("d-1").has("Problem")
    until(lambda: gateway.party.partners["CUHK"].seen, "the lender is asked")
    wire_id = gateway.party.partners["CUHK"].seen[0].text("RequestId/RequestIdentifierValue")
    gateway.do(lambda: gateway.party.partners["CUHK"].ship(wire_id, COPY))
    disk.fill(but_bytes=(RESERVE_MB - 1) * 1_000_000)
    words = ("user=P0002", "bib=b0001", "request=d-2", f"pickup={demo_setup.LOCATION}")
    refused = gateway.do(lambda: gateway.party.discovery.say("RequestItem", *words))
    assert refused.text("Problem/ProblemType") == TRY_LATER
    checked_in = gateway.ask(gateway.counter(), f"09N{stamp()}{stamp()}AP{demo_setup.LOCATION}|AOHKU|AB{COPY}|AC|")
    assert checked_in.startswith("101")
    assert gateway.position() == "RECEIVED"
    disk.empty()
    assert not gateway.do(lambda: gateway.party.discovery.say("RequestItem", *words)).has("Problem")


@pytest.mark.parametrize("in_use", [False, True], ids=["closed", "in use"])
def test_start_on_a_full_disk_is_refused_with_a_clear_message(gateway: Gateway, disk: SmallDisk, in_use: bool) -> None:
    other = sqlite3.connect(disk.folder / "hkall.db")
    if in_use:  # the -wal and -shm files already exist, so the start fails only at the first write
        other.execute("SELECT count(*) FROM patrons").fetchall()
    disk.fill()
    said = gateway.command("serve")
    other.close()
    assert "Traceback" not in said
    assert all("disk" in line or "SQLITE_FULL" in line for line in said.splitlines())
    assert 1 <= len(said.splitlines()) <= 3
