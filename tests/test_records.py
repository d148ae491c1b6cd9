"""The records of the package are made by name, so that a new field cannot shift the arguments of a call."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from itertools import pairwise
from typing import Any, Final

import pytest

import hkall_gateway

pytestmark = pytest.mark.walks_a_table

COLUMNS_OF_A_TABLE: Final = {
    # Seventy rows in aligned columns, below the names of the columns.
    "hkall_gateway.ncip.tables.problems.ProblemRow",
}


def _modules() -> Iterator[Any]:
    for found in pkgutil.walk_packages(hkall_gateway.__path__, "hkall_gateway."):
        runs_when_imported = found.name.endswith("__main__") or ".migrations." in found.name
        if not runs_when_imported:
            yield importlib.import_module(found.name)


def _frozen_records() -> dict[str, Any]:
    records = {}
    for module in _modules():
        for name, member in vars(module).items():
            is_own = inspect.isclass(member) and is_dataclass(member) and member.__module__ == module.__name__
            if is_own and member.__dataclass_params__.frozen:
                records[f"{module.__name__}.{name}"] = member
    return records


def _is_ambiguous(record: Any) -> bool:
    """Whether a reader, or mypy, could mistake one positional argument of a record for another."""
    positional = [field for field in fields(record) if field.init and not field.kw_only]
    has_twins = any(field.type == following.type for field, following in pairwise(positional))
    return len(positional) > 3 or has_twins


def test_records_with_fields_that_could_be_exchanged_are_made_by_name() -> None:
    records = _frozen_records()

    ambiguous = {name for name, record in records.items() if _is_ambiguous(record)}

    assert len(records) > 400
    assert ambiguous == COLUMNS_OF_A_TABLE
