"""Determines whether a changed key takes effect at a reload (SIGHUP, `systemctl reload`) or at the next start."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from hkall_gateway.config.gateway import GatewayConfig
from hkall_gateway.config.loading import table_of
from hkall_gateway.protocols import DEFAULT, protocols_in_use


class TakesEffect(StrEnum):
    """When a key takes effect."""

    RELOAD = "reload"
    RESTART = "restart"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableKeys:
    """The keys in one table, by when a change takes effect. "*" stands for all keys, rows and nested tables."""

    reload: Sequence[str] = ()
    restart: Sequence[str] = ()


_TEXT: Final = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
TABLES: Final = {table: TableKeys(**listed) for table, listed in tomllib.loads(_TEXT).items()}
"""All configuration tables. Each key is in one of the two lists. "*" stands for all keys that are not in the other list.

Tables of protocols from other distributions are not listed, see `keys_of`.
"""


def keys_of(table: str) -> TableKeys:
    """Return when the keys of a table take effect. Raises KeyError.

    A protocol of another distribution has the keys of [ncip]. Its own take effect at a reload, except lists of endpoints.
    """
    if table in TABLES:
        return TABLES[table]
    protocol = next((protocol for protocol in protocols_in_use() if protocol.name == table), None)
    if protocol is None:
        raise KeyError(f"{table} is not in TABLES")
    own = [key for key in protocol.settings.model_fields if key not in protocol.listens]
    return TableKeys(reload=(*TABLES[DEFAULT].reload, *own), restart=("*",))


def takes_effect(table: str, key: str) -> TakesEffect:
    """Return when a change of a key takes effect. Keys in a nested table take effect together. Raises KeyError."""
    outer, _, inner = table.partition(".")
    keys, name = keys_of(outer), inner.partition(".")[0] or key
    for when, listed in ((TakesEffect.RELOAD, keys.reload), (TakesEffect.RESTART, keys.restart)):
        if name in listed or "*" in listed:
            return when
    raise KeyError(f"{table}.{key} is in no list of TABLES")


def keep_until_restart(old: GatewayConfig, new: GatewayConfig) -> tuple[GatewayConfig, tuple[str, ...]]:
    """Return `new` with the old values of all keys that need a restart, and the names of such keys that have changed."""
    changed: dict[str, object] = {}
    kept: list[str] = []
    tables = [*GatewayConfig.model_fields, *(protocol.name for protocol in protocols_in_use())]
    for table in dict.fromkeys(tables):
        before, after = getattr(old, table, None), getattr(new, table, None)
        if not keys_of(table).restart or before == after:
            continue
        if before is None or after is None:  # a whole table was added or removed
            kept.append(table)
            changed[table] = before
            continue
        # A different adapter has different keys, so keep the old table and only copy the keys that take effect at a reload.
        own, now = type(after).model_fields, dict[str, object]()
        for key, field in type(before).model_fields.items():
            if takes_effect(table, key) is TakesEffect.RELOAD:
                now[key] = getattr(after, key)
            elif key in own and getattr(before, key) != getattr(after, key):
                kept.append(f"{table}.{field.alias or key}")
        changed[table] = before.model_copy(update=now)
    return new.model_copy(update=changed), tuple(kept)


def every_key(model: type[BaseModel] = GatewayConfig, table: str = "") -> Iterator[tuple[str, str]]:
    """Yield (table, key) for each configuration key with a plain value."""
    for key in model.model_fields:
        inner = table_of(model, key)
        if inner is not None:
            yield from every_key(inner, f"{table}.{key}" if table else key)
        else:
            yield table, key
