"""The patron operations of /api/v1: search, title, may-request, place, record, cancel, renew; and their permissions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from hkall_gateway.circulation.ports import CopyStatus, LiveStatuses
from hkall_gateway.db import web_sessions
from hkall_gateway.db.api_tokens import hash_of
from hkall_gateway.db.loads import loading
from hkall_gateway.db.loads.former_cards import follow_card
from hkall_gateway.rules.vocabulary import Actor, Holding, ItemKey, Position
from hkall_gateway.simulator.scenario.world import World
from hkall_gateway.web.app import make_app
from hkall_gateway.web.services import EXTENSION, WebServices
from tests.web.conftest import WORLD, Site
from tests.web.given import given
from tests.web.test_api import PROBLEM, program
from tests.web.test_patrons import page_of

P = Position
CARD, PIN = "UG1", "1234"
PATRONS: tuple[tuple[str, dict[str, str]], ...] = (
    ("/patron/may-request", {"bib_id": "b-dune"}),
    ("/patron/requests", {"bib_id": "b-dune"}),
    ("/patron/record", {}),
    ("/patron/requests/R1/cancel", {}),
    ("/patron/requests/R1/renew", {}),
    ("/patron/renew-all", {}),
)
"""Every operation of a patron, with a body."""


@dataclass
class Phone:
    """A patron's app. Responses are TestResponses; `Any`, since each has JSON."""

    site: Site
    secret: str = ""
    address: str = "192.0.2.7"
    keys: int = 0

    def log_in(self, card: str = CARD, pin: str = PIN) -> Any:
        answer = self.post("/patron-token", barcode=card, pin=pin)
        if answer.status_code == 201:
            self.secret = answer.json["token"]
        return answer

    def get(self, path: str, **named: Any) -> Any:
        return self._client().get(f"/api/v1{path}", headers=self._headers(), environ_base=self._from(), **named)

    def post(self, path: str, key: str = "", **body: Any) -> Any:
        self.keys += 1
        headers = self._headers() | {"Idempotency-Key": key or f"phone{self.keys}"}
        return self._client().post(f"/api/v1{path}", json=body, headers=headers, environ_base=self._from())

    def log_out(self) -> Any:
        return self._client().delete("/api/v1/patron-token", headers=self._headers(), environ_base=self._from())

    def _client(self) -> Any:
        return self.site.app.test_client()

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret}"} if self.secret else {}

    def _from(self) -> dict[str, str]:
        return {"REMOTE_ADDR": self.address}


def phone(site: Site, card: str = CARD) -> Phone:
    """The app of a patron with a token."""
    made = Phone(site)
    assert made.log_in(card).status_code == 201
    return made


def put(site: Site, *copies: Holding) -> None:
    """Load items with their search words."""
    site.world.store.now(lambda unit: loading.write(unit, "holdings", copies, loading.begin(unit, "holdings")))


# ---- a patron's token


