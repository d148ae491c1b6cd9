"""The tables that map our reasons to NCIP problems and back."""

from __future__ import annotations

from datetime import date
from string import Formatter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hkall_gateway.ncip.codec.elements import ELEMENTS
from hkall_gateway.ncip.codec.messages import SHAPES, NcipMessage
from hkall_gateway.ncip.tables import problems
from hkall_gateway.ncip.tables.problems import (
    FOREIGN,
    PROBLEMS,
    ROWS,
    Meanings,
    find_meaning,
    find_own_meaning,
    find_scheme,
    make_problem,
    spell_problem,
)
from hkall_gateway.rules.reasons import Reason

CODES = "http://www.niso.org/ncip/v1_0/schemes/processingerrortype/"

# Source: NISO Z39.83, processing errors of each service.
LISTS = {
    "LookupUser": "Element Rule Violated; Non-Unique User; Unknown User; User Access Denied; User Authentication Failed",
    "LookupItem": "Element Rule Violated; Item Access Denied; Non-Unique Item; Unknown Item",
    "RequestItem": "Duplicate Request; Element Rule Violated; Item Does Not Circulate; Item Not Available By Need Before Date;"
    " Unknown Item; Unknown User; User Authentication Failed; User Blocked; User Ineligible To Request This Item",
    "CancelRequestItem": "Element Rule Violated; Request Already Processed; Unknown Item; Unknown Request; Unknown User;"
    " User Authentication Failed",
    "RenewItem": "Item Not Checked Out; Item Not Renewable; Maximum Renewals Exceeded; Unknown Item; Unknown User;"
    " Renewal Not Allowed - Item Has Outstanding Requests; User Authentication Failed; User Blocked;"
    " User Ineligible To Renew This Item",
}
# What the desk can answer to each, as far as the service's own list has a word for it.
ANSWERS = {
    "LookupUser": "unknown_borrower wrong_pin",
    "LookupItem": "unknown_item unknown_request ambiguous_item",
    "RequestItem": "service_suspended unknown_borrower wrong_pin not_eligible not_eligible_part_time_space eligibility_unknown"
    " patron_expired patron_blocked pickup_location material_not_requestable unknown_title available_locally no_available_copy"
    " duplicate_request quota_hkall quota_total holds_not_allowed unknown_request item_not_lendable lending_suspended",
    "CancelRequestItem": "unknown_borrower wrong_pin unknown_request too_late_to_cancel already_shipped",
    "RenewItem": "unknown_borrower wrong_pin unknown_item ambiguous_item not_on_loan on_loan_to_another renewal_limit"
    " renewal_too_soon renewal_overdue renewal_denied recalled book_lost claimed_returned"
    " patron_blocked patron_expired not_eligible",
}


@pytest.mark.walks_a_table
def test_every_reason_has_one_row() -> None:
    assert sorted(row.why for row in ROWS) == sorted(Reason)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.why))
def test_every_problem_row_names_an_existing_element_and_services(row: problems.ProblemRow) -> None:
    assert row.element == "" or row.element in ELEMENTS
    assert row.services.keys() <= SHAPES.keys()


@pytest.mark.parametrize(("service", "why"), [(s, Reason(w)) for s, whys in ANSWERS.items() for w in whys.split()])
def test_problems_of_a_service_are_in_its_own_list(service: str, why: Reason) -> None:
    assert make_problem(why, service, {}).problem in LISTS[service].split("; ")


@pytest.mark.parametrize("why", list(Reason))
def test_problem_text_begins_with_the_rule_number(why: Reason) -> None:
    said = make_problem(why, "RequestItem", {})
    assert said.detail.startswith(f"{why.rule}: ") if why.rule else said.rule == ""


def test_placeholders_of_a_problem_text_are_filled() -> None:
    assert make_problem(Reason.QUOTA_HKALL, "RequestItem", {"limit": 15}).detail == "R20: 15 of 15 HKALL books are taken"
    assert make_problem(Reason.RENEWAL_TOO_SOON, "RenewItem", {"from": date(2017, 3, 9)}).detail.endswith("from 2017-03-09")


