"""The invented titles of the demo: complete, distinct, and found by a search in both languages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from demo import demo_setup
from hkall_gateway.circulation import titles
from hkall_gateway.circulation.command import in_context
from hkall_gateway.clock import now
from hkall_gateway.config import gateway
from hkall_gateway.config.library import library_of, make_unit
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.search.folding import isbn_13
from hkall_gateway.db.search.searching import FoundTitles
from hkall_gateway.simulator.databases import SoleStore
from tests import databases


def test_demo_titles_have_unique_ids_isbns_and_items() -> None:
    made, copies = list(demo_setup.invented_titles()), list(demo_setup.invented_copies())
    assert len({title.bib_id for title in made}) == len({title.isbns for title in made}) == len(made) > 36
    assert all(isbn_13(number) == number for title in made for number in title.isbns)
    assert len({copy.key for copy in copies}) == len(copies)
    assert {copy.bib_id for copy in copies} == {title.bib_id for title in made}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, str]]:
    ports = demo_setup.Ports()
    config = demo_setup.write_config(tmp_path_factory.mktemp("demo"), ports, pages=True)
    environ = demo_setup.environment(ports)
    databases.fill(config, environ)
    demo_setup.fill_catalogue(config, environ)
    return config, environ


@pytest.mark.parametrize("typed", ["statistics", "香港", "图书馆", "Müller", "luo haiqing", "羅海晴", "QC948", "lantern"])
def test_demo_search_finds_titles(filled: tuple[Path, Mapping[str, str]], typed: str) -> None:
    config = gateway.load(*filled)
    library, engine = library_of(config), open_engine(config.database.url)
    store = SoleStore(engine, make_unit(library))
    found = store.now(in_context(titles.search_titles.within, library, now(), typed))
    store.close()
    engine.dispose()
    assert isinstance(found, FoundTitles)
    assert found.titles
