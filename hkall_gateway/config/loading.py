"""Loads a TOML file into a model, or returns all errors. Rows that name a system get that system's defaults."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from hkall_gateway.config.systems import SYSTEMS, SystemRole
from hkall_gateway.rules.plain_text import listed, nearest

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Fault: TypeAlias = tuple[str, str]
"""(path, message). The path is a key such as `sip2.terminals[0].role`, or a line such as `line 7`."""

Table: TypeAlias = dict[str, Any]

M = TypeVar("M", bound=BaseModel)
R = TypeVar("R", bound="DataclassInstance")


class Strict(BaseModel):
    """Base class for configuration tables. Unknown keys are refused, values are not coerced, instances are frozen."""

    # Hide the input, so that a secret in the wrong key does not appear in an error message.
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)


class ConfigErrors(Exception):
    """All errors in a configuration file. `errors` holds (path, message) pairs, in the order of the file's tables."""

    def __init__(self, file: Path, errors: Iterable[Fault]) -> None:
        self.file = file
        self.errors: list[Fault] = list(errors)
        super().__init__("\n".join(f"{file}: {path}: {message}" for path, message in self.errors))


MESSAGES: Final[dict[str, str]] = tomllib.loads(Path(__file__).with_name("messages.toml").read_text(encoding="utf-8"))
"""Messages for pydantic's error types, worded for authors of configuration files."""


PATTERNS: Final = {
    r"^[A-Z]{3}$": "must be three capital letters, like HKD",
    r"^[^@\s]+@[^@\s]+$": "must be an address, like lending@lib.example.hk",
    r"^[0-9a-z]*$": "must be codes of subfields, like ab",
    r"^[0-9A-Z]{3}$": "must be a tag of three digits or capital letters, like 945",
    r"^([0-9A-Z]{3})?$": "must be a tag of three digits or capital letters, like 852, or empty",
    r"^[A-Za-z_][A-Za-z0-9_]*$": "must be the name of a variable: letters, digits and _",
}
"""What a text must be, by the regular expression that it does not match."""

_ARM: Final = re.compile(r"(constrained-)?(int|str)$|literal\[|function-")
"""Matches path steps that are not keys, such as pydantic's names for the members of a union."""


def read(file: Path) -> Table:
    """Read a TOML file. Raises ConfigErrors if the file cannot be read or, with the line number, if it is not TOML."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as bad:
        raise ConfigErrors(file, [("file", (bad.strerror or str(bad)).lower())]) from bad
    except UnicodeDecodeError as bad:
        line = bad.object[: bad.start].count(b"\n") + 1
        raise ConfigErrors(file, [(f"line {line}", "is not UTF-8 text")]) from bad
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as bad:
        raise ConfigErrors(file, [_syntax_fault(str(bad), text)]) from bad


def model(kind: type[M], tables: Table, file: Path) -> tuple[M | None, list[Fault]]:
    """Validate `tables` as a `kind`. Return the model, or None and the errors. Paths are relative to `file`'s folder."""
    try:
        # Convert to JSON, in which a strict model accepts a list for a tuple and a text for a date, as TOML users expect.
        text = json.dumps(tables, default=_iso_date)
        return kind.model_validate_json(text, context={"folder": file.absolute().parent}), []
    except ValidationError as bad:
        messages: dict[str, list[str]] = {}  # a value that may be a number or a word yields one error per type
        errors = bad.errors(include_url=False, include_input=False)
        for error in errors:
            if error["type"] == "too_short" and any(_is_within(one, error) for one in errors):
                continue  # pydantic does not count elements that are wrong
            path, message = _describe_error(error, kind)
            if message not in messages.setdefault(path, []):
                messages[path].append(message)
        return None, [(path, " or ".join(messages)) for path, messages in messages.items()]


