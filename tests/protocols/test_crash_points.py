"""A book each way over a protocol of another distribution, with a crash at every commit and every document."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from demo import demo_setup
from hkall_gateway.rules.stored_words import OutboxKind
from tests.company import CARD, COMMAND, COPY, Gateway, stamp, until
from tests.ports import free_ports
from tests.protocols import crash_points
from tests.protocols.conftest import NAME, OUR_BIB, OURS, Peer, Scene, check_in, check_out, speak_slips


class DyingGateway(Gateway):
    """A gateway that is started again whenever it has died."""

    def start(self, *_options: str) -> None:
        while not self._survives_start():
            pass

    def _survives_start(self) -> bool:
        self._starts += 1
        log = self._folder / f"log{self._starts}.jsonl"
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [COMMAND, "serve", "--config", self.path], stdout=file, stderr=file, env=self.environ
            )
        until(
            lambda: self.has_died or "daemon.started" in log.read_text(encoding="utf-8"), "the start or the end of the daemon"
        )
        return not self.has_died

    def start_for_good(self) -> None:
        """Start again a last time, without further crashes."""
        del self.environ["HKALL_CRASHES"]
        if not self.has_died:
            self.kill()
        self.start()

    @property
    def has_died(self) -> bool:
        assert self._process is not None
        return self._process.poll() is not None

    def revive(self) -> None:
        if self.has_died:
            self.start()


@dataclass
class Story:
    """The steps of a book, each repeated until it is answered and everything that it has caused is sent."""

    scene: Scene
    gateway: DyingGateway
    folder: Path
    steps: list[str] = field(default_factory=list)

    def step(self, name: str, work: Callable[[], bool], heard: str = "") -> None:
        """Repeat the work of a peer, a patron or a desk, which gets no answer from a gateway that dies."""
        self.steps.append(name)
        (self.folder / crash_points.STEP).write_text(name, encoding="utf-8")
        until(lambda: self._is_answered(work), name)
        until(lambda: self._is_quiet(heard), f"the end of {name}")

    def _is_answered(self, work: Callable[[], bool]) -> bool:
        self.gateway.revive()
        try:
            return work()
        except Exception:  # noqa: BLE001  # the connection is lost in many ways
            return False

    def _is_quiet(self, heard: str) -> bool:
        self.gateway.revive()
        waiting = [row for row in self.gateway.plant(lambda unit: unit.outbox.rows()) if row.kind is OutboxKind.NCIP]
        return not waiting and (not heard or heard in self.scene.peer.says())

    def points(self) -> list[str]:
        """The points at which the gateway has died."""
        return (self.folder / crash_points.SEEN).read_text(encoding="utf-8").splitlines()

    def assert_died_around(self, *steps: str) -> None:
        """Assert that the gateway died once before and once after each of these, and at no point without a restart."""
        points = self.points()
        for step in steps:
            name, _, what = step.partition(": ")
            assert [points.count(f"{name}: {moment} {what}") for moment in ("before", "after")] == [1, 1], step
        assert len(points) == len({*points})

    def requests_asked(self) -> set[tuple[str, ...]]:
        """The slips by which the partner was asked for a book, each with its number, whether they came once or again."""
        asked = (slip for slip in self.scene.peer.heard if slip["say"] == "ask_lender")
        return {(slip["say"], *slip["request"]) for slip in asked}

    def events(self, item: str) -> Counter[str]:
        """How often each event stands in the journal of the copy's request."""
        lines = json.loads(self.gateway.command("requests", "trace", item, "--json"))
        return Counter(line["event"] for line in lines)


@pytest.fixture
def story(reactor: Any, tmp_path: Path, installed: Path, peer: Peer) -> Iterator[Story]:
    source = Path(crash_points.__file__).read_text(encoding="utf-8")
    (installed / "sitecustomize.py").write_text(source, encoding="utf-8")
    folder = tmp_path / "crashes"
    folder.mkdir()
    (folder / crash_points.STEP).write_text("start", encoding="utf-8")
    (folder / crash_points.SEEN).touch()
    gateway = DyingGateway(reactor, tmp_path, demo_setup.decided_policy())
    gateway.environ["HKALL_CRASHES"] = str(folder)
    (port,) = free_ports(1)
    speak_slips(gateway.path, f"http://127.0.0.1:{peer.port}/", port)
    gateway.start()
    yield Story(Scene(gateway, peer, port), gateway, folder)
    gateway.end()


