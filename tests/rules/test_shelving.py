"""Call numbers sort in shelf order, whatever their spelling.

The lists are from published shelving guides: those of Yale, Florida, Carleton, Middle Tennessee, Lake Region (North Dakota),
Roanoke-Chowan and Moreno Valley for Library of Congress, of Allen County and Florida for Dewey, and the examples in the tests
of VuFind's browse index.
"""

from __future__ import annotations

import random
import string
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hkall_gateway.rules.shelving import MOST, shelving_key
from tests.examples import THOROUGH

# fmt: off
SHELVES = {
    "class letters, one before two": ["B 1", "BX 1", "C 1", "QA 1", "QB 1", "R 1", "RA 1"],
    "class numbers are whole numbers": ["PS 65", "PS 585", "PS 3515"],
    "Carleton: the number": ["QA29.A6", "QA31.A6", "QA32.A6", "QA311.A6"],
    "Carleton: its decimals": ["HD1995.12.A6", "HD1995.5.A6", "HD1995.65.A6", "HD1995.7.A6"],
    "decimals after the whole number": ["PS 3515 .M2", "PS 3515.115 .M2", "PS 3515.12 .M2", "PS 3515.5 .M2"],
    "book numbers are decimals": ["PS3515 .M112", "PS3515 .M12", "PS3515 .M135", "PS3515 .M2", "PS3515 .M213", "PS3515 .M23"],
    "Yale: numbers": ["QB139", "QB145", "QC718.7", "QC718.8"],
    "Yale: letters of the book number": ["PR2983.K56", "PR2983.L4"],
    "Yale: digits of the book number": ["TR647.W4", "TR647.W44", "TR647.W45", "TR647.W453", "TR647.W5"],
    "Yale: two book numbers": [
        "PN98.D43Z54", "PN98.D43Z55", "PN98.D48E54", "PN98.D48W45", "PN98.E36R67", "PN98.E4D54",
    ],
    "Roanoke-Chowan: law": ["K383.12", "K383.5", "KF250.39977", "KF250.4"],
    "Moreno Valley": ["HB 119 .A3", "HB 119 .A5", "LB 1576 .A2", "LB 1576 .A28", "LB 1576 .A29"],
    "Lake Region: second book number": ["BF723.P25 S63", "BF723.P25 S7", "BF7222.P25 S63"],
    "Florida: nothing, then years, then volumes and copies": [
        "NA 3552 .B46", "NA 3552 .B46 1906", "NA 3552 .B46 1907", "NA 3552 .B46 M27", "NA 3552 .B46 M27 1976",
        "NA 3552 .B46 M27 1976 v.1", "NA 3552 .B46 M27 1976 v.2", "NA 3552 .B46 M27 1976 v.10",
    ],
    "copies": ["QA1 .A1 1984", "QA1 .A1 1984 c.2", "QA1 .A1 1984 c.10", "QA1 .A1 1984b", "QA1 .A1 1985"],
    "volume without a date": ["AP2 .S34 v.2 no.9", "AP2 .S34 v.2 no.11", "AP2 .S34 v.10", "AP2 .S34 v.10 c.2"],
    "a date in the class": ["HM22", "HM22 1984 .B3", "HM22 1990 .A3", "HM22 .G7"],
    "VuFind": ["AB9.22 L3", "ABR92.L3", "B82 L3", "B82.2 L3", "B822 L3", "B8220 L3"],
    "Allen County: Dewey decimals": [
        "451", "451.01", "451.012", "451.023", "451.04", "451.04217", "451.1", "451.136", "451.3",
    ],
    "Florida: Dewey": ["801.25 B7", "801.25 B78", "801.25 B78 1906", "801.25 B78 1962", "801.25 B8", "801.3 A1"],
    "Dewey literature": ["813.331 H38", "813.4 H38m", "813.4 H38s", "813.4 H4", "813.914 A1"],
    "Dewey with letters of the author": ["005.133 KNU", "005.2 ABE", "070 BOK", "823 AUS", "823 DIC", "823.9 AAA"],
    "Dewey volumes": ["823.914 R884h 1997", "823.914 R884h 1997 v.2", "823.914 R884h 1997 v.10", "823.914 R884h 2003"],
    "volumes and copies beside their numbers": [
        "QA1 .A1 1984 c2", "QA1 .A1 1984 c10", "QA1 .A1 1984 v2", "QA1 .A1 1984 v10",
    ],
    "volumes after two book numbers": ["QA1 .A1 B2 v2", "QA1 .A1 B2 v10", "QA1 .A1 B21 v1"],
    "volumes after the book number of Dewey": ["823 R88 v2", "823 R88 v10", "823 R881 v1"],
    "book numbers after a date in the class": ["HM22 1984 .B12", "HM22 1984 .B3", "HM22 1984 .B3 v2", "HM22 1984 .B3 v10"],
    "decimals after a word": ["Ref. QA9.12", "Ref. QA9.5", "Ref. QA10.1"],
    "Dewey decimals after a word": ["Oversize 823.12", "Oversize 823.5", "Oversize 823.51"],
    "decimals after two words": ["Law Ref. K383.12", "Law Ref. K383.5"],
    "reference books together": ["Ref QA9.5", "Ref QA29", "Ref. QA311", "Ref QB1"],
    "Chinese classification": ["普 857.7 4210", "普 857.7 8546", "普 857.7 10000", "普 857.85 1"],
    "volumes in Chinese": ["史記 第2卷", "史記 第10卷"],
    "accession numbers": ["MLCS 84/2", "MLCS 84/11", "MLCS 2004/1"],
}
SAME = [
    ("QA76.73.P98", "qa 76.73 .P98"),
    ("QA76 .B3", "ＱＡ７６　．Ｂ３"),
    ("823.914 R884h", "823/.914 R884H"),
    ("823.914 R884h", "823.9'14 R884h"),
    ("QA76 .B3 c.2", " QA76  .B3  c. 02 "),
    ("857.7 12", "٨٥٧.7 12"),
]
# fmt: on


