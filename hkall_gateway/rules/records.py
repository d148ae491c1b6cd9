"""Frozen records as JSON and back: what the outbox and the inbox keep, in our words.

A dataclass becomes an object with its class name under "_"; dates, instants, enums and item keys keep their type the same
way. Only classes that were registered come back, so that a row in the database can never name arbitrary code.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from datetime import date, datetime
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar

from hkall_gateway.rules.vocabulary import ItemKey, Sensitive

T = TypeVar("T")

_KNOWN: dict[str, Callable[..., Any]] = {"date": date.fromisoformat, "instant": datetime.fromisoformat, "item": ItemKey}


def record(cls: type[T]) -> type[T]:
    """Let `to_json` and `from_json` know a dataclass or a StrEnum; used as a decorator."""
    _KNOWN[cls.__name__] = cls
    return cls


def to_json(value: object) -> str:
    """`value` as JSON text. Raises TypeError for what is not a registered record or a plain value."""
    return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"))


def from_json(text: str) -> Any:
    """What `to_json` was given. Raises KeyError for a class that nobody registered."""
    return _rich(json.loads(text))


_AS_THEY_ARE = frozenset({str, int, float, bool, type(None)})


def _plain(value: object) -> object:
    if type(value) in _AS_THEY_ARE:
        return value
    if isinstance(value, Sensitive):
        return {"_": "secret", "v": value.reveal()}
    if isinstance(value, StrEnum):
        return {"_": type(value).__name__, "v": value.value}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, datetime):
        return {"_": "instant", "v": value.isoformat()}
    if isinstance(value, date):
        return {"_": "date", "v": value.isoformat()}
    return _plain_many(value)


def _plain_many(value: object) -> object:
    if isinstance(value, ItemKey):
        return {"_": "item", "v": list(value)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"_": type(value).__name__} | {name: _plain(getattr(value, name)) for name in _names(type(value))}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    raise TypeError(f"{type(value).__name__} is not a record")


@cache
def _names(cls: Any) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(cls))


def _rich(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_rich(v) for v in value)
    if not isinstance(value, dict):
        return value
    if "_" not in value:
        return {k: _rich(v) for k, v in value.items()}
    return _rebuilt(value)


def _rebuilt(value: dict[str, Any]) -> Any:
    name = value["_"]
    if name == "secret":
        return Sensitive(value["v"])
    make = _KNOWN[name]
    if "v" in value:
        return make(*value["v"]) if name == "item" else make(value["v"])
    return make(**{k: _rich(v) for k, v in value.items() if k != "_"})