def test_login_with_card_and_pin_returns_a_token_valid_for_an_hour(site: Site) -> None:
    made = Phone(site)
    answer = made.log_in()
    assert answer.status_code == 201, answer.text
    assert answer.json["ends_at"] == (site.world.now + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    assert made.post("/patron/record").status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"


def test_token_expires_after_an_hour(site: Site) -> None:
    made = phone(site)
    site.wait(minutes=59, seconds=59)
    assert made.post("/patron/record").status_code == 200
    site.wait(seconds=1)
    answer = made.post("/patron/record")
    assert (answer.status_code, answer.content_type) == (401, PROBLEM)


def test_patron_revokes_a_token(site: Site) -> None:
    made = phone(site)
    assert made.log_out().status_code == 204
    assert made.post("/patron/record").status_code == 401
    assert made.log_out().status_code == 401


def test_database_does_not_contain_the_token(site: Site) -> None:
    made = phone(site)
    rows: Any = site.world.store.now(lambda unit: unit.connection.exec_driver_sql("SELECT * FROM web_sessions").all())
    assert made.secret not in str(rows)
    assert hash_of(made.secret) in str(rows)


def test_token_of_an_erased_patron_is_refused(site: Site, tmp_path: Path) -> None:
    made, browser = phone(site, "PG1"), site.staff("supervisor")
    site.erased = tmp_path / "erased"
    address = page_of(browser, "PG1")
    assert browser.post(f"{address}/erase", at=address, reason="asked", apply="1").status_code == 200
    assert made.post("/patron/record").status_code == 401


def test_patron_missing_from_the_last_load_is_unknown(site: Site) -> None:
    made = phone(site)
    site.world.store.now(lambda unit: unit.connection.exec_driver_sql("DELETE FROM patrons WHERE barcode = 'UG1'"))
    answer = made.post("/patron/record")
    assert (answer.status_code, answer.json["reason"]) == (404, "unknown_borrower")
    assert made.post("/patron/requests", bib_id="b-dune").json["reason"] == "unknown_borrower"


def test_token_and_cookie_are_not_interchangeable(site: Site) -> None:
    made = phone(site)
    client = site.app.test_client()
    client.set_cookie("__Host-hkall", made.secret, domain="localhost")
    assert client.get("/staff/").status_code == 303
    now, ends = site.world.now, site.world.now + timedelta(hours=1)
    row = web_sessions.WebSession(
        token_hash=hash_of("hkallp_x"),
        kind=web_sessions.PATRON,
        login="",
        patron=CARD,
        name="",
        role="",
        source="pin",
        csrf="",
        created_at=now,
        seen_at=now,
        ends_at=ends,
    )
    site.world.store.now(web_sessions.begin, row, site.world.now)
    assert Phone(site, "hkallp_x").post("/patron/record").status_code == 401


# ---- wrong PINs


@pytest.mark.parametrize(("card", "pin"), [(CARD, "0000"), ("NOBODY", "1234")])
def test_wrong_pin_and_unknown_card_get_the_same_reply(site: Site, card: str, pin: str) -> None:
    answer = Phone(site).log_in(card, pin)
    assert (answer.status_code, answer.content_type, answer.json["detail"]) == (401, PROBLEM, "card or PIN is wrong")


def test_further_attempts_wait_after_wrong_pins(site: Site) -> None:
    made = Phone(site)
    assert [made.log_in(pin="0").status_code for _ in range(4)] == [401, 401, 401, 429]
    answer = made.log_in()
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "2")
    site.wait(seconds=2)
    assert made.log_in().status_code == 201


def test_attempts_on_one_card_from_many_addresses_wait(site: Site) -> None:
    codes = [Phone(site, address=f"192.0.2.{number}").log_in(pin="0").status_code for number in range(11)]
    assert codes == [401] * 10 + [429]


def test_log_contains_no_pin_or_card(site: Site) -> None:
    with capture_logs() as lines:
        Phone(site).log_in(pin="9876")
        phone(site).post("/patron/record")
    assert "9876" not in str(lines)
    assert CARD not in str(lines)
    assert [line["outcome"] for line in lines if line["event"] == "web.login_refused"] == ["wrong"]


# ---- who may do what


@pytest.mark.parametrize(("path", "body"), PATRONS)
def test_every_patron_operation_requires_a_token(site: Site, path: str, body: dict[str, str]) -> None:
    assert Phone(site).post(path, **body).status_code == 401
    assert Phone(site, "hkallp_wrong").post(path, **body).status_code == 401


@pytest.mark.parametrize(("path", "body"), PATRONS)
def test_staff_token_is_refused_for_patron_operations(site: Site, path: str, body: dict[str, str]) -> None:
    answer = program(site, "sysadmin").post(path, card=CARD, **body)
    assert (answer.status_code, answer.content_type) == (403, PROBLEM)


