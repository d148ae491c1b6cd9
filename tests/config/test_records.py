"""Each record and the table of the configuration that fills it have the same keys and defaults, and tables have all rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from hkall_gateway.circulation.jobs import rounds
from hkall_gateway.config import gateway
from hkall_gateway.config.dialects import DialectConfig
from hkall_gateway.db.queries.work_lists import ListName
from hkall_gateway.ncip.authentication import Signer, TokenRule
from hkall_gateway.ncip.handlers import Caller
from hkall_gateway.rules.lender_reasons import LENDER_REASONS, Decline, LenderReason
from hkall_gateway.rules.vocabulary import Charges, Partner, Position
from hkall_gateway.sip2.codec.dialects import Sip2Dialect
from hkall_gateway.sip2.dispatch import TerminalRow
from hkall_gateway.web import labels
from hkall_gateway.web.staff.lists import WORK_LISTS

# fmt: off
ROWS: tuple[tuple[type, tuple[type[BaseModel], ...], frozenset[str], frozenset[str]], ...] = (
    # record, tables that fill it, its fields that are filled otherwise, fields with another default than their key
    (Partner,     (gateway.PartnerConfig,), frozenset({"lending"}), frozenset({"url", "problems", "charges"})),
    (Charges,     (gateway.ChargesConfig,), frozenset(), frozenset()),
    (Caller,      (gateway.PartnerConfig, gateway.ClientConfig),
        frozenset({"secret", "kind", "zone", "labels", "http"}),
        frozenset({"wrong_pins", "sees_patrons", "request_type", "lookups_per_minute"})),
    (TerminalRow, (gateway.TerminalConfig,), frozenset({"messages"}),
        frozenset({"dialect", "allow_from", "language", "offline", "wrong_pins"})),
    (Sip2Dialect, (DialectConfig,), frozenset(), frozenset(field.name for field in dataclasses.fields(Sip2Dialect))),
    (TokenRule,   (gateway.Jwt,), frozenset({"keys"}), frozenset()),
    (Signer,      (gateway.OurJwt,), frozenset({"key"}), frozenset({"claims"})),
)
PROOFS = {"secret_env", "basic_login", "basic_hash", "bearer_hash", "jwt"}
ELSEWHERE = {
    gateway.PartnerConfig: PROOFS | {"name_zh", "discovery_url", "system", "timezone", "attempts", "our_proof"},
    gateway.ClientConfig: PROOFS | {"system", "request_status"},
    gateway.TerminalConfig: {"takes_money"},
    DialectConfig: {"like"},
    gateway.Jwt: {"jwks_file", "jwks_url"},
    gateway.OurJwt: {"key_file"},
}
"""Keys that fill no field of the same name: the configuration itself uses them."""
# fmt: on


def unfilled(record: type, tables: Collection[type[BaseModel]], otherwise: Collection[str]) -> set[str]:
    """Fields of a record that no key fills."""
    keys = {key for table in tables for key in table.model_fields}
    fields: Any = record
    return {field.name for field in dataclasses.fields(fields)} - keys - {*otherwise}


def unused(table: type[BaseModel]) -> set[str]:
    """Keys of a table that fill no field of any record."""
    records: list[Any] = [record for record, tables, *_ in ROWS if table in tables]
    fields = {field.name for record in records for field in dataclasses.fields(record)}
    return table.model_fields.keys() - fields - ELSEWHERE.get(table, set())


@pytest.mark.parametrize(("record", "tables", "otherwise", "other"), ROWS, ids=lambda row: getattr(row, "__name__", ""))
def test_every_field_of_a_record_has_a_key_with_the_same_default(
    record: Any, tables: tuple[type[BaseModel], ...], otherwise: frozenset[str], other: frozenset[str]
) -> None:
    assert unfilled(record, tables, otherwise) == set()
    defaults = {field.name: field.default for field in dataclasses.fields(record)}
    told = {
        key: field.default
        for table in tables
        for key, field in table.model_fields.items()
        if key in defaults and key not in other and not field.is_required()
    }
    assert {
        key: value for key, value in told.items() if value != defaults[key] and defaults[key] is not dataclasses.MISSING
    } == {}


@pytest.mark.parametrize("table", {table for _, tables, *_ in ROWS for table in tables}, ids=lambda table: table.__name__)
def test_every_key_fills_a_record_or_is_used_by_the_configuration(table: type[BaseModel]) -> None:
    assert unused(table) == set()


def test_new_field_of_a_partner_without_a_key_is_reported() -> None:
    planted = dataclasses.make_dataclass("Planted", [("fax", str, "")], bases=(Partner,), frozen=True)
    _, tables, otherwise, _ = ROWS[0]
    assert unfilled(planted, tables, otherwise) == {"fax"}


def test_new_key_of_a_dialect_without_a_field_is_reported() -> None:
    planted = dataclasses.make_dataclass("Planted", [("beeps", int, 0)], bases=(Sip2Dialect,), frozen=True)
    assert unfilled(planted, (DialectConfig,), ()) == {"beeps"}

    class NewKey(gateway.TerminalConfig):
        screen: str = ""

    assert "screen" in unused(NewKey)


# ---- labels of the pages, and reasons


def unlabelled(table: Collection[str], known: Collection[str]) -> set[str]:
    return {*known} ^ {*table}


@dataclass(frozen=True)
class Labels:
    table: Collection[str]
    known: Collection[str]


TABLES = {
    "rounds": Labels(labels.ROUNDS, rounds.ROUNDS),
    "positions": Labels(labels.POSITIONS, tuple(Position)),
    "lists": Labels(WORK_LISTS, tuple(ListName)),
}


@pytest.mark.parametrize("name", TABLES)
def test_every_row_has_a_label_on_the_pages(name: str) -> None:
    assert unlabelled(TABLES[name].table, TABLES[name].known) == set()


@pytest.mark.parametrize("name", TABLES)
def test_new_row_without_a_label_is_reported(name: str) -> None:
    assert unlabelled(TABLES[name].table, [*TABLES[name].known, "planted"]) == {"planted"}


def test_decline_reason_requires_the_status_of_the_item_afterwards() -> None:
    incomplete: Any = Decline
    with pytest.raises(TypeError, match="status_after"):
        LenderReason("water_damaged", ("Wet", "濕"), decline=incomplete("Not Available"))
    assert all(row.decline is None or row.decline.status_after for row in LENDER_REASONS.values())
