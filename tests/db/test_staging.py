"""Items of a file before they are written to the database: kept once, readable in both orders, not in memory."""

from __future__ import annotations

from hkall_gateway.db.loads.loading import StagedCopies
from hkall_gateway.rules.vocabulary import Holding

A = Holding(
    agency="CUHK",
    barcode="B1",
    bib_id="b2",
    title="Dune",
    author="Herbert, Frank",
    isbn="9780441013593",
    volume="v.1",
    call_number="PS 3558",
    status="On Loan",
    lendable=False,
    material="dvd",
    local_bib_id="x",
)
B = Holding(agency="LU", barcode="B1", bib_id="b1", title="紅樓夢")


def test_staged_item_round_trips() -> None:
    staged = StagedCopies()
    for line, copy in enumerate((A, B), 2):
        assert staged.add(f"f.csv:{line}", (copy.agency, copy.barcode), copy) == ""
    assert (len(staged), list(staged)) == (2, [("f.csv:2", A), ("f.csv:3", B)])
    assert (staged.find("LU", "B1"), staged.find("LU", "B2")) == (B, None)
    assert list(staged.chunks(1)) == [[B], [A]]
    assert ("f.csv:3", B) in staged


def test_repeated_key_is_ignored_even_after_an_invalid_row() -> None:
    staged = StagedCopies()
    assert [staged.add(f"f.csv:{line}", ("CUHK", "B1"), A) for line in (2, 3, 4)] == ["", "f.csv:2", "f.csv:3"]
    assert [staged.add(f"f.csv:{line}", ("LU", "B1"), copy) for line, copy in ((5, None), (6, B))] == ["", "f.csv:5"]
    assert (len(staged), staged.find("LU", "B1"), [copy for _, copy in staged]) == (1, None, [A])
