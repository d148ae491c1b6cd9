"""While pages are made the reactor comes before them; afterwards everything is as it was."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import event, text

from hkall_gateway.app import machine
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.web.precedence import SWITCH_S, YOUNG, Precedence
from hkall_gateway.web.turns import Turn

linux = pytest.mark.skipif(sys.platform != "linux", reason="threads have a processor and a policy only on Linux")


@pytest.fixture
def reactor_thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as thread:
        yield thread


@pytest.fixture
def page_thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as thread:
        yield thread


@pytest.fixture
def grants(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What was asked of a system that grants real-time priority: to have it, or no longer."""
    asked = list[bool]()

    def real_time(*, on: bool) -> bool:
        asked.append(on)
        return True

    monkeypatch.setattr(machine, "real_time", real_time)
    return asked


def test_threads_change_and_garbage_is_collected_more_often_while_pages_are_made_and_no_longer() -> None:
    usual = sys.getswitchinterval(), gc.get_threshold()
    gc.set_threshold(5_000, 10, 10)
    pages = Precedence()
    try:
        pages.begin()
        pages.begin()
        pages.end()
        assert sys.getswitchinterval() == pytest.approx(SWITCH_S)
        assert gc.get_threshold() == YOUNG
        pages.end()
        assert (sys.getswitchinterval(), gc.get_threshold()) == (usual[0], (5_000, 10, 10))
    finally:
        gc.set_threshold(*usual[1])


def test_thresholds_that_were_set_while_a_page_was_made_stay() -> None:
    usual, pages = gc.get_threshold(), Precedence()
    try:
        pages.begin()
        gc.set_threshold(4_000, 9, 9)
        pages.end()
        assert gc.get_threshold() == (4_000, 9, 9)
    finally:
        gc.set_threshold(*usual)


@linux
def test_the_reactor_has_real_time_priority_only_while_pages_are_made(grants: list[bool]) -> None:
    pages = Precedence(real_time=True)
    assert pages.start()
    assert grants == [True, False]
    pages.begin()
    pages.begin()
    pages.end()
    assert grants == [True, False, True]
    pages.end()
    assert grants == [True, False, True, False]


@linux
def test_a_process_that_answers_no_terminals_asks_for_no_priority(grants: list[bool]) -> None:
    pages, everywhere = Precedence(), os.sched_getaffinity(0)
    assert not pages.start()
    pages.begin()
    pages.share_processor()
    pages.end()
    assert grants == []
    assert os.sched_getaffinity(0) == everywhere


@linux
def test_a_system_that_grants_no_priority_is_asked_once_and_pages_are_drawn_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[int]()

    def denied(*_: object) -> None:
        asked.append(1)
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", denied)
    pages, everywhere = Precedence(real_time=True), os.sched_getaffinity(0)
    assert not pages.start()
    begun = len(asked)
    pages.begin()
    pages.share_processor()
    pages.end()
    assert len(asked) == begun
    assert os.sched_getaffinity(0) == everywhere


@linux
def test_a_processor_that_the_system_has_taken_away_stops_no_page() -> None:
    everywhere = os.sched_getaffinity(0)
    machine.run_on({max(everywhere) + 1_000})
    assert os.sched_getaffinity(0) == everywhere


@linux
@pytest.mark.skipif(sys.platform == "linux" and len(os.sched_getaffinity(0)) < 2, reason="needs two processors")
def test_a_page_is_drawn_on_the_reactor_s_processor_and_waits_and_searches_anywhere(
    grants: list[bool], reactor_thread: ThreadPoolExecutor, page_thread: ThreadPoolExecutor, tmp_path: Path
) -> None:
    pages = Precedence(real_time=True)
    turn, engine, seen = Turn(lambda: 0.0, pages), open_engine(f"sqlite:///{tmp_path / 'hkall.db'}"), dict[str, set[int]]()
    everywhere = os.sched_getaffinity(0)
    last = max(everywhere)
    own = turn.engine(engine)
    event.listen(own, "before_cursor_execute", lambda *_: seen.update(statement=os.sched_getaffinity(0)))

    def begin() -> None:
        pages.start()
        os.sched_setaffinity(0, {last})
        pages.begin()

    def draw() -> None:
        with turn:
            seen["drawing"] = os.sched_getaffinity(0)
            with turn.waiting():
                seen["waiting"] = os.sched_getaffinity(0)
            seen["again"] = os.sched_getaffinity(0)
            with own.connect() as connection:
                connection.execute(text("SELECT 1"))
                seen["after"] = os.sched_getaffinity(0)

    reactor_thread.submit(begin).result(5)
    page_thread.submit(draw).result(5)
    reactor_thread.submit(pages.end).result(5)
    engine.dispose()
    anywhere, there = {"waiting": everywhere, "statement": everywhere}, {"drawing": {last}, "again": {last}, "after": {last}}
    assert seen == anywhere | there


@linux
@pytest.mark.parametrize("capable", [True, False])
def test_the_kernel_grants_the_priority_to_one_thread_if_the_process_may_have_it(capable: bool) -> None:
    setpriv = shutil.which("setpriv")
    if os.geteuid() or not setpriv:
        pytest.skip("only root has the capability, and setpriv takes it away")
    asks = (
        "from hkall_gateway import machine; import os, threading; said = machine.real_time(on=True); others = [];"
        "one = threading.Thread(target=lambda: others.append(os.sched_getscheduler(0))); one.start(); one.join();"
        "mine = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK; back = machine.real_time(on=False);"
        "print(said, mine == os.SCHED_RR, others == [os.SCHED_OTHER], back, os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK)"
    )
    without = () if capable else (setpriv, "--bounding-set=-sys_nice", "prlimit", "--rtprio=0")
    done = subprocess.run([*without, sys.executable, "-c", asks], capture_output=True, text=True, timeout=30, check=True)
    if capable and done.stdout.startswith("False"):
        pytest.skip("this root lacks CAP_SYS_NICE, as in a container")
    assert done.stdout.split() == [str(capable), str(capable), "True", "True", str(os.SCHED_OTHER)]