@pytest.mark.parametrize("path", ["/lists", "/lists/pull", "/requests/R1", "/statistics?from=2017-03-01&to=2017-03-02"])
def test_patrons_and_clients_cannot_read_staff_data(site: Site, path: str) -> None:
    assert phone(site).get(path).status_code == 403
    assert program(site, "client").get(path).status_code == 403


@pytest.mark.parametrize(("path", "body"), [("/requests", {"card": CARD, "bib_id": "b-dune"}), ("/requests/R1/cancel", {})])
def test_patrons_and_clients_cannot_run_staff_commands(site: Site, path: str, body: dict[str, str]) -> None:
    assert phone(site).post(path, **body).status_code == 403
    assert program(site, "client").post(path, **body).status_code == 403


@pytest.mark.parametrize(("path", "body"), PATRONS)
def test_card_is_refused_from_a_patron_and_required_from_a_client(site: Site, path: str, body: dict[str, str]) -> None:
    assert "leave it out" in phone(site).post(path, card="UG1", **body).json["detail"]
    answer = program(site, "client").post(path, **body)
    assert (answer.status_code, "names the patron's card" in answer.json["detail"]) == (422, True)


@pytest.mark.parametrize("action", ["cancel", "renew"])
def test_request_of_another_patron_is_not_found(site: Site, action: str) -> None:
    given(site, P.ON_LOAN if action == "renew" else P.REQUESTED, "R1")
    other = phone(site, "PG1")
    answer, nothing = other.post(f"/patron/requests/R1/{action}"), other.post(f"/patron/requests/R9/{action}")
    assert (answer.status_code, answer.json["reason"]) == (404, "unknown_request")
    assert answer.json | {"number": ""} == nothing.json | {"number": ""}
    client = program(site, "client").post(f"/patron/requests/R1/{action}", card="PG1")
    assert (client.status_code, client.json["reason"]) == (404, "unknown_request")


def test_record_contains_no_data_of_another_patron(site: Site) -> None:
    given(site, P.ON_LOAN, "R1")
    answer = phone(site, "PG1").post("/patron/record")
    assert (answer.json["requests"], answer.json["loans"], "R1" in answer.text) == ([], [], False)


def test_card_replacement_keeps_the_record_and_revokes_tokens(site: Site) -> None:
    made, client = phone(site), program(site, "client")
    given(site, P.REQUESTED, "R1")
    site.world.store.now(follow_card, CARD, "NEW1", site.world.now, Actor(who="ils", channel="ils"))
    assert made.post("/patron/record").status_code == 401
    for answer in (client.post("/patron/record", card=card) for card in (CARD, "NEW1")):
        assert [one["request"] for one in answer.json["requests"]] == ["R1"]


# ---- request


@pytest.mark.parametrize("own", [True, False], ids=["a patron's token", "a client's"])
def test_request_is_placed_for_the_patron(site: Site, own: bool) -> None:
    asker: Any = phone(site) if own else program(site, "client")
    named = {} if own else {"card": CARD}
    assert asker.post("/patron/may-request", bib_id="b-dune", **named).json == {"allowed": True, "refusal": None}
    answer = asker.post("/patron/requests", bib_id="b-dune", **named)
    assert answer.status_code == 201, answer.text
    request = site.world.request(answer.json["request"])
    assert (request.patron, request.position) == (CARD, P.REQUESTED)
    told = program(site, "clerk").get(f"/requests/{request.id}").json["events"][0]
    assert (told["who"], told["channel"]) == ("patron" if own else "token:client", "api")


def test_dry_run_places_no_request(site: Site) -> None:
    made = phone(site)
    for _ in range(2):
        assert made.post("/patron/may-request", bib_id="b-dune").json["allowed"]
    assert made.post("/patron/record").json["requests"] == []


# fmt: off
REFUSED = (
    # patron     title        status  reason                 rule
    (CARD,       "b-home",    409,    "available_locally",   "R6"),
    (CARD,       "b-out",     409,    "no_available_copy",   "R7"),
    (CARD,       "b-none",    404,    "unknown_title",       ""),
    ("EXPIRED",  "b-dune",    409,    "patron_expired",      "R2"),
)
# fmt: on


