"""A file with one invalid row: file, line and column are reported, nothing is loaded, and the old data stay."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from demo import demo_setup
from hkall_gateway.cli import main
from hkall_gateway.config import gateway
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.tables import JOURNAL, METADATA
from tests import databases
from tests.company import COMMAND
from tests.small_disk import mounted

PORTS = demo_setup.Ports()
REQUESTS = "side,request_id,partner,patron,barcode,title,bib_id,position,placed,first_checkout,due\n"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = demo_setup.write_config(tmp_path_factory.mktemp("site"), PORTS)
    databases.fill(path, demo_setup.environment(PORTS))
    return path


def run(config: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--config", str(config)], env=demo_setup.environment(PORTS))


def contents(config: Path) -> dict[str, list[object]]:
    """Return all rows of all tables, except when each job ran, which file was refused and the journal about it."""
    engine = open_engine(gateway.load(config, demo_setup.environment(PORTS)).database.url)
    with engine.connect() as connection:
        found: dict[str, list[object]] = {
            t.name: [*connection.execute(select(t))] for t in METADATA.sorted_tables if t.name not in {"jobs", "journal"}
        }
    engine.dispose()
    return found


@pytest.mark.parametrize(
    ("kind", "good", "bad", "where"),
    [
        ("patrons", "barcode,category\nNEW,undergraduates\n", "X1,\n", "3: category: is empty"),
        ("holdings", "agency,bib_id,title,barcode,status\nLU,n,New,N1,On Loan\n", "LU,n,,N2,On Loan\n", "3: title: is empty"),
        ("closures", "agency,from,to\nLU,2017-01-01,2017-01-02\n", "LU,2017-05-03,2017-05-01\n", "3: to: 2017-05-01 is before"),
        ("partners", "agency,name,url\nNEW,New,http://127.0.0.1:1/\n", "OLD,,http://127.0.0.1:1/\n", "3: name: is empty"),
        (
            "requests",
            REQUESTS + "borrow,OLD-1,CUHK,P0003,C77,Dune,b9,ON_LOAN,2017-06-01,2017-06-05,2017-06-20\n",
            "borrow,OLD-2,CUHK,P0003,C78,Dune,b9,ON_LOAN,2017-06-01,2017-06-05,\n",
            "3: due: is empty",
        ),
    ],
)
def test_bad_row_rejects_its_whole_file(config: Path, tmp_path: Path, kind: str, good: str, bad: str, where: str) -> None:
    file, before = tmp_path / f"{kind}.csv", contents(config)

    file.write_text(good + bad)
    refused = run(config, "load", kind, str(file))
    kept = contents(config)
    file.write_text(good)
    taken = run(config, "load", kind, str(file))

    assert (refused.exit_code, f"{file}:{where}" in refused.output) == (2, True), refused.output
    assert "nothing was loaded" in refused.output
    assert kept == before
    assert (taken.exit_code, contents(config) != before) == (0, True)


def test_every_command_refuses_an_invalid_policy_and_lists_every_path(config: Path) -> None:
    policy = config.parent / "policy.toml"
    kept = policy.read_text()
    policy.write_text('[[categories]]\nkey = "new"\n[fine]\novrdue_cents = 1\nrecalled_cents = -4\n[pickup]\ndays = "five"\n')
    done = run(config, "explain", "request", "--patron", "P0001", "--bib", "b9001")
    policy.write_text(kept)

    assert done.exit_code == 2
    wrong = ("categories[0].quota", "fine.ovrdue_cents", "did you mean `overdue_cents`", "fine.recalled_cents", "pickup.days")
    assert [text for text in wrong if text not in done.output] == []
    assert run(config, "explain", "request", "--patron", "P0001", "--bib", "b9001").exit_code == 0


def test_unknown_item_status_is_reported_with_its_lines_but_the_file_is_loaded(config: Path, tmp_path: Path) -> None:
    rows = ["LU,n1,New,N1,AVAILABLE", *(f"LU,n{n},New,N{n},Green dot" for n in range(2, 14)), "HKU,n1,New,K1,Green dot"]
    file = tmp_path / "holdings.csv"
    file.write_text("\n".join(["agency,bib_id,title,barcode,status", *rows, ""]))

    done = run(config, "load", "holdings", str(file), "--dry-run")

    assert done.exit_code == 0
    assert done.stderr.splitlines() == [
        f"{file}:3, 4, 5, 6, 7 and 7 more: status 'Green dot' is not known: 12 copies count as not available (R7)",
        f"{file}:15: status 'Green dot' is not known: 1 copies of ours, not known to be available or not (R6)",
    ]


HEADER = "barcode,name,category,email"
NAMED = f"{HEADER}\nX1,陳大文,undergraduates,a@example.hk\nX2,黃小明,undergraduates,b@example.hk\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"", ":1: the file is empty"),
        (f"{HEADER}\n".encode(), ":2: there is no row after the header"),
        (NAMED.encode("big5hkscs"), ":2: is not UTF-8; it seems to be big5hkscs: load with --encoding big5hkscs"),
        (NAMED.encode("gb18030"), ":2: is not UTF-8; it seems to be gb18030: load with --encoding gb18030"),
        (NAMED.encode("utf-16"), ":1: is not UTF-8; it seems to be utf-16: load with --encoding utf-16"),
        (f"{HEADER}\nX1,a,b,c\nX2,José,b,\n".encode("cp1252"), ":3: is not UTF-8; it seems to be cp1252"),
        (NAMED.replace(",", ";").encode(), ":1: ';' separates the columns: load with --delimiter ';'"),
        (NAMED.replace(",", "\t").encode(), ":1: tab separates the columns: load with --delimiter tab"),
        (NAMED.replace(",", ";").encode("big5hkscs"), "load with --encoding big5hkscs --delimiter ';'"),
        (f"{HEADER}\n2.00E+07,a,undergraduates,\n".encode(), ":2: barcode: '2.00E+07' is a number that a spreadsheet"),
        (f'{HEADER}\nX1,"a,undergraduates,\n'.encode(), "unexpected end of data"),
    ],
)
def test_file_of_another_program_is_recognised_and_its_options_are_named(
    config: Path, tmp_path: Path, text: bytes, line: str
) -> None:
    file, before = tmp_path / "patrons.csv", contents(config)
    file.write_bytes(text)

    refused = run(config, "load", "patrons", str(file))

    assert refused.exit_code == 2, refused.output
    assert refused.stderr.splitlines()[1:] == ["nothing was loaded"]
    assert line in refused.stderr
    assert contents(config) == before


@pytest.mark.parametrize(
    ("encoding", "delimiter", "options"),
    [
        ("big5hkscs", ";", ("--encoding", "big5hkscs", "--delimiter", ";")),
        ("utf-16", "\t", ("--encoding", "utf-16", "--delimiter", "tab")),
        ("utf-8-sig", "|", ("--delimiter", "|")),
    ],
)
def test_named_options_load_the_file(
    config: Path, tmp_path: Path, encoding: str, delimiter: str, options: tuple[str, ...]
) -> None:
    file = tmp_path / "patrons.csv"
    file.write_bytes(NAMED.replace(",", delimiter).encode(encoding))
    taken = run(config, "load", "patrons", str(file), *options)
    assert taken.exit_code == 0, taken.output
    assert "陳大文" in run(config, "patron", "export", "X1").output


def test_encoding_that_nobody_knows_is_refused_in_one_line(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "patrons.csv"
    file.write_text(NAMED)
    refused = run(config, "load", "patrons", str(file), "--encoding", "big6")
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert "'big6' is not known; try utf-8, big5hkscs" in refused.stderr


def test_address_without_an_at_sign_is_named_with_its_line(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "patrons.csv"
    file.write_text(f"{HEADER}\nX1,a,undergraduates,tmchan\n")
    done = run(config, "load", "patrons", str(file), "--dry-run")
    assert f"{file}:2: email has no @ between two parts: 1 patrons get no letter" in done.stderr


def refusals(config: Path) -> list[str]:
    """Return what `doctor` says about files that were not loaded."""
    words = [str(COMMAND), "doctor", "gateway", "--json", "--config", str(config)]
    environ = {**os.environ, **demo_setup.environment(PORTS)}
    # A process has one reactor, which runs once.
    done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=60, check=False)
    found = json.loads(done.stdout)
    return [one["detail"] for one in found if one["check"] == "loads" and one["status"] == "fail"]


def refused_in_journal(config: Path) -> list[dict[str, object]]:
    """Return the facts of the journal's lines about files that were not loaded."""
    engine = open_engine(gateway.load(config, demo_setup.environment(PORTS)).database.url)
    query = select(JOURNAL.c.detail).where(JOURNAL.c.event == "LOAD_REFUSED").order_by(JOURNAL.c.id)
    with engine.connect() as connection:
        found = [json.loads(detail) for detail in connection.execute(query).scalars()]
    engine.dispose()
    return found


