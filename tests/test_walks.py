"""How much of the package a message passes, from the socket to the reply and the log lines: the two walks of ARCHITECTURE.md.

The limits only fall: a change that needs more files, functions or statements for a checkout says so here. They leave room
for a heartbeat and a poll of the courier, which may fall into a walk.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from demo import demo_setup
from tests.company import CARD, Gateway, stamp, until

PROFILED = Path(__file__).parent / "profiled"
AFTERWARDS_S = 0.3
"""Seconds in which log lines and metrics follow a reply."""
LONGEST_POLL_S = 1.5
"""Seconds within which the courier polls the outbox."""


@dataclass(frozen=True, slots=True)
class Walk:
    """The recorded calls: functions as `module.py:name`, and the number of SQL statements."""

    functions: tuple[str, ...]
    statements: int

    @property
    def files(self) -> list[str]:
        return list(dict.fromkeys(name.partition(":")[0] for name in self.functions))

    @property
    def size(self) -> tuple[int, int, int]:
        """Return the numbers of files, functions and statements."""
        return len(self.files), len(self.functions), self.statements

    def within(self, files: int, functions: int, statements: int) -> bool:
        return all(found <= limit for found, limit in zip(self.size, (files, functions, statements), strict=True))


def drained(gateway: Gateway) -> bool:
    """Return whether all messages have been sent."""
    return gateway.command("outbox", "list", "--json").strip() == "[]"


class Recorder:
    """A gateway whose calls are recorded."""

    def __init__(self, gateway: Gateway, target: Path) -> None:
        self.gateway, self._target = gateway, target

    def drain(self) -> None:
        """Wait until all messages have been sent."""
        until(lambda: drained(self.gateway), "nothing is on its way")

    def walk(self, work: Callable[[], Any], afterwards: Callable[[], Any] = lambda: True) -> Walk:
        """Record the gateway's calls during `work`, and until `afterwards` returns a true value."""
        self._target.unlink(missing_ok=True)
        os.kill(self.gateway.pid, signal.SIGRTMIN + 1)
        work()
        until(afterwards, "what follows the reply")
        time.sleep(AFTERWARDS_S)
        os.kill(self.gateway.pid, signal.SIGRTMIN + 2)
        until(self._target.exists, "the recording")
        found = json.loads(self._target.read_text())
        return Walk(tuple(found["functions"]), found["statements"])

    def pause_courier(self) -> None:
        """Leave further messages in the outbox."""
        os.kill(self.gateway.pid, signal.SIGRTMIN + 3)
        time.sleep(LONGEST_POLL_S)


@pytest.fixture
def recorder(reactor: Any, tmp_path: Path) -> Iterator[Recorder]:
    gateway, target = Gateway(reactor, tmp_path), tmp_path / "walk.json"
    gateway.environ |= {"PYTHONPATH": str(PROFILED), "HKALL_PROFILE": str(target)}
    gateway.do(gateway.party.start)
    gateway.start()
    yield Recorder(gateway, target)
    gateway.end()


def report(name: str, walk: Walk) -> None:
    """With HKALL_WALKS, append the size of a walk and its functions to the file that it names."""
    if path := os.environ.get("HKALL_WALKS"):
        size = f"{name}: {walk.size[0]} files, {walk.size[1]} functions, {walk.size[2]} statements"
        with Path(path).open("a") as file:
            file.write("\n".join((size, *walk.functions, "")))


