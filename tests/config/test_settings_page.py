"""docs/config.md and docs/policy.md as generated from the models."""

from __future__ import annotations

import dataclasses
import re

from docs.generate.settings_page import describe, describe_policy
from hkall_gateway.rules.published_rules import PUBLISHED
from hkall_gateway.rules.settings import Category, FineFree, Policy, Role, Window


def test_configuration_page_documents_every_key() -> None:
    page = describe()
    for key in ("agency", "secret_hash", "listen_v1_tcp", "longest_wait_s", "from", "max_body_bytes", "patron_key_env"):
        assert f"| `{key}` |" in page
    for table in (
        "[library]",
        "[[sip2.terminals]]",
        "[[partners]]",
        "[partners.charges]",
        "[[clients]]",
    ):
        assert f"## `{table}`" in page
    assert "| `role` | counter, selfcheck, bookdrop or lookup | **needed** | reload | what it may do: a row of" in page


def test_every_row_of_the_page_has_five_cells_and_a_description() -> None:
    rows = [line for line in describe().splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    assert all(row.replace("\\|", "").count("|") == 6 and not row.endswith("|  |") for row in rows)


def sections() -> dict[str, list[list[str]]]:
    """The policy page by heading, each with the cells of its keys: key, rule, type, default, meaning."""
    found: dict[str, list[list[str]]] = {}
    for line in describe_policy().replace("\\|", "/").splitlines():
        if line.startswith("## "):
            rows = found[line.strip("#` ")] = []
        elif line.startswith("| `") and line.count("|") == 6 and re.match(r"R\d+", line.split("|")[2].strip()):
            rows.append([cell.strip("` ") for cell in line.split("|")[1:-1]])
    return found


def test_policy_page_documents_every_key_with_rule_default_and_meaning() -> None:
    keys = {name: [row[0] for row in rows] for name, rows in sections().items()}
    made = {f.name.rstrip("_"): getattr(Policy(), f.name) for f in dataclasses.fields(Policy)}
    tables = {name: value for name, value in made.items() if dataclasses.is_dataclass(value)}

    for name, table in tables.items():
        assert keys[f"[{name}]"] == [f.name for f in dataclasses.fields(table)]
    for name, record in {"service_windows": Window, "fine_free": FineFree, "categories": Category, "roles": Role}.items():
        assert keys[f"[[{name}]]"] == [f.name for f in dataclasses.fields(record)]
        del made[name]
    assert keys["Keys before the first table"] == [name for name in made if name not in tables]
    assert all(row[1] in PUBLISHED and all(row[2:]) for rows in sections().values() for row in rows)
    assert ["overdue_cents", "R40", "whole number", "200", "An overdue day."] in sections()["[fine]"]


def test_policy_page_shows_the_published_categories() -> None:
    assert '| `"academic_staff"` | `"Academic / research staff"` | `30` | `30` |' in describe_policy()
