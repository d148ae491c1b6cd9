"""load holdings: an unknown agency is reported with a count, and its items are not requested until it is a partner."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from demo import demo_setup
from hkall_gateway.cli import main
from tests import databases

PORTS = demo_setup.Ports(partners={"CUHK": 1})
HEAD = "agency,bib_id,title,barcode,status\n"
ROWS = "HKU,n1,Dune,N0,Available\nCUHK,n1,Dune,N1,Available\nCUKH,n1,Dune,N2,Available\nCUKH,n2,Emma,N3,On Loan\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = demo_setup.write_config(tmp_path / "site", PORTS)
    databases.fill(path, demo_setup.environment(PORTS))
    return path


def run(config: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--config", str(config)], env=demo_setup.environment(PORTS))


def load(config: Path, rows: str, kind: str = "holdings", head: str = HEAD) -> Result:
    file = config.parent / "some.csv"
    file.write_text(head + rows)
    return run(config, "load", kind, str(file))


def test_unknown_agency_is_reported_with_its_lines_and_its_items_are_kept(config: Path) -> None:
    done = load(config, ROWS)

    assert "some.csv:4, 5: agency 'CUKH' is no partner: 2 copies are kept and cannot be requested (R3)\n" in done.output
    assert ("'HKU'" in done.output, "'CUHK'" in done.output) == (False, False)
    assert (done.exit_code, "4 new" in done.output) == (0, True)


def test_item_of_an_unknown_agency_is_not_requested_until_it_is_a_partner(config: Path) -> None:
    copy = "CUKH,n1,Dune,N2,Available\n"
    load(config, copy)
    refused = run(config, "request", "place", "--patron", "P0001", "--bib", "n1")
    load(config, "CUKH,New Library,http://127.0.0.1:1/\n", "partners", "agency,name,url\n")
    again = load(config, copy)
    placed = run(config, "request", "place", "--patron", "P0001", "--bib", "n1")

    assert (refused.exit_code, "R7" in refused.output) == (1, True)
    assert ("is no partner" in again.output, placed.exit_code) == (False, 0)
