"""Strangers take turns by address: whoever asks for much waits behind itself."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from hkall_gateway.net.limits.connection_limit import AddressQueue


class Bench:
    """Work that is done when the test says so."""

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


def test_one_address_has_one_piece_of_work_under_way_and_another_does_not_wait_for_it() -> None:
    bench = Bench()
    for address in ("a", "a", "a", "b"):
        bench.ask(address)
    assert [address for address, _ in bench.under_way] == ["a", "b"]
    bench.finish()
    assert [address for address, _ in bench.under_way] == ["b", "a"]


def test_one_ipv6_network_has_one_piece_of_work_under_way() -> None:
    bench = Bench()
    for address in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"):
        bench.ask(address)
    assert [address for address, _ in bench.under_way] == ["2001:db8::1", "2001:db8:0:1::1"]


def test_every_piece_is_done_in_the_order_in_which_it_came() -> None:
    bench = Bench()
    for _ in range(3):
        bench.ask("a")
    for number in range(3):
        bench.finish(str(number))
    assert bench.answers == [("a", "0"), ("a", "1"), ("a", "2")]


def test_what_is_too_much_of_one_address_is_not_done_at_all() -> None:
    bench = Bench(most=2)
    for _ in range(3):
        bench.ask("a")
    assert bench.answers == [("a", None)]


def test_work_that_fails_lets_the_next_one_go_on_and_nothing_is_remembered() -> None:
    bench = Bench()
    failed, _ = bench.ask("a"), bench.ask("a")
    failed.addErrback(lambda failure: bench.answers.append(("failed", failure.getErrorMessage())))
    bench.under_way.pop(0)[1].errback(ValueError("broken"))
    bench.finish()
    assert bench.answers == [("failed", "broken"), ("a", "done")]
    assert not bench.queue._locks
    assert not bench.queue._wanted
