"""Finds the keys of the policy file that belong to a rule, by the metadata that every key carries."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from hkall_gateway.rules.settings import Policy


def keys_of(policy: Policy, rules: Iterable[str], about: Collection[str] = ()) -> dict[str, object]:
    """Return every key of these rules with its value in force, named as in the file: `renewal.window_days`.

    `about` names the rows of categories and roles to include (`categories[undergraduates].quota`); service windows and
    fine-free days have no name and are all included, by their index in the list.
    """
    wanted = set(rules)
    return {name: value for name, rule, value in _walk(policy, "", about) if rule in wanted}


def names_of(rules: Iterable[str]) -> tuple[str, ...]:
    """Return the names of all keys of these rules, including those of rows: `categories.quota`."""
    wanted = set(rules)
    return tuple(name for name, rule in _named(Policy, "") if rule in wanted)


@dataclass(frozen=True, slots=True)
class Choice:
    """A key with a fixed set of values: its default is the published page's reading, `others` are a site's alternatives."""

    key: str
    rule: str
    default: str
    others: tuple[str, ...]
    doc: str


def choices() -> tuple[Choice, ...]:
    """Return every key of the policy that chooses between readings of the page, in the order of the file."""
    return tuple(_choices(Policy, Policy(), ""))


def record_of(hint: Any) -> Any:
    """Return the record class of a field or of its list; None for a plain value."""
    return next(
        (one for one in (hint, *typing.get_args(hint)) if isinstance(one, type) and dataclasses.is_dataclass(one)), None
    )


def _walk(record: Any, prefix: str, about: Collection[str]) -> Iterator[tuple[str, str, object]]:
    for field in dataclasses.fields(record):
        value, name = getattr(record, field.name), prefix + field.name.rstrip("_")
        if dataclasses.is_dataclass(value):
            yield from _walk(value, f"{name}.", about)
        elif isinstance(value, tuple) and any(map(dataclasses.is_dataclass, value)):
            for place, row in _rows(value, about):
                yield from _walk(row, f"{name}[{place}].", about)
        elif not isinstance(value, dict) and value != ():
            yield name, str(field.metadata.get("rule", "")), value


def _rows(rows: tuple[Any, ...], about: Collection[str]) -> Iterator[tuple[object, Any]]:
    for place, row in enumerate(rows):
        name = getattr(row, "key", getattr(row, "role", None))
        if name is None or name in about:
            yield place if name is None else name, row


def _choices(record: Any, packaged: Any, prefix: str) -> Iterator[Choice]:
    hints = typing.get_type_hints(record)
    for field in dataclasses.fields(record):
        value, name, hint = getattr(packaged, field.name), prefix + field.name.rstrip("_"), hints[field.name]
        values = (True, False) if hint is bool else typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
        if dataclasses.is_dataclass(value):
            yield from _choices(type(value), value, f"{name}.")
        elif len(values) > 1:
            others = tuple(_written(one) for one in values if one != value)
            yield Choice(name, field.metadata["rule"], _written(value), others, field.metadata["doc"])


def _written(value: object) -> str:
    """Return a value as the file has it, without quotes."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _named(record: Any, prefix: str) -> Iterator[tuple[str, str]]:
    hints = typing.get_type_hints(record)
    for field in dataclasses.fields(record):
        inner, name = record_of(hints[field.name]), prefix + field.name.rstrip("_")
        if inner:
            yield from _named(inner, f"{name}.")
        else:
            yield name, str(field.metadata.get("rule", ""))
