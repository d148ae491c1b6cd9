"""Schemathesis asks the API what its description allows, and what it does not: whatever it hears must fit the description."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from hkall_gateway.lab.scenario.world import World
from hkall_gateway.store import api_tokens
from hkall_gateway.store.api_tokens import ApiToken, hash_of
from tests.web.conftest import WORLD, Site

EXAMPLES = 25
SECRET = "hkall_described"
KEYS = count()
MEANING: Any = {"/statistics": [positive_data_acceptance]}
"""Dates that are well formed may still be no period."""
HEADERS = {"Authorization": f"Bearer {SECRET}"}
OPERATIONS = (
    ("GET", "/lists"),
    ("GET", "/lists/{name}"),
    ("POST", "/requests"),
    ("POST", "/requests/search"),
    ("GET", "/requests/{number}"),
    ("POST", "/requests/{number}/{action}"),
    ("GET", "/statistics"),
)


@pytest.fixture(scope="module")
def described() -> Iterator[schemathesis.BaseSchema]:
    """The description of the API of one world, whose token may do all."""
    world = World.open(WORLD)
    site = Site(world)
    made = ApiToken("described", hash_of(SECRET), "sysadmin", "amy", world.now)
    assert world.store.now(api_tokens.make, made)
    yield schemathesis.openapi.from_wsgi("/api/v1/openapi.json", site.app)
    world.close()


def test_every_operation_is_described(described: schemathesis.BaseSchema) -> None:
    found: Any = described.get_all_operations()
    assert {(one.ok().method.upper(), one.ok().path) for one in found} == set(OPERATIONS)


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_answer_fits_the_description(
    described: schemathesis.BaseSchema, method: str, path: str, mode: GenerationMode
) -> None:
    usual = settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None)
    without = settings(usual, suppress_health_check=list(HealthCheck), phases=(Phase.generate,))

    cases = 0

    @without
    @given(case=described[path][method].as_strategy(generation_mode=mode))
    def asked(case: schemathesis.Case[Any]) -> None:
        if mode is GenerationMode.POSITIVE and case.headers and "Idempotency-Key" in case.headers:
            case.headers["Idempotency-Key"] = f"{method}{next(KEYS)}"  # one that another body had is refused
        nonlocal cases
        cases += 1
        case.call_and_validate(headers=HEADERS, excluded_checks=MEANING.get(path, []))

    asked()
    assert cases > 0
