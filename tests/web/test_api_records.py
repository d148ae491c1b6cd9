"""API records are derived from circulation results: each field's name and type is defined once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import pytest
from pydantic import ValidationError

from hkall_gateway.circulation.results import Refused
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.web.api import patron_models
from hkall_gateway.web.api.models import Record, made_of


@dataclass(frozen=True, slots=True)
class Copy:
    """A nested result, with a column that must not be published."""

    barcode: str
    shelf: str = ""
    secret: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """A result."""

    copies: tuple[Copy, ...]
    due: date | None
    refusal: Refused | None

    @property
    def number(self) -> int:
        return len(self.copies)


@made_of(Copy, fields="barcode shelf")
class CopyRecord(Record):
    """A copy."""


@made_of(Seen)
class SeenRecord(Record):
    """All fields of a result."""


def test_record_has_every_field_and_type_of_its_result() -> None:
    assert list(SeenRecord.model_fields) == ["copies", "due", "refusal"]
    with pytest.raises(ValidationError):
        SeenRecord.model_validate({"copies": [], "due": "no date", "refusal": None})


def test_nested_result_becomes_a_record_with_only_the_named_fields() -> None:
    told = SeenRecord.json_of(Seen((Copy("B1", "QA 76", "hidden"),), date(2017, 3, 16), None))
    assert told == {"copies": [{"barcode": "B1", "shelf": "QA 76"}], "due": "2017-03-16", "refusal": None}


def test_nested_refusal_becomes_a_record_with_a_text() -> None:
    told = SeenRecord.json_of(Seen((), None, Refused(why=Reason.UNKNOWN_REQUEST)))["refusal"]
    assert told == patron_models.WhyNot.json_of(Refused(why=Reason.UNKNOWN_REQUEST))
    assert isinstance(told, dict)
    assert told["detail"]


def test_property_is_included_when_named() -> None:
    @made_of(Seen, fields="number due")
    class Counted(Record):
        """How many."""

    assert Counted.json_of(Seen((Copy("B1"),), None, None)) == {"number": 1, "due": None}


def test_unknown_field_name_fails_at_import() -> None:
    with pytest.raises(AttributeError, match="colour"):
        made_of(Copy, fields="barcode colour")(Record)
