"""load patrons with former cards: its report, the rows it refuses, and the rows it still loads."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from demo import demo_setup
from hkall_gateway.cli import main
from hkall_gateway.config import gateway
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.tables import FORMER_CARDS, PATRONS
from hkall_gateway.ils.exports import read_patrons
from tests import databases

PORTS = demo_setup.Ports()
HEAD = "barcode,name,category,email,former_barcode\n"
NEW_CARD = "N1,Ho Wai Man,undergraduates,,P0001\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = demo_setup.write_config(tmp_path / "site", PORTS)
    databases.fill(path, demo_setup.environment(PORTS))
    return path


def run(config: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--config", str(config)], env=demo_setup.environment(PORTS))


def load(config: Path, rows: str, *options: str) -> Result:
    file = config.parent / "new.csv"
    file.write_text(HEAD + rows)
    return run(config, "load", "patrons", str(file), *options)


def cards(config: Path) -> dict[str, str]:
    """Return the current card of each former card."""
    engine = open_engine(gateway.load(config, demo_setup.environment(PORTS)).database.url)
    with engine.connect() as connection:
        found = {row.card: row.present for row in connection.execute(select(FORMER_CARDS))}
    engine.dispose()
    return found


def loaded(config: Path, *wanted: str) -> set[str]:
    engine = open_engine(gateway.load(config, demo_setup.environment(PORTS)).database.url)
    with engine.connect() as connection:
        found = set(connection.execute(select(PATRONS.c.barcode).where(PATRONS.c.barcode.in_(wanted))).scalars())
    engine.dispose()
    return found


def test_dry_run_reports_counts_and_changes_nothing(config: Path) -> None:
    done = load(config, NEW_CARD, "--dry-run")
    assert (done.exit_code, "1 cards replaced" in done.output) == (0, True)
    assert (cards(config), loaded(config, "P0001", "N1")) == ({}, {"P0001"})


def test_repeated_file_replaces_cards_once(config: Path) -> None:
    first, second = (load(config, NEW_CARD) for _ in range(2))
    assert "0 new, 1 changed, 0 as before, 0 vanish, 1 cards replaced" in first.output
    assert "0 new, 0 changed, 1 as before, 0 vanish;" in second.output
    assert (cards(config), loaded(config, "P0001", "N1")) == ({"P0001": "N1"}, {"N1"})


def test_contradictory_rows_are_skipped_and_reported_by_line(config: Path) -> None:
    bad = "N2,,undergraduates,,P0002\nP0002,,undergraduates,,\n"
    done = load(config, f"{NEW_CARD}{bad}N3,Nobody,undergraduates,x@y.z,P0003\n")
    assert done.exit_code == 1
    assert "new.csv:3: former_barcode: 'P0002' is the present card of " in done.output
    assert "new.csv:5: former_barcode: 'P0003' is the card of another person" in done.output
    assert "2 of 4 rows were left out" in done.output
    assert cards(config) == {"P0001": "N1"}
    assert loaded(config, "N1", "N2", "N3", "P0002", "P0003") == {"N1", "P0002", "P0003"}


def test_rows_without_a_name_cannot_take_over_a_named_patrons_card_and_are_counted(config: Path) -> None:
    done = load(config, "N1,,undergraduates,,P0001\nN2,,undergraduates,,P0002\nN3,,undergraduates,,\n")
    assert done.exit_code == 1
    assert "new.csv:2, 3: former_barcode: the row has no name and no e-mail to compare with" in done.output
    assert "2 rows are left out" in done.output
    assert cards(config) == {}
    assert loaded(config, "N1", "N2", "N3", "P0001", "P0002") == {"N3", "P0001", "P0002"}


def test_all_cards_of_a_library_can_be_replaced_at_once(config: Path) -> None:
    old = [f"P{n:04}" for n in range(1, 121)]
    assert loaded(config, *old) == set(old)
    names = [one.name.reveal() for one in read_patrons(demo_setup.DEMO_FILES / "patrons.csv")]
    rows = (f'X{card},"{name}",undergraduates,,{card}\n' for card, name in zip(old, names, strict=True))
    done = load(config, "".join(rows), "--full")
    assert (done.exit_code, "0 vanish, 120 cards replaced" in done.output) == (0, True)
    assert loaded(config, *old) == set()


def test_commands_find_the_patron_by_the_former_card(config: Path) -> None:
    load(config, NEW_CARD)
    assert "REPLACE_CARD" in run(config, "requests", "trace", "P0001").output
    assert run(config, "fines", "list", "--patron", "P0001").output == "nothing\n"
    said = run(config, "explain", "request", "--patron", "P0001", "--bib", "b9001")
    assert (said.exit_code, "card_replaced" in said.output, "replaced by N1" in said.output) == (1, True, True)
    placed = run(config, "request", "place", "--patron", "P0001", "--bib", "b9001")
    assert "No library has a copy to lend now (R7)" in placed.output  # the request fails by a rule, since the card was found
