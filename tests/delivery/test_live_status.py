"""Live item status from partners: queried in the background, one query per partner at a time, cached for a minute."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.threads import blockingCallFromThread

from hkall_gateway.circulation.ports import CopyStatus, LiveStatuses
from hkall_gateway.clock import now
from hkall_gateway.db.database import Database
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.tables import create_all
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.delivery import live_status
from hkall_gateway.delivery.live_status import MOST_A_MINUTE, MOST_WAITING, LiveStatus
from hkall_gateway.ncip.transport.client import NcipClient
from hkall_gateway.net.http_post import AgentPost
from hkall_gateway.rules.circuit import DOWN, CircuitSettings, CircuitState
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.vocabulary import Holding
from hkall_gateway.simulator.peers import PartnerLibrary
from hkall_gateway.simulator.scenario.scripted_partner import MANNERS, PartnerBehaviour
from hkall_gateway.simulator.scenario.world import World
from tests.ports import free_ports

ON, OUT = "Available On Shelf", "On Loan"
DUNE, OTHER = "b-dune", "b-other"
PATIENCE_S = 20.0
REAL = Path(__file__).parents[3] / "shared/ncip/samples/xc_ncip2_toolkit"
SETTINGS = CircuitSettings(failures=2, probe_s=60)


def copy(agency: str, barcode: str, bib_id: str = DUNE) -> Holding:
    return Holding(agency=agency, barcode=barcode, bib_id=bib_id, title="Dune")


def row(agency: str, **changed: Any) -> Partner:
    return replace(
        Partner(agency=agency, name=agency, url=f"http://{agency.lower()}.test/ncip", can_lookup_items=True), **changed
    )


E1, E2, B1 = copy("EDUHK", "E1"), copy("EDUHK", "E2"), copy("HKBU", "B1")


@dataclass
class Asked:
    """The questions of one LiveStatus, each with the Deferred that answers it."""

    world: World
    questions: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)
    answers: list[Deferred[Mapping[str, str] | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.live = LiveStatus(self.world.store, self._ask, SETTINGS, lambda: self.world.now, lambda call: call())

    def _ask(self, partner: Partner, bib_id: str, copies: Sequence[Holding]) -> Awaitable[Mapping[str, str] | None]:
        self.questions.append((partner.agency, bib_id, tuple(one.barcode for one in copies)))
        self.answers.append(Deferred())
        return self.answers[-1]

    def answer(self, number: int, **statuses: str) -> None:
        self.answers[number].callback(statuses)

    def fail(self, number: int) -> None:
        self.answers[number].callback(None)

    def wait(self, **how_long: float) -> None:
        self.world.now += timedelta(**how_long)


@pytest.fixture
def asked() -> Iterator[Asked]:
    world = World.open(Path(__file__).parents[2] / "fixtures/worlds/looks.toml")
    directory = [row("EDUHK"), row("HKBU"), row("CUHK", can_lookup_items=False), row("LU", url="")]
    world.store.now(lambda unit: unit.partners.write(directory))
    yield Asked(world)
    world.close()


def shown(found: LiveStatuses) -> dict[str, str]:
    return {item.barcode: one.status for item, one in found.statuses.items()}


def test_first_page_does_not_wait_and_the_next_page_has_the_status(asked: Asked) -> None:
    assert asked.live(DUNE, [E1, E2]) == LiveStatuses({}, asking=True)
    asked.answer(0, E1=OUT, E2=ON)
    at = asked.world.now
    assert asked.live(DUNE, [E1, E2]) == LiveStatuses({E1.key: CopyStatus(OUT, at), E2.key: CopyStatus(ON, at)})


def test_page_reloads_when_the_status_arrives_too_late(asked: Asked) -> None:
    class Copies(list[Holding]):
        """The answer comes once their statuses were looked for."""

        readings = 0

        def __iter__(self) -> Iterator[Holding]:
            yield from super().__iter__()
            self.readings += 1
            if self.readings == 2:
                asked.answer(0, E1=OUT)

    assert asked.live(DUNE, Copies([E1])) == LiveStatuses({}, asking=True)
    assert shown(asked.live(DUNE, [E1])) == {"E1": OUT}


def test_library_is_queried_once_about_all_its_items(asked: Asked) -> None:
    asked.live(DUNE, [E1, B1, E2])
    asked.live(DUNE, [E1, B1, E2])
    assert asked.questions == [("EDUHK", DUNE, ("E1", "E2")), ("HKBU", DUNE, ("B1",))]


def test_slow_partner_does_not_delay_other_partners(asked: Asked) -> None:
    asked.live(DUNE, [E1, B1])
    asked.answer(1, B1=OUT)
    found = asked.live(DUNE, [E1, B1])
    assert (shown(found), found.asking) == ({"B1": OUT}, True)


def test_partner_gets_one_query_at_a_time(asked: Asked) -> None:
    asked.live(DUNE, [E1])
    asked.live(OTHER, [copy("EDUHK", "E9", OTHER)])
    assert len(asked.questions) == 1
    asked.answer(0, E1=ON)
    assert asked.questions[1:] == [("EDUHK", OTHER, ("E9",))]


def test_item_missing_from_the_reply_has_no_live_status(asked: Asked) -> None:
    asked.live(DUNE, [E1, E2])
    asked.answer(0, E1=ON)
    assert asked.live(DUNE, [E1, E2]) == LiveStatuses({E1.key: CopyStatus(ON, asked.world.now)}, asking=False)


def test_barcode_of_another_library_is_ignored(asked: Asked) -> None:
    asked.live(DUNE, [E1, copy("HKBU", "E1")])
    asked.answer(0, E1=OUT)
    assert asked.live(DUNE, [E1, copy("HKBU", "E1")]).statuses.keys() == {E1.key}


def test_status_is_cached_for_a_minute(asked: Asked) -> None:
    asked.live(DUNE, [E1])
    asked.answer(0, E1=OUT)
    asked.wait(seconds=59)
    assert (shown(asked.live(DUNE, [E1])), len(asked.questions)) == ({"E1": OUT}, 1)
    asked.wait(seconds=1)
    assert (shown(asked.live(DUNE, [E1])), len(asked.questions)) == ({"E1": OUT}, 2)
    asked.answer(1, E1=ON)
    assert shown(asked.live(DUNE, [E1])) == {"E1": ON}


def test_expired_status_is_not_shown(asked: Asked) -> None:
    asked.live(DUNE, [E1])
    asked.answer(0, E1=OUT)
    asked.wait(minutes=10)
    assert shown(asked.live(DUNE, [E1])) == {}


def test_failed_query_keeps_the_previous_status(asked: Asked) -> None:
    asked.live(DUNE, [E1])
    asked.answer(0, E1=OUT)
    asked.wait(minutes=1)
    asked.live(DUNE, [E1])
    asked.fail(1)
    assert asked.live(DUNE, [E1]) == LiveStatuses({E1.key: CopyStatus(OUT, asked.world.now - timedelta(minutes=1))})


@pytest.mark.parametrize("agency", ["CUHK", "LU", "NOBODY", "HKU"])
def test_library_without_lookups_is_not_queried(asked: Asked, agency: str) -> None:
    found = asked.live(DUNE, [copy(agency, "X1")])
    assert (found, asked.questions) == (LiveStatuses({}, asking=False), [])


def test_partner_whose_channel_is_down_is_not_queried(asked: Asked) -> None:
    down = CircuitState(
        agency="EDUHK", state=DOWN, failures=5, down_since=asked.world.now, rests_until=asked.world.now + timedelta(hours=1)
    )
    asked.world.store.now(lambda unit: unit.circuits.keep(down))
    assert (asked.live(DUNE, [E1]), asked.questions) == (LiveStatuses({}, asking=False), [])


def test_unresponsive_partner_is_queried_less_and_less(asked: Asked) -> None:
    pauses_s = [2, 4, 8, 16, 32, 60, 60]
    for number, pause_s in enumerate(pauses_s):
        asked.live(f"b{number}", [copy("EDUHK", "E1", f"b{number}")])
        asked.fail(number)
        asked.wait(seconds=pause_s - 1)
        asked.live(f"c{number}", [copy("EDUHK", "E1", f"c{number}")])
        assert len(asked.questions) == number + 1
        asked.wait(seconds=1)
    asked.live(DUNE, [E1])
    assert len(asked.questions) == len(pauses_s) + 1


def test_failed_queries_do_not_open_the_circuit_breaker_of_the_courier(asked: Asked) -> None:
    for number in range(SETTINGS.failures):
        asked.live(f"b{number}", [copy("EDUHK", "E1", f"b{number}")])
        asked.fail(number)
        asked.wait(minutes=2)
    channel = asked.world.store.now(lambda unit: unit.circuits.find("EDUHK"))
    assert (channel.state, channel.failures) == ("up", 0)


def test_number_of_queued_queries_is_bounded(asked: Asked) -> None:
    for number in range(MOST_WAITING + 5):
        asked.live(f"b{number}", [copy("EDUHK", "E1", f"b{number}")])
    for number in range(MOST_WAITING + 1):
        asked.answer(number, E1=ON)
    assert len(asked.questions) == MOST_WAITING + 1


def test_queries_to_a_partner_are_limited_per_minute(asked: Asked) -> None:
    for number in range(MOST_A_MINUTE + 5):
        asked.live(f"b{number}", [copy("EDUHK", "E1", f"b{number}")])
        if number < MOST_A_MINUTE:
            asked.answer(number, E1=ON)
    assert len(asked.questions) == MOST_A_MINUTE


def test_cache_is_bounded(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_status, "ROOM", 2)
    for number in range(4):
        asked.live(f"b{number}", [copy("EDUHK", "E1", f"b{number}")])
        asked.answer(number, E1=ON)
    known = [shown(asked.live(f"b{number}", [copy("EDUHK", "E1", f"b{number}")])) for number in range(4)]
    assert known == [{}, {}, {"E1": ON}, {"E1": ON}]


def test_exception_in_a_query_is_logged_and_the_next_query_runs(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    asked.live(DUNE, [E1])
    asked.live(OTHER, [copy("EDUHK", "E9", OTHER)])
    asked.answers[0].errback(ZeroDivisionError())
    asked.answer(1, E9=ON)
    assert "live_status.failed" in capsys.readouterr().out
    assert shown(asked.live(OTHER, [copy("EDUHK", "E9", OTHER)])) == {"E9": ON}


def test_database_outage_is_not_logged_as_a_bug(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    asked.live(DUNE, [E1])
    asked.answers[0].errback(Unavailable("away"))
    assert asked.live(DUNE, [E1]) == LiveStatuses()
    assert "live_status.failed" not in capsys.readouterr().out


def test_no_query_is_sent_after_the_stop(asked: Asked) -> None:
    asked.live(DUNE, [E1])
    asked.live(OTHER, [copy("EDUHK", "E9", OTHER)])
    asked.live.stop()
    asked.answer(0, E1=ON)
    asked.live("b-late", [copy("EDUHK", "E7", "b-late")])
    assert len(asked.questions) == 1


# ---- over a real port


@dataclass
class Company:
    """Two simulated libraries on real ports, and a LiveStatus that asks them from another thread, as a page's thread does."""

    reactor: Any
    store: Database
    libraries: dict[str, PartnerLibrary]
    live: LiveStatus

    def write(self, *rows: Partner) -> None:
        self.do(lambda: self.store.write(lambda unit: unit.partners.write(rows), LockSet()))

    def do(self, work: Callable[[], Any]) -> Any:
        return blockingCallFromThread(self.reactor, lambda: _deferred(work()))

    def until(self, copies: Sequence[Holding], bib_id: str = DUNE) -> dict[str, str]:
        """What is known once nothing more is being asked."""
        ends = time.monotonic() + PATIENCE_S
        while (found := self.live(bib_id, copies)).asking:
            assert time.monotonic() < ends, "no answer"
            time.sleep(0.02)
        return shown(found)

    def services(self, agency: str) -> list[str]:
        return [message.service for message in self.libraries[agency].seen]


