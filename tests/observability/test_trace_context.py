"""`traceparent` according to the rules and examples of W3C Trace Context."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hkall_gateway.observability.log_context import log_context, own_traceparent, trace_id, valid_traceparent

W3C = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
"""The example of the recommendation."""


@pytest.mark.parametrize("text", [W3C, W3C[:-1] + "0", W3C[:-2] + "ff"])
def test_valid_header_is_accepted(text: str) -> None:
    assert valid_traceparent(text) == text


@pytest.mark.parametrize("rest", ["", "-", "-what-the-future-holds"])
def test_only_known_fields_of_a_later_version_are_used(rest: str) -> None:
    assert valid_traceparent("cc" + W3C[2:] + rest) == "cc" + W3C[2:]


@pytest.mark.parametrize(
    "text",
    [
        "",
        W3C.upper(),
        W3C[:-1],
        W3C + "-",
        W3C + "-extra",
        "cc" + W3C[2:] + ".more",
        "ff" + W3C[2:],
        "00-" + "0" * 32 + W3C[35:],
        W3C[:36] + "0" * 16 + "-01",
        W3C.replace("-", "_"),
        " " + W3C,
        W3C + "\n",
        W3C + "," + W3C,
    ],
)
def test_invalid_header_is_ignored(text: str) -> None:
    assert valid_traceparent(text) == ""


@given(st.text())
def test_any_text_is_ignored_or_a_header_of_55_characters(text: str) -> None:
    assert len(valid_traceparent(text)) in (0, 55)


def test_deliveries_of_one_request_share_a_trace_id_with_separate_parent_ids() -> None:
    with log_context(corr_id="counter-1/20170301.1"):
        first, second = own_traceparent(), own_traceparent()
    assert valid_traceparent(first) == first
    assert first.split("-")[1] == second.split("-")[1] == trace_id("counter-1/20170301.1")
    assert first.split("-")[2] != second.split("-")[2]


def test_document_without_a_conversation_starts_its_own_trace() -> None:
    assert own_traceparent().split("-")[1] != own_traceparent().split("-")[1]


def test_logged_trace_id_equals_the_sent_trace_id() -> None:
    with log_context(corr_id="c", trace_id="ab" * 16):
        assert own_traceparent().startswith("00-" + "ab" * 16)
