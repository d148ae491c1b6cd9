"""/api/v1: operations for API clients, their permissions and responses."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from hkall_gateway.db import api_tokens
from hkall_gateway.db.api_tokens import ApiToken, hash_of
from hkall_gateway.rules.vocabulary import Position
from hkall_gateway.web.api import access
from hkall_gateway.web.api.app import make_api
from tests.web.conftest import Site

PROBLEM = "application/problem+json"
BODIES = [b"", b"{", b"[]", b'"x"', b"null", b'{"q": 1}', b'{"q": "a\\u0000"}', b'{"q": "\\ud800"}', b"\xff"]


@dataclass
class Program:
    """An API client with one token. Responses are TestResponses; `Any`, since each has JSON."""

    site: Site
    secret: str
    keys: int = 0

    def get(self, path: str, **named: Any) -> Any:
        return self.site.app.test_client().get(f"/api/v1{path}", headers=self.headers(), **named)

    def post(self, path: str, key: str | None = "", **body: Any) -> Any:
        self.keys += 1
        extra = {} if key is None else {"Idempotency-Key": key or f"k{self.keys}"}
        return self.site.app.test_client().post(f"/api/v1{path}", json=body, headers=self.headers() | extra)

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret}"} if self.secret else {}


def program(site: Site, role: str = "clerk", **changed: Any) -> Program:
    secret = f"hkall_{role}"
    made = ApiToken(name=role, token_hash=hash_of(secret), role=role, made_by="amy", made_at=site.world.now, **changed)
    assert site.world.store.now(api_tokens.make, made)
    return Program(site, secret)


def requested(site: Site, bib_id: str = "b-dream") -> str:
    answer = program(site, "supervisor").post("/requests", card="UG1", bib_id=bib_id)
    assert answer.status_code == 201, answer.text
    return str(answer.json["request"])


# ---- who


def test_every_operation_has_a_row_with_its_role(site: Site) -> None:
    site.browser()
    api = make_api(site.app.extensions["hkall"])
    assert {rule.endpoint for rule in api.url_map.iter_rules()} == set(access.ROLES)


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer wrong", "Basic aGthbGw=", "Bearer hkall_clerk x", "Bearer \xff"]
)
def test_requests_without_a_valid_token_get_no_data(site: Site, header: str | None) -> None:
    program(site)
    headers = {} if header is None else {"Authorization": header}
    answer = site.app.test_client().get("/api/v1/lists", headers=headers)
    assert (answer.status_code, answer.content_type) == (401, PROBLEM)
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="hkall"'


def test_revoked_token_is_refused(site: Site) -> None:
    found = program(site)
    assert found.get("/lists").status_code == 200
    site.world.store.now(api_tokens.revoke, "clerk", site.world.now)
    assert found.get("/lists").status_code == 401


def test_token_is_refused_after_its_expiry(site: Site) -> None:
    found = program(site, ends_at=site.world.now + timedelta(days=1))
    assert found.get("/lists").status_code == 200
    site.wait(days=1)
    assert found.get("/lists").status_code == 401


@pytest.mark.parametrize(
    ("path", "body"),
    [("/requests", {"card": "UG1", "bib_id": "b-dream"}), ("/requests/R-X/cancel", {})],
)
def test_viewer_cannot_change_anything(site: Site, path: str, body: dict[str, str]) -> None:
    answer = program(site, "viewer").post(path, **body)
    assert (answer.status_code, answer.content_type) == (403, PROBLEM)
    assert "clerk" in answer.json["detail"]


def test_supervisor_command_requires_a_supervisor_token(site: Site) -> None:
    number = requested(site)
    answer = program(site).post(f"/requests/{number}/force", reason="x", to="CLOSED")
    assert answer.status_code == 403
    assert "supervisor" in answer.json["detail"]


def test_viewer_sees_no_card(site: Site) -> None:
    number = requested(site)
    assert program(site, "viewer").get(f"/requests/{number}").json["request"]["patron"] == ""
    assert program(site).get(f"/requests/{number}").json["request"]["patron"] == "UG1"


def test_session_cookie_is_not_accepted_as_a_token(site: Site) -> None:
    browser = site.staff("sysadmin")
    assert browser.get("/api/v1/lists").status_code == 401


def test_api_sets_no_cookie(site: Site) -> None:
    assert "Set-Cookie" not in program(site).get("/lists").headers


def test_last_use_of_a_token_is_recorded(site: Site) -> None:
    program(site).get("/lists")
    (found,) = site.world.store.now(api_tokens.listed)
    assert found.used_at == site.world.now


# ---- what


def test_lists_operation_returns_the_count_of_every_list(site: Site) -> None:
    requested(site)
    counts = program(site).get("/lists").json["counts"]
    assert set(counts) >= {"pull", "expected", "shelf", "on-loan", "stuck"}


def test_list_is_paged(site: Site) -> None:
    for bib_id in ("b-dream", "b-dune"):
        number = requested_by(site, bib_id)
        force(site, number, Position.ON_LOAN)
    first = program(site).get("/lists/on-loan?most=1").json
    assert len(first["rows"]) == 1
    second = Program(site, "hkall_clerk").get("/lists/on-loan", query_string={"most": 1, "after": first["next"]}).json
    assert first["rows"][0]["request"]["id"] != second["rows"][0]["request"]["id"]
    assert second["next"] == ""


def test_request_search_keeps_search_words_out_of_the_url(site: Site) -> None:
    number = requested(site)
    found = program(site).post("/requests/search", key=None, q="UG1").json["requests"]
    assert [(one["request"]["id"], one["by"]) for one in found] == [(number, "card")]


def test_request_shows_its_journal_and_permitted_commands(site: Site) -> None:
    number = requested(site)
    found = program(site).get(f"/requests/{number}").json
    assert found["events"][0]["who"] == "token:supervisor"
    assert found["events"][0]["channel"] == "api"
    allowed = {one["name"] for one in found["actions"] if one["allowed"]}
    assert "cancel" in allowed
    assert "pin" not in allowed


def test_unknown_request_returns_a_problem_with_its_reason(site: Site) -> None:
    answer = program(site).get("/requests/R-NONE")
    assert (answer.status_code, answer.content_type) == (404, PROBLEM)
    assert answer.json["reason"] == "unknown_request"


def test_refusal_names_its_rule_and_links_to_it(site: Site) -> None:
    answer = program(site).post("/requests", card="UG1", bib_id="b-home")
    assert (answer.status_code, answer.content_type) == (409, PROBLEM)
    assert (answer.json["rule"], answer.json["reason"]) == ("R6", "available_locally")
    assert answer.json["type"] == "https://hkall.test/help#R6"


def test_refusal_is_in_the_requested_language(site: Site) -> None:
    found = program(site)
    headers = found.headers() | {"Accept-Language": "zh-HK", "Idempotency-Key": "zh"}
    answer: Any = site.app.test_client().post("/api/v1/requests", json={"card": "UG1", "bib_id": "b-home"}, headers=headers)
    assert not answer.json["detail"].isascii()


def test_command_is_journalled_with_the_api_client(site: Site) -> None:
    number = requested(site)
    answer = program(site).post(f"/requests/{number}/cancel", reason="no longer wanted")
    assert answer.status_code == 200, answer.text
    assert answer.json["position"] in {"CANCELLING", "CANCELLED"}
    events = Program(site, "hkall_clerk").get(f"/requests/{number}").json["events"]
    assert "token:clerk" in {one["who"] for one in events}


def test_command_without_a_required_reason_returns_a_problem(site: Site) -> None:
    number = requested(site)
    answer = program(site).post(f"/requests/{number}/seen", reason="")
    assert answer.json["reason"] in {"reason_needed"}
    assert answer.status_code == 422


def test_unknown_command_returns_a_problem(site: Site) -> None:
    answer = program(site).post("/requests/R-X/explode")
    assert (answer.status_code, answer.content_type) == (404, PROBLEM)


def test_statistics_contain_figures_without_patrons(site: Site) -> None:
    requested(site)
    day = site.world.now.date()
    answer = program(site).get(f"/statistics?from={day - timedelta(days=30)}&to={day + timedelta(days=1)}")
    assert sum(one["requests"] for one in answer.json["counts"]) == 1
    assert "UG1" not in answer.text


@pytest.mark.parametrize("query", ["", "?from=2017-03-01", "?from=x&to=2017-03-01", "?from=2017-03-02&to=2017-03-01"])
def test_invalid_period_returns_a_problem(site: Site, query: str) -> None:
    answer = program(site).get(f"/statistics{query}")
    assert (answer.status_code, answer.content_type) == (422, PROBLEM)


# ---- Idempotency-Key


def test_change_without_an_idempotency_key_is_refused(site: Site) -> None:
    answer = program(site).post("/requests", key=None, card="UG1", bib_id="b-dream")
    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json["detail"]


def test_repeated_idempotency_key_returns_the_stored_reply(site: Site) -> None:
    found = program(site)
    first = found.post("/requests", key="once", card="UG1", bib_id="b-dream")
    second = found.post("/requests", key="once", card="UG1", bib_id="b-dream")
    assert (second.status_code, second.json) == (first.status_code, first.json)
    assert len(found.post("/requests/search", q="UG1").json["requests"]) == 1


def test_idempotency_key_reused_for_another_request_is_refused(site: Site) -> None:
    found = program(site)
    found.post("/requests", key="once", card="UG1", bib_id="b-dream")
    answer = found.post("/requests", key="once", card="UG2", bib_id="b-dream")
    assert answer.status_code == 422
    assert "used for another request" in answer.json["detail"]


def test_idempotency_keys_of_two_clients_are_independent(site: Site) -> None:
    assert program(site).post("/requests", key="1", card="UG1", bib_id="b-dream").status_code == 201
    answer = program(site, "sysadmin").post("/requests", key="1", card="UG1", bib_id="b-dune")
    assert answer.json.get("detail") != "this Idempotency-Key was used for another request"


def test_idempotency_key_expires_after_a_day(site: Site) -> None:
    found = program(site)
    found.post("/requests", key="once", card="UG1", bib_id="b-dream")
    site.wait(days=2)
    assert found.post("/requests", key="once", card="UG1", bib_id="b-dune").status_code != 422


# ---- errors


@pytest.mark.parametrize("path", ["/nothing", "/lists/nothing"])
def test_unknown_path_returns_a_problem(site: Site, path: str) -> None:
    answer = program(site).get(path)
    assert (answer.status_code in {404, 422}, answer.content_type) == (True, PROBLEM)


@pytest.mark.parametrize("path", ["", "/", "/docs"])
def test_root_of_the_api_leads_to_its_documentation(site: Site, path: str) -> None:
    answer = site.browser().get(f"/api/v1{path}", follow_redirects=True)
    assert (answer.status_code, answer.request.path) == (200, "/help/api")


def test_wrong_method_gets_the_list_of_allowed_methods(site: Site) -> None:
    answer = site.app.test_client().delete("/api/v1/lists")
    assert (answer.status_code, answer.content_type) == (405, PROBLEM)
    assert "GET" in answer.headers["Allow"]


@pytest.mark.parametrize("body", BODIES)
def test_invalid_body_returns_a_problem(site: Site, body: bytes) -> None:
    headers = program(site).headers() | {"Content-Type": "application/json"}
    answer = site.app.test_client().post("/api/v1/requests/search", data=body, headers=headers)
    assert (answer.status_code in {400, 415, 422}, answer.content_type) == (True, PROBLEM), answer.text


def test_oversized_body_returns_a_problem(site: Site) -> None:
    answer = program(site).post("/requests/search", q="x" * 70_000)
    assert (answer.status_code, answer.content_type) == (413, PROBLEM)


def test_token_is_never_logged(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    program(site).get("/lists")
    assert "hkall_clerk" not in capsys.readouterr().out


def requested_by(site: Site, bib_id: str) -> str:
    key = f"by-{bib_id}"
    if not site.world.store.now(api_tokens.find, hash_of("hkall_supervisor")):
        program(site, "supervisor")
    answer = Program(site, "hkall_supervisor").post("/requests", key=key, card="UG1", bib_id=bib_id)
    assert answer.status_code == 201, answer.text
    return str(answer.json["request"])


def force(site: Site, number: str, position: Position) -> None:
    answer = Program(site, "hkall_supervisor").post(
        f"/requests/{number}/force", key=f"f-{number}", reason="x", to=position.value
    )
    assert answer.status_code == 200, answer.text
