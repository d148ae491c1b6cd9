"""Schemathesis sends valid and invalid requests to the API: every response must match the description."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, cast

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from hkall_gateway.db import api_tokens, web_sessions
from hkall_gateway.db.api_tokens import ApiToken, hash_of
from hkall_gateway.db.web_sessions import API_LONGEST, PATRON_API, WebSession
from hkall_gateway.simulator.scenario.world import World
from hkall_gateway.web.api.app import make_api
from hkall_gateway.web.api.description import describe
from tests.examples import example_count
from tests.web.conftest import WORLD, Site

SECRETS = {"sysadmin": "hkall_described", "client": "hkall_described_client"}
PATRON_SECRET = "hkallp_described"
KEYS = count()
MEANING: Any = {
    "/statistics": [positive_data_acceptance],
    "/search": [positive_data_acceptance],
    "/patron-token": [ignored_auth],
    "/requests/{number}/{action}": [positive_data_acceptance],
}
"""Well-formed values that may still be refused: dates outside a period or the accepted years, text without a letter, pages
beyond the results. The login takes no token: its 401 means a wrong PIN."""
OPERATIONS = tuple(
    (method.upper(), path)
    for path, operations in describe(make_api(cast("Any", None)))["paths"].items()
    for method in operations
)
"""Every operation of the API. `tests/cli/test_surface.py` lists those that are not of the last release."""

CARD = "UG1"


@dataclass(frozen=True)
class Described:
    """The API description of one world, with tokens for all operations."""

    schema: schemathesis.BaseSchema
    world: World

    def token(self, method: str, path: str, *, own: bool) -> str:
        """A token that may use an operation; `own`: a patron's, created anew for each request."""
        if own or (method, path) == ("DELETE", "/patron-token"):
            now = self.world.now
            row = WebSession(
                token_hash=hash_of(PATRON_SECRET),
                kind=PATRON_API,
                login="",
                patron=CARD,
                name="",
                role="",
                source="pin",
                csrf="",
                created_at=now,
                seen_at=now,
                ends_at=now + API_LONGEST,
            )
            self.world.store.now(web_sessions.begin, row, now, row.token_hash)
            return PATRON_SECRET
        return SECRETS["client" if path.startswith("/patron/") else "sysadmin"]


@pytest.fixture(scope="module")
def described() -> Iterator[Described]:
    world = World.open(WORLD)
    site = Site(world)
    site.settings = replace(site.settings, pages_per_minute=0)
    for role, secret in SECRETS.items():
        assert world.store.now(
            api_tokens.make, ApiToken(name=role, token_hash=hash_of(secret), role=role, made_by="amy", made_at=world.now)
        )
    yield Described(schemathesis.openapi.from_wsgi("/api/v1/openapi.json", site.app), world)
    world.close()


OWN = [(method, path, True) for method, path in OPERATIONS if path.startswith("/patron/")]
"""The operations that a patron may use with their own token, like a client."""


@pytest.mark.thorough
@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(("method", "path", "own"), [*((*one, False) for one in OPERATIONS), *OWN])
def test_every_response_matches_the_openapi_description(
    described: Described, method: str, path: str, own: bool, mode: GenerationMode
) -> None:
    usual = settings(max_examples=example_count(25), derandomize=True, database=None)
    without = settings(usual, suppress_health_check=list(HealthCheck), phases=(Phase.generate,))

    cases = 0

    @without
    @given(case=described.schema[path][method].as_strategy(generation_mode=mode))
    def asked(case: schemathesis.Case[Any]) -> None:
        if mode is GenerationMode.POSITIVE and case.headers and "Idempotency-Key" in case.headers:
            case.headers["Idempotency-Key"] = f"{method}{next(KEYS)}"  # one that another body had is refused
        nonlocal cases
        cases += 1
        if mode is GenerationMode.POSITIVE and path.startswith("/patron/"):
            body: Any = case.body
            body["card"] = "" if own else body.get("card") or CARD  # a client names one, a patron none
        headers = {"Authorization": f"Bearer {described.token(method, path, own=own)}"}
        case.call_and_validate(headers=headers, excluded_checks=MEANING.get(path, []))

    asked()
    assert cases > 0
