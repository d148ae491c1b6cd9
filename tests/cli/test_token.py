"""hkall-gateway token: a token is printed once, listed without its secret, and revoked by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import select

from demo import demo_setup
from hkall_gateway.config import gateway as config
from hkall_gateway.db.api_tokens import CLIENT, hash_of
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.tables import API_TOKENS
from tests import databases
from tests.cli.test_commands import PORTS, run


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = demo_setup.write_config(tmp_path, PORTS)
    databases.fill(path, demo_setup.environment(PORTS))
    return path


def listed(site: Path) -> dict[str, dict[str, str]]:
    return {row["name"]: row for row in json.loads(run("token", "list", "--json", config=site).output)}


def test_token_is_printed_once_and_only_its_hash_stored(site: Path) -> None:
    made = run("token", "make", "reports", "--role", "viewer", config=site)
    assert made.exit_code == 0, made.output
    secret = made.output.strip()
    assert secret.startswith("hkall_")
    assert secret not in run("token", "list", config=site).output
    assert (listed(site)["reports"]["role"], listed(site)["reports"]["state"]) == ("viewer", "in force")
    assert "token_hash" not in listed(site)["reports"]
    for file in site.parent.glob("*.db*"):
        assert secret.encode() not in file.read_bytes()


def test_token_of_a_client_acting_for_patrons_has_its_own_role(site: Path) -> None:
    assert run("token", "make", "vufind", "--role", "client", config=site).exit_code == 0
    assert listed(site)["vufind"]["role"] == CLIENT


def test_token_may_have_an_expiry_time(site: Path) -> None:
    run("token", "make", "reports", "--role", "clerk", "--days", "30", config=site)
    assert listed(site)["reports"]["ends_at"] > listed(site)["reports"]["made_at"]


def test_revoked_token_stays_listed_and_its_name_cannot_be_reused(site: Path) -> None:
    run("token", "make", "reports", "--role", "clerk", config=site)
    assert run("token", "revoke", "reports", config=site).exit_code == 0
    assert listed(site)["reports"]["state"] == "revoked"
    assert run("token", "revoke", "reports", config=site).exit_code == 1
    again = run("token", "make", "reports", "--role", "clerk", config=site)
    assert again.exit_code == 1
    assert "used before" in again.output


@pytest.mark.parametrize(
    "words", [("reports",), ("reports", "--role", "king"), ("", "--role", "clerk"), ("é", "--role", "clerk")]
)
def test_invalid_name_or_role_is_refused(site: Path, words: tuple[str, ...]) -> None:
    assert run("token", "make", *words, config=site).exit_code == 2
    assert listed(site) == {}


def test_stored_hash_is_found_by_the_api(site: Path) -> None:
    secret = run("token", "make", "reports", "--role", "clerk", config=site).output.strip()
    engine = open_engine(config.load(site, demo_setup.environment(PORTS)).database.url)
    with engine.connect() as connection:
        kept = connection.execute(select(API_TOKENS.c.token_hash)).scalars().all()
    engine.dispose()
    assert kept == [hash_of(secret)]
