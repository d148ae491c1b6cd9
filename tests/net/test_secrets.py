"""Verifying secrets: slow once, fast when cached, and protected from guessing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from argon2 import extract_parameters
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed

from hkall_gateway.net.secrets import DECOY, Secrets, WrongPins, are_equal, hash_secret, is_hash

T = TypeVar("T")

STORED = hash_secret("1234")
OTHER = hash_secret("1234")


@dataclass(slots=True)
class Bench:
    """A thread pool that runs only on demand, and a clock that is set manually."""

    at: float = 1000.0
    held: bool = False
    ran: int = 0
    waiting: list[Callable[[], None]] = field(default_factory=list)

    def seconds(self) -> float:
        return self.at

    def in_thread(self, work: Callable[..., T], /, *args: object) -> Deferred[T]:
        self.ran += 1
        if not self.held:
            return succeed(work(*args))
        answer: Deferred[T] = Deferred()
        self.waiting.append(lambda: answer.callback(work(*args)))
        return answer

    def work(self) -> None:
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            each()


def secrets(bench: Bench, attempts: int = 3, **options: Any) -> Secrets:
    wrong = WrongPins(attempts, window_s=600, seconds=bench.seconds)
    return Secrets(bench.in_thread, bench.seconds, b"a key of this process", wrong, **options)


def asked(store: Secrets, secret: str, subject: str = "patron P1", stored: str = STORED) -> list[bool]:
    """Return the result of a comparison, once available."""
    answers: list[bool] = []
    Deferred.fromCoroutine(store.verify(subject, stored, secret)).addCallback(answers.append)
    return answers


def test_correct_secret_matches_and_wrong_secret_does_not() -> None:
    store = secrets(Bench())
    assert asked(store, "1234") == [True]
    assert asked(store, "1235") == [False]


def test_hash_is_salted_argon2id_with_19_mebibytes() -> None:
    assert STORED.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert STORED != OTHER


def test_correct_secret_is_hashed_once() -> None:
    bench = Bench()
    store = secrets(bench)
    asked(store, "1234")
    assert asked(store, "1234") == [True]
    assert bench.ran == 1


def test_cached_secret_expires() -> None:
    bench = Bench()
    store = secrets(bench, kept_s=60)
    asked(store, "1234")
    bench.at += 60
    assert asked(store, "1234") == [True]
    assert bench.ran == 2


def test_wrong_secret_is_hashed_each_time() -> None:
    bench = Bench()
    store = secrets(bench)
    assert asked(store, "9") + asked(store, "9") == [False, False]
    assert bench.ran == 2


def test_secret_is_hashed_again_after_its_stored_hash_changes() -> None:
    bench = Bench()
    store = secrets(bench)
    asked(store, "1234")
    assert asked(store, "1234", stored=hash_secret("4321")) == [False]


def test_cached_pin_of_one_patron_does_not_match_another() -> None:
    bench = Bench()
    store = secrets(bench)
    asked(store, "1234", "patron P1")
    asked(store, "1234", "patron P2")
    assert bench.ran == 2


def test_cache_of_secrets_is_bounded() -> None:
    bench = Bench()
    store = secrets(bench, room=1)
    asked(store, "1234", "patron P1")
    asked(store, "1234", "patron P2")
    asked(store, "1234", "patron P1")
    assert bench.ran == 3


def test_decoy_comparison_takes_as_long_as_a_real_one_and_never_matches() -> None:
    assert is_hash(DECOY)
    assert extract_parameters(DECOY) == extract_parameters(hash_secret("1234"))
    assert asked(secrets(Bench()), "1234", stored=DECOY) == [False]


def test_correct_pin_is_refused_after_too_many_wrong_pins() -> None:
    bench = Bench()
    store = secrets(bench)
    for guess in ("1", "2", "3"):
        asked(store, guess)
    assert asked(store, "1234") == [False]
    assert bench.ran == 3


def test_cached_pin_is_refused_during_the_lockout() -> None:
    store = secrets(Bench())
    for pin in ("1234", "1", "2", "3"):
        asked(store, pin)
    assert asked(store, "1234") == [False]


def test_pin_is_accepted_again_after_the_lockout() -> None:
    bench = Bench()
    store = secrets(bench)
    for guess in ("1", "2", "3"):
        asked(store, guess)
    bench.at += 600
    assert asked(store, "1234") == [True]


def test_correct_pin_resets_the_failure_count() -> None:
    store = secrets(Bench())
    for pin in ("1", "2", "1234", "3", "4"):
        asked(store, pin)
    assert asked(store, "1234") == [True]


def test_empty_pin_is_wrong_but_not_counted() -> None:
    bench = Bench()
    store = secrets(bench)
    assert [asked(store, "") for _ in range(5)] == [[False]] * 5
    assert asked(store, "1234") == [True]
    assert bench.ran == 1


def test_wrong_pins_of_one_patron_do_not_lock_out_another() -> None:
    store = secrets(Bench())
    for guess in ("1", "2", "3"):
        asked(store, guess, "patron P1")
    assert asked(store, "1234", "patron P2") == [True]


def test_concurrent_guesses_count_like_consecutive_ones() -> None:
    bench = Bench(held=True)
    store = secrets(bench)
    answers = [asked(store, guess) for guess in ("1", "2", "3", "4", "1234")]
    bench.work()
    assert answers == [[False]] * 5
    assert bench.ran == 3


def test_concurrent_logins_with_one_secret_share_one_hash() -> None:
    bench = Bench(held=True)
    store = secrets(bench)
    answers = [asked(store, "1234") for _ in range(64)]
    assert answers == [[]] * 64
    bench.work()
    assert answers == [[True]] * 64
    assert bench.ran == 1


def test_same_wrong_pin_given_concurrently_counts_once() -> None:
    bench = Bench(held=True)
    store = secrets(bench)
    answers = [asked(store, "9") for _ in range(64)]
    bench.work()
    assert answers == [[False]] * 64
    bench.held = False
    assert asked(store, "1234") == [True]


def test_waiting_callers_get_an_error_when_the_pool_fails() -> None:
    bench = Bench(held=True)
    failing: Deferred[bool] = Deferred()
    store = Secrets(lambda work, *args: failing, bench.seconds, b"key", WrongPins(3, 600, bench.seconds))  # type: ignore[arg-type]  # a pool that only fails
    first = Deferred.fromCoroutine(store.verify("patron P1", STORED, "1234"))
    second = asked(store, "1234")
    failing.errback(RuntimeError("the pool has stopped"))
    failed: list[object] = []
    first.addErrback(lambda failure: failed.append(failure.value))
    assert second == [False]
    assert isinstance(failed[0], RuntimeError)


@pytest.mark.parametrize("stored", ["", "1234", "$argon2id$", "$2b$12$abcdefghijklmnopqrstuv", "$argon2id$v=19$m=1é"])
def test_malformed_hash_matches_nothing(stored: str) -> None:
    assert not is_hash(stored)
    assert asked(secrets(Bench()), "1234", stored=stored) == [False]


def test_cache_requires_a_key() -> None:
    bench = Bench()
    with pytest.raises(ValueError, match="key"):
        Secrets(bench.in_thread, bench.seconds, b"", WrongPins(3, 600, bench.seconds))


def test_number_of_tracked_subjects_is_bounded() -> None:
    wrong = WrongPins(attempts=1, window_s=600, seconds=lambda: 0.0, room=2)
    for subject in ("P1", "P2", "P3"):
        wrong.count(subject)
    assert [wrong.shut(subject) for subject in ("P1", "P2", "P3")] == [False, True, True]


@given(st.text(), st.text())
def test_secrets_are_compared_by_their_text(a: str, b: str) -> None:
    assert are_equal(a, b) is (a == b)
    assert are_equal(a, a)


@given(st.text(max_size=200))
def test_is_hash_never_raises(text: str) -> None:
    assert is_hash(text) is False
    assert is_hash("$argon2id$" + text) in (True, False)


def test_lockout_is_reported_with_its_remaining_seconds_each_time_it_begins() -> None:
    bench, told = Bench(), list[tuple[str, float]]()
    wrong = WrongPins(3, 600, bench.seconds, lambda subject, seconds: told.append((subject, seconds)))
    for at in (0.0, 100.0, 200.0, 600.0):
        bench.at = at
        wrong.count("P1")
        wrong.count(f"P2 at {at}")
    assert told == [("P1", 400.0), ("P1", 100.0)]
    wrong.forget("P1")
    wrong.count("P1")
    assert len(told) == 2


def test_uncounted_comparison_never_causes_a_lockout() -> None:
    bench = Bench()
    store = secrets(bench, attempts=3)

    def compared(stored: str, secret: str) -> list[bool]:
        answers: list[bool] = []
        Deferred.fromCoroutine(store.compare(stored, secret)).addCallback(answers.append)
        return answers

    assert [compared(STORED, "0000") for _ in range(9)] == [[False]] * 9
    assert compared(STORED, "1234") == [True]
    assert (compared("", "1234"), compared(STORED, "")) == ([False], [False])
    assert bench.ran == 12  # one hash was computed for each comparison, even without a stored hash
    assert asked(store, "1234") == [True]
