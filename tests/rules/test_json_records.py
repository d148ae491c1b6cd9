"""Records round-trip through JSON in the outbox; secrets are not printed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hkall_gateway.rules.messages.json_records import from_json, record, record_as, to_json
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
    """A test record with every kind of value."""

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
def test_value_keeps_its_type(value: object) -> None:
    back: Any = from_json(to_json(value))
    assert (type(back), back) == (type(value), value)


def test_chinese_text_is_stored_readable() -> None:
    assert to_json("圖書館") == '"圖書館"'


def test_list_is_read_back_as_a_tuple() -> None:
    assert from_json(to_json([1, 2])) == (1, 2)


def test_item_key_round_trips() -> None:
    assert type(from_json(to_json(ItemKey("CUHK", "1")))) is ItemKey


@pytest.mark.parametrize("text", ['{"_":"Stranger","text":"x"}', '{"_":"os.system","v":"true"}', '{"_":"eval","v":"1"}'])
def test_unregistered_class_name_is_refused(text: str) -> None:
    with pytest.raises(KeyError):
        from_json(text)


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", Colour])
def test_malformed_record_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="is not a record"):
        to_json(value)


# ---- secrets and reasons


@settings(max_examples=THOROUGH)
@given(st.text())
def test_repr_of_a_secret_hides_it(text: str) -> None:
    secret = Sensitive(f"pin-{text}")
    shown = [repr(secret), str(secret), f"{secret}", "%s %r" % (secret, secret), repr({"pin": secret})]  # noqa: UP031
    assert not any("pin-" in s for s in shown)


def test_repr_of_a_record_omits_the_patron_name() -> None:
    borrower = Borrower(
        barcode="P1", name=Sensitive("Chan Tai Man"), category="undergraduates", email=Sensitive("tm@example.hk")
    )
    assert not any(word in repr(borrower) for word in ("Chan", "example"))


def test_secret_is_returned_only_by_reveal() -> None:
    assert Sensitive("1234").reveal() == "1234"


def test_secrets_with_the_same_text_are_equal() -> None:
    assert len({Sensitive("a"), Sensitive("a"), Sensitive("b")}) == 2


def test_empty_secret_is_falsy() -> None:
    assert (bool(Sensitive("")), bool(Sensitive("x"))) == (False, True)


def test_refusal_names_its_rule() -> None:
    assert Refusal(Reason.RENEWAL_TOO_SOON).rule == "R29"


def test_reason_without_a_rule_has_no_number() -> None:
    assert Refusal(Reason.TRY_AGAIN).rule == ""


def test_every_rule_number_is_published() -> None:
    assert {reason.rule for reason in Reason if reason.rule} <= {f"R{n}" for n in range(1, 46)} | {"R11a"}


def test_grant_has_no_value_or_facts_by_default() -> None:
    assert Grant() == Grant(None, {})


def test_new_record_type_is_stored_under_its_class_name() -> None:
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


def test_new_plain_subclass_is_stored_as_its_base_type() -> None:
    class Label(str):
        __slots__ = ()

    assert to_json(Label("Dune")) == '"Dune"'


def test_secrets_are_equal_only_with_the_same_text_and_print_as_a_dot() -> None:
    assert Sensitive("a") != Sensitive("b")
    assert Sensitive("a") != "a"
    assert hash(Sensitive("a")) != hash(Sensitive("b"))
    assert (repr(Sensitive("a")), Sensitive().reveal()) == ("•", "")


def test_renamed_record_is_stored_under_its_former_name() -> None:
    @record_as("Parcel of 2016")
    @dataclass(frozen=True)
    class Parcel:
        text: str

    assert to_json(Parcel("x")) == '{"_":"Parcel of 2016","text":"x"}'
    assert from_json('{"_":"Parcel of 2016","text":"x"}') == Parcel("x")


def test_unregistered_enum_is_stored_as_plain_text() -> None:
    class Shade(StrEnum):
        DARK = "dark"

    assert to_json((Shade.DARK, Colour.RED)) == '["dark",{"_":"Colour","v":"red"}]'


def test_unregistered_record_is_stored_under_its_class_name() -> None:
    @dataclass(frozen=True)
    class Leaflet:
        text: str

    assert to_json(Leaflet("x")) == '{"_":"Leaflet","text":"x"}'
    with pytest.raises(KeyError):
        from_json(to_json(Leaflet("x")))


def test_fields_equal_to_their_defaults_are_not_stored() -> None:
    @record
    @dataclass(frozen=True)
    class Place:
        name: str
        branch: str = "main library"
        opened: date | None = None

    branch = " ".join(("main", "library"))  # an equal text, though another object than the default
    assert to_json(Place("HKU", branch)) == '{"_":"Place","name":"HKU"}'
    assert to_json(Place("HKU", "law")) == '{"_":"Place","name":"HKU","branch":"law"}'
    assert from_json('{"_":"Place","name":"HKU"}') == Place("HKU")
