"""/staff/patrons: search by POST, URLs with a random number; requests, payments, export and erasure."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from lxml import html
from werkzeug.test import TestResponse

from hkall_gateway.db import fines
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.web.incoming import cents_of
from tests.web.conftest import Browser, Site
from tests.web.given import owe_refund
from tests.web.test_closures import on_loan
from tests.web.test_unsent import BY, requested

ROLES = {"request": "clerk", "pay": "clerk", "export": "supervisor", "erase": "supervisor"}


def find(browser: Browser, words: str) -> TestResponse:
    return browser.post("/staff/patrons", q=words)


def page_of(browser: Browser, card: str = "UG1") -> str:
    answer = find(browser, card)
    assert answer.status_code == 303, answer.text
    return answer.headers["Location"]


def owing(site: Site, cents: int = 1250) -> str:
    """A request for which the patron UG1 has a charge."""
    loan = on_loan(site)

    def charge(unit: UnitOfWork) -> None:
        fines.charge(unit, loan, "overdue", cents, "R40", site.world.now, BY)

    site.world.store.now(charge)
    return loan.id


def owed(site: Site) -> int:
    return int(site.world.store.now(lambda unit: unit.patrons.owed_cents("UG1")))


# ---- found


def test_card_search_redirects_to_a_url_without_the_card(site: Site) -> None:
    browser = site.staff()
    address = page_of(browser)
    assert re.fullmatch(r"/staff/patrons/[a-z2-9]{16}", address)
    assert "UG1" in browser.get(address).text


def test_name_search_links_patrons_by_page_number(site: Site) -> None:
    browser, mine = site.staff(), site.world.store.now(lambda unit: unit.patrons.find("UG1"))
    assert mine is not None
    name = mine.name.reveal()
    answer = find(browser, name.split()[0].lower())
    text = answer.text if answer.status_code == 200 else browser.get(answer.headers["Location"]).text
    assert name in text
    assert "UG1" not in "".join(re.findall(r'href="([^"]*)"', text))


def test_search_without_results_says_so(site: Site) -> None:
    answer = find(site.staff(), "Nobody Whatever")
    assert answer.status_code == 404
    assert "Nobody is found" in answer.text


def test_wildcard_is_searched_literally(site: Site) -> None:
    assert find(site.staff(), "%").status_code == 404


def test_unassigned_number_is_not_found(site: Site) -> None:
    browser = site.staff("sysadmin")
    for number in ("UG1", "x", "2" * 16):
        assert browser.get(f"/staff/patrons/{number}").status_code == 404
        for name in ROLES:
            assert browser.post(f"/staff/patrons/{number}/{name}", at="/staff/patrons", reason="x").status_code == 404


def test_search_words_are_not_in_the_log(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    browser = site.staff()
    browser.get(page_of(browser))
    find(browser, "Nobody Whatever")
    logged = capsys.readouterr().out
    assert "UG1" not in logged
    assert "Whatever" not in logged


# ---- who


@pytest.mark.parametrize(("name", "role"), ROLES.items())
def test_each_form_requires_its_role(site: Site, name: str, role: str) -> None:
    address = page_of(site.staff(role))
    lower = {"clerk": "viewer", "supervisor": "clerk"}[role]
    answer = site.staff(lower).post(f"{address}/{name}", at="/staff/", reason="x", amount="1", bib_id="b-dream", apply="1")
    assert answer.status_code == 403
    assert site.world.store.now(lambda unit: unit.patrons.find("UG1")) is not None


@pytest.mark.parametrize("name", ROLES)
def test_cross_site_form_is_refused(site: Site, name: str) -> None:
    browser = site.staff("sysadmin")
    assert browser.send(f"{page_of(browser)}/{name}", reason="x", apply="1").status_code == 400


def test_viewer_cannot_open_patron_pages(site: Site) -> None:
    address = page_of(site.staff())
    viewer = site.staff("viewer")
    assert viewer.get(address).status_code == 403
    assert viewer.get("/staff/patrons").status_code == 403


# ---- seen


def test_page_shows_patron_data_with_its_age(site: Site) -> None:
    browser = site.staff()
    text = browser.get(page_of(browser)).text
    assert "May borrow" in text
    assert "the file that was loaded" in text


def test_blocked_card_shows_its_reason_and_rule(site: Site) -> None:
    browser = site.staff()
    text = browser.get(page_of(browser, "EXPIRED")).text
    assert "May not borrow" in text
    assert 'href="/help#R2"' in text


def test_requests_and_loans_are_listed(site: Site) -> None:
    number = requested(site)
    browser = site.staff()
    assert f'data-request="{number}"' in browser.get(page_of(browser)).text


def test_markup_in_a_title_is_escaped(site: Site) -> None:
    number = requested(site)

    def rename(unit: UnitOfWork) -> None:
        request = unit.requests.find(number)
        assert request is not None
        unit.amend(request, site.world.now, BY, title="<script>alert(1)</script>")

    site.world.store.now(rename)
    browser = site.staff()
    text = browser.get(page_of(browser)).text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


# ---- a request


def test_placed_request_is_confirmed_and_journalled_with_the_clerk(site: Site) -> None:
    browser = site.staff()
    address = page_of(browser)
    answer = browser.post(f"{address}/request", at=address, bib_id="b-dream")
    assert answer.status_code == 303
    page = browser.get(answer.headers["Location"]).text
    assert "The request is placed" in page
    (line, *_) = site.world.store.now(lambda unit: unit.journal.history("UG1"))
    assert (line["who"], line["channel"]) == ("clerk", "web")


def test_refused_request_shows_its_rule(site: Site) -> None:
    browser = site.staff()
    address = page_of(browser)
    answer = browser.post(f"{address}/request", at=address, bib_id="b-home")
    assert answer.status_code == 409
    assert "A copy is on our own shelf." in answer.text
    assert 'href="/help#R6"' in answer.text
    assert 'value="b-home"' in answer.text


# ---- money


def test_payment_reduces_the_balance(site: Site) -> None:
    owing(site)
    browser = site.staff()
    address = page_of(browser)
    answer = browser.post(f"{address}/pay", at=address, amount="2.50", form_key="t1")
    assert answer.status_code == 303
    assert owed(site) == 1000
    assert "Taken: HK$2.50" in browser.get(answer.headers["Location"]).text


def test_resubmitted_payment_is_accepted_once(site: Site) -> None:
    owing(site)
    browser = site.staff()
    address = page_of(browser)
    for _ in range(2):
        assert browser.post(f"{address}/pay", at=address, amount="2.50", form_key="t1").status_code == 303
    assert owed(site) == 1000


@pytest.mark.parametrize(
    ("amount", "code"),
    [
        ("99", 409),
        ("100000.01", 400),
        ("0", 400),
        ("-1", 400),
        ("1.255", 400),
        ("x", 400),
        ("NaN", 400),
        ("Infinity", 400),
        ("1e99", 400),
    ],
)
def test_invalid_amount_is_refused(site: Site, amount: str, code: int) -> None:
    owing(site)
    browser = site.staff()
    address = page_of(browser)
    answer = browser.post(f"{address}/pay", at=address, amount=amount, form_key="t1")
    assert answer.status_code == code
    assert 'role="alert"' in answer.text
    assert owed(site) == 1250


def test_charge_of_another_patron_cannot_be_paid(site: Site) -> None:
    owing(site)
    fine = site.world.store.now(lambda unit: unit.patrons.charges("UG1"))[0].id
    browser = site.staff()
    other = page_of(browser, "UG2")
    assert browser.post(f"{other}/pay", at="/staff/patrons", amount="1", fine=str(fine)).status_code == 409
    assert owed(site) == 1250


def test_refund_that_we_owe_is_shown_beside_a_fine_and_given_back_once(site: Site) -> None:
    owing(site, 800)
    owe_refund(site, "UG1", 30_000)
    browser = site.staff()
    address = page_of(browser)
    page = browser.get(address).text
    assert "Owed: HK$8.00" in page
    assert "We owe the patron: HK$300.00" in page

    for _ in range(2):
        answer = browser.post(f"{address}/refund", at=address, amount="300", form_key="box-7")
        assert answer.status_code == 303

    page = browser.get(answer.headers["Location"]).text
    assert "Given back: HK$300.00." in page
    assert "We owe the patron" not in page
    assert owed(site) == 800


# ---- export and erasure


def test_export_contains_all_patron_data_and_its_file_name_no_card(site: Site) -> None:
    number = requested(site)
    browser = site.staff("supervisor")
    address = page_of(browser)
    answer = browser.post(f"{address}/export", at=address)
    assert answer.mimetype == "application/json"
    assert "UG1" not in answer.headers["Content-Disposition"]
    found = json.loads(answer.text)
    assert found["cards"][0] == "UG1"
    assert number in {row["id"] for row in found["tables"]["requests"]}
    assert found["tables"]["patrons"][0]["pin_hash"] in {"", "•"}


def test_erasure_asks_for_confirmation(site: Site, tmp_path: Path) -> None:
    site.erased = tmp_path / "erased"
    browser = site.staff("supervisor")
    address = page_of(browser)
    answer = browser.post(f"{address}/erase", at=address, reason="asked on 3 March")
    assert answer.status_code == 200
    assert "cannot be brought back" in answer.text
    assert site.world.store.now(lambda unit: unit.patrons.find("UG1")) is not None


def test_erased_patron_and_page_number_are_not_found(site: Site, tmp_path: Path) -> None:
    site.erased = tmp_path / "erased"
    browser = site.staff("supervisor")
    address = page_of(browser)
    answer = browser.post(f"{address}/erase", at=address, reason="asked on 3 March", apply="1")
    assert answer.status_code == 200
    assert "Forgotten" in answer.text
    assert site.world.store.now(lambda unit: unit.patrons.find("UG1")) is None
    assert browser.get(address).status_code == 404
    assert site.erased.exists()
    lines = site.world.store.now(lambda unit: unit.journal.history("supervisor"))
    assert "UG1" not in str(lines)


def test_open_requests_are_kept_and_listed(site: Site, tmp_path: Path) -> None:
    site.erased = tmp_path / "erased"
    number = requested(site)
    browser = site.staff("supervisor")
    address = page_of(browser)
    answer = browser.post(f"{address}/erase", at=address, reason="asked", apply="1")
    page = html.fromstring(answer.text)
    cells = [[" ".join(cell.xpath("string(.)").split()) for cell in row.xpath("td")] for row in page.xpath("//tbody/tr")]
    assert ["Request", number, "Requested from a lender: it has not ended", "Its end, and what is owed for it."] in cells
    assert f"/staff/requests/{number}" in page.xpath("//tbody//a/@href")
    assert site.world.store.now(lambda unit: unit.patrons.find("UG1")) is not None


def test_patron_page_links_to_its_requests(site: Site) -> None:
    number = requested(site)
    browser = site.staff()
    page = html.fromstring(browser.get(page_of(browser)).text)
    assert page.xpath("//tr[@data-request]//a/@href") == [f"/staff/requests/{number}"]


def test_erasure_requires_a_reason_and_a_configured_erasure_file(site: Site, tmp_path: Path) -> None:
    browser = site.staff("supervisor")
    address = page_of(browser)
    assert browser.post(f"{address}/erase", at=address, reason=" ", apply="1").status_code == 400
    answer = browser.post(f"{address}/erase", at=address, reason="asked", apply="1")
    assert answer.status_code == 409
    assert "erased_file" in answer.text
    assert site.world.store.now(lambda unit: unit.patrons.find("UG1")) is not None


@pytest.mark.parametrize(
    ("text", "cents"),
    [
        ("12.50", 1250),
        ("HK$1,200.5", 120_050),
        ("100000", 10_000_000),
        ("100000.01", None),
        ("12.505", None),
        ("0", 0),
        ("-1", None),
        ("NaN", None),
        ("sNaN", None),
        ("Infinity", None),
        ("1e999999999", None),
        ("1e-999999999", None),
    ],
)
def test_amount_is_parsed_in_dollars_and_whole_cents_within_bounds(text: str, cents: int | None) -> None:
    assert cents_of(text) == cents
