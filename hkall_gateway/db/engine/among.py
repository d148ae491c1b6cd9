"""A condition on any number of values, which the database gets as one parameter."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from sqlalchemy import ARRAY, ColumnElement, Text, any_, bindparam, func, select

Of = Callable[[ColumnElement[str]], ColumnElement[bool]]
"""Makes the condition that a column has one of the values asked for."""


def _in_json(name: str) -> Of:
    values = func.json_each(bindparam(name, type_=Text)).table_valued("value")
    return lambda column: column.in_(select(values.c.value))


def _in_array(name: str) -> Of:
    return lambda column: column == any_(bindparam(name, type_=ARRAY(Text)))


def _one(name: str) -> Of:
    return lambda column: column == bindparam(name)


def _as_json(values: Collection[str]) -> str:
    return json.dumps(list(values))


def _only(values: Collection[str]) -> str:
    return next(iter(values), "")


ONE: Final = "one"
AMONG: Final[Mapping[str, Callable[[str], Of]]] = {"sqlite": _in_json, "postgresql": _in_array, ONE: _one}
"""Makes the condition of the name of its parameter; ONE is for one value, which PostgreSQL plans once."""
VALUES: Final[Mapping[str, Callable[[Collection[str]], Any]]] = {"sqlite": _as_json, "postgresql": list, ONE: _only}
"""Makes the parameter's value."""