def _deferred(awaitable: Any) -> Deferred[Any]:
    async def work() -> Any:
        return await awaitable

    return Deferred.fromCoroutine(work())


@pytest.fixture
def company(reactor: Any, tmp_path: Path, make_unit: Callable[[Connection], UnitOfWork]) -> Iterator[Company]:
    engine = open_engine(f"sqlite:///{tmp_path / 'live.db'}")
    create_all(engine)
    store = Database(engine, make_unit, reactor.callFromThread)
    post = AgentPost(reactor)
    client = NcipClient(post, "HKU", {})
    shelf = (copy("EDUHK", "E1"), replace(copy("EDUHK", "E2"), status=OUT), copy("HKBU", "B1"))
    ports = dict(zip(("EDUHK", "HKBU"), free_ports(2), strict=True))
    libraries = {
        agency: PartnerLibrary(agency, "HKU", "", "", post, reactor.callLater, now, shelf=_of(agency, shelf))
        for agency in ports
    }
    live = LiveStatus(store, client.statuses, SETTINGS, now, reactor.callFromThread)
    made = Company(reactor, store, libraries, live)
    listening = [made.do(partial(_listen, reactor, port, libraries[agency])) for agency, port in ports.items()]
    made.write(*(row(agency, url=f"http://127.0.0.1:{port}/ncip", timeout_s=5) for agency, port in ports.items()))
    yield made
    live.stop()
    for port in listening:
        made.do(port.stopListening)
    made.do(_nothing)
    blockingCallFromThread(reactor, store.close)
    engine.dispose()


