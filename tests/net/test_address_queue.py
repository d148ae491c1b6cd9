"""Unauthenticated work is queued per address, so that a busy address delays only itself."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from hkall_gateway.net.limits.connection_limit import AddressQueue


class Bench:
    """Work that finishes when the test releases it."""

    def __init__(self, most: int = 10) -> None:
        self.queue = AddressQueue(most)
        self.under_way: list[tuple[str, Deferred[str]]] = []
        self.answers: list[tuple[str, str | None]] = []

    def ask(self, address: str) -> Deferred[None]:
        async def work() -> str:
            done: Deferred[str] = Deferred()
            self.under_way.append((address, done))
            return await done

        async def asked() -> None:
            self.answers.append((address, await self.queue.run(address, work)))

        return Deferred.fromCoroutine(asked())

    def finish(self, answer: str = "done") -> None:
        self.under_way.pop(0)[1].callback(answer)


def test_address_runs_one_task_at_a_time_without_delaying_other_addresses() -> None:
    bench = Bench()
    for address in ("a", "a", "a", "b"):
        bench.ask(address)
    assert [address for address, _ in bench.under_way] == ["a", "b"]
    bench.finish()
    assert [address for address, _ in bench.under_way] == ["b", "a"]


def test_ipv6_network_runs_one_task_at_a_time() -> None:
    bench = Bench()
    for address in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"):
        bench.ask(address)
    assert [address for address, _ in bench.under_way] == ["2001:db8::1", "2001:db8:0:1::1"]


def test_tasks_run_in_order_of_arrival() -> None:
    bench = Bench()
    for _ in range(3):
        bench.ask("a")
    for number in range(3):
        bench.finish(str(number))
    assert bench.answers == [("a", "0"), ("a", "1"), ("a", "2")]


def test_excess_tasks_of_an_address_are_dropped() -> None:
    bench = Bench(most=2)
    for _ in range(3):
        bench.ask("a")
    assert bench.answers == [("a", None)]


def test_failed_task_lets_the_next_task_run_and_leaves_no_state() -> None:
    bench = Bench()
    failed, _ = bench.ask("a"), bench.ask("a")
    failed.addErrback(lambda failure: bench.answers.append(("failed", failure.getErrorMessage())))
    bench.under_way.pop(0)[1].errback(ValueError("broken"))
    bench.finish()
    assert bench.answers == [("failed", "broken"), ("a", "done")]
    assert not bench.queue._locks
    assert not bench.queue._wanted
