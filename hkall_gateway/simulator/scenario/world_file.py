"""World files (TOML): the libraries, patrons, books and requests at the start of a scenario."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import Connection, insert

from hkall_gateway.config import policy
from hkall_gateway.config.ils import IlsConfig, with_keys_of
from hkall_gateway.config.loading import ConfigErrors, model, with_defaults
from hkall_gateway.db.loads.loading import with_keys
from hkall_gateway.db.tables import CANDIDATES, CLOSURES, HOLDINGS, PATRONS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.ils.installed import find_adapter
from hkall_gateway.net.limits.allow_list import AllowList
from hkall_gateway.rules.callers import Client
from hkall_gateway.rules.partners import Charges, Partner
from hkall_gateway.rules.policy import messages_of
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.vocabulary import Actor, Borrower, Candidate, Holding, ItemKey, Position, Request, Sensitive, Side
from hkall_gateway.simulator.ils import IlsBook, IlsPatron
from hkall_gateway.simulator.ils_ncip import URL
from hkall_gateway.sip2.codec.dialects import DIALECTS
from hkall_gateway.sip2.exchange import TerminalRow

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Table = dict[str, Any]
T = TypeVar("T")

LOOPBACK: Final = AllowList(("127.0.0.0/8",))
TABLES: Final = frozenset({"library", "policy", "ils"})
# fmt: off
LISTS: Final[Mapping[str, tuple[str, ...]]] = {
    "partners":  ("agency",),
    "clients":   ("agency",),
    "terminals": ("login",),
    "patrons":   ("barcode",),
    "holdings":  ("agency", "barcode"),
    "closures":  ("agency", "from"),
    "requests":  ("id",),
    "readers":   ("card",),
    "books":     ("barcode",),
}
# fmt: on
"""The lists of a world file, and the keys that identify a row in each list."""
SECRET_FIELDS: Final = frozenset({"name", "name_zh", "email", "pin_hash"})


class WorldError(Exception):
    """A world file is invalid. The message names the file, the line of the row and the key."""


class WorldRow(Table):
    """One row of a list in a world file. `at` is the file and the line where the row begins."""

    def __init__(self, cells: Table, at: str) -> None:
        super().__init__(cells)
        self.at = at


def terminal(
    policy: Policy,
    login: str,
    role: str = "counter",
    location: str = "HKU-MAIN-LENDING",
    *,
    dialect: str = "standard",
    language: str = "en",
    takes_money: bool = False,
    offline: bool = False,
) -> TerminalRow:
    """Create a terminal for a world, which logs in from this machine with its own name as the password."""
    messages = messages_of(role, policy, takes_money=takes_money)
    return TerminalRow(
        login=login,
        secret_hash=login,
        role=role,
        location=location,
        dialect=DIALECTS[dialect],
        allow_from=LOOPBACK,
        language=language,
        messages=messages,
        offline=offline,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The data with which a world starts.

    Attributes:
        closures: (agency, day, reason) of each closed day.
        readers: Patrons of the library's own system, which the gateway can only query.
        books: Books of the library's own system.
        numbered_in_ext: Partners whose replies have the RequestId in the Ext element.
    """

    time: datetime
    agency: str
    name: str
    pickup_locations: tuple[str, ...]
    policy: Policy
    partners: tuple[Partner, ...]
    clients: tuple[Client, ...]
    terminals: tuple[TerminalRow, ...]
    patrons: tuple[Borrower, ...]
    holdings: tuple[Holding, ...]
    closures: tuple[tuple[str, date, str], ...] = ()
    requests: tuple[Request, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    ils: IlsConfig = field(default_factory=IlsConfig)
    readers: tuple[IlsPatron, ...] = ()
    books: tuple[IlsBook, ...] = ()
    numbered_in_ext: frozenset[str] = frozenset()


def secret_of(agency: str) -> str:
    """Return an agency's FromAgencyAuthentication, which is the same in every world."""
    return f"{agency.lower()}-secret"


def cheap_hash(pin: str) -> str:
    """Return a fast hash of a PIN, for tests only."""
    return blake2b(pin.encode(), digest_size=8).hexdigest()


def read_world(path: Path) -> Start:
    """Read a world file, merged into the file that `based_on` names. Raise WorldError if it is invalid."""
    world = _read_tables(path)
    try:
        whole, library = with_defaults(world), world["library"]
        for kind in LISTS.keys() & world.keys():  # keep the place of each row in the file
            whole[kind] = [WorldRow(cells, row.at) for cells, row in zip(whole[kind], world[kind], strict=True)]
        world = whole
        agency, rules = library["agency"], policy.changed(world.get("policy", {}), path)
        holdings = _make_rows(world, "holdings", lambda row: Holding(**row))
        titles = {h.key: h for h in holdings}
        requests = _make_rows(world, "requests", lambda row: _make_request(row, agency, library["pickup_locations"][0], titles))
        return Start(
            time=world["time"].astimezone(UTC),
            agency=agency,
            name=library["name"],
            pickup_locations=tuple(library["pickup_locations"]),
            policy=rules,
            partners=_make_rows(world, "partners", _make_partner),
            clients=_make_rows(world, "clients", lambda row: Client(**{k: v for k, v in row.items() if k != "system"})),
            terminals=_make_rows(world, "terminals", lambda row: terminal(rules, **row)),
            patrons=_make_rows(world, "patrons", _make_patron),
            holdings=holdings,
            closures=tuple(day for days in _make_rows(world, "closures", _closed_days) for day in days),
            requests=tuple(request for request, _ in requests),
            candidates=tuple(candidate for _, requested in requests for candidate in requested),
            ils=_make_ils_settings(world.get("ils", {}), path),
            readers=_make_rows(world, "readers", lambda row: IlsPatron(**row)),
            books=_make_rows(world, "books", lambda row: IlsBook(**row)),
            numbered_in_ext=frozenset(row["agency"] for row in world.get("partners", ()) if row.get("request_id_in_ext")),
        )
    except ConfigErrors as error:
        raise WorldError("\n".join(f"{path.name}: policy.{key}: {what}" for key, what in error.errors)) from error
    except (TypeError, ValueError, KeyError) as error:
        raise WorldError(f"{path.name}: {error}") from error


def _read_tables(path: Path) -> Table:
    try:
        text = path.read_text("utf-8")
        world = tomllib.loads(text)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise WorldError(f"{path.name}: {error}") from error
    if unknown := world.keys() - TABLES - LISTS.keys() - {"time", "based_on"}:
        raise WorldError(f"{path.name}: {', '.join(sorted(unknown))}: not a table of a world")
    for kind in LISTS.keys() & world.keys():
        # Note the line of each row's `[[kind]]`. Rows written in another way have only the file's name.
        lines = [
            f"{path.name}, line {number}" for number, line in enumerate(text.splitlines(), 1) if line.startswith(f"[[{kind}]]")
        ]
        world[kind] = [WorldRow(row, at) for row, at in zip(world[kind], chain(lines, repeat(path.name)), strict=False)]
        first: dict[tuple[str, ...], WorldRow] = {}
        for row in world[kind]:
            same = first.setdefault(_identity(kind, row), row)
            if same is not row:
                name = ", ".join(f"{key} = {row.get(key)!r}" for key in LISTS[kind])
                raise WorldError(f"{row.at}: {kind}: {name} stands already at {same.at}: write one row")
    based_on = world.pop("based_on", None)
    return _merge_worlds(_read_tables(path.parent / based_on), world) if based_on else world


def _identity(kind: str, row: Table) -> tuple[str, ...]:
    return tuple(str(row.get(key)) for key in LISTS[kind])


def _merge_worlds(base: Table, world: Table) -> Table:
    """Merge tables key by key and lists row by row. New rows are added after the rows of `base`."""
    joined = dict(base)
    for key, value in world.items():
        if key in LISTS:
            rows = {_identity(key, row): row for row in base.get(key, [])}
            for row in value:
                name = _identity(key, row)
                rows[name] = WorldRow({**rows.get(name, {}), **row}, row.at)
            joined[key] = list(rows.values())
        else:
            joined[key] = {**base.get(key, {}), **value} if key in TABLES else value
    return joined


def _make_rows(world: Table, name: str, make: Callable[[Table], T]) -> tuple[T, ...]:
    made = []
    for row in world.get(name, []):
        try:
            made.append(make(dict(row)))
        except (TypeError, ValueError, KeyError) as error:
            raise WorldError(f"{row.at}: {name}: {error}") from error
    return tuple(made)


def _make_partner(row: Table) -> Partner:
    row.setdefault("url", f"http://{row['agency'].lower()}.test/ncip")
    row.setdefault("name", row["agency"])
    row["charges"] = Charges(**row.get("charges", {}))
    row["problems"] = tuple(row.get("problems", {}).items())
    of_the_caller = {"system", "request_id_in_ext"}
    values: Table = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items() if k not in of_the_caller}
    return Partner(**values)


