"""The table of services is complete, and a message gives access to its content."""

from __future__ import annotations

import copy
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hkall_gateway.ncip.codec.elements import ELEMENTS
from hkall_gateway.ncip.codec.messages import ROWS, SHAPES, BadDocument, Header, NcipMessage, instant, redacted, stamp
from hkall_gateway.xml.tree import Coded

HONG_KONG = ZoneInfo("Asia/Hong_Kong")
LOANS = NcipMessage(
    service="LookupUserResponse",
    fields={
        "UserId": {"UserIdentifierValue": "PG7", "UserIdentifierType": Coded("Barcode Id", "urn:types")},
        "LoanedItem": [
            {"ItemId": {"ItemIdentifierValue": "L1"}, "Title": "酒徒"},
            {"ItemId": {"ItemIdentifierValue": "L2"}},
        ],
        "UserOptionalFields": {},
    },
)


def test_every_initiation_message_of_the_standard_has_one_row() -> None:
    initiations = {name for name in ELEMENTS["NCIPMessage"].children if f"{name}Response" in ELEMENTS}
    assert sorted(service for *_, services in ROWS for service in services.split()) == sorted(initiations)


def test_there_are_five_lookups_twenty_two_updates_and_twenty_notifications() -> None:
    assert Counter(shape.kind for shape in SHAPES.values()) == {"L": 5, "U": 22, "N": 20}


@pytest.mark.parametrize("service", SHAPES)
def test_every_service_response_is_a_message_of_the_standard(service: str) -> None:
    assert SHAPES[service].reply in ELEMENTS["NCIPMessage"].children


@pytest.mark.parametrize("service", SHAPES)
def test_service_requires_only_elements_it_may_contain(service: str) -> None:
    assert {name for names in SHAPES[service].needs for name in names} <= ELEMENTS[service].children.keys()


@pytest.mark.parametrize("service", SHAPES)
def test_only_notification_responses_are_empty_on_success(service: str) -> None:
    reply = ELEMENTS[SHAPES[service].reply]
    assert (reply.children.keys() == {"ResponseHeader", "Problem", "Ext"}) == (SHAPES[service].kind == "N")


@pytest.mark.parametrize("service", SHAPES)
def test_mandated_action_is_allowed_only_for_update_services(service: str) -> None:
    kind: Literal["L", "U", "N"] = SHAPES[service].kind
    assert ("MandatedAction" in ELEMENTS[service].children) == (kind == "U")


def test_shape_names_the_missing_elements() -> None:
    lacking = SHAPES["RequestItem"].missing({"BibliographicId": [{}], "UserId": {}})
    assert lacking == ("UserId or AuthenticationInput",)


def test_shape_accepts_any_one_of_its_alternatives() -> None:
    assert SHAPES["ItemShipped"].missing({"RequestId": {"RequestIdentifierValue": "R1"}}) == ()


def test_text_returns_the_first_value_at_a_path() -> None:
    assert LOANS.text("LoanedItem/ItemId/ItemIdentifierValue") == "L1"


@pytest.mark.parametrize("path", ["RequestId", "UserId", "UserId/AgencyId", "LoanedItem/ItemId/ItemIdentifierValue/x"])
def test_text_is_empty_for_a_missing_element(path: str) -> None:
    assert LOANS.text(path) == ""


def test_texts_returns_every_repetition() -> None:
    assert LOANS.texts("LoanedItem/ItemId/ItemIdentifierValue") == ("L1", "L2")


def test_empty_structure_is_distinguished_from_a_missing_structure() -> None:
    assert (LOANS.has("UserOptionalFields"), LOANS.has("UserFiscalAccount")) == (True, False)


def test_nested_structure_is_accessed_like_a_message() -> None:
    assert [loan.text("Title") for loan in LOANS.each("LoanedItem")] == ["酒徒", ""]