@pytest.mark.parametrize("shelf", SHELVES.values(), ids=SHELVES)
def test_published_shelf_list_sorts_into_its_order(shelf: list[str]) -> None:
    mixed = random.Random(7).sample(shelf, len(shelf))
    assert sorted(mixed, key=shelving_key) == shelf
    assert len({shelving_key(number) for number in shelf}) == len(shelf)


@pytest.mark.parametrize(("one", "other"), SAME)
def test_spellings_of_the_same_call_number_have_the_same_key(one: str, other: str) -> None:
    assert shelving_key(one) == shelving_key(other) != ""


@pytest.mark.parametrize("nothing", ["", " ", "—", "...", "\x00"])
def test_call_number_without_letters_and_digits_has_no_key(nothing: str) -> None:
    assert shelving_key(nothing) == ""


@settings(max_examples=THOROUGH)
@given(st.text(max_size=1_000))
def test_every_text_has_a_key_the_database_can_store_and_sort(text: str) -> None:
    key = shelving_key(text)
    assert len(key) <= MOST
    assert "\x00" not in key
    assert key.encode("utf-8").decode() == key
    assert key == key.strip()
    assert all(c in " ." or c.isalnum() for c in key)


@settings(max_examples=THOROUGH)
@given(st.text(max_size=60), st.text(max_size=60))
def test_keys_have_the_same_order_as_texts_and_as_bytes(one: str, other: str) -> None:
    keys = shelving_key(one), shelving_key(other)
    assert (keys[0] < keys[1]) == (keys[0].encode() < keys[1].encode())


@settings(max_examples=THOROUGH)
@given(st.text(max_size=100))
def test_unicode_normalisation_does_not_change_the_key(text: str) -> None:
    assert shelving_key(text) == shelving_key(unicodedata.normalize("NFKC", text))
    assert shelving_key(text) == shelving_key(text.casefold())


whole = st.integers(0, 9_999)
cutter = st.builds(lambda letter, digits: f".{letter}{digits}", st.sampled_from(string.ascii_uppercase), whole)
lc = st.builds(lambda number, book: f"QA{number} {book}", whole, cutter)


@settings(max_examples=THOROUGH)
@given(whole, whole, cutter, cutter)
def test_smaller_class_number_sorts_first(one: int, other: int, here: str, there: str) -> None:
    keys = shelving_key(f"QA{one} {here}"), shelving_key(f"QA{other} {there}")
    assert one == other or (keys[0] < keys[1]) == (one < other)


@settings(max_examples=THOROUGH)
@given(st.text("0123456789", min_size=1, max_size=8), st.text("0123456789", min_size=1, max_size=8))
def test_book_number_digits_sort_as_decimals(one: str, other: str) -> None:
    keys = shelving_key(f"QA76 .B{one} 1990"), shelving_key(f"QA76 .B{other} 1990")
    assert (keys[0] < keys[1]) == (one < other)


@settings(max_examples=THOROUGH)
@given(lc, st.integers(0, 10**30), st.integers(0, 10**30))
def test_volume_numbers_sort_as_integers(number: str, one: int, other: int) -> None:
    keys = shelving_key(f"{number} 1990 v.{one}"), shelving_key(f"{number} 1990 v.{other}")
    assert (keys[0] < keys[1], keys[0] == keys[1]) == (one < other, one == other)


def test_volume_numbers_of_any_length_sort_as_integers() -> None:
    numbers = [number for digits in range(1, 99) for number in (10**digits - 1, 10**digits)]
    keys = [shelving_key(f"QA1 .A1 1990 v.{number}") for number in numbers]
    assert keys == sorted(set(keys))


def test_number_of_more_digits_than_a_key_holds_sorts_last() -> None:
    keys = [shelving_key("1" * digits) for digits in (98, 99, 100, 101, 200)]
    assert keys == sorted(keys)


def test_long_call_number_has_a_key_without_a_blank_at_the_end() -> None:
    assert shelving_key("a " * MOST) == ("a " * (MOST // 2)).rstrip()


@pytest.mark.parametrize(
    ("number", "key"),
    [
        ("QA76.73 .P98 2003 v.2", "qa 276.73 p98 42003 v 12"),
        ("Ref. 823.914 R884h 1997 v.10", "ref 3823.914 r884h 41997 v 210"),
        ("普 857.7 4210", "普 3857.7 44210"),
        ("MLCS 123456789", "mlcs 909123456789"),
    ],
)
def test_keys_equal_those_in_databases_of_earlier_releases(number: str, key: str) -> None:
    assert shelving_key(number) == key


@settings(max_examples=THOROUGH)
@given(lc, st.sampled_from([" 1984", " c.2", " v.3", " .D4", "3"]))
def test_shorter_call_number_sorts_first(number: str, more: str) -> None:
    assert shelving_key(number) < shelving_key(number + more)


@settings(max_examples=THOROUGH)
@given(st.lists(lc, max_size=20))
def test_sorting_by_key_is_stable(numbers: list[str]) -> None:
    shelf = sorted(numbers, key=shelving_key)
    shelf.reverse()
    again = sorted(shelf, key=shelving_key)
    shelf.reverse()
    assert sorted(shelf, key=shelving_key) == shelf
    assert [shelving_key(number) for number in again] == [shelving_key(number) for number in shelf]