@pytest.mark.parametrize(("card", "bib_id", "status", "reason", "rule"), REFUSED)
def test_every_refusal_has_a_reason_and_a_rule(site: Site, card: str, bib_id: str, status: int, reason: str, rule: str) -> None:
    made = phone(site, card)
    told = made.post("/patron/may-request", bib_id=bib_id).json
    answer = made.post("/patron/requests", bib_id=bib_id)
    assert (answer.status_code, answer.content_type, answer.json["reason"]) == (status, PROBLEM, reason)
    assert (told["allowed"], told["refusal"]["reason"], told["refusal"]["rule"]) == (False, reason, answer.json["rule"])
    assert not rule or answer.json["rule"] == rule
    assert not rule or answer.json["type"] == f"https://hkall.test/help#{rule}"


def test_repeated_request_is_placed_once(site: Site) -> None:
    made = phone(site)
    first = made.post("/patron/requests", key="once", bib_id="b-dune")
    assert made.post("/patron/requests", key="once", bib_id="b-dune").json == first.json
    again = made.post("/patron/requests", bib_id="b-dune")
    assert (again.status_code, again.json["reason"], again.json["rule"]) == (409, "duplicate_request", "R11a")
    other = made.post("/patron/requests", key="once", bib_id="b-dream")
    assert (other.status_code, "another request" in other.json["detail"]) == (422, True)


def test_idempotency_keys_of_two_patrons_are_independent(site: Site) -> None:
    first = phone(site).post("/patron/requests", key="1", bib_id="b-dune")
    second = phone(site, "PG1").post("/patron/requests", key="1", bib_id="b-dune")
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json != second.json


@pytest.mark.parametrize("path", [path for path, _ in PATRONS if path not in {"/patron/may-request", "/patron/record"}])
def test_every_change_requires_an_idempotency_key(site: Site, path: str) -> None:
    made = phone(site)
    headers = {"Authorization": f"Bearer {made.secret}"}
    answer: Any = site.app.test_client().post(f"/api/v1{path}", json={"bib_id": "b-dune"}, headers=headers)
    assert (answer.status_code, "Idempotency-Key" in answer.json["detail"]) == (422, True)


# ---- the record, cancel, renew


def test_record_has_current_requests_loans_and_fines(site: Site) -> None:
    today = site.world.now.date()
    given(site, P.REQUESTED, "R1")
    given(site, P.RECEIVED, "R2", pickup_last=today + timedelta(days=3))
    given(site, P.ON_LOAN, "R3", due=today + timedelta(days=1), first_checkout=today - timedelta(days=14), loan_days=15)
    given(site, P.ON_LOAN, "R4", due=today - timedelta(days=2), first_checkout=today - timedelta(days=17), loan_days=15)
    given(site, P.CLOSED, "R5")
    answer = phone(site).post("/patron/record").json
    requests, loans = {one["request"]: one for one in answer["requests"]}, {one["request"]: one for one in answer["loans"]}
    assert (sorted(requests), sorted(loans)) == (["R1", "R2"], ["R3", "R4"])
    assert (requests["R1"]["label"], requests["R1"]["refusal"]) == ("HKALL REQUESTD", None)
    assert (requests["R2"]["label"], requests["R2"]["pickup_last"]) == ("HKALL RECVD", str(today + timedelta(days=3)))
    assert requests["R2"]["refusal"]["rule"] == "R34"
    assert (loans["R3"]["overdue"], loans["R3"]["refusal"]) == (False, None)
    assert (loans["R4"]["overdue"], loans["R4"]["fine_cents"] > 0) == (True, True)
    assert loans["R4"]["refusal"]["reason"] == "renewal_overdue"
    assert "Chan Siu Ming" not in str(answer)


