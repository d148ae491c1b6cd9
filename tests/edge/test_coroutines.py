"""A coroutine is taken from one wait to the next, whatever it waits for."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable

import pytest
from twisted.internet.defer import Deferred, succeed

from hkall_gateway.edge.coroutines import start_coroutine
from hkall_gateway.edge.log_context import log_context, logged_context
from hkall_gateway.store.engine.unit_deferred import UnitDeferred

Settle = Callable[[object, BaseException | None], None]


def _deferred() -> tuple[Deferred[object], Settle]:
    waits: Deferred[object] = Deferred()

    def settle(result: object, error: BaseException | None) -> None:
        waits.callback(result) if error is None else waits.errback(error)

    return waits, settle


def _waiter() -> tuple[UnitDeferred[object], Settle]:
    waits: UnitDeferred[object] = UnitDeferred()
    return waits, waits.settle


BOTH = pytest.mark.parametrize("make", [_deferred, _waiter])
Make = Callable[[], tuple[Deferred[object], Settle]]


async def _heard(waits: Deferred[object], said: list[object]) -> None:
    try:
        said.append(await waits)
    except KeyError as error:
        said.append(error)
    said.append("done")


@BOTH
def test_it_goes_on_with_what_it_waited_for(make: Make) -> None:
    said: list[object] = []
    waits, settle = make()
    start_coroutine(_heard(waits, said))
    assert said == []
    settle("answer", None)
    assert said == ["answer", "done"]


@BOTH
def test_an_error_is_raised_where_it_waits(make: Make) -> None:
    said: list[object] = []
    waits, settle = make()
    start_coroutine(_heard(waits, said))
    settle(None, error := KeyError("gone"))
    assert said == [error, "done"]


@BOTH
def test_what_is_there_already_is_not_waited_for(make: Make) -> None:
    said: list[object] = []
    waits, settle = make()
    settle("answer", None)
    start_coroutine(_heard(waits, said))
    assert said == ["answer", "done"]


@BOTH
def test_each_has_a_context_of_its_own(make: Make) -> None:
    said: list[str] = []

    async def speak(terminal: str, waits: Deferred[object]) -> None:
        with log_context(terminal=terminal):
            await waits
            said.append(logged_context()["terminal"])

    (one, settle_one), (two, settle_two) = make(), make()
    start_coroutine(speak("counter-1", one))
    start_coroutine(speak("counter-2", two))
    settle_two(None, None)
    settle_one(None, None)
    assert said == ["counter-2", "counter-1"]
    assert logged_context() == {}


@BOTH
def test_one_that_is_thrown_away_goes_without_a_word(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    complaints: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)

    async def speak(waits: Deferred[object]) -> None:
        with log_context(terminal="counter-1"):
            await waits

    start_coroutine(speak(make()[0]))
    gc.collect()
    assert (complaints, logged_context()) == ([], {})


def test_what_it_raises_goes_to_whoever_brought_the_answer() -> None:
    async def fail(waits: Deferred[object]) -> None:
        await waits
        raise KeyError("a bug")

    waits, settle = _waiter()
    start_coroutine(fail(waits))
    with pytest.raises(KeyError, match="a bug"):
        settle(None, None)


def test_who_gave_up_is_told_nothing_more() -> None:
    said: list[object] = []
    waits, settle = _waiter()
    waits.addErrback(said.append)
    waits.cancel()
    settle("too late", None)
    assert len(said) == 1
    start_coroutine(_heard(succeed("others"), said))
    assert said[1:] == ["others", "done"]
