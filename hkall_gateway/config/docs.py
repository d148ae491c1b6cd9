"""docs/config.md and docs/policy.md, written from the models: every key, its type, its default and its meaning."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from hkall_gateway.config.gateway import GatewayConfig, LibraryConfig, TerminalConfig
from hkall_gateway.config.ils import IlsConfig
from hkall_gateway.config.loading import Fault, Table, dotted, read, table_of
from hkall_gateway.config.reloading import takes_effect
from hkall_gateway.ils.adapter import FORMER_GROUP, GROUP, is_former
from hkall_gateway.ncip.codec.dialects import DIALECTS
from hkall_gateway.ncip.service_request import DIRECT
from hkall_gateway.rules.plain_text import listed
from hkall_gateway.rules.policy import messages_of
from hkall_gateway.rules.published_rules import record_of
from hkall_gateway.rules.settings import ROLES, Policy

# ---- Notes about a valid configuration, which `check-config` prints.
# A note names a setting that works but may not be intended, or one that the site has still to decide. A value that is
# written in
# one of the two files, even the default, has no note.


ALL: Final = frozenset(code for row in ROLES for code in row.messages)
"""The messages that 0.1.0 accepted from a terminal of any role."""
FOR_TILLS: Final = frozenset({"selfcheck"})
GOES_ON: Final = frozenset({"counter", "selfcheck"})
DAYS: Final = ("anonymise_days", "messages_days")


def notes(config: GatewayConfig, policy: Policy) -> Iterator[Fault]:
    """(path of the key, the effect that people would meet or the decision to make)."""
    site = read(config.policy.file) if config.policy.file else {}
    yield from _unnamed(config.library)
    yield from _terminals(config.sip2.terminals, site, policy)
    yield from _brokers(config)
    if is_former(config.ils.connector):
        what = f"{config.ils.connector!r} is an entry point of the group {FORMER_GROUP}, which the next release will not read"
        yield "ils.connector", f"{what}; its maker must offer it in {GROUP}"
    yield from _keys_in_the_clear(config)
    yield from _retention(site, policy)


# ---- places


def _unnamed(library: LibraryConfig) -> Iterator[Fault]:
    """Pickup locations without a name, which letters would call by their code."""
    for code in library.pickup_locations:
        in_chinese = code in library.place_names or code in library.place_names_zh
        known = {"en": code in library.place_names, "zh-Hant": in_chinese}
        if unknown := [language for language in library.languages if not known[language]]:
            yield dotted(("library", "place_names", code)), f"is missing; letters in {' and '.join(unknown)} say {code!r}"


# ---- terminals


def _terminals(terminals: Sequence[TerminalConfig], site: Table, policy: Policy) -> Iterator[Fault]:
    """Terminal messages and rights that are off by default since a release, unless the site has decided."""
    decided = {row.get("role") for row in _rows(site, "roles") if "messages" in row}
    for role in dict.fromkeys(row.role for row in terminals):
        mine = [row for row in terminals if row.role == role]
        if role not in decided:
            yield from _lost(role, mine, policy)
        yield from _silent(role, mine)


def _lost(role: str, terminals: Sequence[TerminalConfig], policy: Policy) -> Iterator[Fault]:
    lost = ALL - messages_of(role, policy)
    if lost:
        mend = f'[[roles]] role = "{role}" with a list of messages in the policy file changes that'
        yield _named(terminals), f"{role}: {' '.join(sorted(lost))} are refused, also about the library's own books; {mend}"


def _silent(role: str, terminals: Sequence[TerminalConfig]) -> Iterator[Fault]:
    tills = [row for row in terminals if row.takes_money is None and role in FOR_TILLS]
    if tills:
        yield (
            _named(tills),
            "takes_money is not set: payments (37) are refused; true for a kiosk with a till, false ends this note",
        )
    going = [row for row in terminals if row.offline is None and role in GOES_ON]
    if going:
        what = "offline is not set: transactions made off line (no block) are decided as if asked now"
        yield _named(going), f"{what}; true for a terminal that goes on off line, false ends this note"


def _named(terminals: Sequence[TerminalConfig]) -> str:
    return f"sip2.terminals {', '.join(row.login for row in terminals)}"


def _rows(tables: Table, key: str) -> list[Table]:
    found = tables.get(key)
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


# ---- brokers

BROKER: Final = (
    "sees_patrons is not set: without a PIN or an open request it gets eligibility and blocks only; "
    "true gives it names, addresses, loans and debts, false ends this note"
)


def _brokers(config: GatewayConfig) -> Iterator[Fault]:
    for partner in config.partners:
        if partner.sees_patrons is None and DIALECTS[partner.dialect].flow != DIRECT:
            yield f"partners {partner.agency}", BROKER


def _keys_in_the_clear(config: GatewayConfig) -> Iterator[Fault]:
    """Keys that are fetched without TLS: an attacker in between can sign as the peer."""
    tokens = [(("partners", i), row.jwt) for i, row in enumerate(config.partners)]
    tokens += [(("clients", i), row.jwt) for i, row in enumerate(config.clients)]
    for where, jwt in tokens:
        if jwt and jwt.jwks_url and jwt.jwks_url.startswith("http:"):
            yield (
                dotted((*where, "jwt", "jwks_url")),
                "is fetched without TLS: a change on the way lets a third party sign as the peer",
            )


# ---- how long patrons are remembered


def _retention(site: Table, policy: Policy) -> Iterator[Fault]:
    """Each period that the site has not set, or has set to 0."""
    for key in DAYS:
        days = getattr(policy.retention, key)
        if not days:
            yield f"retention.{key}", "is 0: patron data are kept for ever; Hong Kong's PDPO requires a period"
        elif key == "anonymise_days" and key not in site.get("retention", {}):
            what = f"is not set: {days} days after its end a request forgets its patron, also what ended before the upgrade"
            yield f"retention.{key}", f"{what}; setting it in the policy file ends this note"


HEAD = ("key", "type", "default", "changed by", "meaning")
POLICY_HEAD = ("key", "rule", "type", "default", "meaning")

Row = tuple[str, ...]


def describe() -> str:
    """The page on gateway.toml, in Markdown."""
    lines = [
        "# Configuration",
        "",
        "Generated by `make docs`; change the models instead.",
        "",
        "Every key of gateway.toml; the rules of lending are in [policy.md](policy.md). Paths are relative to the folder of",
        "the file. A key that ends in `_env` names an environment variable. A change takes effect by a *reload*",
        "(`systemctl reload`, SIGHUP) or by a *restart*, until which the old value stays: a reload names such keys in the",
        "log (`config.needs_restart`) and in `systemctl status`. A new value of an environment variable needs a restart,",
        "new content of a file that is named here a reload.",
        *_tables(GatewayConfig, ""),
    ]
    return "\n".join(lines) + "\n"


def describe_ils(model: type[IlsConfig]) -> str:
    """The keys of [ils], in Markdown, with those of the adapter for which this model was made."""
    return "\n".join(_tables(model, "[ils]")).strip()


def describe_policy() -> str:
    """The page on policy.toml, in Markdown: every key with the published rule that it belongs to, and the packaged rows."""
    lines = [
        "# The policy",
        "",
        "Generated by `make docs`; change the model instead.",
        "",
        "`policy.toml` overlays `hkall_gateway/rules/hkall.toml`: only the keys that it names change. A row of `categories` or",
        "`roles` changes the row of its name, a label the label of its position; the other lists are replaced as a whole.",
        "`hkall-gateway policy check FILE` names every error of a file at once. R numbers are those of [rules.md](rules.md).",
        *_records(Policy, "", Policy()),
    ]
    return "\n".join(lines) + "\n"


def _tables(model: type[BaseModel], path: str) -> Iterator[str]:
    if path:
        table = path.strip("[]")
        rows = [_field(table, name, field) for name, field in model.model_fields.items() if not table_of(model, name)]
        yield from _section(path, (model.__doc__ or "").strip(), rows)
    for name, field in model.model_fields.items():
        inner = table_of(model, name)
        if inner:
            yield from _tables(inner, _path(path, name, _is_list(field.annotation)))


def _records(record: type, path: str, packaged: object) -> Iterator[str]:
    """The section of one record and of those inside it; `packaged` holds the gateway's own values there."""
    hints = typing.get_type_hints(record)
    fields = dataclasses.fields(record)
    rows = [_plain(field, hints[field.name]) for field in fields if not record_of(hints[field.name])]
    yield from _section(path, (record.__doc__ or "").strip().splitlines()[0], rows, POLICY_HEAD)
    yield from _packaged(packaged)
    for field in fields:
        inner = record_of(hints[field.name])
        if inner:
            many = _is_list(hints[field.name])
            yield from _records(inner, _path(path, field.name.rstrip("_"), many), getattr(packaged, field.name))


