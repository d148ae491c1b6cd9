"""Every parameter and field of the API with invalid values, and invalid bodies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlencode

import pytest
from sqlalchemy import Engine

from hkall_gateway.rules.plain_text import ONE_LINE
from hkall_gateway.rules.vocabulary import Position
from hkall_gateway.simulator.scenario.world import World
from tests.entries.bad_values import BAD, FORBIDDEN
from tests.web.conftest import WORLD, Site
from tests.web.given import given
from tests.web.test_api import PROBLEM, Program, program

PLACES: Final = {"number": "R-1", "action": "cancel", "name": "pull", "bib_id": "b-dream"}
USUAL: Final = {
    "card": "UG1", "bib_id": "b-dream", "q": "dune", "barcode": "UG1", "pin": "1234", "reason": "damaged",
    "from": "2017-01-01", "to": "2017-03-01",
}  # fmt: skip
DEEP: Final = {
    "lists": "[" * 30_000 + "]" * 30_000,
    "lists that do not end": "[" * 60_000,
    "objects": '{"a":' * 10_000 + "1" + "}" * 10_000,
    "lists below the limit of the parser": "[" * 40 + "]" * 40,
}


@pytest.fixture
def site(engine: Engine) -> Iterator[Site]:
    world = World.open(WORLD, engine)
    found = Site(world)
    given(found, Position.PAGED, "R-1")
    yield found
    world.close()


@pytest.fixture
def callers(site: Site) -> dict[str, Program]:
    return {role: program(site, role) for role in ("sysadmin", "client")}


class Operation:
    """One operation of the OpenAPI description, with its fields."""

    def __init__(self, verb: str, path: str, described: Any, schemas: Any) -> None:
        self.verb, self.path = verb, path
        self.parameters = [one for one in described.get("parameters", ()) if one["name"] != "Idempotency-Key"]
        content = described.get("requestBody", {}).get("content", {}).get("application/json", {})
        named = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
        self.body: dict[str, Any] = schemas.get(named, {}).get("properties", {})

    def role(self) -> str:
        return "client" if self.path.startswith("/patron") else "sysadmin"

    def fields(self) -> Iterator[tuple[str, str, Any]]:
        """Yield the location, name and schema of each field."""
        for one in self.parameters:
            yield one["in"], one["name"], one["schema"]
        for name, schema in self.body.items():
            yield "body", name, schema


def operations(site: Site) -> list[Operation]:
    site.browser()
    described: Any = site.app.test_client().get("/api/v1/openapi.json").json
    schemas = described["components"]["schemas"]
    return [
        Operation(verb.upper(), path, found, schemas)
        for path, verbs in described["paths"].items()
        for verb, found in verbs.items()
    ]


def ask(site: Site, one: Operation, caller: Program, where: str, name: str, value: Any) -> Any:
    """Return the response to a request with this value in one field and valid values in the others."""
    path = one.path
    for place, usual in PLACES.items():
        path = path.replace("{" + place + "}", "{}" if (where, name) == ("path", place) else usual)
    path = f"/api/v1{path.replace('{}', str(value))}".encode("utf-8", "surrogatepass").decode("latin-1")
    query = {p["name"]: USUAL[p["name"]] for p in one.parameters if p["in"] == "query" and p["name"] in USUAL}
    body = {field: USUAL[field] for field in one.body if field in USUAL}
    if where == "query":
        query[name] = value
    elif where == "body":
        body[name] = value
    caller.keys += 1
    headers = caller.headers() | {"Idempotency-Key": f"k{caller.keys}"}
    sent: Any = {"data": json.dumps(body), "content_type": "application/json"} if one.body else {}
    client = site.app.test_client()
    asked = urlencode(query, errors="surrogatepass")
    return client.open("/", method=one.verb, environ_overrides={"PATH_INFO": path}, query_string=asked, headers=headers, **sent)


def test_every_operation_refuses_invalid_field_values(
    site: Site, callers: dict[str, Program], capsys: pytest.CaptureFixture[str]
) -> None:
    asked, wrong = 0, []
    for one in operations(site):
        for where, name, _ in one.fields():
            for kind, value in (BAD | {"a number beyond 64 bits": 2**64}).items():
                answer = ask(site, one, callers[one.role()], where, name, value)
                asked += 1
                plain = answer.status_code < 400 or answer.content_type == PROBLEM
                if answer.status_code >= 500 or not plain or (kind in FORBIDDEN and answer.status_code < 400):
                    wrong.append(f"{one.verb} {one.path} {where} {name}, {kind}: {answer.status_code}")
    assert wrong == []
    assert asked > 200
    assert "Traceback" not in capsys.readouterr().out


def test_every_request_text_and_number_is_bounded_in_the_description(site: Site) -> None:
    for one in operations(site):
        for _, name, schema in one.fields():
            kinds = [kind for kind in schema.get("anyOf", [schema]) if kind.get("type") != "null"]
            for kind in kinds:
                if kind.get("type") == "string" and "format" not in kind:
                    assert kind.get("pattern") == ONE_LINE or kind["pattern"].startswith("^["), (one.path, name)
                    assert kind["maxLength"], (one.path, name)
                elif kind.get("type") == "integer":
                    assert kind["maximum"] < 2**31, (one.path, name)


@pytest.mark.parametrize("kind", DEEP)
@pytest.mark.parametrize("path", ["/patron-token", "/requests/search", "/patron/record"])
def test_deeply_nested_body_returns_a_problem(
    site: Site, callers: dict[str, Program], path: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    caller = callers["client" if path.startswith("/patron") else "sysadmin"]
    answer = site.app.test_client().post(
        f"/api/v1{path}", data=DEEP[kind], content_type="application/json", headers=caller.headers()
    )
    assert (answer.status_code in {400, 422}, answer.content_type) == (True, PROBLEM)
    assert "Traceback" not in capsys.readouterr().out


@pytest.mark.parametrize("body", ['{"\\u0000": 1}', '{"\\ud800": 1}', '{"q": {"\\u001b": 1}}', '{"q": ["\\ud800"]}'])
def test_non_text_key_returns_a_problem(site: Site, callers: dict[str, Program], body: str) -> None:
    headers = callers["sysadmin"].headers()
    answer = site.app.test_client().post("/api/v1/requests/search", data=body, content_type="application/json", headers=headers)
    assert (answer.status_code, answer.content_type) == (400, PROBLEM)


@pytest.mark.parametrize("day", ["0001-01-01", "1899-12-31", "2200-01-01", "9999-12-31"])
def test_date_outside_the_accepted_years_returns_a_problem(site: Site, callers: dict[str, Program], day: str) -> None:
    answer = callers["sysadmin"].post("/requests/R-1/extend", on=day)
    assert (answer.status_code, answer.json["detail"].split(":")[0]) == (422, "on")
    assert callers["sysadmin"].get(f"/statistics?from={day}&to=2017-03-01").status_code == 422