def test_coded_text_equals_its_text_and_keeps_its_scheme() -> None:
    kept = copy.deepcopy(LOANS).fields["UserId"]
    assert isinstance(kept, dict)
    assert (kept["UserIdentifierType"], kept["UserIdentifierType"].scheme) == ("Barcode Id", "urn:types")


def test_messages_with_the_same_content_are_equal() -> None:
    first = NcipMessage(service="ItemShippedResponse", fields={}, version="5.6", namespaced=False, notes=("repeated element",))
    assert first == NcipMessage(service="ItemShippedResponse", fields={})


def test_messages_with_different_services_are_not_equal() -> None:
    assert NcipMessage(service="ItemShippedResponse", fields={}) != NcipMessage(service="ItemReceivedResponse", fields={})


def test_hidden_element_is_masked_at_any_depth() -> None:
    assert redacted(LOANS)["UserId"] == {"UserIdentifierValue": "•", "UserIdentifierType": "Barcode Id"}


def test_unknown_element_is_masked_too() -> None:
    assert redacted(NcipMessage(service="LookupUser", fields={"Password": "0931"})) == {"Password": "•"}


def test_repr_of_a_message_contains_no_secrets() -> None:
    login = {"AuthenticationInputData": "0931", "AuthenticationInputType": "PIN"}
    assert "0931" not in repr(NcipMessage(service="LookupUser", fields={"AuthenticationInput": [login]}))


def test_bad_message_error_has_what_the_reply_needs() -> None:
    bad = BadDocument("Unknown Service", "Lend is no service", "Lend", Header(from_agency="CUHK", to_agency="HKU"))
    assert (str(bad), bad.service, bad.header.from_agency) == ("Unknown Service: Lend is no service", "Lend", "CUHK")


DATES = {
    "2017-03-01T02:00:00Z": datetime(2017, 3, 1, 2, tzinfo=UTC),
    "2017-03-01t02:00:00z": datetime(2017, 3, 1, 2, tzinfo=UTC),
    "2017-03-01T10:00:00+08:00": datetime(2017, 3, 1, 2, tzinfo=UTC),
    "2017-03-01T10:00:00+0800": datetime(2017, 3, 1, 2, tzinfo=UTC),
    "2017-03-01T03:00:00.250+01:00": datetime(2017, 3, 1, 2, 0, 0, 250_000, tzinfo=UTC),
    "2017-03-01T10:00:00": datetime(2017, 3, 1, 2, tzinfo=UTC),
    " 2017-03-01T10:00 ": datetime(2017, 3, 1, 2, tzinfo=UTC),
    "2017-03-01": datetime(2017, 2, 28, 16, tzinfo=UTC),
    "": None,
    "2017-02-30T10:00:00": None,
    "2017-01O-2": None,
    "0001-01-01T00:00:00": None,
    "tomorrow": None,
}


@pytest.mark.parametrize(("text", "expected"), DATES.items())
def test_date_is_parsed_in_every_format_peers_use(text: str, expected: datetime | None) -> None:
    assert instant(text, HONG_KONG) == expected


def test_timestamp_has_its_zone() -> None:
    assert stamp(datetime(2017, 4, 20, 15, 59, 59, tzinfo=UTC), HONG_KONG) == "2017-04-20T23:59:59+08:00"


def test_naive_timestamp_is_refused() -> None:
    with pytest.raises(ValueError, match="names no zone"):
        stamp(datetime(2017, 4, 20), HONG_KONG)  # noqa: DTZ001 - the very mistake under test


@given(
    when=st.datetimes(datetime(1950, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    zone=st.sampled_from([UTC, HONG_KONG, timezone(timedelta(hours=-3, minutes=-30))]),
)
def test_timestamp_round_trips_to_the_second(when: datetime, zone: tzinfo) -> None:
    assert instant(stamp(when, zone), UTC) == when.replace(microsecond=0)


@given(st.text())
def test_date_parsing_never_raises(text: str) -> None:
    read = instant(text, HONG_KONG)
    assert read is None or read.tzinfo is UTC
