"""Determines whether a changed key takes effect at a reload (SIGHUP, `systemctl reload`) or at the next start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pydantic import BaseModel

from hkall_gateway.config.gateway import GatewayConfig
from hkall_gateway.config.loading import table_of


class TakesEffect(StrEnum):
    """When a key takes effect."""

    RELOAD = "reload"
    RESTART = "restart"


@dataclass(frozen=True, slots=True)
class TableKeys:
    """The keys in one table, by when a change takes effect. EVERY stands for all keys, rows and nested tables."""

    reload: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()


EVERY: Final = ("*",)

_OPEN: Final = ("listen", "share_ports", "max_connections", "max_connections_per_address")
_LIMITS: Final = (*_OPEN, "proxy_from")

# fmt: off
TABLES: Final[Mapping[str, TableKeys]] = {
    "library": TableKeys(
        reload=("name", "name_zh", "languages", "pickup_locations", "place_names", "place_names_zh", "name_order"),
        restart=("agency", "timezone")),
    "database": TableKeys(restart=EVERY),
    "policy": TableKeys(reload=EVERY),
    "sip2": TableKeys(
        reload=("answer_within_s", "wrong_pins", "wrong_pins_per_address", "framings", "terminals", "dialects"),
        restart=(*_LIMITS, "max_unproven_per_address", "idle_timeout_s", "login_timeout_s", "listeners")),
    "ncip": TableKeys(
        reload=("answer_within_s", "other_names", "wrong_pins"),
        restart=(*_LIMITS, "max_unproven_per_address", "listen_v1_tcp", "max_body_bytes", "max_unfinished_bytes", "client_ca")),
    "partners": TableKeys(reload=EVERY),
    "clients": TableKeys(reload=EVERY),
    "ils": TableKeys(
        reload=("message_timeout_s", "fallback", "keep_s", "pin", "relay_login"),
        restart=EVERY),  # all other keys, and those of each adapter
    "smtp": TableKeys(reload=EVERY),
    "ops": TableKeys(restart=EVERY),
    "web": TableKeys(
        reload=("public_url", "proxy_from", "pages_per_minute", "name", "name_zh", "logo", "brand", "hold_slip", "staff",
                "oidc"),
        restart=(*_OPEN, "threads", "answer_within_s")),
    "marc": TableKeys(reload=EVERY),
    "courier": TableKeys(restart=EVERY),
    "logs": TableKeys(restart=EVERY),
    "privacy": TableKeys(reload=EVERY),
}
# fmt: on
"""All configuration tables. Each key is in one of the two lists. EVERY stands for all keys that are not in the other list."""


def takes_effect(table: str, key: str) -> TakesEffect:
    """Return when a change of a key takes effect. Keys in a nested table take effect together. Raises KeyError."""
    outer, _, inner = table.partition(".")
    keys, name = TABLES[outer], inner.partition(".")[0] or key
    for when, listed in ((TakesEffect.RELOAD, keys.reload), (TakesEffect.RESTART, keys.restart)):
        if listed == EVERY or name in listed:
            return when
    raise KeyError(f"{table}.{key} is in no list of TABLES")


def keep_until_restart(old: GatewayConfig, new: GatewayConfig) -> tuple[GatewayConfig, tuple[str, ...]]:
    """Return `new` with the old values of all keys that need a restart, and the names of such keys that have changed."""
    changed: dict[str, object] = {}
    kept: list[str] = []
    for table in GatewayConfig.model_fields:
        before, after = getattr(old, table), getattr(new, table)
        if not TABLES[table].restart or before == after:
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
