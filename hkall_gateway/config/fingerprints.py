"""Fingerprints of a configuration, by which `check-config --diff` learns what a gateway holds.

A gateway writes a fingerprint of each key, each setting of the policy and each secret into
`held_configurations`. Nobody can read a value from them. Secrets may be weak, so their fingerprints are
slow to compute and to guess.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import scrypt
from typing import Final

from hkall_gateway.config import mapping
from hkall_gateway.config.gateway import GatewayConfig
from hkall_gateway.config.reloading import TakesEffect, takes_effect
from hkall_gateway.rules.settings import Policy

SIZE: Final = 9
"""Bytes of a fingerprint."""
NAMES_OF_ROWS: Final = ("agency", "login", "name", "tag", "endpoint", "key")
"""Keys that name a row of a list, in the order in which they are tried."""
POLICY: Final = "policy file"
VARIABLE: Final = "variable"
READ_AT_START: Final = ("logs", "database")
"""Tables whose variables are read only at the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A difference between the files and what a gateway holds.

    Attributes:
        what: The path of the key, the setting of the policy, or the name of the variable.
        how: "new", "changed" or "gone".
        needs: What lets it take effect.
    """

    what: str
    how: str
    needs: TakesEffect


def take(config: GatewayConfig, policy: Policy, environ: Mapping[str, str], salt: str = "") -> str:
    """Return the fingerprints as JSON. This takes about 50 ms for each secret.

    `environ` has the variables that the configuration names. A missing one has no fingerprint. `salt` is the salt of
    fingerprints to compare with, or "" for a new one.
    """
    salt = salt or secrets.token_hex(16)
    site_key = environ.get(config.privacy.erased_key_env or "", "")
    key = f"{salt}{site_key}".encode()
    found = {path: hmac.digest(key, _canonical(value), "sha256")[:SIZE].hex() for path, value in _settings(config, policy)}
    for name in mapping.named_variables(config):
        if name in environ:
            slow = scrypt(environ[name].encode(), salt=key, n=2**14, r=8, p=1, dklen=SIZE)
            found[f"{VARIABLE} {name}"] = slow.hex()
    return json.dumps({"salt": salt, "found": found})


def compare(held: str, config: GatewayConfig, policy: Policy, environ: Mapping[str, str]) -> tuple[Change, ...]:
    """Return the differences between what a gateway holds and the files, in the order of the files.

    `held` is what `take` returned in the gateway. A variable that `environ` lacks is left out, because only the gateway may
    be able to read it.
    """
    there = json.loads(held)
    before = there["found"]
    now = json.loads(take(config, policy, environ, there["salt"]))["found"]
    at_start = {name for table in READ_AT_START for name in mapping.named_variables_of(getattr(config, table))}
    changes = [
        Change(what=what, how="changed" if what in before else "new", needs=_needs(what, at_start))
        for what, fingerprint in now.items()
        if before.get(what) != fingerprint
    ]
    named = {f"{VARIABLE} {name}" for name in mapping.named_variables(config)}
    gone = [what for what in before if what not in now and what not in named]
    return (
        *changes,
        *(Change(what=what, how="gone", needs=_needs(what, at_start)) for what in gone),
    )


def _needs(what: str, at_start: set[str]) -> TakesEffect:
    """Return what lets a change of this path, setting or variable take effect."""
    kind, _, name = what.partition(" ")
    if kind == VARIABLE:
        return TakesEffect.RESTART if name in at_start else TakesEffect.RELOAD
    if what.startswith(POLICY):
        return TakesEffect.RELOAD
    table, _, inner = what.partition(".")
    table = table.partition("[")[0]
    return takes_effect(table, inner.partition(".")[0].partition("[")[0])


def _settings(config: GatewayConfig, policy: Policy) -> Iterator[tuple[str, object]]:
    yield from _leaves((), config.model_dump())
    for path, value in _leaves((), asdict(policy)):
        yield f"{POLICY}: {path}", value


def _leaves(steps: tuple[str, ...], value: object) -> Iterator[tuple[str, object]]:
    """Yield (path, value) for each plain value and each list of plain values."""
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from _leaves((*steps, str(key)), part)
    elif rows := _rows_of(value):
        for index, row in enumerate(rows):
            name = next((str(row[key]) for key in NAMES_OF_ROWS if row.get(key)), str(index))
            yield from _leaves((*steps[:-1], f"{steps[-1]}[{name}]"), row)
    else:
        yield ".".join(steps), value


def _rows_of(value: object) -> Sequence[Mapping[str, object]]:
    """Return the rows of a list of tables, or () for any other value."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return ()
    rows = [row for row in value if isinstance(row, Mapping)]
    return rows if len(rows) == len(value) else ()


def _canonical(value: object) -> bytes:
    if isinstance(value, set | frozenset):
        value = sorted(map(str, value))
    return json.dumps(value, sort_keys=True, default=str).encode()