def test_repeated_cancellation_takes_effect_once(site: Site) -> None:
    made = phone(site)
    number = made.post("/patron/requests", bib_id="b-dune").json["request"]
    for _ in range(2):
        answer = made.post(f"/patron/requests/{number}/cancel")
        assert (answer.status_code, answer.json) == (200, {"request": number})
    assert site.world.request(number).position in {P.CANCELLING, P.CANCELLED}


def test_shipped_item_cannot_be_cancelled(site: Site) -> None:
    given(site, P.IN_TRANSIT, "R1")
    answer = phone(site).post("/patron/requests/R1/cancel")
    assert (answer.status_code, answer.json["reason"], answer.json["rule"]) == (409, "too_late_to_cancel", "R34")


def test_loan_is_renewed(site: Site) -> None:
    today = site.world.now.date()
    given(site, P.ON_LOAN, "R1", due=today + timedelta(days=1), first_checkout=today - timedelta(days=14), loan_days=15)
    answer = phone(site).post("/patron/requests/R1/renew")
    assert answer.status_code == 200, answer.text
    assert answer.json["due"] > str(today + timedelta(days=1))
    assert (answer.json["request"], answer.json["renewals"], answer.json["pending"]) == ("R1", 1, False)


def test_refused_renewal_gives_its_reason(site: Site) -> None:
    today = site.world.now.date()
    given(site, P.ON_LOAN, "R1", due=today - timedelta(days=1), first_checkout=today - timedelta(days=16), loan_days=15)
    answer = phone(site).post("/patron/requests/R1/renew")
    assert (answer.status_code, answer.json["reason"]) == (409, "renewal_overdue")


def test_renew_all_lists_every_loan_and_runs_once_per_key(site: Site) -> None:
    today = site.world.now.date()
    lent = {"first_checkout": today - timedelta(days=14), "loan_days": 15}
    given(site, P.ON_LOAN, "R1", due=today + timedelta(days=1), **lent)
    given(site, P.ON_LOAN, "R2", due=today - timedelta(days=1), **lent)
    given(site, P.REQUESTED, "R3")
    made = phone(site)
    answer = made.post("/patron/renew-all", key="k1")
    assert answer.status_code == 200, answer.text
    (done,), (not_done,) = answer.json["renewed"], answer.json["refused"]
    assert (done["request"], done["renewals"], done["due"] > str(today + timedelta(days=1))) == ("R1", 1, True)
    assert (not_done["title"], not_done["refusal"]["reason"]) == ("Title of R2", "renewal_overdue")

    site.wait(minutes=50)
    assert made.post("/patron/renew-all", key="k1").json == answer.json
    assert site.world.request("R1").renewals == 1


@pytest.mark.parametrize("own", [True, False])
def test_record_has_own_loans_when_the_local_system_provides_them(own: bool) -> None:
    world = World.open(WORLD.with_name("living-system.toml"))
    site = Site(world)
    try:
        made = phone(site) if own else Phone(site, program(site, "client").secret)
        body: dict[str, Any] = {} if own else {"card": CARD}
        asked = len(world.ils.heard)
        answers = [made.post("/patron/record", **body).json for _ in range(2)]
        assert [[one["title"] for one in answer["own_loans"]] for answer in answers] == [["Persuasion"]] * 2
        assert set(answers[0]["own_loans"][0]) == {"barcode", "title", "due"}
        assert len([one for one in world.ils.heard[asked:] if one.startswith("17")]) == 1
    finally:
        world.close()


def test_record_has_no_own_loans_with_a_loaded_local_system(site: Site) -> None:
    assert phone(site).post("/patron/record").json["own_loans"] is None


def test_request_without_an_item_is_not_a_loan(site: Site) -> None:
    made = phone(site)
    number = made.post("/patron/requests", bib_id="b-dune").json["request"]
    answer = made.post(f"/patron/requests/{number}/renew")
    assert (answer.status_code, answer.json["reason"]) == (409, "not_on_loan")


