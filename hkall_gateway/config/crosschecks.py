"""Checks that involve several keys in gateway.toml: duplicate names, unknown names, and keys that depend on each other.

The checks use the raw tables, so that these errors are reported together with all other errors even if the file is invalid.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from hkall_gateway.config.ils import IlsConfig
from hkall_gateway.config.loading import Fault, Table, dotted
from hkall_gateway.config.values import TERMINALS_WAIT_S
from hkall_gateway.config.web import missing_modules
from hkall_gateway.db.outbox import MAIL
from hkall_gateway.ils.installed import BadAdapter, find_adapter
from hkall_gateway.protocols import DEFAULT, find_protocol, protocols_in_use
from hkall_gateway.rules.messages.outbox_messages import ILS_RECIPIENT
from hkall_gateway.rules.plain_text import listed, nearest
from hkall_gateway.sip2.codec.dialects import DIALECTS

OF_ROLES: Final = {"takes_money": ("counter", "selfcheck"), "offline": ("counter", "selfcheck")}
"""Key in a terminal's row -> roles that may have the key. A book drop never ends a loan, neither online nor offline (R17)."""


PROOFS: Final = ("secret_env", "certificate", "by_address", "basic_hash", "bearer_hash", "jwt")
"""Keys in a client's row that define a proof of identity. At least one is required."""


OURS: Final = ("basic_password_env", "bearer_env", "jwt")
"""Keys in a partner's row with which we prove our identity in an Authorization header."""


def _check_repeated_names(tables: Table) -> Iterator[Fault]:
    ours = dotted(("library", "agency")), _table_at(tables, "library").get("agency")
    others = [
        (dotted((kind, i, "agency")), row.get("agency"))
        for kind in ("partners", "clients")
        for i, row in _rows_at(tables, kind)
    ]
    fixed = [("the line of all letters", MAIL), ("the line to our own system", ILS_RECIPIENT)]
    yield from _report_repeated([*fixed, ours, *others])
    terminals = _rows_at(_table_at(tables, "sip2"), "terminals")
    yield from _report_repeated([(dotted(("sip2", "terminals", i, "login")), row.get("login")) for i, row in terminals])


def _report_repeated(values: Iterable[tuple[str, object]]) -> Iterator[Fault]:
    first: dict[str, str] = {}
    for path, value in values:
        if isinstance(value, str) and first.setdefault(value.casefold(), path) != path:
            yield path, f"{value!r} already stands at {first[value.casefold()]}"


def _check_place_names(tables: Table) -> Iterator[Fault]:
    library = _table_at(tables, "library")
    codes = library.get("pickup_locations")
    known = [code for code in codes if isinstance(code, str)] if isinstance(codes, list) else []
    for key in ("place_names", "place_names_zh") if known else ():
        for code in _table_at(library, key):
            if code not in known:
                yield dotted(("library", key, code)), f"is not one of the pickup_locations{nearest(code, known)}"


