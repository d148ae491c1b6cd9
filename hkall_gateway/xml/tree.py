"""A message as a tree of fields: texts and structures by element name, found by a path of names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self, TypeAlias

Value: TypeAlias = "str | bool | Mapping[str, Value] | Sequence[Value]"
Fields: TypeAlias = Mapping[str, Value]

STRUCTURE = (dict, Mapping)
"""Types for isinstance checks of structures. dict comes first, since checks against Mapping are slow."""
SEVERAL = (list, tuple)
"""Types for isinstance checks of elements that occur more than once."""


class Coded(str):
    """A text with a scheme (SchemeValuePair). Comparison ignores the scheme, since peers mix up schemes."""

    __slots__ = ("scheme",)
    scheme: str | None

    def __new__(cls, text: str, scheme: str | None = None) -> Coded:
        """Create a text with the scheme as an attribute."""
        coded = super().__new__(cls, text)
        coded.scheme = scheme
        return coded


class Tree:
    """The base of a message with `fields`, the top-level elements. Values are found by paths of element names."""

    __slots__ = ()
    fields: Fields

    def with_fields(self, fields: Fields) -> Self:
        """Return a message with other fields."""
        raise NotImplementedError

    def text(self, path: str) -> str:
        """Return the first text at a path such as "UserId/UserIdentifierValue", or "" if there is none."""
        value: Value | None = self.fields
        for name in path.split("/"):
            if not isinstance(value, dict):
                return next(iter(self.texts(path)), "")
            if (value := value.get(name)) is None:
                return ""
        return value if isinstance(value, str) else next(iter(self.texts(path)), "")

    def texts(self, path: str) -> tuple[str, ...]:
        """Return all texts at a path in document order, including texts in repeated elements."""
        return tuple(value for value in find_values(self.fields, path) if isinstance(value, str))

    def has(self, path: str) -> bool:
        """Check whether there is a value at a path. An empty structure counts as a value."""
        return any(value not in ("", False) for value in find_values(self.fields, path))

    def each(self, path: str) -> tuple[Self, ...]:
        """Return the structures at a path such as "LoanedItem", wrapped as messages for further queries."""
        return tuple(self.with_fields(part) for part in find_values(self.fields, path) if isinstance(part, STRUCTURE))


def many(value: Value) -> Sequence[Value]:
    """Return a list unchanged, and a single value as a sequence with one member."""
    return value if isinstance(value, SEVERAL) else (value,)


def find_values(fields: Fields, path: str) -> Sequence[Value]:
    """Return all values at a path, in document order."""
    found: Sequence[Value] = (fields,)
    for name in path.split("/"):
        inside = [one[name] for one in found if isinstance(one, STRUCTURE) and name in one]
        found = many(inside[0]) if len(inside) == 1 else [value for values in inside for value in many(values)]
    return found
