"""What no key of gateway.toml can tell alone: names taken twice, names of nothing, keys that need one another.

It is looked for in the raw tables, so that it is told together with all other errors, whatever else is wrong with the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any, Final

from hkall_gateway.config.loading import Fault, Table, dotted, listed, nearest
from hkall_gateway.sip2.dialects import DIALECTS
from hkall_gateway.store.outgoing import MAIL

BUILT_IN: Final = ("snapshot", "sip2", "ncip", "manual")
"""The connectors of the package."""
NEEDED: Final = {"sip2": ("host", "the sip2 connector"), "ncip": ("url", "the ncip connector")}
"""The key that a connector cannot do without."""
OF_ROLES: Final = {"takes_money": ("counter", "selfcheck"), "offline": ("counter", "selfcheck")}
"""Keys of a terminal's row, and the roles that have a use for them: a book drop ends no loan, off line or not (R17)."""


def crossed(tables: Table, environ: Mapping[str, str]) -> Iterator[Fault]:
    """Everything that these tables contradict themselves in; `environ` must hold what their `…_env` keys name."""
    yield from _twice(tables)
    yield from _unset(tables, environ)
    yield from _places(tables)
    yield from _ils(tables)
    yield from _listeners(tables)
    yield from _proofs(tables)
    yield from _terminals(tables)
    yield from _dialects(tables)
    yield from _limits(tables)


def _twice(tables: Table) -> Iterator[Fault]:
    ours = dotted(("library", "agency")), _table(tables, "library").get("agency")
    others = [
        (dotted((kind, i, "agency")), row.get("agency")) for kind in ("partners", "clients") for i, row in _rows(tables, kind)
    ]
    yield from _repeated([("the line of all letters", MAIL), ours, *others])
    terminals = _rows(_table(tables, "sip2"), "terminals")
    yield from _repeated([(dotted(("sip2", "terminals", i, "login")), row.get("login")) for i, row in terminals])


def _repeated(values: Iterable[tuple[str, object]]) -> Iterator[Fault]:
    first: dict[str, str] = {}
    for path, value in values:
        if isinstance(value, str) and first.setdefault(value.casefold(), path) != path:
            yield path, f"{value!r} already stands at {first[value.casefold()]}"


def _unset(tables: Table, environ: Mapping[str, str]) -> Iterator[Fault]:
    for steps, value in _leaves(tables, ()):
        if str(steps[-1]).endswith("_env") and isinstance(value, str) and not environ.get(value):
            yield dotted(steps), f"the environment has no variable {value!r}"


def _places(tables: Table) -> Iterator[Fault]:
    library = _table(tables, "library")
    codes = library.get("pickup_locations")
    known = [code for code in codes if isinstance(code, str)] if isinstance(codes, list) else []
    for key in ("place_names", "place_names_zh"):
        for code in _table(library, key):
            if code not in known:
                yield dotted(("library", key, code)), f"is not one of the pickup_locations{nearest(code, known)}"


def _leaves(value: Any, steps: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], object]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _leaves(part, (*steps, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _leaves(part, (*steps, index))
    else:
        yield steps, value


def _ils(tables: Table) -> Iterator[Fault]:
    ils = _table(tables, "ils")
    connector = ils.get("connector")
    known = {*BUILT_IN, *(found.name for found in entry_points(group="hkall_gateway.connectors"))}
    if isinstance(connector, str) and connector not in known:
        yield "ils.connector", f"must be {listed(sorted(known))}"
    needed = dict([NEEDED[connector]] if isinstance(connector, str) and connector in NEEDED else [])
    if ils.get("relay") is True:
        needed.setdefault("host", "the relay")
    yield from ((f"ils.{key}", f"is missing; {whose} needs it") for key, whose in needed.items() if not ils.get(key))


def _listeners(tables: Table) -> Iterator[Fault]:
    """A port without logins names a terminal that there is; one with logins names none."""
    sip2 = _table(tables, "sip2")
    logins = [row.get("login") for _, row in _rows(sip2, "terminals")]
    for index, row in _rows(sip2, "listeners"):
        where, named = dotted(("sip2", "listeners", index, "terminal")), row.get("terminal", "")
        if named and named not in logins:
            yield where, f"{named!r} is no login of sip2.terminals"
        elif named and row.get("login", "required") not in ("optional", "by-address"):
            yield where, "has no use where everybody must log in"
        elif not named and row.get("login") == "optional":
            yield where, "is missing; who does not log in must be somebody"


def _proofs(tables: Table) -> Iterator[Fault]:
    """A client proves somehow who it is."""
    for index, row in _rows(tables, "clients"):
        if not any(row.get(name) for name in ("secret_env", "certificate", "by_address")):
            yield dotted(("clients", index, "secret_env")), "is missing; or name its certificate, or say by_address = true"


def _terminals(tables: Table) -> Iterator[Fault]:
    """Keys of a terminal that its role has no use for."""
    for index, row in _rows(_table(tables, "sip2"), "terminals"):
        for key, roles in OF_ROLES.items():
            if row.get(key) is True and row.get("role") not in roles:
                yield dotted(("sip2", "terminals", index, key)), f"is for {listed(roles)}, not for {row.get('role')!r}"


def _limits(tables: Table) -> Iterator[Fault]:
    """Numbers of connections and bytes that cannot be reached, since a smaller one stands in front of them."""
    for kind in ("sip2", "ncip"):
        door = _table(tables, kind)
        most = _whole(door.get("max_connections"))
        if most and (own := _whole(door.get("max_unproven_per_address"))) and own > most:
            yield dotted((kind, "max_unproven_per_address")), f"must be at most max_connections ({most})"
    ncip = _table(tables, "ncip")
    body, held = _whole(ncip.get("max_body_bytes")), _whole(ncip.get("max_unfinished_bytes", 16_777_216))
    if body and held and body > held:
        yield dotted(("ncip", "max_unfinished_bytes")), f"must be at least max_body_bytes ({body})"


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _dialects(tables: Table) -> Iterator[Fault]:
    """Names of makes of terminals that neither the package nor the site has, and names taken twice."""
    sip2 = _table(tables, "sip2")
    own = [(index, row["name"]) for index, row in _rows(sip2, "dialects") if isinstance(row.get("name"), str)]
    known = list(DIALECTS)
    for index, name in own:
        if name in known:
            yield dotted(("sip2", "dialects", index, "name")), f"{name!r} is taken"
        known.append(name)
    used = [(("sip2", kind, i), row) for kind in ("terminals", "listeners", "framings") for i, row in _rows(sip2, kind)]
    for steps, row in [*used, (("ils",), _table(tables, "ils"))]:
        named = row.get("dialect")
        if isinstance(named, str) and named not in known:
            yield dotted((*steps, "dialect")), f"must be {listed(known)}{nearest(named, known)}"


def _table(tables: Table, key: str) -> Table:
    found = tables.get(key)
    return found if isinstance(found, dict) else {}


def _rows(tables: Table, key: str) -> Iterator[tuple[int, Table]]:
    found = tables.get(key)
    rows = found if isinstance(found, list) else []
    return ((index, row) for index, row in enumerate(rows) if isinstance(row, dict))
