"""Records go into the outbox as JSON and come back the same; and what is secret does not print."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hkall_gateway.rules.messages.json_records import from_json, record, to_json
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Borrower, Grant, ItemKey, Refusal, Sensitive
from tests.examples import THOROUGH


@record
class Colour(StrEnum):
    """An enum of the tests."""

    RED = "red"
    BLUE = "blue"


@record
@dataclass(frozen=True, slots=True)
class Note:
    """A record of the tests that has every kind of value."""

    text: str
    number: int
    truth: bool
    day: date
    instant: datetime
    colour: Colour
    item: ItemKey | None
    secret: Sensitive
    inner: Note | None = None
    many: tuple[object, ...] = ()
    named: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stranger:
    """A record that nobody registered."""

    text: str


TEXT = st.text(max_size=20)
PLAIN = st.none() | st.booleans() | st.integers(-(10**12), 10**12) | TEXT | st.dates() | st.sampled_from(Colour)
NAMES = TEXT.filter(lambda name: name != "_")


def notes(inner: st.SearchStrategy[Note | None]) -> st.SearchStrategy[Note]:
    return st.builds(
        Note,
        TEXT,
        st.integers(),
        st.booleans(),
        st.dates(),
        st.datetimes(timezones=st.just(UTC)),
        st.sampled_from(Colour),
        st.none() | st.builds(ItemKey, TEXT, TEXT),
        st.builds(Sensitive, TEXT),
        inner,
        st.lists(PLAIN | st.builds(ItemKey, TEXT, TEXT), max_size=3).map(tuple),
        st.dictionaries(NAMES, PLAIN, max_size=3),
    )


NOTES = notes(st.none() | notes(st.none()))


@settings(max_examples=THOROUGH)
@given(NOTES)
def test_record_round_trips(note: Note) -> None:
    assert from_json(to_json(note)) == note


@settings(max_examples=THOROUGH)
@given(PLAIN)
def test_a_value_keeps_its_type(value: object) -> None:
    back: Any = from_json(to_json(value))
    assert (type(back), back) == (type(value), value)


def test_chinese_text_stays_readable_in_the_database() -> None:
    assert to_json("圖書館") == '"圖書館"'


def test_a_list_comes_back_as_a_tuple() -> None:
    assert from_json(to_json([1, 2])) == (1, 2)


def test_item_key_round_trips() -> None:
    assert type(from_json(to_json(ItemKey("CUHK", "1")))) is ItemKey


@pytest.mark.parametrize("text", ['{"_":"Stranger","text":"x"}', '{"_":"os.system","v":"true"}', '{"_":"eval","v":"1"}'])
def test_unregistered_name_is_refused(text: str) -> None:
    with pytest.raises(KeyError):
        from_json(text)


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", Colour])
def test_malformed_record_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="is not a record"):
        to_json(value)


# ---- secrets and reasons


@settings(max_examples=THOROUGH)
@given(st.text())
def test_a_secret_never_prints(text: str) -> None:
    secret = Sensitive(f"pin-{text}")
    shown = [repr(secret), str(secret), f"{secret}", "%s %r" % (secret, secret), repr({"pin": secret})]  # noqa: UP031
    assert not any("pin-" in s for s in shown)


def test_a_borrowers_name_does_not_print_with_the_record() -> None:
    borrower = Borrower("P1", Sensitive("Chan Tai Man"), "undergraduates", email=Sensitive("tm@example.hk"))
    assert not any(word in repr(borrower) for word in ("Chan", "example"))


def test_a_secret_is_shown_only_when_it_is_asked_for() -> None:
    assert Sensitive("1234").reveal() == "1234"


def test_two_secrets_with_the_same_text_are_the_same() -> None:
    assert len({Sensitive("a"), Sensitive("a"), Sensitive("b")}) == 2


def test_an_empty_secret_reads_as_absent() -> None:
    assert (bool(Sensitive("")), bool(Sensitive("x"))) == (False, True)


def test_a_refusal_names_its_rule() -> None:
    assert Refusal(Reason.RENEWAL_TOO_SOON).rule == "R29"


def test_a_reason_that_is_no_rule_has_no_number() -> None:
    assert Refusal(Reason.TRY_AGAIN).rule == ""


def test_every_rule_number_is_one_of_the_published_ones() -> None:
    assert {reason.rule for reason in Reason if reason.rule} <= {f"R{n}" for n in range(1, 46)} | {"R11a"}


def test_a_grant_without_facts_is_just_yes() -> None:
    assert Grant() == Grant(None, {})


def test_a_record_that_is_seen_for_the_first_time_is_written_under_the_name_of_its_class() -> None:
    @record
    class Size(StrEnum):
        BIG = "big"

    @record
    @dataclass(frozen=True)
    class Parcel:
        size: Size
        number: int

    text = '{"_":"Parcel","size":{"_":"Size","v":"big"},"number":3}'
    assert to_json(Parcel(Size.BIG, 3)) == text
    assert from_json(text) == Parcel(Size.BIG, 3)


def test_a_plain_class_that_is_seen_for_the_first_time_is_written_as_its_kind() -> None:
    class Label(str):
        __slots__ = ()

    assert to_json(Label("Dune")) == '"Dune"'


def test_a_secret_is_the_same_only_with_the_same_text_and_prints_as_a_dot() -> None:
    assert Sensitive("a") != Sensitive("b")
    assert Sensitive("a") != "a"
    assert hash(Sensitive("a")) != hash(Sensitive("b"))
    assert (repr(Sensitive("a")), Sensitive().reveal()) == ("•", "")