class Library:
    """Actions of our patrons, our counter and the lenders, one title at a time."""

    def __init__(self, recorder: Recorder) -> None:
        self._gateway = recorder.gateway
        self.counter = recorder.gateway.counter()

    def request(self, title: str) -> None:
        """Send a RequestItem from the discovery system."""
        words = (f"user={CARD}", f"bib={title}", f"request=d-{title}", f"pickup={demo_setup.LOCATION}")
        reply = self._gateway.do(lambda: self._gateway.party.discovery.say("RequestItem", *words))
        assert not reply.has("Problem")

    def asked(self, count: int) -> Any:
        """Wait for the `count`-th RequestItem at the lenders; return the lender and the document."""
        return until(lambda: self._requests()[count - 1 : count], "the lender is asked")[0]

    def _requests(self) -> list[tuple[Any, Any]]:
        partners = self._gateway.party.partners.values()
        return [(one, said) for one in partners for said in one.seen if said.service == "RequestItem"]

    def take_in(self, title: str, count: int) -> str:
        """Request a title, let the copy arrive on the hold shelf, and return the copy's barcode."""
        self.request(title)
        lender, said = self.asked(count)
        barcode = said.text("ItemId/ItemIdentifierValue")
        number = said.text("RequestId/RequestIdentifierValue")
        assert not self._gateway.do(lambda: lender.ship(number, barcode)).has("Problem")
        line = f"09N{stamp()}{stamp()}AP{demo_setup.LOCATION}|AOHKU|AB{barcode}|AC|"
        assert self._gateway.ask(self.counter, line).startswith("101")
        until(lambda: self.told("ItemReceived") == count, "the lender hears of the arrival")
        return str(barcode)

    def check_out(self, barcode: str) -> None:
        line = f"11NN{stamp()}{' ' * 18}AOHKU|AA{CARD}|AB{barcode}|AC|"
        assert self._gateway.ask(self.counter, line).startswith("121")

    def told(self, service: str) -> int:
        """Count the documents of this service that the lenders have received."""
        return sum(said.service == service for one in self._gateway.party.partners.values() for said in one.seen)

    def has_told(self, service: str, count: int) -> bool:
        """Check whether the lenders have received `count` documents of this service."""
        return self.told(service) == count


TITLES = ("b0001", "b0002", "b0005", "b0006")


def smallest(walks: Iterable[Walk]) -> Walk:
    """Return the smallest walk, since a heartbeat or a poll may fall into the others."""
    return min(walks, key=lambda walk: walk.size)


@pytest.mark.long
def test_checkout_without_its_delivery_passes_few_files_and_functions(recorder: Recorder) -> None:
    library = Library(recorder)
    first, *others = (library.take_in(title, number) for number, title in enumerate(TITLES, 1))
    library.check_out(first)
    until(lambda: library.told("ItemCheckedOut") == 1, "the lender hears of the loan")
    recorder.drain()
    recorder.pause_courier()
    walk = smallest([recorder.walk(partial(library.check_out, barcode)) for barcode in others])
    report("checkout", walk)
    assert not any(name.startswith("delivery/courier.py:Courier.claim") for name in walk.functions)
    assert walk.within(files=44, functions=200, statements=11)


@pytest.mark.long
def test_checkout_with_its_delivery_passes_few_files_and_functions(recorder: Recorder) -> None:
    library = Library(recorder)
    first, *others = (library.take_in(title, number) for number, title in enumerate(TITLES, 1))
    library.check_out(first)
    until(lambda: library.told("ItemCheckedOut") == 1, "the lender hears of the loan")
    walks = []
    for count, barcode in enumerate(others, 2):
        recorder.drain()
        delivered = partial(library.has_told, "ItemCheckedOut", count)
        walks.append(recorder.walk(partial(library.check_out, barcode), delivered))
    walk = smallest(walks)
    report("checkout, with the lender's document", walk)
    assert walk.within(files=66, functions=358, statements=44)


@pytest.mark.long
def test_request_without_its_delivery_passes_few_files_and_functions(recorder: Recorder) -> None:
    library = Library(recorder)
    library.request("b0001")
    library.asked(1)
    recorder.drain()
    recorder.pause_courier()
    walk = smallest([recorder.walk(partial(library.request, title)) for title in TITLES[1:]])
    report("RequestItem", walk)
    assert not any(name.startswith("delivery/courier.py:Courier.claim") for name in walk.functions)
    assert walk.within(files=68, functions=349, statements=17)


@pytest.mark.long
def test_request_with_its_delivery_passes_few_files_and_functions(recorder: Recorder) -> None:
    library = Library(recorder)
    library.request("b0001")
    library.asked(1)
    walks = []
    for count, title in enumerate(TITLES[1:], 2):
        recorder.drain()
        walks.append(recorder.walk(partial(library.request, title), partial(library.asked, count)))
    walk = smallest(walks)
    report("RequestItem, with the lender's document", walk)
    assert walk.within(files=78, functions=460, statements=58)
