"""load holdings: MARC files, deleted items, invalid records, and the titles found afterwards."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pymarc import Field, Indicators, Leader, Record, Subfield
from sqlalchemy import select

from demo import demo_setup
from hkall_gateway.cli import main
from hkall_gateway.config import gateway
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.search.searching import FoundTitles, search
from hkall_gateway.db.tables import HOLDINGS
from hkall_gateway.simulator.databases import Schemas
from tests import databases
from tests.conftest import DATABASES

PORTS = demo_setup.Ports(partners={"CUHK": 1})
HEAD = "agency,bib_id,title,barcode,status,deleted\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = demo_setup.write_config(tmp_path / "site", PORTS)
    databases.fill(path, demo_setup.environment(PORTS))
    return path


@pytest.fixture(params=DATABASES)
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """The configuration of a site, on each database."""
    schemas = Schemas(request.getfixturevalue("postgres_url")) if request.param == "postgresql" else None
    url = schemas.fresh_url() if schemas else "sqlite:///hkall.db"
    path = demo_setup.write_config(tmp_path / "site", PORTS, keys={"database": {"url": url}})
    databases.fill(path, demo_setup.environment(PORTS))
    yield path
    if schemas:
        schemas.close()


def run(config: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--config", str(config)], env=demo_setup.environment(PORTS))


def field(tag: str, **parts: str) -> Field:
    return Field(tag, Indicators(" ", " "), [Subfield(code, value) for code, value in parts.items()])


def record(number: str, title: str, *barcodes: str, status: str = "n", linked: str = "") -> Record:
    made = Record(force_utf8=True)
    made.leader = Leader(f"00000{status}am a2200000 a 4500")
    made.fields = [Field("001", data=number)] if number else []
    made.fields.append(field("245", a=title))
    if linked:
        made.fields.append(Field("880", Indicators("1", "0"), [Subfield("6", "245-01/$1"), Subfield("a", linked)]))
    made.fields += [field("952", p=barcode) for barcode in barcodes]
    return made


def load(config: Path, *records: Record, options: tuple[str, ...] = ()) -> Result:
    file = config.parent / "some.mrc"
    file.write_bytes(b"".join(bytes(one.as_marc()) for one in records))
    return run(config, "load", "holdings", str(file), "--agency", "CUHK", *options)


def load_csv(config: Path, rows: str, *options: str) -> Result:
    file = config.parent / "some.csv"
    file.write_text(HEAD + rows)
    return run(config, "load", "holdings", str(file), *options)


def found(config: Path, typed: str) -> list[str]:
    engine = open_engine(gateway.load(config, demo_setup.environment(PORTS)).database.url)
    with engine.connect() as connection:
        result = search(connection, typed, lambda *_facts: True)
    engine.dispose()
    assert isinstance(result, FoundTitles)
    return [title.bib_id for title in result.titles]


def copies(config: Path, *bibs: str) -> set[str]:
    engine = open_engine(gateway.load(config, demo_setup.environment(PORTS)).database.url)
    with engine.connect() as connection:
        barcodes = set(connection.execute(select(HOLDINGS.c.barcode).where(HOLDINGS.c.bib_id.in_(bibs))).scalars())
    engine.dispose()
    return barcodes


def test_marc_records_become_items_and_titles(config: Path) -> None:
    done = load(config, record("m1", "Hong gao liang", "M1", "M2", linked="紅高粱"), record("m2", "Dream studies", "M3"))
    assert (done.exit_code, "holdings: 3 new, 0 changed" in done.output) == (0, True)
    assert (found(config, "红高粱"), copies(config, "m1")) == (["m1"], {"M1", "M2"})


def test_delta_removes_items_missing_from_its_records(either: Path) -> None:
    config = either
    load(config, record("m1", "Hong lou meng", "M1", "M2"), record("m2", "Dream studies", "M3"), record("m3", "Emma", "M4"))
    done = load(config, record("m1", "Hong lou meng", "M2"), record("m2", "Dream studies", status="d"))
    assert "0 new, 0 changed, 1 as before, 2 vanish" in done.output
    assert copies(config, "m1", "m2", "m3") == {"M2", "M4"}
    assert (found(config, "dream studies"), found(config, "emma")) == ([], ["m3"])


def test_harvest_removes_records_marked_deleted(either: Path) -> None:
    either.write_text(either.read_text() + '\n[marc]\noai_identifier = "oai:cuhk.example.hk:{bib_id}"\n')
    load(either, record("m1", "Hong lou meng", "M1"), record("m2", "Dream studies", "M3"))
    file = either.parent / "harvest.xml"
    deleted = '<record><header status="deleted"><identifier>oai:cuhk.example.hk:m2</identifier></header></record>'
    file.write_text(f"<OAI-PMH><ListRecords>{deleted}</ListRecords></OAI-PMH>")
    done = run(either, "load", "holdings", str(file), "--agency", "CUHK")
    assert (done.exit_code, "0 new, 0 changed, 0 as before, 1 vanish" in done.output) == (0, True), done.output
    assert copies(either, "m1", "m2") == {"M1"}
    assert (found(either, "dream studies"), found(either, "hong lou meng")[0]) == ([], "m1")


def test_delta_that_removes_too_much_is_refused(config: Path) -> None:
    many = [record(f"m{n}", f"Many {n}", f"M{n}") for n in range(200)]
    load(config, *many)
    gone = [record(f"m{n}", f"Many {n}", status="d") for n in range(200)]
    refused = load(config, *gone)
    assert (refused.exit_code, "more than 20 %: nothing loaded" in refused.output) == (1, True)
    assert load(config, *gone, options=("--force",)).exit_code == 0
    assert found(config, "many") == []


def test_library_that_would_lose_its_items_is_reported(config: Path) -> None:
    """A wrong mapping finds no item in any record, which the items of other libraries would hide."""
    load_csv(config, "".join(f"LU,l{n},Lots {n},L{n},Available,\n" for n in range(300)))
    load(config, *(record(f"m{n}", f"Many {n}", f"M{n}") for n in range(40)))
    refused = load(config, *(record(f"m{n}", f"Many {n}") for n in range(40)))
    assert re.search(r"; CUHK loses 40 of \d+ copies; CUHK would vanish, more than 20 %: nothing loaded", refused.output)
    assert (refused.exit_code, refused.output.count("\n")) == (1, 1)


def test_load_reports_changes_and_losses_in_one_line(config: Path) -> None:
    load(config, record("m1", "Hong lou meng", "M1"), record("m2", "Dream studies", "M3"))
    counts = "holdings: 0 new, 0 changed, 1 as before, 1 vanish; CUHK loses 1 of "
    lesser = (record("m1", "Hong lou meng", "M1"), record("m2", "Dream studies", status="d"))
    rehearsed, done = load(config, *lesser, options=("--dry-run",)), load(config, *lesser)
    assert re.fullmatch(rf"{counts}\d+ copies\n", rehearsed.output)
    assert re.fullmatch(rf"{counts}\d+ copies; import \d+ is current\n", done.output)


def test_complete_file_of_one_library_keeps_other_libraries_items(config: Path) -> None:
    load_csv(config, "LU,m1,Emma,L1,Available,\n")
    load(config, record("m1", "Emma", "M1", "M2"), options=("--full", "--force"))
    done = load(config, record("m1", "Emma", "M2"), options=("--full",))
    assert ("1 vanish" in done.output, copies(config, "m1")) == (True, {"M2", "L1"})


def test_invalid_record_rejects_the_file(config: Path) -> None:
    done = load(config, record("m1", "Emma", "M1"), record("", "Emma", "M2"))
    assert (done.exit_code, "some.mrc:record 2: has no number\nnothing was loaded" in done.output) == (2, True)
    assert copies(config, "m1") == set()


def test_skipped_invalid_record_prevents_removals(config: Path) -> None:
    load(config, record("m1", "Emma", "M1", "M2"))
    skip = ("--bad-records", "skip")
    done = load(config, record("", "Emma", "M2"), record("m1", "Emma", "M1"), options=(*skip, "--full"))
    assert "some.mrc:record 1: has no number; it is left out" in done.output
    assert (done.exit_code, "1 records were left out" in done.output) == (1, True)
    assert copies(config, "m1") == {"M1", "M2"}


def test_site_specific_marc_field_is_read(config: Path) -> None:
    with config.open("a") as file:
        file.write('\n[[marc.items]]\ntag = "999"\nbarcode = "i"\nagency = "m"\n[marc.agencies]\nCU = "CUHK"\n')
    own = record("m1", "Emma")
    own.fields.append(field("999", i="M9", m="CU"))
    (config.parent / "own.mrc").write_bytes(own.as_marc())
    assert run(config, "load", "holdings", str(config.parent / "own.mrc")).exit_code == 0
    assert copies(config, "m1") == {"M9"}


def test_csv_rows_may_delete_items(config: Path) -> None:
    load_csv(config, "CUHK,c1,Emma,C1,Available,\nCUHK,c1,Emma,C2,Available,no\n")
    done = load_csv(config, "CUHK,,,C2,,yes\n")
    assert (done.exit_code, "1 vanish" in done.output, copies(config, "c1")) == (0, True, {"C1"})


def test_invalid_csv_rows_are_skipped(config: Path) -> None:
    rows = "CUHK,c1,Emma,C1,Available,\nCUHK,c2,,C2,Available,\n"
    assert load_csv(config, rows).exit_code == 2
    done = load_csv(config, rows, "--bad-records", "skip")
    assert ("some.csv:3: title: is empty; it is left out" in done.output, copies(config, "c1")) == (True, {"C1"})


def test_dry_run_changes_nothing(config: Path) -> None:
    done = load(config, record("m1", "Emma", "M1"), options=("--dry-run",))
    assert ("1 new" in done.output, copies(config, "m1")) == (True, set())
