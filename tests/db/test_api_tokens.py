"""Tokens of API clients, and the page numbers that stand for patrons in URLs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hkall_gateway.db import api_tokens, web_sessions
from hkall_gateway.db.api_tokens import ApiToken, hash_of
from hkall_gateway.simulator.databases import SoleStore

NOW = datetime(2017, 3, 14, 2, 0, tzinfo=UTC)


def token(name: str) -> ApiToken:
    return ApiToken(name=name, token_hash=hash_of(f"secret of {name}"), role="clerk", made_by="amy", made_at=NOW)


def test_token_is_found_only_by_the_hash_of_its_secret(store: SoleStore) -> None:
    assert store.now(api_tokens.make, token("vufind"))
    assert store.now(api_tokens.find, hash_of("secret of vufind")) == token("vufind")
    assert store.now(api_tokens.find, "secret of vufind") is None


def test_name_of_a_revoked_token_cannot_be_reused(store: SoleStore) -> None:
    store.now(api_tokens.make, token("vufind"))
    assert store.now(api_tokens.revoke, "vufind", NOW)
    assert not store.now(api_tokens.make, replace(token("vufind"), token_hash="other"))


def test_revoked_token_is_invalid_and_can_be_revoked_only_once(store: SoleStore) -> None:
    store.now(api_tokens.make, token("vufind"))
    assert store.now(api_tokens.revoke, "vufind", NOW)
    assert not store.now(api_tokens.revoke, "vufind", NOW)
    (found,) = store.now(api_tokens.listed)
    assert not found.in_force(NOW)


def test_token_is_valid_until_its_expiry_time() -> None:
    lasting = replace(token("vufind"), ends_at=NOW + timedelta(days=1))
    assert lasting.in_force(NOW)
    assert not lasting.in_force(NOW + timedelta(days=1))


def test_last_use_of_a_token_is_recorded(store: SoleStore) -> None:
    store.now(api_tokens.make, token("vufind"))
    store.now(api_tokens.used, "vufind", NOW)
    (found,) = store.now(api_tokens.listed)
    assert found.used_at == NOW


def test_random_number_of_a_card_is_stable_and_does_not_contain_the_card(store: SoleStore) -> None:
    number = store.now(web_sessions.number_of, "P0001", NOW)
    assert store.now(web_sessions.number_of, "P0001", NOW) == number
    assert store.now(web_sessions.number_of, "P0002", NOW) != number
    assert store.now(web_sessions.card_of, number) == "P0001"
    assert "P0001" not in number.upper()


def test_random_number_of_a_card_is_deleted_thirty_days_after_the_last_search(store: SoleStore) -> None:
    number = store.now(web_sessions.number_of, "P0001", NOW)
    store.now(web_sessions.number_of, "P0002", NOW + timedelta(days=31))
    assert store.now(web_sessions.card_of, number) == ""