def _of(agency: str, shelf: Sequence[Holding]) -> tuple[Holding, ...]:
    return tuple(one for one in shelf if one.agency == agency)


async def _listen(reactor: Any, port: int, library: PartnerLibrary) -> Any:
    endpoint: Any = TCP4ServerEndpoint  # it has no types
    return await endpoint(reactor, port, interface="127.0.0.1").listen(library.site())


async def _nothing() -> None:
    """Lets the reactor go once around."""


def test_status_of_the_partner_is_shown(company: Company) -> None:
    assert company.until([E1, E2, B1]) == {"E1": ON, "E2": OUT, "B1": ON}
    assert company.services("EDUHK") == ["LookupItemSet"]


def test_page_does_not_wait_for_a_slow_partner(company: Company) -> None:
    company.libraries["EDUHK"].waits_s = 1.5
    began = time.monotonic()
    while "B1" not in shown(found := company.live(DUNE, [E1, B1])):
        assert time.monotonic() - began < 1.4, "the other library's answer waited for the slow one"
        time.sleep(0.01)
    assert found.asking
    assert company.until([E1, B1]) == {"E1": ON, "B1": ON}


def test_concurrent_pages_share_one_query(company: Company) -> None:
    company.libraries["EDUHK"].waits_s = 0.2
    for _ in range(5):
        company.live(DUNE, [E1, E2])
    company.until([E1, E2])
    assert company.services("EDUHK") == ["LookupItemSet"]


