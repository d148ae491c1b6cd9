"""Converts frozen records to JSON and back, for the outbox and the inbox.

A dataclass becomes an object with the class name under "_". Dates, timestamps, enums and item keys store their type likewise.
Only registered classes can be read, so that a row in the database cannot instantiate arbitrary classes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from enum import StrEnum
from typing import Any, TypeVar

from hkall_gateway.rules.vocabulary import ItemKey, Sensitive

T = TypeVar("T")

_KNOWN: dict[str, Callable[..., object]] = {"date": date.fromisoformat, "instant": datetime.fromisoformat, "item": ItemKey}
_NAMES: dict[type, str] = {}
_DROPPED: dict[str, frozenset[str]] = {}
"""Fields that only earlier releases wrote, by the stored name of the class."""


def record(cls: type[T], name: str = "", dropped: Iterable[str] = ()) -> type[T]:
    """Register a dataclass or a StrEnum for `to_json` and `from_json`; to be used as a decorator.

    `name` is the name of the class in stored rows, if it differs. `dropped` lists fields to ignore in rows of earlier releases.
    An unregistered StrEnum is written as plain text.
    """
    stored = name or cls.__name__
    _DROPPED[stored] = frozenset(("_", *dropped))
    _KNOWN[stored], _NAMES[cls] = cls, stored
    return cls


def record_as(name: str) -> Callable[[type[T]], type[T]]:
    """Register a class that is called `name` in stored rows."""
    return lambda cls: record(cls, name)


def to_json(value: object) -> str:
    """Return `value` as JSON text. Raise TypeError for unsupported types."""
    return _WRITERS[type(value)](value)


def from_json(text: str) -> Any:  # the type depends on the text
    """Return the value that was passed to `to_json`. Raise KeyError for a class that is not registered."""
    return _from_plain(json.loads(text))


Write = Callable[[Any], str]

_json_text: Write = json.encoder.encode_basestring  # does not escape non-ASCII letters


def _tagged_json(name: str, value: str) -> str:
    return f'{{"_":"{name}","v":{value}}}'


def _json_mapping(value: Mapping[object, object]) -> str:
    return "{" + ",".join([f"{_json_text(str(key))}:{_WRITERS[type(one)](one)}" for key, one in value.items()]) + "}"


def _json_list(value: Iterable[object]) -> str:
    return "[" + ",".join([_WRITERS[type(one)](one) for one in value]) + "]"


# fmt: off
_WAYS: tuple[tuple[type, Write], ...] = (
    (Sensitive,  lambda v: _tagged_json("secret", _json_text(v.reveal()))),
    (str,        _json_text),
    (bool,       lambda v: "true" if v else "false"),
    (int,        int.__repr__),
    (float,      json.dumps),
    (type(None), lambda _: "null"),
    (datetime,   lambda v: _tagged_json("instant", f'"{v.isoformat()}"')),
    (date,       lambda v: _tagged_json("date", f'"{v.isoformat()}"')),
    (ItemKey,    lambda v: _tagged_json("item", _json_list(v))),
    (Mapping,    _json_mapping),
    (tuple,      _json_list),
    (list,       _json_list),
)
# fmt: on
"""(class, writer) pairs. The first class that the value is an instance of determines the writer."""


class _Writers(dict[type, Write]):
    """The writer for each class, made when the first value of the class is written."""

    def __missing__(self, kind: type) -> Write:
        self[kind] = write = _make_writer(kind)
        return write


_WRITERS = _Writers()


def _make_writer(kind: type) -> Write:
    if dataclasses.is_dataclass(kind):
        return _record_writer(kind)
    if issubclass(kind, StrEnum) and kind in _NAMES:
        return {member: _tagged_json(_NAMES[kind], _json_text(member.value)) for member in kind}.__getitem__
    found = next((write for row, write in _WAYS if issubclass(kind, row)), None)
    if found is None:
        raise TypeError(f"{kind.__name__} is not a record")
    return found


def _record_writer(kind: type) -> Write:
    """Create a writer for a dataclass. The writer omits default values, so that older releases can read the rows.

    A class that is not registered is written under its own name, but cannot be read.
    """
    head = f'{{"_":"{_NAMES.get(kind, kind.__name__)}"'
    keys = [(f',"{field.name}":', field.name, field.default) for field in dataclasses.fields(kind)]

    def write(value: object) -> str:
        cells = [(key, getattr(value, name), default) for key, name, default in keys]
        written = [key + _WRITERS[type(one)](one) for key, one, default in cells if one != default]
        return "".join([head, *written, "}"])

    return write


def _from_plain(value: object) -> object:
    if isinstance(value, list):
        return tuple(_from_plain(v) for v in value)
    if not isinstance(value, dict):
        return value
    if "_" not in value:
        return {k: _from_plain(v) for k, v in value.items()}
    name = value["_"]
    if name == "secret":
        return Sensitive(value["v"])
    make = _KNOWN[name]
    if "v" in value:
        return make(*value["v"]) if name == "item" else make(value["v"])
    return make(**{k: _from_plain(v) for k, v in value.items() if k not in _DROPPED[name]})
