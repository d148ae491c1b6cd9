"""Write the configuration and the database of the demo, and of tests with real sockets."""

from __future__ import annotations

import csv
import json
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

from demo.demo_ports import Ports as Ports
from hkall_gateway.clock import now
from hkall_gateway.config import gateway
from hkall_gateway.config.library import library_of, make_unit
from hkall_gateway.db import schema
from hkall_gateway.db.engine.connect import open_engine, private
from hkall_gateway.db.loads import loading
from hkall_gateway.ils import exports
from hkall_gateway.net.secrets import hash_secret
from hkall_gateway.rules.settings import ROLES, Retention
from hkall_gateway.rules.vocabulary import Holding, Title
from hkall_gateway.simulator.databases import SoleStore

A_SET: Final = "Writing Protocols That Last"
_SET: Final = ("v.1", "v.2", "v.3")
_ON_SHELF, _LOAN = "Available On Shelf", "On Loan"
_PLACES: Final = (
    (("CUHK", _ON_SHELF), ("HKUST", _ON_SHELF), ("LU", _LOAN)),
    (("CUHK", _ON_SHELF),),
    (("HKU", _ON_SHELF), ("CUHK", _ON_SHELF), ("LU", _ON_SHELF)),
    (("HKUST", _LOAN), ("LU", _ON_SHELF)),
    (("HKU", _LOAN), ("HKUST", _ON_SHELF)),
    (("CUHK", _LOAN), ("LU", "In Transit Between Library Locations")),
    (("CUHK", _ON_SHELF), ("HKUST", _ON_SHELF), ("LU", _ON_SHELF)),
)
"""Owners and statuses of a title's copies, in turn."""
DEMO_FILES = Path(__file__).parents[1] / "fixtures" / "demo"


def _read_titles() -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the invented titles of the demo's catalogue, English and Chinese, numbered from 1."""
    with (DEMO_FILES / "titles.csv").open(encoding="utf-8", newline="") as file:
        yield from enumerate(csv.DictReader(file), 1)


def invented_titles() -> Iterator[Title]:
    """Yield the invented titles. Their numbers begin with "d". Their ISBN-13s are invented, with a valid check digit."""
    for number, row in _read_titles():
        digits = f"978999{number:06d}"
        total = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(digits))
        yield Title(
            bib_id=f"d{number:03d}",
            title=row["title"],
            author=row["author"],
            isbns=(f"{digits}{-total % 10}",),
            language=row["language"],
            published=row["published"],
            linked_title=row["title_script"],
            linked_author=row["author_script"],
        )


def invented_copies() -> Iterator[Holding]:
    """Yield the copies of all invented titles. One title is a set, of which we have only the first volume."""
    for title, (number, row) in zip(invented_titles(), _read_titles(), strict=True):
        for agency, status in _PLACES[number % len(_PLACES)]:
            volumes = ("",) if title.title != A_SET else _SET[:1] if agency == "HKU" else _SET
            for at, volume in enumerate(volumes):
                yield Holding(
                    agency=agency,
                    barcode=f"{agency[0]}{agency[-1]}{number:04d}{at}",
                    bib_id=title.bib_id,
                    title=title.title,
                    author=title.author,
                    isbn=title.isbns[0],
                    volume=volume,
                    call_number=f"{row['shelf_mark']} .D{number + 10} {title.published[-4:]} {volume}".strip(),
                    status=status,
                    local_bib_id=f"99{number:06d}",
                )


PASSWORD = "demo"  # noqa: S105  # all secrets of the demo world, which listens on loopback only
LOCATION = "HKU-MAIN-LENDING"
PLACE, PLACE_ZH = "the Lending Services counter of the Main Library", "總館借還服務櫃檯"
DISCOVERY = "HKU-DISCOVERY"
TERMINALS = {"counter-1": "counter", "selfcheck-1": "selfcheck", "bookdrop-1": "bookdrop"}
DECISIONS: Mapping[str, Mapping[str, object]] = {
    "counter": {"offline": False},
    "selfcheck": {"offline": False, "takes_money": False},
    "bookdrop": {},
}
"""Keys of a terminal's row that a site must decide, by role."""