# ---- search and titles


DUNE = Holding(
    agency="CUHK",
    barcode="C90",
    bib_id="b-90",
    title="Dune messiah",
    author="Herbert, Frank",
    isbn="9780593098233",
    call_number="PS3558 .E63",
)


def test_search_needs_no_login(site: Site) -> None:
    put(site, DUNE)
    answer = Phone(site).get("/search?q=dune+messiah")
    assert answer.status_code == 200, answer.text
    (found,) = answer.json["titles"]
    assert (found["bib_id"], found["authors"], found["isbns"]) == ("b-90", ["Herbert, Frank"], ["9780593098233"])
    assert (found["libraries"], answer.json["count"], answer.json["pages"]) == (["CUHK"], 1, 1)
    assert Phone(site).get("/search?q=0593098234&field=isbn").json["count"] == 1
    assert Phone(site).get("/search?q=dune&available=1&field=author").json["count"] == 0


def test_search_has_facets_an_order_and_another_spelling(site: Site) -> None:
    put(
        site,
        Holding(agency="LU", barcode="L40", bib_id="b-40", title="Dune Messiah"),
        Holding(agency="CUHK", barcode="C41", bib_id="b-41", title="Dunes of Arrakis"),
    )
    found = Phone(site).get("/search?q=dnue&sort=title").json
    assert (found["instead"], found["similar"], found["count"]) == ("dune", False, len(found["titles"]))
    assert [one["title"] for one in found["titles"]] == sorted(one["title"] for one in found["titles"])
    libraries = {one["value"]: one["count"] for one in found["facets"]["library"]}
    narrowed = Phone(site).get("/search?q=dune&library=LU").json
    assert narrowed["count"] == libraries["LU"] < found["count"]
    assert Phone(site).get("/search?q=dune&sort=size").status_code == 422


@pytest.mark.parametrize(
    "query", ["", "?q=", "?q=%2B", "?q=x&field=shoe", "?q=x&page=0", "?q=x&page=9", "?q=1&field=isbn", "?p=1"]
)
def test_invalid_query_returns_a_problem(site: Site, query: str) -> None:
    answer = Phone(site).get(f"/search{query}")
    assert (answer.status_code, answer.content_type) == (422, PROBLEM)


def test_title_has_its_items_and_whether_it_can_be_requested(site: Site) -> None:
    answer = Phone(site).get("/titles/b-dune").json
    assert answer["title"]["title"] == "Dune"
    assert {(one["agency"], one["state"], one["said_at"]) for one in answer["copies"]} == {
        ("CUHK", "available", None),
        ("HKUST", "available", None),
    }
    assert answer["volumes"] == [{"volume": "", "refusal": None}]
    assert answer["pickup_locations"] == [{"code": "HKU-MAIN-LENDING", "name": "HKU-MAIN-LENDING"}]
    home = Phone(site).get("/titles/b-home").json
    assert home["volumes"][0]["refusal"]["rule"] == "R6"


def test_unknown_title_returns_a_problem(site: Site) -> None:
    answer = Phone(site).get("/titles/b-none")
    assert (answer.status_code, answer.content_type) == (404, PROBLEM)


def test_title_has_the_live_status_of_its_items(site: Site) -> None:
    at = site.world.now
    said = LiveStatuses({ItemKey("CUHK", "C1"): CopyStatus("On Loan", at)}, asking=True)
    own: WebServices = site.app.extensions[EXTENSION]
    answer: Any = make_app(replace(own, live_status=lambda *_: said)).test_client().get("/api/v1/titles/b-dune")
    copies = {one["agency"]: one for one in answer.json["copies"]}
    assert (copies["CUHK"]["state"], copies["CUHK"]["status"]) == ("out", "On Loan")
    assert copies["CUHK"]["said_at"] == at.isoformat().replace("+00:00", "Z")
    assert (copies["HKUST"]["state"], answer.json["asking"]) == ("available", True)