@pytest.mark.long
def test_borrowed_book_arrives_home_once_whatever_point_the_gateway_dies_at(story: Story) -> None:
    scene, gateway, peer = story.scene, story.gateway, story.scene.peer
    today = date(int(stamp()[:4]), int(stamp()[4:6]), int(stamp()[6:8]))
    due = (today + timedelta(days=60)).isoformat()
    story.step("request", lambda: not gateway.request("w-1").has("Problem"), heard="ask_lender")
    wire = peer.heard[0]["request"]
    story.step("promise", lambda: scene.post("promised", wire) == 200)
    story.step("ship", lambda: scene.post("tell_borrower_shipped", wire, item=["CUHK", COPY], due=due) == 200)
    story.step("arrive", lambda: scene.scan(check_in(COPY)).startswith("101"), heard="tell_lender_received")
    story.step("lend", lambda: scene.scan(check_out(CARD, COPY)).startswith("121"))
    story.step("return", lambda: scene.scan(check_in(COPY)).startswith("101"), heard="tell_lender_on_its_way")
    story.step("home", lambda: scene.post("tell_borrower_home", wire, item=["CUHK", COPY]) == 200)

    assert story.events(COPY) == Counter(("OPEN", "ASK", "SHIP", "ARRIVE", "CHECK_OUT", "RETURN", "DISPATCH", "HOME"))
    story.assert_died_around(
        "request: RequestTitle",
        "request: POST ask_lender",
        "request: Delivered ask_lender",
        "promise: RequestAccepted",
        "ship: ItemShipped",
        "arrive: CheckIn",
        "arrive: POST tell_lender_received",
        "lend: CheckOut",
        "return: CheckIn",
        "return: POST tell_lender_on_its_way",
        "home: ItemReceived",
    )
    assert story.requests_asked() == {("ask_lender", *wire)}
    gateway.start_for_good()
    assert gateway.position() == "CLOSED"
    assert scene.post("tell_borrower_home", wire, item=["CUHK", COPY]) == 200
    metrics = gateway.metrics()
    labels = f'partner="CUHK",protocol="{NAME}",service="tell_borrower_home"'
    assert f'hkall_partner_latency_seconds_count{{dir="in",{labels}}} 1.0' in metrics
    assert story.events(COPY)["HOME"] == 1


@pytest.mark.long
def test_lent_book_arrives_home_once_whatever_point_the_gateway_dies_at(story: Story) -> None:
    scene, gateway, wire = story.scene, story.gateway, ["CUHK", "c-1"]
    story.step("ask", lambda: scene.post("ask_lender", wire, title=OUR_BIB) == 200)
    story.step("ship", lambda: scene.scan(check_out("CUHK-INST", OURS)).startswith("121"), heard="tell_borrower_shipped")
    story.step("receive", lambda: scene.post("tell_lender_received", wire, item=["HKU", OURS]) == 200)
    story.step("return", lambda: scene.post("tell_lender_on_its_way", wire, item=["HKU", OURS]) == 200)
    story.step("home", lambda: scene.scan(check_in(OURS)).startswith("101"), heard="tell_borrower_home")

    assert story.events(OURS) == Counter(("OPEN", "LEND", "BORROWER_HAS_IT", "COMING_HOME", "CHECK_IN_HOME"))
    story.assert_died_around(
        "ask: BorrowFromUs",
        "ship: CheckOut",
        "ship: POST tell_borrower_shipped",
        "ship: Delivered tell_borrower_shipped",
        "receive: ItemReceived",
        "return: ItemShipped",
        "home: CheckIn",
        "home: POST tell_borrower_home",
    )
    gateway.start_for_good()
    assert gateway.position(OURS) == "CLOSED"