GOOD = {
    "patrons": NAMED,
    "holdings": "agency,bib_id,title,barcode,status\nLU,n,New,N1,On Loan\n",
    "closures": "agency,from,to\nLU,2017-08-01,2017-08-02\n",
    "partners": "agency,name,url\nNEW7,New,http://127.0.0.1:1/\n",
    "requests": REQUESTS + "borrow,OLD-7,CUHK,P0003,C78,Dune,b9,ON_LOAN,2017-06-01,2017-06-05,2017-06-20\n",
}


@pytest.mark.parametrize("kind", GOOD)
def test_unreadable_file_of_every_kind_is_recorded_until_it_is_loaded(config: Path, tmp_path: Path, kind: str) -> None:
    before = len(refused_in_journal(config))
    run(config, "load", kind, str(tmp_path / "missing.csv"))
    broken = tmp_path / "broken.csv"
    broken.write_text(GOOD[kind].splitlines()[0] + "\n")
    run(config, "load", kind, str(broken))
    noted = refused_in_journal(config)[before:]
    refused = refusals(config)
    good = tmp_path / "good.csv"
    good.write_text(GOOD[kind])
    taken = run(config, "load", kind, str(good))

    assert noted == [
        {"kind": kind, "file": "missing.csv", "where": "missing.csv", "mistakes": 1},
        {"kind": kind, "file": "broken.csv", "where": "broken.csv:2", "mistakes": 1},
    ]
    what = f"the file of {kind} was refused on"
    assert [line for line in refused if what in line] != []
    assert (taken.exit_code, [line for line in refusals(config) if what in line]) == (0, []), taken.output