def _make_ils_settings(row: Table, path: Path) -> IlsConfig:
    found, faults = model(with_keys_of(find_adapter(row.get("connector", "snapshot"))), {"url": URL, **row}, path)
    if found is None:
        raise ValueError("; ".join(f"ils.{key}: {what}" for key, what in faults))
    return found


def _make_patron(row: Table) -> Borrower:
    row.setdefault("name", f"Reader {row['barcode']}")
    row.setdefault("email", f"{row['barcode'].lower()}@connect.test")
    row["pin_hash"] = cheap_hash(row.pop("pin", "1234"))
    values: Table = {key: Sensitive(value) if key in SECRET_FIELDS else value for key, value in row.items()}
    return Borrower(**values)


def _closed_days(row: Table) -> list[tuple[str, date, str]]:
    first, last = row["from"], row.get("to", row["from"])
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    return [(row["agency"], day, row.get("reason", "")) for day in days]


def _make_request(
    row: Table, agency: str, place: str, holdings: Mapping[ItemKey, Holding]
) -> tuple[Request, tuple[Candidate, ...]]:
    """Create a request and its lender list from a row, in which `item` and `others` are written AGENCY:BARCODE."""
    side = Side(row.pop("side", "borrow"))
    others = [_parse_item(text) for text in row.pop("others", [])]
    requested = _parse_item(row.pop("copy", row.get("item", "")))
    item = _parse_item(row.pop("item", ""))
    known = holdings.get(requested)
    defaults: Table = {"title": known.title if known else "", "bib_id": known.bib_id if known else ""}
    if side is Side.BORROWING:
        defaults |= {"pickup_location": place, "partner": requested.agency, "wire_agency": agency, "attempt": 1}
        defaults["wire_id"] = f"{row['id']}-1"
    else:
        defaults |= {"wire_agency": row.get("partner", ""), "wire_id": f"w-{row['id']}"}
    place_of = {"item_agency": item.agency, "item_barcode": item.barcode}
    kept: Table = {
        key: (value.astimezone(UTC) if isinstance(value, datetime) else value)
        for key, value in {**defaults, **row, **place_of}.items()
    }
    request = Request(**kept | {"side": side, "position": Position(row["position"])})
    if side is Side.LENDING:
        return request, ()
    # The first copy is the requested copy.
    return request, tuple(
        Candidate(
            request=request.id,
            rank=rank,
            agency=copy.agency,
            barcode=copy.barcode,
            local_bib_id=holdings[copy].local_bib_id if copy in holdings else "",
            wire_id=request.wire_id if rank == 1 else "",
        )
        for rank, copy in enumerate([requested, *others], start=1)
        if copy.barcode
    )


def _parse_item(text: str) -> ItemKey:
    agency, _, barcode = text.partition(":")
    return ItemKey(agency, barcode)


def load(connection: Connection, start: Start) -> None:
    """Write the patrons, the holdings, the closed days, and the lender list of each request."""
    for table, rows in (
        (PATRONS, [_row_values(patron) for patron in start.patrons]),
        (HOLDINGS, with_keys(_row_values(copy) for copy in start.holdings)),
        (CLOSURES, [{"agency": a, "day": day, "reason": why} for a, day, why in start.closures]),
        (CANDIDATES, [_row_values(candidate) for candidate in start.candidates]),
    ):
        if rows:
            connection.execute(insert(table), rows)


def begin(unit: UnitOfWork, start: Start) -> None:
    """Write the partners and the open requests."""
    unit.partners.write(start.partners)
    for request in start.requests:
        unit.open(request, start.time, Actor(who="world", channel="world"))


def _row_values(record: DataclassInstance) -> dict[str, object]:
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return {name: value.reveal() if isinstance(value, Sensitive) else value for name, value in values.items()}
