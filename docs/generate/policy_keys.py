"""Find keys of the policy file by their metadata, for the pages about the rules and the policy."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from hkall_gateway.rules.settings import Policy


def names_of(rules: Iterable[str]) -> tuple[str, ...]:
    """Return the names of all keys for these rules, including keys of rows such as `categories.quota`."""
    wanted = set(rules)
    return tuple(name for name, rule in _named(Policy, "") if rule in wanted)


@dataclass(frozen=True, slots=True)
class Choice:
    """A key with a fixed set of values. `default` is the published page's reading, `others` are a site's alternatives."""

    key: str
    rule: str
    default: str
    others: tuple[str, ...]
    doc: str


def choices() -> tuple[Choice, ...]:
    """Return every policy key that chooses between readings of the published page, in the order of the file."""
    return tuple(_choices(Policy, Policy(), ""))


def record_of(hint: object) -> Any:
    """Return the record class of a field or of the items in its list, or None for a plain value."""
    return next(
        (one for one in (hint, *typing.get_args(hint)) if isinstance(one, type) and dataclasses.is_dataclass(one)), None
    )


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
    """Format a value as in the file, without quotes."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _named(record: Any, prefix: str) -> Iterator[tuple[str, str]]:
    hints = typing.get_type_hints(record)
    for field in dataclasses.fields(record):
        inner, name = record_of(hints[field.name]), prefix + field.name.rstrip("_")
        if inner:
            yield from _named(inner, f"{name}.")
        else:
            yield name, str(field.metadata.get("rule", ""))
