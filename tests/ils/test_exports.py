"""CSV files: every error is reported by file, line and column, and a single error prevents the load."""

from __future__ import annotations

from dataclasses import fields
from datetime import date
from pathlib import Path

import pytest

from hkall_gateway.ils import exports
from hkall_gateway.ils.exports import (
    HOLDINGS,
    PATRONS,
    REQUESTS,
    BadFile,
    read_closures,
    read_holdings,
    read_patron_rows,
    read_patrons,
    read_requests,
)
from hkall_gateway.rules.vocabulary import Holding

DEMO = Path(__file__).parents[2] / "fixtures/demo"


def file(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "some.csv"
    path.write_bytes(text.encode(encoding))
    return path


def mistakes(folder: Path, text: str) -> list[str]:
    path = file(folder, text)
    with pytest.raises(BadFile) as caught:
        read_patrons(path)
    return [m.replace(str(path), "some.csv") for m in caught.value.mistakes]


def test_every_item_field_is_a_column_of_the_holdings_file() -> None:
    assert {column.name for column in HOLDINGS} == {field.name for field in fields(Holding)}


def test_patron_is_read_from_its_columns(tmp_path: Path) -> None:
    text = (
        "barcode,name,name_zh,category,expires,blocked,local_loans,total_quota\nP1,Chan,陳,undergraduates,2036-08-31,yes,3,60\n"
    )
    (patron,) = read_patrons(file(tmp_path, text))
    assert (patron.barcode, patron.name_zh.reveal(), patron.category) == ("P1", "陳", "undergraduates")
    assert (patron.expires, patron.blocked, patron.local_loans, patron.total_quota) == (date(2036, 8, 31), True, 3, 60)


@pytest.mark.parametrize(("told", "kept"), [("", "en"), ("zh-HK", "zh-Hant"), ("chi", "zh-Hant"), ("eng", "en"), ("fr", "fr")])
def test_language_is_mapped_to_a_letter_language(tmp_path: Path, told: str, kept: str) -> None:
    (patron,) = read_patrons(file(tmp_path, f"barcode,category,language\nP1,undergraduates,{told}\n"))
    assert patron.language == kept


def test_empty_loan_count_is_unknown_not_zero(tmp_path: Path) -> None:
    (patron,) = read_patrons(file(tmp_path, "barcode,category,local_loans\nP1,undergraduates,\n"))
    assert patron.local_loans is None


@pytest.mark.parametrize(
    ("text", "former"), [("", ()), ("P0", ("P0",)), (" P0 ; P00;", ("P0", "P00")), ("P0;P0", ("P0",)), (";", ())]
)
def test_former_cards_have_their_own_column(tmp_path: Path, text: str, former: tuple[str, ...]) -> None:
    (row,) = read_patron_rows(file(tmp_path, f"barcode,category,former_barcode\nP1,undergraduates,{text}\n")).rows
    assert (row.card, row.former) == ("P1", former)


def test_byte_order_mark_and_blanks_are_ignored(tmp_path: Path) -> None:
    (patron,) = read_patrons(file(tmp_path, "barcode,category\n P1 , undergraduates \n", "utf-8-sig"))
    assert (patron.barcode, patron.category) == ("P1", "undergraduates")


def test_all_errors_are_reported(tmp_path: Path) -> None:
    text = (
        "barcode,category,expires,blocked,local_loans\nP1,undergraduates,2036-13-01,perhaps,many\n,x,,,\nP1,undergraduates,,,\n"
    )
    assert mistakes(tmp_path, text) == [
        "some.csv:2: expires: '2036-13-01' is not a date (YYYY-MM-DD)",
        "some.csv:2: blocked: 'perhaps' is neither yes nor no",
        "some.csv:2: local_loans: 'many' is not a number of books",
        "some.csv:3: barcode: is empty",
        "some.csv:4: barcode: 'P1' is in line 2 too",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name\nChan\n", "some.csv:1: barcode: no such column in the file"),
        ("barcode,category,shoe_size\nP1,x,42\n", "some.csv:1: shoe_size: unknown column"),
        ("barcode,category\nP1,x,y\n", "some.csv:2: more fields than columns"),
    ],
)
def test_unknown_and_missing_columns_are_reported(tmp_path: Path, text: str, said: str) -> None:
    assert said in mistakes(tmp_path, text)


