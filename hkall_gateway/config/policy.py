"""Loads policy.toml, which overrides the published rules key by key with the site's own values."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, TypeAdapter, create_model

from hkall_gateway.config.loading import ConfigErrors, Fault, Strict, Table, model, read
from hkall_gateway.rules.plain_text import nearest
from hkall_gateway.rules.settings import Category, Policy
from hkall_gateway.rules.vendor_words.study_modes import StudyMode, folded

IDENTITIES: Final = {"categories": "key", "roles": "role"}
"""List -> key that names a row. A site's row changes the packaged row with the same name, or adds a row."""

OPEN: Final = frozenset({"categories"})
"""Lists to which a site may add rows. All other lists already have a row for every possible name."""


def load(file: Path | None) -> Policy:
    """Return the published rules with the changes in `file`, if any. Raises ConfigErrors with all errors."""
    return changed(read(file), file) if file else Policy()


def changed(site: Table, named: Path) -> Policy:
    """Return the published rules with the changes in `site`, which was read from the file `named`. Raises ConfigErrors."""
    base = _record_table(Policy())
    _, faults = model(_strict_model(Policy, partial=True), site, named)
    messages = dict(faults)
    for check in (_check_rows, _check_labels, _check_dates, _check_study_modes):
        for path, message in check(site, base):
            messages.setdefault(path, message)
    if messages:
        raise ConfigErrors(named, messages.items())
    whole, faults = model(_strict_model(Policy), _overlay_rows(base, site), named)
    if whole is None:
        raise ConfigErrors(named, faults)
    return _policy_adapter().validate_python(whole.model_dump())


@cache
def _policy_adapter() -> TypeAdapter[Policy]:
    return TypeAdapter(Policy)


def _record_table(record: object) -> Table:
    """Convert a record to a TOML table. Omit keys with the value None. Remove trailing underscores from names."""
    assert dataclasses.is_dataclass(record)
    pairs = ((field.name.rstrip("_"), getattr(record, field.name)) for field in dataclasses.fields(record))
    return {name: _plain_value(value) for name, value in pairs if value is not None}


def _plain_value(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain_value(each) for each in value]
    return _record_table(value) if dataclasses.is_dataclass(value) else value


def _overlay_rows(base: Table, site: Table) -> Table:
    changed = dict(base)
    for key, value in site.items():
        if isinstance(value, dict):
            changed[key] = {**base.get(key, {}), **value}
        elif key in IDENTITIES:
            rows = {row[IDENTITIES[key]]: row for row in base[key]}
            for row in value:
                name = row[IDENTITIES[key]]
                rows[name] = {**rows.get(name, {}), **row}
            changed[key] = list(rows.values())
        else:
            changed[key] = value
    return changed


def _check_rows(site: Table, base: Table) -> Iterator[Fault]:
    for kind, identity in IDENTITIES.items():
        known = {row[identity] for row in base[kind]}
        seen: set[str] = set()
        for path, row in _list_rows(site, kind):
            name = row.get(identity)
            if not isinstance(name, str):
                continue
            if name in seen:
                yield f"{path}.{identity}", f"{name!r} stands twice"
            if name not in known:
                yield from _check_new_row(kind, path, row, name, known)
            seen.add(name)


def _check_new_row(kind: str, path: str, row: Table, name: str, known: set[str]) -> Iterator[Fault]:
    if kind not in OPEN:
        yield f"{path}.{IDENTITIES[kind]}", f"{name!r} is not a row of {kind}{nearest(name, known)}"
        return
    for field in dataclasses.fields(Category):
        if _is_required(field) and field.name not in row:
            yield f"{path}.{field.name}", f"is missing; {name!r} is a new category{nearest(name, known)}"


def _check_labels(site: Table, base: Table) -> Iterator[Fault]:
    labels = site.get("labels")
    for key in labels if isinstance(labels, dict) else ():
        if key not in base["labels"]:
            yield f"labels.{key}", f"is not a known key{nearest(key, base['labels'])}"


def _check_dates(site: Table, _base: Table) -> Iterator[Fault]:
    for kind in ("service_windows", "fine_free"):
        for path, row in _list_rows(site, kind):
            start, end = _parse_day(row.get("start")), _parse_day(row.get("end"))
            if start and end and end < start:
                yield f"{path}.end", "is before the start"


def _parse_day(value: object) -> date | None:
    """Parse a date. Return None for any other value, which the model refuses."""
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        return None


def _check_study_modes(site: Table, base: Table) -> Iterator[Fault]:
    """Report words that are listed for both modes of study."""
    own = site.get("study_modes")
    modes = {**base["study_modes"], **own} if isinstance(own, dict) else base["study_modes"]
    listed = {mode: modes[mode.value] if isinstance(modes[mode.value], list) else [] for mode in StudyMode}
    full, part = ({folded(str(word)) for word in (mode.value, *words)} for mode, words in listed.items())
    for word in sorted(full & part):
        yield "study_modes", f"{word!r} stands in full_time and in part_time"


def _list_rows(site: Table, kind: str) -> Iterator[tuple[str, Table]]:
    rows = site.get(kind)
    for index, row in enumerate(rows if isinstance(rows, list) else ()):
        if isinstance(row, dict):
            yield f"{kind}[{index}]", row


@cache
def _strict_model(record: type, partial: bool = False) -> type[Strict]:
    """Create a strict model with a frozen record's fields. With `partial`, all fields are optional, as in a site's file."""
    hints = typing.get_type_hints(record)
    fields: Table = {}
    for field in dataclasses.fields(record):
        alias = field.name.rstrip("_")
        kept = field.name in IDENTITIES.values() and _is_required(field)
        default = None if partial and not kept else ... if _is_required(field) else _field_default(field)
        fields[field.name] = (
            _strict_type(hints[field.name], field.name, partial),
            Field(default, alias=alias, validate_default=False),
        )
    return create_model(record.__name__, __base__=Strict, **fields)


def _strict_type(hint: object, name: str, partial: bool) -> object:
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _strict_model(hint, partial)
    if hint is int:
        return Annotated[int, Field(ge=0)]
    if name == "study_mode_required":
        return Literal["", "full_time"]
    if typing.get_origin(hint) is tuple:
        row = typing.get_args(hint)[0]
        return tuple[_strict_type(row, "", partial and name in IDENTITIES), ...]  # type: ignore[misc]  # created at run time
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return typing.Union[tuple(_strict_type(part, "", partial) for part in typing.get_args(hint))]  # noqa: UP007
    return hint


def _is_required(field: dataclasses.Field[object]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _field_default(field: dataclasses.Field[object]) -> object:
    return field.default if field.default is not dataclasses.MISSING else None
