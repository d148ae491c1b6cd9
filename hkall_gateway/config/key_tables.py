"""Formats the keys in a settings model as Markdown tables, for `check-config --keys` and docs/config.md."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hkall_gateway.config.ils import IlsConfig
from hkall_gateway.config.loading import table_of
from hkall_gateway.config.reloading import takes_effect
from hkall_gateway.rules.plain_text import listed

HEAD = ("key", "type", "default", "changed by", "meaning")
Row = tuple[str, ...]


def describe_ils(model: type[IlsConfig]) -> str:
    """Describe the [ils] keys in Markdown, including the keys of the adapter for which `model` was made."""
    return "\n".join(key_tables(model, "[ils]")).strip()


def key_tables(model: type[BaseModel], path: str) -> Iterator[str]:
    """Yield the lines of Markdown tables, first for a model's own keys, then for each nested table."""
    if path:
        table = path.strip("[]")
        rows = [_field_row(table, name, field) for name, field in model.model_fields.items() if not table_of(model, name)]
        yield from section(path, (model.__doc__ or "").strip(), rows)
    for name, field in model.model_fields.items():
        inner = table_of(model, name)
        if inner:
            yield from key_tables(inner, inner_path(path, name, is_list(field.annotation)))


def inner_path(path: str, name: str, many: bool) -> str:
    """Return the heading for a nested table, or for a list of rows if `many`."""
    inner = f"{path.strip('[]')}.{name}" if path else name
    return f"[[{inner}]]" if many else f"[{inner}]"


def section(path: str, about: str, rows: Iterable[Row], head: Row = HEAD) -> Iterator[str]:
    """Yield a heading, a paragraph and a table."""
    title = f"`{path}`" if path else "Keys before the first table"
    yield from ("", f"## {title}", "", about, "")
    yield from table_lines(head, rows)


def table_lines(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    names = tuple(head)
    for cells in (names, ["---"] * len(names), *rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _field_row(table: str, name: str, field: FieldInfo) -> Row:
    key = field.alias or name
    default = "**needed**" if field.is_required() else shown_value(field.default)
    return f"`{key}`", type_words(field.annotation), default, takes_effect(table, name), field.description or ""


def shown_value(value: object) -> str:
    """Format a default value."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f'`"{value}"`'
    if isinstance(value, Mapping):
        return "as packaged"
    if isinstance(value, tuple | list):
        return ", ".join(shown_value(each) for each in value) or "empty"
    return f"`{value}`"


NAMES: Mapping[object, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Path: "file",
    types.NoneType: "",
}


def type_words(hint: object) -> str:
    """Describe a key's type in words for authors of configuration files."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return listed(shown_value(part).strip("`").strip('"') for part in parts)
    if origin is typing.Annotated:
        return type_words(parts[0])
    if origin is tuple:
        return f"list of: {type_words(parts[0])}"
    if origin in (typing.Union, types.UnionType):
        return listed(filter(None, map(type_words, parts)))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "table of text"
    return NAMES.get(hint, "date")


def is_list(hint: object) -> bool:
    """Check whether a type is a list of rows."""
    return typing.get_origin(hint) is tuple
