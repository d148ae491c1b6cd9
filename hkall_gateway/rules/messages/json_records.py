"""Converts frozen records to JSON and back, for the outbox and the inbox.

A dataclass becomes an object with its name under "_"; dates, instants, enums and item keys keep their type the same way.
Only registered classes are read, so that a row in the database can never name arbitrary code.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar

from hkall_gateway.rules.vocabulary import ItemKey, Sensitive

T = TypeVar("T")

_KNOWN: dict[str, Callable[..., object]] = {"date": date.fromisoformat, "instant": datetime.fromisoformat, "item": ItemKey}
_NAMES: dict[type, str] = {}


def record(cls: type[T], name: str = "") -> type[T]:
    """Register a dataclass or a StrEnum for `to_json` and `from_json`; used as a decorator.

    A StrEnum that is not registered is written as plain text.

    Args:
        name: The name by which stored rows know the class, where that differs from its own.
    """
    stored = name or cls.__name__
    _KNOWN[stored], _NAMES[cls] = cls, stored
    return cls


def record_as(name: str) -> Callable[[type[T]], type[T]]:
    """Register a class under the name by which stored rows know it, where that differs from the name of the class."""
    return lambda cls: record(cls, name)


def to_json(value: object) -> str:
    """Return `value` as JSON text. Raises TypeError for a value that is not a registered record or a plain value."""
    kind = type(value)
    write = _WRITERS.get(kind)
    if write is None:
        write = _WRITERS[kind] = _writer(kind)
    return write(value)


def from_json(text: str) -> Any:  # the text names its class
    """Return the value given to `to_json`. Raises KeyError for a class that is not registered."""
    return _rich(json.loads(text))


def _name(kind: type) -> str:
    """The stored name of a class; that of a class that is not registered is never read back."""
    return _NAMES.get(kind, kind.__name__)


Write = Callable[[Any], str]

_text: Write = json.encoder.encode_basestring  # with the letters of every language as they are


def _tagged(name: str, value: str) -> str:
    return f'{{"_":"{name}","v":{value}}}'


def _mapping(value: Mapping[object, object]) -> str:
    return "{" + ",".join([f"{_text(str(key))}:{to_json(one)}" for key, one in value.items()]) + "}"


def _list(value: Iterable[object]) -> str:
    return "[" + ",".join([to_json(one) for one in value]) + "]"


# fmt: off
_WAYS: tuple[tuple[type, Write], ...] = (
    (Sensitive,  lambda v: _tagged("secret", _text(v.reveal()))),
    (str,        _text),
    (bool,       lambda v: "true" if v else "false"),
    (int,        int.__repr__),
    (float,      json.dumps),
    (type(None), lambda _: "null"),
    (datetime,   lambda v: _tagged("instant", f'"{v.isoformat()}"')),
    (date,       lambda v: _tagged("date", f'"{v.isoformat()}"')),
    (ItemKey,    lambda v: _tagged("item", _list(v))),
    (Mapping,    _mapping),
    (tuple,      _list),
    (list,       _list),
)
# fmt: on
"""Writers by class: the first row with a class of the value counts."""

_WRITERS: dict[type, Write] = {}


def _writer(kind: type) -> Write:
    if dataclasses.is_dataclass(kind):
        return _of_record(kind)
    if issubclass(kind, StrEnum) and kind in _NAMES:
        return {member: _tagged(_name(kind), _text(member.value)) for member in kind}.__getitem__
    found = next((write for row, write in _WAYS if issubclass(kind, row)), None)
    if found is None:
        raise TypeError(f"{kind.__name__} is not a record")
    return found


def _of_record(kind: type) -> Write:
    """Return a writer for one dataclass, with its keys prepared once.

    A field with its default value is left out, so that a gateway of an older release can read records that use no new field.
    """
    head, keys = f'{{"_":"{_name(kind)}"', [(f',"{name}":', name, default) for name, default in _fields(kind)]

    def write(value: object) -> str:
        said = [(key, getattr(value, name), default) for key, name, default in keys]
        return "".join(
            [head, *[key + to_json(one) for key, one, default in said if one is not default and one != default], "}"]
        )

    return write


@cache
def _fields(cls: type) -> tuple[tuple[str, object], ...]:
    """Return each field's name and default; MISSING if it has none."""
    return tuple((f.name, f.default) for f in dataclasses.fields(cls))


def _rich(value: object) -> object:
    if isinstance(value, list):
        return tuple(_rich(v) for v in value)
    if not isinstance(value, dict):
        return value
    if "_" not in value:
        return {k: _rich(v) for k, v in value.items()}
    name = value["_"]
    if name == "secret":
        return Sensitive(value["v"])
    make = _KNOWN[name]
    if "v" in value:
        return make(*value["v"]) if name == "item" else make(value["v"])
    return make(**{k: _rich(v) for k, v in value.items() if k != "_"})