def test_title_may_contain_line_breaks_and_any_white_space(tmp_path: Path) -> None:
    text = 'agency,bib_id,title,barcode,status\nCUHK,b1,"Dune:\na novel",C1,LOST\nCUHK,b2,A\u2028B\u0098The\u009cC,C2,LOST\n'
    found = read_holdings(file(tmp_path, text))
    assert [(row.title, row.barcode) for row in found] == [("Dune:\na novel", "C1"), ("A\u2028B\u0098The\u009cC", "C2")]


def test_nul_character_is_reported_by_line_and_column_without_the_name(tmp_path: Path) -> None:
    assert mistakes(tmp_path, "barcode,name,category\nP\0,Ch\0n,undergraduates\n") == [
        "some.csv:2: barcode: the character U+0000 is not allowed",
        "some.csv:2: name: the character U+0000 is not allowed",
    ]


@pytest.mark.parametrize("row", ['P1,"undergraduates', 'P1,"under"graduates'])
def test_unclosed_quotation_mark_is_reported_with_its_line(tmp_path: Path, row: str) -> None:
    assert mistakes(tmp_path, f"barcode,category\n{row}\n")[0].startswith("some.csv:2: ")


def test_closure_ending_before_its_start_is_reported_with_its_line(tmp_path: Path) -> None:
    path = file(tmp_path, "agency,from,to\nHKU,2017-07-01,2017-07-02\nHKU,2017-08-03,2017-08-01\nCUHK,2017-01-01,2019-01-01\n")
    with pytest.raises(BadFile) as caught:
        read_closures(path)
    assert caught.value.mistakes == (
        f"{path}:3: to: 2017-08-01 is before 2017-08-03",
        f"{path}:4: to: 2019-01-01 is more than a year later",
    )


OPEN = {"side": "borrow", "request_id": "R1", "partner": "CUHK", "patron": "P1", "barcode": "C1", "title": "Dune"}
OPEN |= {"bib_id": "b1", "position": "ON_LOAN", "placed": "2017-06-01", "first_checkout": "2017-06-05", "due": "2017-06-20"}


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({}, []),
        ({"due": ""}, ["due: is empty, and the book is on loan"]),
        ({"due": "2017-06-04"}, ["due: 2017-06-04 is before 2017-06-05"]),
        ({"patron": ""}, ["patron: is empty"]),
        ({"barcode": ""}, ["barcode: is empty, and a request that is ON_LOAN has a copy"]),
        ({"position": "PAGED"}, ["position: PAGED is none of a request where we borrow"]),
        ({"side": "lend"}, ["position: ON_LOAN is none of a request where we lend"]),
        ({"position": "REQUESTED", "barcode": "", "due": ""}, []),
        ({"side": "lend", "position": "SHIPPED", "patron": ""}, []),
        ({"position": "RETURN_TRANSIT"}, []),
    ],
)
def test_contradictory_open_request_row_is_refused(tmp_path: Path, changed: dict[str, str], wrong: list[str]) -> None:
    row = OPEN | changed
    path = file(tmp_path, ",".join(c.name for c in REQUESTS) + "\n" + ",".join(row.get(c.name, "") for c in REQUESTS) + "\n")
    if not wrong:
        assert len(read_requests(path)) == 1
        return
    with pytest.raises(BadFile) as caught:
        read_requests(path)
    assert list(caught.value.mistakes)[: len(wrong)] == [f"{path}:2: {what}" for what in wrong]


def test_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="not UTF-8"):
        read_patrons(file(tmp_path, "barcode,name,category\nP1,é,x\n", "latin-1"))


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="No such file"):
        read_patrons(tmp_path / "none.csv")


def test_error_messages_show_no_name_or_address(tmp_path: Path) -> None:
    text = "barcode,name,email,category,expires\nP1,Chan Siu Fong,chan@example.hk,x,never\n"
    assert "Chan" not in str(mistakes(tmp_path, text))


def test_demo_files_are_valid() -> None:
    assert len(read_patrons(DEMO / "patrons.csv")) > 100
    assert len(read_holdings(DEMO / "holdings.csv")) > 200


@pytest.mark.parametrize("columns", [PATRONS, HOLDINGS])
def test_duplicate_column_is_refused(columns: tuple[object, ...]) -> None:
    names = [getattr(c, "name", "") for c in columns]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("row", [{"about": "", "neded": True}, {"about": "", "kind": "txt"}, {}])
def test_misspelt_column_of_a_file_is_an_error(monkeypatch: pytest.MonkeyPatch, row: dict[str, object]) -> None:
    monkeypatch.setitem(exports._FILES, "patrons", {"barcode": row})
    with pytest.raises((TypeError, KeyError)):
        exports._columns("patrons")
