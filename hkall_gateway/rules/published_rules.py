"""The published rules of HKALL by number, each paraphrased in one sentence, in English and Chinese."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hkall_gateway.rules.settings import Policy

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def keys_of(policy: Policy, rules: Iterable[str], about: Collection[str] = ()) -> dict[str, object]:
    """Return the policy keys (such as `renewal.window_days`) that implement these rules, with their current values.

    `about` names the categories and roles to include (`categories[undergraduates].quota`). Service windows and fine-free days
    are always included and have an index instead of a name.
    """
    wanted = set(rules)
    return {name: value for name, rule, value in _walk(policy, "", about) if rule in wanted}


def _walk(record: DataclassInstance, prefix: str, about: Collection[str]) -> Iterator[tuple[str, str, object]]:
    for field in dataclasses.fields(record):
        value, name = getattr(record, field.name), prefix + field.name.rstrip("_")
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from _walk(value, f"{name}.", about)
        elif isinstance(value, tuple) and any(map(dataclasses.is_dataclass, value)):
            for place, row in enumerate(value):
                row_name = getattr(row, "key", getattr(row, "role", place))
                if row_name is place or row_name in about:
                    yield from _walk(row, f"{name}[{row_name}].", about)
        elif not isinstance(value, dict) and value != ():
            yield name, str(field.metadata.get("rule", "")), value


_SENTENCES: Final[dict[str, dict[str, str]]] = tomllib.loads(
    (Path(__file__).parent / "published_rules.toml").read_text(encoding="utf-8")
)
PUBLISHED: Final[Mapping[str, str]] = {number: row["en"] for number, row in _SENTENCES.items()}
PUBLISHED_ZH: Final[Mapping[str, str]] = {number: row["zh"] for number, row in _SENTENCES.items()}