STAFF: Sequence[Mapping[str, str]] = (
    {"login": "lending-1", "name": "Lending Services", "role": "clerk"},
    {"login": "head", "name": "Head of Lending Services", "role": "supervisor"},
    {"login": "viewer", "name": "Enquiries", "role": "viewer"},
    {"login": "sysadmin", "name": "Library Systems", "role": "sysadmin"},
)
"""Accounts of the demo's staff console. Their password is PASSWORD."""

Keys = Mapping[str, Mapping[str, object]]

NAMES = {
    "CUHK": "The Chinese University of Hong Kong Library",
    "HKUST": "The Hong Kong University of Science and Technology Library",
    "LU": "Lingnan University Library",
}
NAMES_ZH = {"CUHK": "香港中文大學圖書館", "HKUST": "香港科技大學圖書館", "LU": "嶺南大學圖書館"}


def secret_variable(agency: str) -> str:
    """Return the name of the environment variable with an agency's secret."""
    return "HKALL_SECRET_" + agency.replace("-", "_")


def environment(ports: Ports) -> dict[str, str]:
    """Return the environment variables that the configuration names, with their values."""
    return {secret_variable(agency): PASSWORD for agency in (*ports.partners, DISCOVERY)}


def write_environment(config: Path, ports: Ports) -> Path:
    """Write a shell file beside the configuration that sets PATH, HKALL_CONFIG, the secrets and PASSWORD. Return its path."""
    variables = {"HKALL_CONFIG": str(config.resolve()), "PASSWORD": PASSWORD, **environment(ports)}
    path = config.with_name("environment")
    private(path)
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()]
    lines.append(f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"\n')
    path.write_text("".join(lines), encoding="utf-8")
    return path


def write_config(
    folder: Path,
    ports: Ports,
    policy: str | None = None,
    courier: Mapping[str, int] | None = None,
    keys: Keys | None = None,
    callers: Mapping[str, object] | None = None,
    *,
    pages: bool = False,
    partner_pages: bool = False,
) -> Path:
    """Write gateway.toml and policy.toml in `folder`, and return the path of gateway.toml.

    The demo's policy has the published values for everything that a site must decide. The text `policy` replaces it. `keys` are
    additional keys, by table. `callers` are keys for each terminal and the discovery system. `pages`: include [web].
    `partner_pages`: name the demo's page of each partner, to which its patrons are led.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "policy.toml").write_text(decided_policy() if policy is None else policy, encoding="utf-8")
    path = folder / "gateway.toml"
    private(path)
    fixed: dict[str, dict[str, object]] = {
        "library": {
            "agency": "HKU",
            "name": "The University of Hong Kong Libraries",
            "name_zh": "香港大學圖書館",
            "name_order": "surname_first",
            "pickup_locations": [LOCATION],
            "place_names": {LOCATION: PLACE},
            "place_names_zh": {LOCATION: PLACE_ZH},
        },
        "database": {"url": "sqlite:///hkall.db"},
        "policy": {"file": "policy.toml"},
        "ncip": {"listen": [f"tcp:{ports.ncip}:interface=127.0.0.1"]},
        "ops": {"listen": [f"tcp:{ports.ops}:interface=127.0.0.1"]},
        "smtp": {"host": "127.0.0.1", "port": ports.smtp, "from": "lending@lib.example.hk"},
        "ils": {"connector": "snapshot"},
        "sip2": {"listen": [f"tcp:{ports.sip2}:interface=127.0.0.1"]},
        "courier": dict(courier or {}),
    }
    further = dict(keys or {})
    web = further.pop("web", {})
    tables = [
        _toml_table(f"[{name}]", **{**fixed.get(name, {}), **further.get(name, {})})
        for name in dict.fromkeys((*fixed, *further))
    ]
    for login, role in TERMINALS.items():
        row = {"login": login, "role": role, "location": LOCATION, "secret_hash": _password_hash(), **DECISIONS[role]}
        tables.append(_toml_table("[[sip2.terminals]]", **{**row, **(callers or {})}))
    tables += [
        _toml_table(
            "[[partners]]",
            agency=agency,
            name=NAMES.get(agency, agency),
            name_zh=NAMES_ZH.get(agency, ""),
            url=f"http://127.0.0.1:{port}/ncip",
            secret_env=secret_variable(agency),
            institutional_card=f"{agency}-INST",
            priority=rank * 10,
            **({"discovery_url": f"http://127.0.0.1:{port}/"} if partner_pages else {}),
        )
        for rank, (agency, port) in enumerate(ports.partners.items(), 1)
    ]
    tables += [_toml_table("[[clients]]", agency=DISCOVERY, secret_env=secret_variable(DISCOVERY), **(callers or {}))]
    if pages:
        listen, url = [f"tcp:{ports.web}:interface=127.0.0.1"], f"http://127.0.0.1:{ports.web}"
        names = {"name": "HKU Libraries", "name_zh": "香港大學圖書館"}
        tables.append(_toml_table("[web]", listen=listen, public_url=url, **names, **web))
        tables += [_toml_table("[[web.staff]]", secret_hash=hash_secret(PASSWORD), **row) for row in STAFF]
    path.touch(0o640)  # it contains hashes of passwords
    path.write_text("\n".join(tables), encoding="utf-8")
    return path


def fill_database(
    path: Path,
    environ: Mapping[str, str],
    patrons: Path = DEMO_FILES / "patrons.csv",
    holdings: Path = DEMO_FILES / "holdings.csv",
) -> None:
    """Upgrade the database of a configuration to the current revision, and fill it from two files."""
    with _open_store(path, environ) as store:
        _load_file(store, "patrons", exports.read_patrons(patrons))
        _load_file(store, "holdings", exports.read_holdings(holdings))


def upgrade(path: Path, environ: Mapping[str, str]) -> None:
    """Upgrade the database of a configuration to the current revision."""
    with _open_store(path, environ):
        pass


def fill_catalogue(path: Path, environ: Mapping[str, str], copies: Sequence[Holding] = ()) -> None:
    """Add `copies`, or the invented copies of the demo, with their titles, so that searches find something."""
    titles = {title.bib_id: title for title in invented_titles()}
    rows = copies or tuple(invented_copies())
    with _open_store(path, environ) as store:
        number = store.now(loading.begin, "holdings")
        for start in range(0, len(rows), loading.CHUNK):
            store.now(loading.write_copies, rows[start : start + loading.CHUNK], number, None, titles)
        store.now(loading.finish, "holdings", number, False, now())


@contextmanager
def _open_store(path: Path, environ: Mapping[str, str]) -> Iterator[SoleStore]:
    """Open the store of a configuration, with its database at the current revision."""
    config = gateway.load(path, environ)
    engine = open_engine(config.database.url)
    schema.upgrade(engine)
    store = SoleStore(engine, make_unit(library_of(config)))
    yield store
    store.close()
    engine.dispose()


def _load_file(store: SoleStore, kind: str, rows: Sequence[object]) -> None:
    number = store.now(loading.begin, kind)
    for start in range(0, len(rows), loading.CHUNK):
        store.now(loading.write, kind, rows[start : start + loading.CHUNK], number)
    store.now(loading.finish, kind, number, False, now())


def decided_policy() -> str:
    """Return a policy file in which every decision that a site must make has the published value."""
    decided = [row for row in ROLES if row.role in TERMINALS.values()]
    roles = [_toml_table("[[roles]]", role=row.role, messages=list(row.messages)) for row in decided]
    return "\n".join([*roles, _toml_table("[retention]", anonymise_days=Retention().anonymise_days)])


@cache
def _password_hash() -> str:
    return hash_secret(PASSWORD)


def _toml_table(head: str, **values: object) -> str:
    return "\n".join([head, *(f"{key} = {_toml_value(value)}" for key, value in values.items())]) + "\n"


def _toml_value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml_value(each)}" for key, each in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)
