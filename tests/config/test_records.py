"""Each thing has one record: a configuration table inherits the record that it fills, and repeats none of its fields."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from pydantic import BaseModel, Field

import hkall_gateway
from hkall_gateway.circulation.jobs import rounds
from hkall_gateway.config import gateway
from hkall_gateway.config.dialects import DialectConfig
from hkall_gateway.config.gateway import GatewayConfig
from hkall_gateway.config.loading import Strict, record_from_row, table_of
from hkall_gateway.db.queries.work_lists import ListName
from hkall_gateway.peers.callers import Caller
from hkall_gateway.rules.callers import Client, PartnerAccess
from hkall_gateway.rules.lender_reasons import LENDER_REASONS, Decline, LenderReason
from hkall_gateway.rules.partners import Charges, Partner
from hkall_gateway.rules.vocabulary import Position
from hkall_gateway.sip2.codec.dialects import Sip2Dialect
from hkall_gateway.sip2.exchange import TerminalRow
from hkall_gateway.web import labels
from hkall_gateway.web.staff.lists import WORK_LISTS

pytestmark = pytest.mark.walks_a_table

ENOUGH = 4
"""Number of common fields, apart from inherited ones, from which a class counts as repeating another."""
OTHERS = {
    ("ClientConfig", "TerminalConfig"): "both are callers",
    ("ClientConfig", "TerminalRow"): "the same",
    ("DialectConfig", "Sip2Dialect"): "made from the record's fields",
    ("FoundTitle", "Marc"): "a title, and the fields of a record that hold its facts",
    ("GatewayConfig", "Ports"): "the ports of each table",
    ("GatewayConfig", "Start"): "a scenario's world is a file of its own",
    ("Holding", "Marc"): "a copy, and the fields of a record that hold its facts",
    ("Holding", "MarcItem"): "the same",
    ("Marc", "MarcMapping"): "read into sources",
    ("Marc", "PartnerMessage"): "a title, and the fields of a record that hold its facts",
    ("Marc", "Title"): "the same",
    ("MarcItem", "Slip"): "the same",
    ("IlsConfig", "Partner"): "our own system is no partner, but may be reached like one",
    ("IlsConfig", "PartnerConfig"): "the same",
    ("IlsConfig", "PartnerKeys"): "the same",
    ("IlsConfig", "Smtp"): "both are servers",
    ("IlsConfig", "WorldIls"): "a scenario's world is a file of its own",
    ("LibraryConfig", "PartnerConfig"): "both are libraries",
    ("MailServer", "Smtp"): "with the password, and not its variable",
    ("NcipConfig", "Web"): "both have ports",
    ("Sip2Config", "Web"): "the same",
    ("Oidc", "OidcSettings"): "with the secret, and not its variable",
    ("PartnerConfig", "TerminalConfig"): "both are callers",
    ("PartnerConfig", "TerminalRow"): "the same",
    ("StaffAccount", "StaffConfig"): "with the role itself, and not its name",
    ("TerminalConfig", "WorldTerminal"): "a scenario's world is a file of its own",
    ("Web", "WebSettings"): "with what its parts were made into",
    ("TerminalConfig", "TerminalRow"): "with the dialect itself, and not its name",
}
"""Pairs of classes with ENOUGH common names that are different things, or two forms of one thing."""


def fields_of(kind: type) -> set[str]:
    return {*kind.model_fields} if issubclass(kind, BaseModel) else {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]


def repeated(one: type, other: type) -> set[str]:
    """The fields that both classes define without inheriting them from each other or from a common base."""
    shared = {*one.__mro__} & {*other.__mro__}
    common = {
        name for kind in shared if dataclasses.is_dataclass(kind) or kind is gateway.EndpointConfig for name in fields_of(kind)
    }
    return (fields_of(one) & fields_of(other)) - common


@cache
def records() -> tuple[type, ...]:
    """All dataclasses of the package."""
    names = [module.name for module in pkgutil.walk_packages(hkall_gateway.__path__, "hkall_gateway.")]
    modules = [importlib.import_module(name) for name in names if not name.endswith("__main__")]
    found = {value for module in modules for value in vars(module).values() if isinstance(value, type)}
    ours = [kind for kind in found if dataclasses.is_dataclass(kind) and not issubclass(kind, BaseModel)]
    return tuple(sorted(ours, key=lambda kind: kind.__qualname__))


def tables(kind: type[BaseModel] = GatewayConfig) -> Iterator[type[BaseModel]]:
    yield kind
    for key in kind.model_fields:
        if inner := table_of(kind, key):
            yield from tables(inner)


TABLES_OF_THE_FILE = sorted({*tables()}, key=lambda kind: kind.__qualname__)


@pytest.mark.parametrize("table", TABLES_OF_THE_FILE, ids=lambda table: table.__name__)
def test_configuration_tables_do_not_repeat_record_fields(table: type[BaseModel]) -> None:
    pairs = [(table, other, repeated(table, other)) for other in (*records(), *TABLES_OF_THE_FILE) if other is not table]
    many = {tuple(sorted((one.__name__, other.__name__))): same for one, other, same in pairs if len(same) >= ENOUGH}
    assert {pair: same for pair, same in many.items() if pair not in OTHERS} == {}


PEERS = (Partner, Charges, PartnerAccess, Client, Caller, gateway.PartnerConfig, gateway.ClientConfig)


def test_partner_table_and_rules_use_one_record() -> None:
    # Its own name and system; the type asked for and the one read; a key and what it comes to.
    meant = {"agency", "system", "request_type", "wrong_pins"}
    pairs = [(one, other) for place, one in enumerate(PEERS) for other in PEERS[place + 1 :]]
    assert {(a.__name__, b.__name__): same for a, b in pairs if (same := repeated(a, b) - meant)} == {}


def test_record_that_repeats_fields_of_a_partner_is_reported() -> None:
    names = ["agency", "url", "dialect", "timeout_s"]
    planted = dataclasses.make_dataclass("Planted", [(name, str) for name in names], frozen=True)
    assert repeated(gateway.PartnerConfig, planted) == {*names}
    inheriting = dataclasses.make_dataclass("Inheriting", [("secret", str, "")], bases=(Partner,), frozen=True)
    assert repeated(gateway.PartnerConfig, inheriting) == set()


PLAIN = [
    (gateway.PartnerConfig, {"agency": "CUHK", "name": "CUHK Library", "url": "http://cuhk.test/ncip"}, Partner),
    (gateway.PartnerConfig, {"agency": "CUHK", "name": "CUHK Library", "url": "http://cuhk.test/ncip"}, PartnerAccess),
    (gateway.ChargesConfig, {}, Charges),
    (gateway.ClientConfig, {"agency": "VUFIND"}, Client),
]


@pytest.mark.parametrize(("table", "needed", "record"), PLAIN, ids=lambda one: getattr(one, "__name__", ""))
def test_row_with_the_required_keys_equals_the_record_with_its_defaults(
    table: type[Strict], needed: dict[str, str], record: type
) -> None:
    own = {name: value for name, value in needed.items() if name in fields_of(record)}
    row = table(**needed)
    assert (row.plain() if isinstance(row, gateway.PartnerConfig) and record is Partner else made(record, row)) == record(**own)


def made(record: type, row: Strict) -> object:
    return record_from_row(record, row)


def test_new_partner_field_becomes_a_key_of_its_table() -> None:
    faxed: Any = dataclasses.make_dataclass("Faxed", [("fax", str, "")], bases=(Partner,), frozen=True, kw_only=True)
    table: Any = type("FaxedConfig", (Strict, faxed), {"__module__": __name__})
    assert made(faxed, table(agency="CUHK", name="CUHK", fax="12")) == faxed(agency="CUHK", name="CUHK", fax="12")


def test_new_key_of_a_terminal_without_a_field_is_reported() -> None:
    class NewKey(gateway.TerminalConfig):  # type: ignore[misc]  # mypy does not know that pydantic freezes it
        screen: str = Field(default="")

    used = fields_of(TerminalRow) | {"takes_money"}
    assert fields_of(gateway.TerminalConfig) - used == set()
    assert fields_of(NewKey) - used == {"screen"}
    assert DialectConfig.model_fields.keys() - {"like"} == fields_of(Sip2Dialect)


# ---- labels of the pages, and reasons


def unlabelled(table: Collection[str], known: Collection[str]) -> set[str]:
    return {*known} ^ {*table}


@dataclass(frozen=True)
class Labels:
    table: Collection[str]
    known: Collection[str]


TABLES = {
    "rounds": Labels(labels.WORDS["jobs"], rounds.ROUNDS),
    "positions": Labels(labels.POSITIONS, tuple(Position)),
    "lists": Labels(WORK_LISTS, tuple(ListName)),
}


@pytest.mark.parametrize("name", TABLES)
def test_every_table_row_has_a_label_on_the_pages(name: str) -> None:
    assert unlabelled(TABLES[name].table, TABLES[name].known) == set()


@pytest.mark.parametrize("name", TABLES)
def test_new_row_without_a_label_is_reported(name: str) -> None:
    assert unlabelled(TABLES[name].table, [*TABLES[name].known, "planted"]) == {"planted"}


def test_decline_reason_requires_the_status_of_the_item_afterwards() -> None:
    incomplete: Any = Decline
    with pytest.raises(TypeError, match="status_after"):
        LenderReason(key="water_damaged", label=("Wet", "濕"), decline=incomplete(status="Not Available"))
    assert all(row.decline is None or row.decline.status_after for row in LENDER_REASONS.values())