def test_journal_line_of_a_refused_file_has_no_text_of_the_file(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "patrons.csv"
    file.write_text(f"{NAMED}X2,黃小明,undergraduates,\nX1,a,undergraduates,\n")
    run(config, "load", "patrons", str(file))
    run(config, "load", "patrons", str(file), "--dry-run")
    assert refused_in_journal(config)[-1] == {
        "kind": "patrons",
        "file": "patrons.csv",
        "where": "patrons.csv:4",
        "mistakes": 2,
    }
    file.write_text(NAMED)
    assert run(config, "load", "patrons", str(file)).exit_code == 0


@pytest.mark.long
@pytest.mark.parametrize("kind", ["patrons", "holdings"])
def test_load_that_fills_the_disk_changes_no_row(tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"{kind}.csv"
    with mounted(tmp_path, 16) as disk:
        path = demo_setup.write_config(disk.folder / "site", PORTS)
        databases.fill(path, demo_setup.environment(PORTS))
        before = contents(path)
        if kind == "patrons":
            rows = [f"X{n:05},Chan Tai Man,undergraduates,a@example.hk" for n in range(20_000)]
            file.write_text("\n".join([HEADER, *rows, ""]))
        else:
            rows = [f"LU,n{n},New title {n},N{n:05},On Loan" for n in range(20_000)]
            file.write_text("\n".join(["agency,bib_id,title,barcode,status", *rows, ""]))
        disk.fill(but_bytes=1_000_000)
        done = run(path, "load", kind, str(file))
        disk.empty()

        assert (done.exit_code, done.stderr.splitlines()[-1]) == (1, "nothing was loaded"), done.output
        after = contents(path)
        assert [name for name in before if before[name] != after[name] and name not in {"journal", "staged_loads"}] == []
        assert run(path, "load", kind, str(file)).exit_code == 0


def test_refused_file_is_recorded_until_the_next_load_succeeds(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "patrons.csv"

    file.write_text(NAMED)
    run(config, "load", "patrons", str(file))
    file.write_text(f"{HEADER}\n")
    run(config, "load", "patrons", str(file), "--dry-run")
    tried = refusals(config)
    run(config, "load", "patrons", str(file))
    refused = refusals(config)
    file.write_text(NAMED)
    run(config, "load", "patrons", str(file))

    assert tried == []
    assert len(refused) == 1
    assert "the file of patrons was refused on" in refused[0]
    assert refusals(config) == []
