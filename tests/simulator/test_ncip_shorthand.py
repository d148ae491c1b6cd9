"""NCIP documents in one-line shorthand: writing and matching."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hkall_gateway.ncip.codec import documents
from hkall_gateway.ncip.codec.dialects import DIALECTS
from hkall_gateway.ncip.codec.elements import ELEMENTS
from hkall_gateway.ncip.codec.messages import SHAPES, NcipMessage
from hkall_gateway.ncip.shorthand import FILLED, KEYS, find_differences, make_message, matches_pattern, split_pair

NOW = datetime(2017, 3, 1, 2, 0, tzinfo=UTC)


def message(service: str, *said: str) -> NcipMessage:
    """Return a document after decoding at the receiver."""
    sent = make_message(service, said, "CUHK", "HKU", "a-secret", NOW)
    return documents.decode(documents.encode(sent, DIALECTS["direct"]))


SAYINGS = [
    ("RequestItem", "user=HKU:UG1", "bib=HKALL:b1", "request=CUHK:c-1", "pickup=HKU-MAIN-LENDING"),
    ("ItemShipped", "request=HKU:R1-1", "item=CUHK:C1", "due=2017-04-20", "date=2017-03-01T10:00:00+08:00"),
    ("ItemReceived", "request=HKU:R1-1", "item=C1", "date=2017-03-01"),
    ("ItemRenewed", "item=C1", "due=2017-04-20", "renewals=2"),
    ("ItemCheckedOut", "item=C1", "due=2017-04-20", "title=紅樓夢"),
    ("LookupUser", "user=UG1", "LoanedItemsDesired=yes"),
    ("LookupItem", "item=C1", "ItemElementType=Circulation Status"),
]


@pytest.mark.parametrize("saying", SAYINGS, ids=lambda saying: saying[0])
def test_shorthand_sets_the_document_fields(saying: tuple[str, ...]) -> None:
    assert find_differences(message(*saying), saying[1:]) == []


def test_identifier_without_an_agency_gets_the_agency_of_its_key() -> None:
    shipped = message("RequestItem", "user=U1", "item=C1", "bib=b1", "request=c-1")

    assert find_differences(shipped, ["user=HKU:U1", "item=CUHK:C1", "bib=HKALL:b1", "request=CUHK:c-1"]) == []


def test_date_stands_for_its_last_second_in_hong_kong() -> None:
    assert message("ItemRenewed", "item=C1", "due=2017-04-20").text("DateDue") == "2017-04-20T15:59:59Z"


def test_document_is_dated_if_its_service_requires_a_date() -> None:
    assert message("ItemReceived", "item=C1").text("DateReceived") == "2017-03-01T02:00:00Z"


def test_sender_is_given_with_its_secret() -> None:
    header = message("ItemReceived", "item=C1").each("InitiationHeader")[0]

    assert header.text("FromAgencyId/AgencyId") == "CUHK"
    assert header.text("ToAgencyId/AgencyId") == "HKU"
    assert header.text("FromAgencyAuthentication") == "a-secret"


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ("due=2017-04-21", "due=2017-04-20"),
        ("item=HKUST:C1", "item=CUHK:C1"),
        ("item=C2", "item=C1"),
        ("renewals=1", "renewals=none"),
        ("due=none", "due=2017-04-20T15:59:59Z"),
        ("LoanedItem/Title=Dune", "LoanedItem/Title=none"),
    ],
)
def test_difference_is_shown_in_shorthand_syntax(expected: str, found: str) -> None:
    assert find_differences(message("ItemRenewed", "item=C1", "due=2017-04-20"), [expected]) == [found]


def test_absent_field_matches_an_expected_absence() -> None:
    assert find_differences(message("ItemRenewed", "item=C1", "due=2017-04-20"), ["renewals=none", "user=none"]) == []


def test_any_of_several_repetitions_may_match() -> None:
    reply = NcipMessage(service="LookupUserResponse", fields={"LoanedItem": [{"Title": "Emma"}, {"Title": "Dune"}]})

    assert find_differences(reply, ["title=Dune"]) == []


@pytest.mark.parametrize(
    ("said", "error"),
    [(["colour=blue"], "ItemShipped has no colour"), (["item"], "'item' is not key=value"), (["pickup=X"], "has no pickup")],
)
def test_keys_without_a_place_in_the_service_are_refused(said: list[str], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        make_message("ItemShipped", said, "CUHK", "HKU", "a-secret", NOW)


def test_unknown_ncip_service_is_refused() -> None:
    with pytest.raises(ValueError, match="ItemSold is no NCIP service"):
        make_message("ItemSold", [], "CUHK", "HKU", "a-secret", NOW)


def test_every_short_key_maps_to_existing_elements() -> None:
    for key in KEYS.values():
        for path in key.paths:
            assert all(name in ELEMENTS for name in path.split("/")), path
        assert not key.value or key.value in ELEMENTS[key.paths[0].split("/")[-1]].children


def test_default_fields_map_to_existing_elements() -> None:
    assert all(path in ELEMENTS[service].children for service, filled in FILLED.items() for path, _ in filled)
    assert FILLED.keys() <= SHAPES.keys()


@given(st.text(alphabet=st.characters(exclude_characters="*")))
def test_pattern_without_a_star_matches_only_itself(text: str) -> None:
    assert matches_pattern(text, text)
    assert not matches_pattern(f"{text}x", text)


@given(st.text(), st.text(), st.text(alphabet=st.characters(exclude_characters="*")))
def test_star_matches_any_text(before: str, after: str, middle: str) -> None:
    assert matches_pattern(f"{before}{middle}{after}", f"*{middle}*")


def test_value_may_contain_equal_signs() -> None:
    assert split_pair("title=a=b") == ("title", "a=b")
