"""The published rules of HKALL by number, each paraphrased in one sentence, in English and Chinese."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from hkall_gateway.rules.settings import Policy

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def keys_of(policy: Policy, rules: Iterable[str], about: Collection[str] = ()) -> dict[str, object]:
    """Return the policy keys (such as `renewal.window_days`) that implement these rules, with their current values.

    `about` names the categories and roles to include (`categories[undergraduates].quota`). Service windows and fine-free days
    are always included and have an index instead of a name.
    """
    wanted = set(rules)
    return {key.name: key.value for key in _walk(policy, about) if key.rule in wanted}


def meanings_of(policy: Policy) -> dict[str, tuple[str, str]]:
    """Return for each policy key the meaning of its table, or the name of its category or role, and the key's own meaning."""
    about = {*(row.key for row in policy.categories), *(row.role for row in policy.roles)}
    return {key.name: (key.subject, key.meaning) for key in _walk(policy, about)}


class PolicyKey(NamedTuple):
    """A key of the policy with its value. `subject` is the meaning of its table, or the name of its category or role."""

    name: str
    rule: str
    subject: str
    meaning: str
    value: object


def _walk(record: DataclassInstance, about: Collection[str] = (), prefix: str = "", subject: str = "") -> Iterator[PolicyKey]:
    for field in dataclasses.fields(record):
        value, name, meaning = getattr(record, field.name), prefix + field.name.removesuffix("_"), field.metadata["doc"]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from _walk(value, prefix=f"{name}.", subject=meaning)
        elif isinstance(value, tuple) and any(map(dataclasses.is_dataclass, value)):
            for place, row in enumerate(value):
                row_name = getattr(row, "key", getattr(row, "role", place))
                if row_name is place or row_name in about:
                    row_subject = meaning if row_name is place else str(row_name)
                    yield from _walk(row, prefix=f"{name}[{row_name}].", subject=row_subject)
        elif not isinstance(value, dict) and value != ():
            yield PolicyKey(name, field.metadata["rule"], subject, meaning, value)


_SENTENCES: Final[dict[str, dict[str, str]]] = tomllib.loads(
    (Path(__file__).parent / "published_rules.toml").read_text(encoding="utf-8")
)
PUBLISHED: Final[Mapping[str, str]] = {number: row["en"] for number, row in _SENTENCES.items()}
PUBLISHED_ZH: Final[Mapping[str, str]] = {number: row["zh"] for number, row in _SENTENCES.items()}
