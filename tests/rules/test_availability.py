"""The table of item status words, and their meaning for a request."""

from __future__ import annotations

from collections import Counter

import pytest

from hkall_gateway.rules.vendor_words.availability import (
    CIRCULATION_STATUS,
    ON_SHELF,
    WORDS,
    Availability,
    VendorTable,
    VendorWord,
    availability,
    circulation_status,
    folded,
    is_known,
    vendor_words,
)

SHELF = (ON_SHELF,)
A, OUT, UNKNOWN = Availability.AVAILABLE, Availability.OUT, Availability.UNKNOWN


def test_status_words_are_unique() -> None:
    assert [word for word, times in Counter(folded(row.word) for row in WORDS).items() if times > 1] == []


@pytest.mark.parametrize("row", WORDS, ids=lambda row: f"{row.system}: {row.word}")
def test_status_word_maps_to_its_niso_status_in_any_spelling(row: VendorWord) -> None:
    said = row.word.replace("*", "03-16-17")

    assert row.meaning in CIRCULATION_STATUS
    assert {circulation_status(way) for way in (said, said.upper(), said.lower(), f"  {said} ")} == {row.meaning}


LISTS = {
    "alma": "ACQ; CLAIM_RETURNED_LOAN; HOLDSHELF; ILL; LOAN; LOST_ILL; LOST_LOAN; LOST_LOAN_AND_PAID; MISSING; REQUESTED; "
    "TECHNICAL; TRANSIT; TRANSIT_TO_REMOTE_STORAGE; WORK_ORDER_DEPARTMENT; Acquisition; Claimed Returned; Hold "
    "Shelf; Resource Sharing Request; Loan; Lost Resource Sharing Item; Lost; Lost and paid; Missing; Requested; "
    "Technical - Migration; Transit; In Transit to Remote Storage; In Process; Item in place; Item not in place; "
    "0; 1",
    "folio": "Aged to lost; Available; Awaiting pickup; Awaiting delivery; Checked out; Claimed returned; Declared lost; "
    "In process; In process (non-requestable); In transit; Intellectual item; Long missing; Lost and paid; "
    "Missing; On order; Order closed; Paged; Restricted; Unavailable; Unknown; Withdrawn; Recently returned; "
    "Available in ASR; Retrieving from ASR; Missing from ASR",
    "koha": "Available; not available; Not for loan; Checked out; Item lost; Item withdrawn; Item damaged; On hold; Long "
    "Overdue (Lost); Lost; Lost and Paid For; Missing; Ordered; Staff Collection; Damaged; Restricted Access; "
    "Withdrawn",
    "sierra": "-; m; n; z; t; o; $; !; AVAILABLE; MISSING; BILLED; CLMS RETD; IN TRANSIT; ON SEARCH; LIB USE ONLY; LOST AND "
    "PAID; ON HOLDSHELF; WITHDRAWN; DAMAGED; IN PROCESSING; MENDING; BINDERY; NONCIRCULATING; ILL RETURNED; ON "
    "ORDER; DUE 03-16-17",
    "evergreen": "Available; Checked out; Bindery; Lost; Missing; In process; In transit; Reshelving; On holds shelf; On "
    "order; ILL; Cataloging; Reserves; Discard/Weed; Damaged; On reservation shelf; Long Overdue; Lost and Paid; "
    "Canceled Transit",
    "polaris": "In; Out; Bindery; Claim Missing Parts; Claim Never Had; Claim Returned; EContent External Loan; Held; "
    "In-Process; In-Repair; In-Transit; Lost; Missing; Non-circulating; On-Order; Out-ILL; Returned-ILL; Routed; "
    "Shelving; Transferred; Unavailable; Withdrawn",
    "xc": "Not Charged; Charged; Renewed; Overdue; Recall Request; Hold Request; On Hold; In Transit; In Transit "
    "Discharged; In Transit On Hold; Discharged; Missing; Lost--Library Applied; Lost--System Applied; Claims "
    "Returned; Damaged; Withdrawn; At Bindery; Cataloging Review; Circulation Review; Scheduled; In Process; Call "
    "Slip Request; Short Loan Request; Remote Storage Request",
}
"""The complete public lists of the systems; the table names their sources."""
TO_BE_HAD = {"1", "-", "Available", "AVAILABLE", "Item in place", "Available in ASR", "In", "Not Charged"}


@pytest.mark.parametrize("system", LISTS)
def test_status_words_of_other_systems_are_known(system: str) -> None:
    words = LISTS[system].split("; ")

    assert [word for word in words if not is_known(word)] == []
    assert {word for word in words if availability(word, SHELF) is A} == TO_BE_HAD & set(words)


@pytest.mark.parametrize(
    ("word", "means"),
    [
        ("AVAILABLE", A),
        ("Available", A),
        ("available  on shelf", A),
        ("Item in place", A),
        ("CHECK_SHELF", A),
        ("-", A),
        ("In", A),
        ("On Loan", OUT),
        ("checked out", OUT),
        ("DUE 03-16-17", OUT),
        ("due", OUT),
        ("CHECKEDOUT", OUT),
        ("Waiting To Be Reshelved", OUT),
        ("Available For Pickup", OUT),
        ("In-Transit", OUT),
        ("Circulation Status Undefined", UNKNOWN),
        ("Eaten by a dog", UNKNOWN),
        ("duel", UNKNOWN),
        ("Due to a fire", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_status_word_decides_whether_an_item_is_available(word: str, means: Availability) -> None:
    assert availability(word, SHELF) is means


def test_site_specific_status_word_can_be_configured_as_available() -> None:
    listed = ("Green dot",)

    assert [availability(word, listed) for word in ("green  DOT", ON_SHELF, "Red dot")] == [A, OUT, UNKNOWN]


def test_status_word_in_the_policy_includes_its_synonyms() -> None:
    assert [availability(word, ("In Process",)) for word in ("in process", "Cataloging", "AVAILABLE")] == [A, A, OUT]


def test_status_word_is_known_from_the_table_or_the_policy() -> None:
    assert [is_known("AVAILABLE"), is_known("Green dot"), is_known("Green dot", ("green dot",))] == [True, False, True]


@pytest.mark.parametrize(
    ("word", "listed", "decided"), [("Zu Hause", ("zu  hause",), A), ("Zu Hause!", ("Unterwegs!",), UNKNOWN)]
)
def test_unknown_word_is_available_only_if_the_policy_lists_it(
    word: str, listed: tuple[str, ...], decided: Availability
) -> None:
    assert availability(word, listed) is decided


def test_listed_word_covers_all_words_of_its_niso_status() -> None:
    assert availability("AVAILABLE", ("-",)) is availability("Available On Shelf", ("available",)) is A


def test_table_of_words_is_expanded_to_one_row_per_word() -> None:
    table: VendorTable = {"alma": {"On Loan": ("LOAN", "Loan"), "Missing": ("MISSING",)}, "polaris": {ON_SHELF: ("In",)}}
    assert vendor_words(table) == (
        VendorWord(system="alma", word="LOAN", meaning="On Loan"),
        VendorWord(system="alma", word="Loan", meaning="On Loan"),
        VendorWord(system="alma", word="MISSING", meaning="Missing"),
        VendorWord(system="polaris", word="In", meaning=ON_SHELF),
    )
