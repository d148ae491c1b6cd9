"""PINs of a connected local system cannot be guessed at a terminal."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from hkall_gateway.circulation.ports import BorrowerFacts, Unreachable, Verb
from hkall_gateway.db.database import finished
from hkall_gateway.ils.tools import Guarded
from hkall_gateway.net.secrets import WrongPins
from hkall_gateway.rules.vocabulary import Borrower, Holding, Sensitive

RIGHT, WRONG = Sensitive("1234"), Sensitive("0000")


class System:
    """A fake local system in which every PIN is 1234. If it is slow, it replies only when the test releases it."""

    supports = frozenset({Verb.BORROWER, Verb.VERIFY_PIN, Verb.COPIES})

    def __init__(self) -> None:
        self.asked, self.away, self.slow = 0, False, list[Deferred[None]]()
        self.waits = self.says_nothing = False

    async def borrower(self, card: str) -> BorrowerFacts:
        return BorrowerFacts(borrower=Borrower(barcode=card, name=Sensitive("Chan"), category="x"), source="sip2")

    async def copies(self, bib_id: str) -> tuple[Holding, ...] | None:
        return (Holding(agency="HKU", barcode="B1", bib_id=bib_id, title="Dune"),)

    async def verify_pin(self, card: str, pin: Sensitive) -> bool | None:
        self.asked += 1
        if self.away:
            raise Unreachable
        if self.waits:
            self.slow.append(Deferred())
            await self.slow[-1]
        return None if self.says_nothing else pin == RIGHT


class Site:
    def __init__(self) -> None:
        self.seconds, self.system = 0.0, System()
        self.ils = Guarded(self.system, WrongPins(5, 900, lambda: self.seconds))

    def tries(self, pin: Sensitive, card: str = "P1") -> bool | None:
        return finished(self.ils.verify_pin(card, pin))


@pytest.fixture
def site() -> Site:
    return Site()


def test_other_queries_are_passed_on(site: Site) -> None:
    assert site.ils.supports == System.supports
    assert finished(site.ils.borrower("P1")).source == "sip2"
    assert [copy.barcode for copy in finished(site.ils.copies("b1")) or ()] == ["B1"]


def test_pin_is_refused_without_a_query_after_five_wrong_pins(site: Site) -> None:
    assert not any(site.tries(WRONG) for _ in range(5))
    assert not site.tries(RIGHT)
    assert site.system.asked == 5
    assert site.tries(RIGHT, "P2")


def test_pin_is_queried_again_after_fifteen_minutes(site: Site) -> None:
    for _ in range(5):
        site.tries(WRONG)
    site.seconds = 900
    assert site.tries(RIGHT)


def test_correct_pin_resets_the_failure_count(site: Site) -> None:
    for pin in (WRONG,) * 4 + (RIGHT,) + (WRONG,) * 4:
        site.tries(pin)
    assert site.tries(RIGHT)


def test_pins_are_not_counted_as_wrong_during_an_outage(site: Site) -> None:
    site.system.away = True
    for _ in range(6):
        with pytest.raises(Unreachable):
            site.tries(WRONG)
    site.system.away = False
    assert site.tries(RIGHT)


def test_pin_of_which_the_system_says_nothing_is_not_counted(site: Site) -> None:
    site.system.says_nothing = True
    assert [site.tries(WRONG) for _ in range(6)] == [None] * 6
    site.system.says_nothing = False
    assert site.tries(RIGHT)


def test_concurrent_guesses_are_limited(site: Site) -> None:
    site.system.waits = True
    answers: list[object] = []
    for _ in range(9):
        Deferred.fromCoroutine(site.ils.verify_pin("P1", WRONG)).addBoth(answers.append)
    assert (site.system.asked, answers) == (5, [False] * 4)
    for waiting in site.system.slow:
        waiting.callback(None)
    assert answers == [False] * 9


def test_guesses_from_elsewhere_do_not_lock_the_card(site: Site) -> None:
    assert not any(finished(site.ils.check_pin("P1", WRONG)) for _ in range(9))
    assert finished(site.ils.check_pin("P1", RIGHT))
    assert site.tries(RIGHT)