@given(st.sampled_from(list(Reason)), st.dictionaries(st.text(), st.integers() | st.text()))
def test_missing_placeholder_value_is_not_an_error(why: Reason, detail: dict[str, object]) -> None:
    sentence = PROBLEMS[why].sentence
    blanks = [name for _, name, _, _ in Formatter().parse(sentence) if name]
    said = make_problem(why, "RequestItem", detail).detail
    assert ("…" in said) or not [name for name in blanks if name not in detail]


@pytest.mark.parametrize(
    ("problem", "service", "uri"),
    [
        ("Temporary Processing Failure", "RequestItem", f"{CODES}generalprocessingerror.scm"),
        ("Unknown User", "LookupUser", f"{CODES}lookupuserprocessingerror.scm"),
        ("Duplicate Request", "RequestItem", f"{CODES}requestitemprocessingerror.scm"),
        ("Unknown Service", "", "http://www.niso.org/ncip/v1_0/schemes/messagingerrortype/messagingerrortype.scm"),
    ],
)
def test_problem_type_has_its_scheme(problem: str, service: str, uri: str) -> None:
    assert find_scheme(problem, service) == uri


@pytest.mark.parametrize(
    ("problem", "service", "means"),
    [
        ("Temporary Processing Failure", "RequestItem", "later"),
        ("TEMPORARY  processing failure", "ItemShipped", "later"),
        ("", "ItemReceived", "later"),
        ("Agency Authentication Failed", "ItemReceived", "fault"),
        ("agency authentication failed", "RequestItem", "fault"),
        ("System Authentication Failed", "RenewItem", "fault"),
        ("Unknown Agency", "RequestItem", "fault"),
        ("Unknown partner", "RequestItem", "fault"),
        ("Unsupported Version", "RequestItem", "fault"),
        ("Unsupported Service", "RequestItem", "fault"),
        ("Unauthorized Service For Agency", "CancelRequestItem", "fault"),
        ("Unauthorized Combination Of Element Values For Agency", "RequestItem", "fault"),
        ("Unknown Element", "RequestItem", "fault"),
        ("Unsupported Service", "ItemRenewed", "already"),
        ("Unsupported Service", "ItemReceived", "refused"),
        ("Unsupported Service", "LookupRequest", "refused"),
        ("duplicate request", "RequestItem", "already"),
        ("Request Already Processed", "CancelRequestItem", "refused"),
        ("9022", "ItemShipped", "already"),
        ("Item Not Checked Out", "ItemReceived", "already"),
        ("Unknown Item", "RequestItem", "refused"),
        ("Problem performing checkout", "RequestItem", "refused"),
        ("what nobody ever heard of", "ItemShipped", "refused"),
    ],
)
def test_problem_of_a_peer_is_classified(problem: str, service: str, means: str) -> None:
    assert find_meaning(problem, service) == means


def test_foreign_problem_rows_are_unique_and_name_existing_services() -> None:
    assert len(FOREIGN) == len(problems._FOREIGN_ROWS)
    assert {service for _, service in FOREIGN} - {""} <= SHAPES.keys()


def test_known_problem_type_is_spelled_as_in_the_standard() -> None:
    assert spell_problem(" unknown  REQUEST ") == "Unknown Request"
    assert spell_problem("Patron Record is Busy") == "Patron Record is Busy"


@pytest.mark.parametrize(
    ("problem", "means"),
    [
        ({"ProblemType": "Problem performing RequestItem", "ProblemValue": "Did not find a user with that id"}, "fault"),
        (
            {"ProblemType": "Problem performing RequestItem", "ProblemDetail": "no user: DID NOT FIND A USER with that id."},
            "fault",
        ),
        ({"ProblemType": "closed today"}, "later"),
        ({"ProblemType": "Problem performing RequestItem", "ProblemValue": "closed yesterday"}, None),
    ],
)
def test_partner_specific_problem_text_is_mapped_by_its_configuration(problem: dict[str, str], means: str | None) -> None:
    own: Meanings = (("Did not find a user with that id", "fault"), ("Closed Today", "later"))
    assert find_own_meaning(NcipMessage(service="Problem", fields=problem), own) == means
