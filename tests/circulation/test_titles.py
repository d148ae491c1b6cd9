"""A title before login: its items, and the result that every patron would get."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from hkall_gateway.circulation import titles
from hkall_gateway.circulation.borrowers import loaded_facts
from hkall_gateway.circulation.command import Context, in_context
from hkall_gateway.circulation.results import Refused
from hkall_gateway.circulation.staff import explaining
from hkall_gateway.circulation.titles import CopyState, TitleSeen
from hkall_gateway.db.database import finished
from hkall_gateway.db.loads import loading
from hkall_gateway.db.search.searching import FoundTitles, Narrowing
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.settings import Window
from hkall_gateway.rules.vocabulary import Actor, Holding, Position, Request, Side
from hkall_gateway.simulator.scenario.world import World

WORLD = Path(__file__).parents[2] / "fixtures" / "worlds" / "consortium.toml"
BY = Actor(who="test", channel="world")


@pytest.fixture
def world() -> Iterator[World]:
    made = World.open(WORLD)
    yield made
    made.close()


def put(world: World, *copies: Holding) -> None:
    """Load copies, with their titles and search words."""
    world.store.now(lambda unit: loading.write(unit, "holdings", copies, loading.begin(unit, "holdings")))


def ask(world: World, work: Any, *args: Any, **named: Any) -> Any:
    return finished(world.circulation.execute(work(*args, **named)))


def seen(world: World, bib: str) -> TitleSeen:
    found: TitleSeen | None = ask(world, titles.see_title, bib)
    assert found is not None
    return found


def reason(world: World, bib: str, volume: str = "") -> Reason | None:
    (found,) = (one for one in seen(world, bib).volumes if one.volume == volume)
    return found.refusal.why if found.refusal else None


def explained(world: World, bib: str, volume: str = "") -> Reason | None:
    """The result of `explain` for a patron without any restriction."""

    def decide(unit: Any) -> Reason | None:
        question = explaining.request(BY, "UG1", bib, volume)
        with unit.connection.begin_nested() as undone:
            context = Context(unit, world.circulation.library, world.now)
            said = explaining.decide(context, question, loaded_facts(unit, "UG1"), world.now)
            undone.rollback()
        return said.outcome.why if isinstance(said.outcome, Refused) else None

    found: Reason | None = world.store.now(decide)
    return found


def lent_through_us(world: World, agency: str, barcode: str) -> None:
    """The item is on loan to a patron of ours."""
    loan = Request(
        id="",
        side=Side.BORROWING,
        position=Position.ON_LOAN,
        title="Dune",
        bib_id="b-dune",
        patron="UG2",
        partner=agency,
        item_agency=agency,
        item_barcode=barcode,
    )
    world.store.now(lambda unit: unit.open(loan, world.now, BY))


@pytest.mark.parametrize(
    ("bib", "why"),
    [("b-dune", None), ("b-dream", None), ("b-home", Reason.AVAILABLE_LOCALLY), ("b-out", Reason.NO_AVAILABLE_COPY)],
)
def test_visitor_and_explain_command_get_the_same_answer(world: World, bib: str, why: Reason | None) -> None:
    assert reason(world, bib) == explained(world, bib) == why


def test_title_without_items_is_not_found(world: World) -> None:
    assert ask(world, titles.see_title, "b-nowhere") is None


def test_suspension_refuses_every_title(world: World) -> None:
    window = Window(scope="borrow_request", start=world.now.date(), end=world.now.date(), inclusive=True)
    rules = replace(world.circulation.library.policy, service_windows=(window,))
    library = replace(world.circulation.library, policy=rules)
    found = world.store.now(in_context(titles.see_title.within, library, world.now, "b-dune"))
    assert found
    assert [one.refusal.why for one in found.volumes if one.refusal] == [Reason.SERVICE_SUSPENDED]


def test_non_book_is_refused_before_its_items_are_considered(world: World) -> None:
    put(world, Holding(agency="CUHK", barcode="C8", bib_id="b-map", title="A Map", material="map"))
    assert reason(world, "b-map") == explained(world, "b-map") == Reason.MATERIAL_NOT_REQUESTABLE


def test_own_items_are_listed_first_and_then_available_items(world: World) -> None:
    put(world, Holding(agency="LU", barcode="L3", bib_id="b-home", title="Persuasion", status="On Loan"))
    put(world, Holding(agency="POLYU", barcode="P3", bib_id="b-home", title="Persuasion"))
    places = [(one.copy.agency, one.state) for one in seen(world, "b-home").copies]
    assert places == [
        ("HKU", CopyState.AVAILABLE),
        ("CUHK", CopyState.AVAILABLE),
        ("POLYU", CopyState.AVAILABLE),
        ("LU", CopyState.OUT),
    ]


def test_unavailable_item_is_shown_as_unavailable(world: World) -> None:
    put(
        world,
        Holding(agency="LU", barcode="L1", bib_id="b-dune", title="Dune", lendable=False),
        Holding(agency="NOBODY", barcode="N1", bib_id="b-dune", title="Dune"),
    )
    lent_through_us(world, "CUHK", "C1")
    states = {one.copy.agency: one.state for one in seen(world, "b-dune").copies}
    assert states == {
        "CUHK": CopyState.IN_USE,
        "HKUST": CopyState.AVAILABLE,
        "LU": CopyState.NOT_LENT,
        "NOBODY": CopyState.NOT_LENT,
    }


def test_each_volume_has_its_own_answer(world: World) -> None:
    ours = Holding(agency="HKU", barcode="K7", bib_id="b-river", title="The River", volume="v.1")
    put(world, ours, *(replace(ours, agency="CUHK", barcode=f"C7{n}", volume=f"v.{n}") for n in (1, 2, 10)))
    assert [one.volume for one in seen(world, "b-river").volumes] == ["v.1", "v.2", "v.10"]
    for volume, why in (("v.1", Reason.AVAILABLE_LOCALLY), ("v.2", None), ("v.10", None)):
        assert reason(world, "b-river", volume) == explained(world, "b-river", volume) == why


def test_search_counts_libraries_that_could_lend(world: World) -> None:
    put(
        world,
        *(Holding(agency=agency, barcode=f"{agency}5", bib_id="b-5", title="Emma") for agency in ("HKU", "CUHK", "NOBODY")),
    )
    put(world, Holding(agency="LU", barcode="LU5", bib_id="b-5", title="Emma", status="On Loan"))
    found = ask(world, titles.search_titles, "emma")
    assert isinstance(found, FoundTitles)
    assert [one.agencies for one in found.titles] == [("CUHK", "HKU")]


def available_at(world: World, typed: str) -> dict[str, tuple[str, ...]]:
    """The libraries with an available item, by title, from the availability search."""
    found = ask(world, titles.search_titles, typed, narrowing=Narrowing(available=True))
    assert isinstance(found, FoundTitles)
    return {one.bib_id: one.agencies for one in found.titles}


def test_search_and_title_page_agree_on_every_item(world: World) -> None:
    kinds = list(product(("book", "map"), (True, False), ("Available On Shelf", "On Loan", "AVAILABLE")))
    copies = [
        Holding(
            agency=agency,
            barcode=f"{agency}{n}",
            bib_id=f"b-{agency}-{n}",
            title="Emma",
            material=material,
            lendable=lendable,
            status=status,
        )
        for agency in ("HKU", "CUHK", "LU", "NOBODY")
        for n, (material, lendable, status) in enumerate(kinds, start=10)
    ]
    put(world, *copies)
    lent_through_us(world, "CUHK", "CUHK10")
    on_the_title_page = {
        copy.bib_id: (copy.agency,)
        for copy in copies
        if [one.state for one in seen(world, copy.bib_id).copies] == [CopyState.AVAILABLE]
    }
    found = available_at(world, "emma")
    assert found == on_the_title_page
    assert "b-CUHK-10" not in found
    assert set(found.values()) == {("HKU",), ("CUHK",), ("LU",)}


def test_number_of_libraries_includes_ours(world: World) -> None:
    assert ask(world, titles.count_libraries) == 5