def _walk_leaves(value: object, steps: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], object]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _walk_leaves(part, (*steps, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _walk_leaves(part, (*steps, index))
    else:
        yield steps, value


def _check_ils(tables: Table) -> Iterator[Fault]:
    ils = _table_at(tables, "ils")
    needed = {"host": "the relay"} if ils.get("relay") is True else {}
    connector = ils.get("connector")
    if isinstance(connector, str):
        try:
            adapter = find_adapter(connector)
        except BadAdapter as bad:
            yield "ils.connector", str(bad)
        else:
            needed |= dict.fromkeys(adapter.needs, f"the {connector} connector")
            yield from ((f"ils.{key}", message) for key, message in adapter.check(ils))
    yield from ((f"ils.{key}", f"is missing; {whose} needs it") for key, whose in needed.items() if not ils.get(key))


def _check_timeouts(tables: Table) -> Iterator[Fault]:
    """Require that the local system's time limit is shorter than our answer's and than each terminal's timeout."""
    given = _table_at(tables, "ils").get("message_timeout_s", IlsConfig.model_fields["message_timeout_s"].default)
    within = _table_at(tables, "sip2").get("answer_within_s", TERMINALS_WAIT_S)
    if isinstance(given, int | float) and isinstance(within, int | float) and within <= given:
        yield "sip2.answer_within_s", f"must be more than {given:g}, which ils.message_timeout_s may take"
    for index, row in _rows_at(_table_at(tables, "sip2"), "dialects"):
        tenths = _whole_number(row.get("timeout_tenths"))
        if isinstance(given, int | float) and 0 < tenths <= given * 10:
            where = dotted(("sip2", "dialects", index, "timeout_tenths"))
            yield where, f"must be more than {given * 10:g}, which ils.message_timeout_s may take"


def _check_listeners(tables: Table) -> Iterator[Fault]:
    """Require that a port without logins names a known terminal, and that a port with logins names no terminal."""
    sip2 = _table_at(tables, "sip2")
    logins = [row.get("login") for _, row in _rows_at(sip2, "terminals")]
    must_show = {row.get("login") for _, row in _rows_at(sip2, "terminals") if row.get("certificate")}
    for index, row in _rows_at(sip2, "listeners"):
        where, named = dotted(("sip2", "listeners", index, "terminal")), row.get("terminal", "")
        if named and named not in logins:
            yield where, f"{named!r} is no login of sip2.terminals"
        elif named in must_show:
            yield where, f"{named!r} must show its certificate when it logs in, so that no caller is it without a login"
        elif named and row.get("login", "required") not in ("optional", "by-address"):
            yield where, "has no use if every terminal must log in"
        elif not named and row.get("login") == "optional":
            yield where, "is missing; it names the login of terminals that do not log in"


def _check_terminal_certificates(tables: Table) -> Iterator[Fault]:
    """Require the authorities that sign terminals' certificates if a terminal must show one."""
    sip2 = _table_at(tables, "sip2")
    for index, row in _rows_at(sip2, "terminals"):
        if row.get("certificate") and not sip2.get("client_ca"):
            yield dotted(("sip2", "terminals", index, "certificate")), "can never be shown without sip2.client_ca"


def _check_proofs(tables: Table) -> Iterator[Fault]:
    """Require that each client has a proof of identity, and that each proof is complete and identifies a single row."""
    rows = [(kind, index, row) for kind in ("partners", "clients") for index, row in _rows_at(tables, kind)]
    for kind, index, row in rows:
        if kind == "clients" and not any(row.get(name) for name in PROOFS):
            yield dotted((kind, index, "secret_env")), f"is missing; or {listed(PROOFS[1:])} proves who it is"
        if row.get("basic_login") and not row.get("basic_hash"):
            yield dotted((kind, index, "basic_hash")), "is missing; basic_login is of no use without it"
        jwt = row.get("jwt")
        if isinstance(jwt, dict) and bool(jwt.get("jwks_file")) == bool(jwt.get("jwks_url")):
            yield dotted((kind, index, "jwt")), "must name its keys by one of jwks_file and jwks_url"
    logins = [(kind, i, row.get("basic_login") or row.get("agency")) for kind, i, row in rows if row.get("basic_hash")]
    yield from _report_repeated([(dotted((kind, i, "basic_login")), login) for kind, i, login in logins])
    silent = [i for i, row in _rows_at(tables, "clients") if row.get("without_header") is True and not row.get("basic_hash")]
    for index in silent[1:]:
        yield dotted(("clients", index, "without_header")), "is another client's already, and no basic_hash tells them apart"


def _check_our_proofs(tables: Table) -> Iterator[Fault]:
    """Require that our proof of identity for a partner is complete and of a single kind."""
    for index, row in _rows_at(tables, "partners"):
        ours, where = _table_at(row, "our_proof"), ("partners", index, "our_proof")
        if len([key for key in OURS if ours.get(key)]) > 1:
            yield dotted(where), f"must be one of {listed(OURS)}"
        if ours.get("basic_login") and not ours.get("basic_password_env"):
            yield dotted((*where, "basic_password_env")), "is missing; basic_login is of no use without it"


def _check_terminal_roles(tables: Table) -> Iterator[Fault]:
    """Report keys that do not apply to the terminal's role."""
    for index, row in _rows_at(_table_at(tables, "sip2"), "terminals"):
        for key, roles in OF_ROLES.items():
            if row.get(key) is True and row.get("role") not in roles:
                yield dotted(("sip2", "terminals", index, key)), f"is for {listed(roles)}, not for {row.get('role')!r}"


def _check_limits(tables: Table) -> Iterator[Fault]:
    """Report limits on connections and bytes that are unreachable because of a smaller limit."""
    peers = protocols_in_use()
    for kind in ("sip2", *(protocol.name for protocol in peers)):
        endpoint = _table_at(tables, kind)
        most = _whole_number(endpoint.get("max_connections"))
        if most and (own := _whole_number(endpoint.get("max_unproven_per_address"))) and own > most:
            yield dotted((kind, "max_unproven_per_address")), f"must be at most max_connections ({most})"
    for protocol in peers:
        table = _table_at(tables, protocol.name)
        body, held = _whole_number(table.get("max_body_bytes")), _whole_number(table.get("max_unfinished_bytes", 16_777_216))
        if body and held and body > held:
            yield dotted((protocol.name, "max_unfinished_bytes")), f"must be at least max_body_bytes ({body})"


def find_protocol_faults(given: Table, tables: Table) -> Iterator[Fault]:
    """Require that each partner speaks one protocol, and has the keys that the protocol needs.

    Args:
        given: The tables as the file has them.
        tables: The same, with defaults.
    """
    names = [protocol.name for protocol in protocols_in_use() if protocol.name != DEFAULT]
    default = find_protocol(DEFAULT)
    for index, row in _rows_at(tables, "partners"):
        spoken = [name for name in names if isinstance(row.get(name), dict)]
        if len(spoken) > 1:
            yield dotted(("partners", index)), f"must speak one of {listed(spoken)}"
        if not spoken:
            missing = [key for key in default.needs if not row.get(key)]
            yield from ((dotted(("partners", index, key)), "is missing") for key in missing)
    for index, row in _rows_at(given, "partners"):
        spoken = [name for name in names if isinstance(row.get(name), dict)]
        for key in sorted(default.flat_keys & row.keys()) if spoken else ():
            what = f"is a key of {DEFAULT}, and this partner speaks {spoken[0]}"
            yield dotted(("partners", index, key)), what


def _check_web(tables: Table) -> Iterator[Fault]:
    """Report a [web] table without the required Python packages, and staff accounts with the same login."""
    if not isinstance(tables.get("web"), dict):
        return
    if missing := missing_modules():
        yield "web", f"needs {', '.join(missing)}: pip install 'hkall-gateway[web]'"
    yield from _report_repeated(
        [(dotted(("web", "staff", i, "login")), r.get("login")) for i, r in _rows_at(tables["web"], "staff")]
    )


def _whole_number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _check_dialects(tables: Table) -> Iterator[Fault]:
    """Report duplicate dialect names, and names that neither the package nor the site defines."""
    sip2 = _table_at(tables, "sip2")
    own = [(index, row["name"]) for index, row in _rows_at(sip2, "dialects") if isinstance(row.get("name"), str)]
    known = list(DIALECTS)
    for index, name in own:
        if name in known:
            yield dotted(("sip2", "dialects", index, "name")), f"{name!r} is taken"
        known.append(name)
    used = [(("sip2", kind, i), row) for kind in ("terminals", "listeners", "framings") for i, row in _rows_at(sip2, kind)]
    for steps, row in [*used, (("ils",), _table_at(tables, "ils"))]:
        named = row.get("dialect")
        if isinstance(named, str) and named not in known:
            yield dotted((*steps, "dialect")), f"must be {listed(known)}{nearest(named, known)}"


def _table_at(tables: Table, key: str) -> Table:
    found = tables.get(key)
    return found if isinstance(found, dict) else {}


def _rows_at(tables: Table, key: str) -> Iterator[tuple[int, Table]]:
    found = tables.get(key)
    rows = found if isinstance(found, list) else []
    return ((index, row) for index, row in enumerate(rows) if isinstance(row, dict))


CHECKS: Final = (
    _check_repeated_names, _check_place_names, _check_ils, _check_timeouts, _check_listeners,
    _check_terminal_certificates, _check_proofs,
    _check_our_proofs, _check_terminal_roles, _check_dialects, _check_limits, _check_web,
)  # fmt: skip


def find_cross_faults(tables: Table, environ: Mapping[str, str] | None) -> Iterator[Fault]:
    """Yield the faults that involve several keys. `environ`, if given, must have all variables named by `…_env` keys."""
    if environ is not None:
        for steps, value in _walk_leaves(tables, ()):
            is_variable = isinstance(value, str) and re.fullmatch(r"\w+", value)
            key = next(str(step) for step in reversed(steps) if isinstance(step, str))
            if key.endswith("_env") and is_variable and not environ.get(str(value)):
                yield dotted(steps), f"the environment has no variable {value!r}"
    for check in CHECKS:
        yield from check(tables)