def _is_within(error: ErrorDetails, whole: ErrorDetails) -> bool:
    """Check whether an error is about a part of the value that another error is about."""
    steps, outer = error["loc"], whole["loc"]
    return len(steps) > len(outer) and steps[: len(outer)] == outer


def record_from_row(record: type[R], row: BaseModel, **own: object) -> R:
    """Create a record from the fields in `row` with the same names. `own` has values for fields that differ."""
    shared = {field.name for field in fields(record)} & type(row).model_fields.keys() - own.keys()
    values: Table = {name: getattr(row, name) for name in shared}
    return record(**values, **own)


def dotted(steps: Iterable[str | int]) -> str:
    """Format the path of a key, such as `sip2.terminals[0].role`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return text.removeprefix(".")


def _syntax_fault(message: str, text: str) -> Fault:
    what = re.sub(r"\s*\(at .*\)$", "", message)
    if twice := re.match(r"Cannot declare \((.*)\) twice|Cannot overwrite a value", what):
        table = ".".join(re.findall(r"'([^']*)'", twice[1] or ""))
        what = f"the table [{table}] stands there twice: join the two" if table else "this key stands there twice: remove one"
    found = re.search(r"at line (\d+), column (\d+)", message)
    # tomllib reports "at end of document" if a quotation mark or a bracket was never closed.
    line, column = (found[1], f" (column {found[2]})") if found else (str(text.rstrip("\n").count("\n") + 1), "")
    return f"line {line}", f"{what[:1].lower()}{what[1:]}{column}"


def _describe_error(error: ErrorDetails, kind: type[BaseModel]) -> Fault:
    steps = tuple(step for step in error["loc"] if not _ARM.match(str(step)))
    if error["type"] == "extra_forbidden":
        for step in steps[:-1]:
            kind = (isinstance(step, str) and table_of(kind, step)) or kind
        known = [field.alias or name for name, field in kind.model_fields.items()]
        return dotted(steps), f"is not a known key{nearest(str(steps[-1]), known)}"
    if error["type"] == "string_pattern_mismatch":
        return dotted(steps), PATTERNS.get(str(error.get("ctx", {}).get("pattern")), "has characters that are not allowed here")
    messages = {key: _readable_context(value) for key, value in error.get("ctx", {}).items()}
    pattern = MESSAGES.get(error["type"])
    return dotted(steps), pattern.format(**messages) if pattern else error["msg"].lower()


def _readable_context(value: object) -> object:
    if isinstance(value, str) and value.startswith("'"):
        return listed(word or '""' for word in re.findall(r"'([^']*)'", value))
    return value.lower() if value in ("True", "False") else value


def table_of(kind: type[BaseModel], key: str) -> type[BaseModel] | None:
    """Return the model of the table or rows under `key`, or None if the key has a plain value."""
    for name, field in kind.model_fields.items():
        if key in (name, field.alias):
            return next(_models_in(field.annotation), None)
    return None


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _models_in(part)


def _iso_date(value: object) -> str:
    if isinstance(value, date):  # a datetime is a date too
        return value.isoformat()
    return str(value)


def with_defaults(tables: Table) -> Table:
    """Add defaults to a file's tables. Each row that names a system gets that system's keys as defaults."""
    whole = dict(tables)
    for role in SystemRole:
        value = tables.get(role.value)
        if isinstance(value, list):
            whole[role.value] = [_with_system_keys(role, row) if isinstance(row, dict) else row for row in value]
        elif isinstance(value, dict):
            whole[role.value] = _with_system_keys(role, value)
    return whole


def _with_system_keys(role: SystemRole, row: Table) -> Table:
    named = row.get("system")
    system = SYSTEMS.get(named) if isinstance(named, str) else None
    whole: Table = dict((system and system.defaults(role)) or {})
    for key, value in row.items():
        usual = whole.get(key)
        # In a nested table such as `problems`, override each entry separately.
        whole[key] = {**usual, **value} if isinstance(usual, Mapping) and isinstance(value, Mapping) else value
    return whole