@pytest.mark.parametrize(
    "manner",
    [
        PartnerBehaviour(kind="Problem", taken=True, problem="Unsupported Service"),
        PartnerBehaviour(kind="Problem", taken=True, problem="Agency Authentication Failed"),
        MANNERS["cut"],
        MANNERS["503"],
        PartnerBehaviour(kind="document", taken=True, document=b"<p>Welcome to the library's new portal</p>"),
    ],
    ids=lambda manner: manner.problem or manner.kind,
)
def test_partner_without_a_status_keeps_the_loaded_status(company: Company, manner: PartnerBehaviour) -> None:
    company.libraries["EDUHK"].script.append(manner)
    assert company.until([E1, B1]) == {"B1": ON}


def test_unknown_title_has_no_live_status(company: Company) -> None:
    assert company.until([copy("EDUHK", "E9", OTHER)], OTHER) == {}


def test_unreachable_partner_causes_no_error(company: Company) -> None:
    company.write(row("EDUHK", url=f"http://127.0.0.1:{free_ports(1)[0]}/ncip"))
    assert company.until([E1, B1]) == {"B1": ON}


@pytest.mark.parametrize("more", [{"lookup_by_copy": True}, {"dialect": "innreach"}], ids=["its row", "NCIP 1"])
def test_partner_queried_by_item_gets_sequential_queries(company: Company, more: dict[str, Any]) -> None:
    url = company.do(lambda: company.store.read(lambda unit: unit.partners.find("EDUHK"), is_long=True)).url
    company.write(row("EDUHK", url=url, **more))
    assert company.until([E1, E2]) == {"E1": ON, "E2": OUT}
    assert company.services("EDUHK") == ["LookupItem", "LookupItem"]


ALEPH = "connectors_aleph_22_trunk_web_src_main_webapp_responseExamples_luis-recordid-only.xml"
KOHA = "connectors_koha_3.xx_trunk_web_src_main_webapp_responseExamples_luis-bib-itemid-only.xml"
XC = "core_tags_1.1_binding_sampleNCIPMessages_LookupItemSetResponse1.xml"
DOCUMENTS = ((ALEPH, "MZK01000000425-MZK50000000425000030"), (KOHA, "118"), (XC, "222222222222"))
"""Documents written by toolkits of other systems, and the barcode of an available item."""


@pytest.mark.parametrize(("name", "barcode"), DOCUMENTS)
def test_recorded_reply_of_another_system_is_parsed(company: Company, name: str, barcode: str) -> None:
    if not REAL.exists():
        pytest.skip(f"{REAL} is not here")
    document = (REAL / name).read_bytes()
    company.libraries["EDUHK"].script.append(PartnerBehaviour(kind="document", taken=True, document=document))
    assert company.until([copy("EDUHK", barcode)]) == {barcode: ON}
