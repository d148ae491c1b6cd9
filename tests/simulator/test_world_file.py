"""World files are parsed into records, and errors are reported."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from hkall_gateway.rules.vocabulary import Candidate, ItemKey, Position, Side
from hkall_gateway.simulator.scenario.world_file import WorldError, read_world

WORLDS = Path(__file__).parent.parent.parent / "fixtures" / "worlds"

HEAD = """
time = 2017-03-01T09:00:00+08:00
[library]
agency = "HKU"
name = "Ours"
pickup_locations = ["MAIN"]
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a world file: HEAD, a small library, followed by the given text."""

    def written(text: str, name: str = "w.toml", head: str = HEAD) -> Path:
        file = tmp_path / name
        file.write_text(head + text, "utf-8")
        return file

    return written


@pytest.mark.parametrize("file", sorted(WORLDS.glob("*.toml")), ids=lambda file: file.stem)
def test_every_world_file_is_valid(file: Path) -> None:
    assert read_world(file).agency == "HKU"


def test_times_are_converted_to_utc(write: Write) -> None:
    assert read_world(write("")).time == datetime(2017, 3, 1, 1, 0, tzinfo=UTC)


def test_policy_table_changes_only_the_keys_it_contains(write: Write) -> None:
    policy = read_world(write("[policy.renewal]\nmax_count = 3\n[policy.return]\nannounce = 'on_dispatch'\n")).policy

    assert (policy.renewal.max_count, policy.renewal.window_days) == (3, 7)
    assert policy.return_.announce == "on_dispatch"


def test_policy_table_changes_one_category(write: Write) -> None:
    categories = read_world(write("[[policy.categories]]\nkey = 'technicians'\nquota = 3\n")).policy.categories

    changed = next(row for row in categories if row.key == "technicians")
    assert (len(categories), changed.quota, changed.label) == (12, 3, "Technicians")


def test_request_sent_to_a_lender_has_its_candidate_list(write: Write) -> None:
    start = read_world(
        write(
            "[[holdings]]\nagency='CUHK'\nbarcode='C1'\nbib_id='b1'\nlocal_bib_id='99'\ntitle='Dune'\n"
            "[[requests]]\nid='R7'\nposition='REQUESTED'\npatron='UG1'\ncopy='CUHK:C1'\nothers=['LU:L1']\n"
        )
    )

    request = start.requests[0]
    assert (request.side, request.position, request.item) == (Side.BORROWING, Position.REQUESTED, None)
    assert (request.partner, request.wire_agency, request.wire_id) == ("CUHK", "HKU", "R7-1")
    assert (request.title, request.bib_id, request.pickup_location) == ("Dune", "b1", "MAIN")
    assert start.candidates == (
        Candidate(request="R7", rank=1, agency="CUHK", barcode="C1", local_bib_id="99", wire_id="R7-1"),
        Candidate(request="R7", rank=2, agency="LU", barcode="L1"),
    )


def test_received_item_is_the_requested_candidate(write: Write) -> None:
    start = read_world(write("[[requests]]\nid='R1'\nposition='RECEIVED'\nitem='CUHK:C1'\n"))

    assert start.requests[0].item == ItemKey("CUHK", "C1")
    assert start.candidates[0].wire_id == "R1-1"


def test_lent_items_have_no_candidate_list(write: Write) -> None:
    start = read_world(write("[[requests]]\nid='R1'\nside='lend'\nposition='PAGED'\npartner='CUHK'\nitem='HKU:K1'\n"))

    assert start.candidates == ()
    assert start.requests[0].wire_agency == "CUHK"


def test_closure_covers_every_day_of_its_range(write: Write) -> None:
    start = read_world(write("[[closures]]\nagency='HKU'\nfrom=2017-04-14\nto=2017-04-15\nreason='Easter'\n"))

    assert start.closures == (("HKU", date(2017, 4, 14), "Easter"), ("HKU", date(2017, 4, 15), "Easter"))


def test_world_may_be_based_on_another(write: Write) -> None:
    write("[[clients]]\nagency='D1'\n", "base.toml")
    start = read_world(write("based_on = 'base.toml'\n[library]\nname = 'Other'\n[[clients]]\nagency='D2'\n", head=""))

    assert (start.agency, start.name, tuple(client.agency for client in start.clients)) == ("HKU", "Other", ("D1", "D2"))


def test_world_overrides_a_row_of_its_base(write: Write) -> None:
    """Key by key, at its place in the list; other keys and rows are unchanged."""
    write("[[patrons]]\nbarcode='A'\ncategory='x'\ntotal_quota=60\n[[patrons]]\nbarcode='B'\ncategory='x'\n", "base.toml")
    start = read_world(write("based_on = 'base.toml'\n[[patrons]]\nbarcode='A'\ncategory='y'\n", head=""))

    assert [(p.barcode, p.category, p.total_quota) for p in start.patrons] == [("A", "y", 60), ("B", "x", None)]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (
            "[[patrons]]\nbarcode='A'\ncategory='x'\n\n[[patrons]]\nbarcode='A'\ncategory='y'\n",
            "w.toml, line 11: patrons: barcode = 'A' stands already at w.toml, line 7: write one row",
        ),
        ("[[patrons]]\nbarcode='A'\ncategory='x'\nshoe_size=44\n", "w.toml, line 7: patrons: .*shoe_size"),
        ("[[requests]]\nid='R1'\nposition='LOST'\n", "w.toml, line 7: requests: .*LOST"),
        ("[[requests]]\nposition='NEW'\n", "w.toml, line 7: requests: 'id'"),
        ("[[clients]]\nagency='A'\n[[patrons]]\nshoe_size=44\n", "w.toml, line 9: patrons: 'barcode'"),
        ("[policy]\nmax_count = 3\n", "w.toml: policy.max_count: .*not a known key"),
        ("[weather]\nrain = true\n", "w.toml: weather: not a table of a world"),
        ("[[patrons]\n", "w.toml: "),
    ],
)
def test_world_file_error_is_reported_with_file_and_line(write: Write, text: str, what: str) -> None:
    with pytest.raises(WorldError, match=what):
        read_world(write(text))
