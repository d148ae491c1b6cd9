"""Which keys of the policy file stand behind a rule: read from the metadata that every key carries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from hkall_gateway.rules.settings import Policy


def keys_of(policy: Policy, rules: Iterable[str]) -> dict[str, object]:
    """Every key of these rules with its value in force, named as in the file; lists of rows are not shown."""
    wanted = set(rules)
    return {name: value for name, rule, value in _walk(policy, "") if rule in wanted}


def _walk(record: Any, prefix: str) -> Iterator[tuple[str, str, object]]:
    for field in fields(record):
        value, name = getattr(record, field.name), prefix + field.name.rstrip("_")
        if is_dataclass(value) and not isinstance(value, type):
            yield from _walk(value, f"{name}.")
        elif not _is_rows(value):
            yield name, str(field.metadata.get("rule", "")), value


def _is_rows(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, tuple) and any(is_dataclass(v) for v in value))