def _packaged(value: object) -> Iterator[str]:
    """The rows of a list that the gateway brings with it, as a table; empty for a single record."""
    if isinstance(value, tuple) and value:
        names = tuple(field.name for field in dataclasses.fields(value[0]))
        yield from ("", "As packaged:", "")
        yield from _lines(names, ([_shown(getattr(row, name)) for name in names] for row in value))
    elif isinstance(value, Policy):
        yield from ("", "`labels`, as packaged:", "")
        yield from _lines(("position", "label"), ([f"`{name}`", label] for name, label in value.labels.items()))


def _path(path: str, name: str, many: bool) -> str:
    inner = f"{path.strip('[]')}.{name}" if path else name
    return f"[[{inner}]]" if many else f"[{inner}]"


def _section(path: str, told: str, rows: Iterable[Row], head: Row = HEAD) -> Iterator[str]:
    title = f"`{path}`" if path else "Keys before the first table"
    yield from ("", f"## {title}", "", told, "")
    yield from _lines(head, rows)


def _lines(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    names = tuple(head)
    for cells in (names, ["---"] * len(names), *rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _field(table: str, name: str, field: FieldInfo) -> Row:
    key = field.alias or name
    default = "**needed**" if field.is_required() else _shown(field.default)
    return f"`{key}`", _words(field.annotation), default, takes_effect(table, name), field.description or ""


def _plain(field: dataclasses.Field[Any], hint: Any) -> Row:
    default = field.default
    if default is dataclasses.MISSING:
        made = field.default_factory
        default = PydanticUndefined if made is dataclasses.MISSING else made()
    needed = "**needed**" if default is PydanticUndefined else _shown(default)
    return f"`{field.name.rstrip('_')}`", field.metadata["rule"], _words(hint), needed, field.metadata["doc"]


def _shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f'`"{value}"`'
    if isinstance(value, Mapping):
        return "as packaged"
    if isinstance(value, tuple | list):
        return ", ".join(_shown(each) for each in value) or "empty"
    return f"`{value}`"


NAMES = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Path: "file",
    types.NoneType: "",
}


def _words(hint: Any) -> str:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return listed(_shown(part).strip("`").strip('"') for part in parts)
    if origin is typing.Annotated:
        return _words(parts[0])
    if origin is tuple:
        return f"list of: {_words(parts[0])}"
    if origin in (typing.Union, types.UnionType):
        return listed(filter(None, map(_words, parts)))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "table of text"
    return NAMES.get(hint, "date")


def _is_list(hint: Any) -> bool:
    return typing.get_origin(hint) is tuple
