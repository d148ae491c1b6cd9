"""Protection of pages against other sites: CSRF tokens, headers, roles."""

from __future__ import annotations

import pytest
from flask import Flask
from lxml import html
from sqlalchemy import update

from hkall_gateway.db.tables import PATRONS
from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.rules.vocabulary import Position
from hkall_gateway.web.middleware import HEADERS
from hkall_gateway.web.sessions import CSRF, VISITOR, needs
from tests.web.conftest import PASSWORD, TOKEN, Site
from tests.web.given import given, with_copy


def token(text: str) -> str:
    found = TOKEN.search(text)
    assert found
    return found[1]


@pytest.mark.parametrize("sent", [None, "", "nonsense", "IjEi.aaaa.bbbb"])
def test_form_without_a_csrf_token_does_nothing(site: Site, sent: str | None) -> None:
    browser = site.staff()
    answer = browser.send("/staff/logout", **({} if sent is None else {CSRF: sent}))
    assert answer.status_code == 400
    assert "This form is out of date" in answer.text
    assert browser.get("/staff/").status_code == 200


def test_csrf_token_of_another_session_is_refused(site: Site) -> None:
    mine, theirs = site.staff(), site.staff()
    stolen = token(theirs.get("/staff/").text)
    assert mine.send("/staff/logout", csrf_token=stolen).status_code == 400
    assert theirs.send("/staff/logout", csrf_token=stolen).status_code == 303


def test_csrf_token_from_before_the_login_is_refused(site: Site) -> None:
    browser = site.browser()
    before = token(browser.get("/staff/login").text)
    browser.send("/staff/login", login="clerk", password=PASSWORD, csrf_token=before)
    assert browser.send("/staff/logout", csrf_token=before).status_code == 400


def test_cross_site_login_form_is_refused(site: Site) -> None:
    attacker = site.browser()
    theirs = token(attacker.get("/staff/login").text)
    answer = site.browser().send("/staff/login", login="clerk", password=PASSWORD, csrf_token=theirs)
    assert answer.status_code == 400


@pytest.mark.parametrize("planted", ["ÿþ", "x" * 1000])
def test_forged_visitor_cookie_is_replaced(site: Site, planted: str) -> None:
    browser = site.browser()
    browser.client.set_cookie(VISITOR, planted)
    assert browser.log_in("clerk").status_code == 303


def test_visitor_keeps_the_csrf_token_of_the_first_form(site: Site) -> None:
    browser = site.browser()
    first = browser.get("/staff/login")
    assert [c.split("=")[0] for c in first.headers.getlist("Set-Cookie")] == [VISITOR]
    assert browser.get("/staff/login").headers.getlist("Set-Cookie") == []


def test_page_without_a_form_sets_no_cookie(site: Site) -> None:
    assert site.browser().get("/help").headers.getlist("Set-Cookie") == []


@pytest.mark.parametrize("path", ["/help", "/staff/login", "/staff/", "/nowhere", "/brand.css", "/static/script.js"])
def test_every_response_has_the_security_headers(site: Site, path: str) -> None:
    answer = site.staff().get(path)
    for name in HEADERS.keys() - {"Cache-Control"}:
        assert answer.headers.get(name) == HEADERS[name], name
    assert answer.headers["Cache-Control"]


def test_content_security_policy_forbids_framing_and_external_scripts(site: Site) -> None:
    policy = site.staff().get("/staff/").headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


def test_pages_with_patron_records_are_not_cached(site: Site) -> None:
    assert site.staff().get("/staff/").headers["Cache-Control"] == "no-store"


def test_static_file_is_cached_under_a_url_with_its_hash(site: Site) -> None:
    page = site.browser().get("/help").text
    address = page.split('<script src="')[1].split('"')[0]
    assert "?v=" in address
    assert "immutable" in site.browser().get(address).headers["Cache-Control"]


def with_page_for(app: Flask, role: StaffRole) -> None:
    def page() -> str:
        return "in"

    app.add_url_rule(f"/staff/for-{role.word}", f"for_{role.word}", needs(role)(page))


@pytest.mark.parametrize("needed", list(StaffRole))
@pytest.mark.parametrize("mine", list(StaffRole))
def test_page_is_restricted_to_its_role_and_higher_roles(site: Site, needed: StaffRole, mine: StaffRole) -> None:
    site.own_routes = True
    with_page_for(site.app, needed)
    answer = site.staff(mine.word).get(f"/staff/for-{needed.word}")
    assert answer.status_code == (200 if mine >= needed else 403)


LOGINS = {"staff_login.form", "staff_oidc.lead", "staff_oidc.back", "staff_oidc.end"}
"""Pages reachable without a login."""


def test_staff_page_redirects_visitors(site: Site) -> None:
    for rule in site.app.url_map.iter_rules():
        if rule.rule.startswith("/staff") and "GET" in (rule.methods or ()) and rule.endpoint not in LOGINS:
            answer = site.browser().get(rule.rule.replace("<", "").replace(">", ""))
            assert answer.status_code == 303, rule.rule
            assert answer.location.startswith("/staff/login"), rule.rule


@pytest.mark.parametrize("path", ["/staff", "/staff/", "//evil.test/staff/", "/language/en?next=/help"])
def test_redirect_ignores_the_host_header(site: Site, path: str) -> None:
    answer = site.browser().get(path, headers={"Host": "evil.test"})
    assert "evil.test" not in answer.headers.get("Location", "")


def test_get_request_does_not_log_out(site: Site) -> None:
    browser = site.staff()
    assert browser.get("/staff/logout").status_code == 405
    assert browser.get("/staff/").status_code == 200


def test_markup_in_an_account_name_is_escaped(site: Site) -> None:
    from dataclasses import replace

    account = replace(site.settings.staff["clerk"], name="<script>alert(1)</script>")
    site.settings = replace(site.settings, staff={"clerk": account})
    page = site.staff().get("/staff/").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


MARKUP = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
PATRON = "/staff/patrons"


def dangerous(site: Site) -> None:
    """A request on the hold shelf with markup in title, author, barcode and patron name."""
    made = given(site, Position.RECEIVED, "R-1", title=MARKUP, item_barcode=MARKUP, volume=MARKUP)
    with_copy(site, made, call_number=MARKUP, author=MARKUP)
    named = {"name": MARKUP, "name_zh": MARKUP}
    site.world.store.now(lambda unit: unit.execute(update(PATRONS).where(PATRONS.c.barcode == "UG1").values(**named)))


@pytest.mark.parametrize(
    "path", ["/staff/lists/shelf", "/staff/requests/R-1", "/staff/slips?list=shelf", "/staff/scan", PATRON]
)
@pytest.mark.parametrize("language", ["en", "zh-Hant"])
def test_markup_in_titles_names_and_barcodes_is_escaped(site: Site, path: str, language: str) -> None:
    dangerous(site)
    browser = site.staff("supervisor")
    if path == PATRON:
        path = browser.post(PATRON, q="UG1").location
    elif path == "/staff/scan":
        path = browser.post(path, barcode=MARKUP).location
    text = browser.get(path, headers={"Accept-Language": language}).text
    page = html.fromstring(text)

    assert "&lt;img src=x onerror" in text
    assert page.xpath("//script[not(@src)] | //img[@src='x'] | //*[@onerror]") == []


def test_markup_in_a_search_is_escaped(site: Site) -> None:
    browser = site.staff()
    for path in ("/staff/requests", PATRON):
        page = html.fromstring(browser.post(path, q=MARKUP).text)
        assert page.xpath("//input[@name='q']/@value") == [MARKUP]
        assert page.xpath("//script[not(@src)] | //img[@src='x']") == []
