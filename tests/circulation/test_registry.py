"""The registry: every command and query has a row, and the fields that a step may change are those of a request."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, get_type_hints

import pytest

from hkall_gateway import circulation
from hkall_gateway.circulation.command import Asked, Command, Job, Query
from hkall_gateway.circulation.registry import HANDLERS
from hkall_gateway.db.tables import REQUESTS
from hkall_gateway.rules.vocabulary import Request, RequestChange

pytestmark = pytest.mark.walks_a_table

for module in pkgutil.walk_packages(circulation.__path__, f"{circulation.__name__}."):
    importlib.import_module(module.name)


QUESTIONS = {Asked.__name__}
"""Queries that carry their answer, and so need no row of the registry."""


def leaves(kind: type[Any]) -> Iterator[type[Any]]:
    """The subclasses of this class that have no subclasses."""
    for one in kind.__subclasses__():
        yield from leaves(one) if one.__subclasses__() else (one,)


def test_each_command_and_query_has_a_row() -> None:
    kinds = [one for kind in (Command, Query, Job) for one in leaves(kind)]
    executed = {one for one in kinds if one.__module__.startswith(circulation.__name__)}
    assert len(executed) > 40
    assert {one.__name__ for one in executed} - QUESTIONS == {one.__name__ for one in HANDLERS}


def test_queries_never_write() -> None:
    queries = {one.__name__ for one in leaves(Query)} - QUESTIONS
    assert {one.__name__ for one, row in HANDLERS.items() if row.reads_only} == queries


def test_every_column_of_requests_is_a_field_of_a_request_except_the_derived_one() -> None:
    columns = {column.name for column in REQUESTS.columns}
    names = {field.name for field in fields(Request)}
    assert sorted(columns - names) == ["stage"]
    assert sorted(names - columns) == []


def test_step_may_change_every_request_field_except_number_side_and_position() -> None:
    unchanged = {"id", "side", "position"}
    types = {
        name: kind for name, kind in get_type_hints(Request).items() if name in {f.name for f in fields(Request)} - unchanged
    }
    assert get_type_hints(RequestChange) == types
