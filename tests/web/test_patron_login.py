"""Patron login by card and PIN: who is admitted, no disclosure to strangers, and no lockout of the card at terminals."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from structlog.testing import capture_logs

from hkall_gateway.db import cards, web_sessions
from hkall_gateway.db.loads import loading
from hkall_gateway.db.tables import PATRONS, WEB_SESSIONS
from hkall_gateway.ils.local_system import WebPins
from hkall_gateway.rules.vocabulary import Sensitive
from hkall_gateway.simulator.scenario.world_file import cheap_hash
from tests.metrics import value
from tests.web.conftest import FORM_KEY, TOKEN, Browser, Site

CARD, PIN = "UG1", "1234"


def log_in(browser: Browser, card: str = CARD, pin: str = PIN, **fields: str) -> tuple[int, str]:
    """Submit the form; return the status, and the redirect or the page text."""
    answer = browser.post("/login", barcode=card, pin=pin, **fields)
    return answer.status_code, answer.location or answer.text


def test_login_with_card_and_pin_opens_the_record(site: Site) -> None:
    browser = site.browser()
    assert log_in(browser) == (303, "/record")
    assert browser.get("/record").status_code == 200
    assert value(site.metrics, "web_logins_total", "patron", "admitted") == 1


def test_login_returns_to_the_page_that_required_it(site: Site) -> None:
    browser = site.browser()
    assert browser.get("/record?placed=R1").location == "/login?next=/record?placed%3DR1"
    assert 'name="next" value="/record?placed=R1"' in browser.get("/login?next=/record?placed%3DR1").text
    assert log_in(browser, next="/title/b-dune/request") == (303, "/title/b-dune/request")


@pytest.mark.parametrize("elsewhere", ["https://evil.test/", "//evil.test/", "/\\evil.test", "javascript:alert(1)"])
def test_login_does_not_redirect_to_another_host(site: Site, elsewhere: str) -> None:
    browser = site.browser()
    assert log_in(browser, next=elsewhere) == (303, "/record")
    assert browser.get("/login", query_string={"next": elsewhere}).location == "/record"


def test_unknown_card_and_wrong_pin_get_the_same_reply(site: Site) -> None:
    def said(card: str, pin: str) -> tuple[int, str]:
        code, text = log_in(site.browser(f"192.0.2.{len(card) + len(pin)}"), card, pin)
        return code, text.partition("<main")[2].replace(card, "CARD") if card else text.partition("<main")[2]

    known = said("UG1", "0000")
    assert known[0] == 401
    assert "Card or PIN is wrong." in known[1]
    assert [said(card, pin)[0] for card, pin in (("NOBODY", "0000"), ("", "1234"), ("UG1", ""), ("EXPIRED", "9"))] == [401] * 4
    assert plain(said("NOBODY", "0000")[1]) == plain(known[1])


def plain(page: str) -> str:
    """A page without the tokens of its forms."""
    return FORM_KEY.sub("", TOKEN.sub("", page))


def test_login_with_an_unknown_card_takes_a_hash_comparison(site: Site) -> None:
    asked: list[tuple[str, bool]] = []

    async def fits(card: str, stored: Sensitive, _pin: Sensitive) -> bool:
        asked.append((card, bool(stored)))
        return False

    local: Any = site.world.circulation.ils
    local._web_pins = WebPins(fits, local._web_pins.asked)
    log_in(site.browser(), "UG1", "0000")
    log_in(site.browser(), "NOBODY", "0000")
    assert asked == [("UG1", True), ("NOBODY", False)]


def test_pin_without_a_card_is_refused(site: Site) -> None:
    async def fits(_card: str, _stored: Sensitive, _pin: Sensitive) -> bool:
        return True

    local: Any = site.world.circulation.ils
    local._web_pins = WebPins(fits, local._web_pins.asked)
    assert log_in(site.browser(), "NOBODY", "0000")[0] == 401


def test_page_does_not_contain_the_pin(site: Site) -> None:
    browser = site.browser()
    assert "98765" not in log_in(browser, pin="98765")[1]
    assert 'value="UG1"' in log_in(browser, pin="98765")[1]


def test_refused_login_is_logged_without_card_and_pin(site: Site) -> None:
    with capture_logs() as lines:
        log_in(site.browser(), "CARD-4711", "PIN-4711")
    assert "4711" not in str(lines)
    assert [(line["who"], line["outcome"]) for line in lines if line["event"] == "web.login_refused"] == [("patron", "wrong")]


def test_wait_doubles_after_three_wrong_pins(site: Site) -> None:
    browser, waits = site.browser(), []
    assert [log_in(browser, pin="0000")[0] for _ in range(3)] == [401] * 3
    for _ in range(4):
        refused = browser.post("/login", barcode=CARD, pin=PIN)
        assert refused.status_code == 429  # also with the right PIN
        waits.append(int(refused.headers["Retry-After"]))
        site.seconds += waits[-1]
        assert log_in(browser, pin="0000")[0] == 401
    assert waits == [2, 4, 8, 16]


def test_unknown_card_is_throttled_like_a_known_card(site: Site) -> None:
    for card in ("UG1", "NOBODY"):
        browser = site.browser(f"192.0.2.{len(card)}")
        assert [log_in(browser, card, "0000")[0] for _ in range(4)] == [401, 401, 401, 429]


def test_guesses_on_one_card_from_many_addresses_are_throttled(site: Site) -> None:
    codes = [log_in(site.browser(f"192.0.2.{n}"), pin="0000")[0] for n in range(11)]
    assert codes == [401] * 10 + [429]


def test_guesses_by_others_do_not_lock_out_a_known_browser(site: Site) -> None:
    own = site.patron()
    own.post("/logout")
    for n in range(20):
        log_in(site.browser(f"192.0.2.{n}"), pin="0000")
    assert log_in(site.browser("198.51.100.1"))[0] == 429
    assert log_in(own) == (303, "/record")


def test_card_replacement_revokes_the_exemption_of_known_browsers(site: Site) -> None:
    own = site.patron()
    own.post("/logout")
    for n in range(11):
        log_in(site.browser(f"192.0.2.{n}"), pin="0000")
    site.world.store.now(web_sessions.end_of_patron, CARD)
    assert log_in(own)[0] == 429


def test_patron_who_vanishes_by_a_full_load_loses_the_session(site: Site) -> None:
    gone, kept, known = site.patron("UG1"), site.patron("PG1"), site.patron("UG1")
    known.post("/logout", at="/record")
    row = site.world.store.now(lambda unit: unit.patrons.find("PG1"))
    assert row is not None

    number = site.world.store.now(loading.begin, "patrons")
    site.world.store.now(loading.write, "patrons", [row], number)
    site.world.store.now(loading.finish, "patrons", number, True)

    assert gone.get("/record").status_code == 303
    assert kept.get("/record").status_code == 200
    assert not site.world.store.now(
        lambda unit: unit.execute(select(WEB_SESSIONS.c.kind).where(WEB_SESSIONS.c.patron == "UG1")).all()
    )


def test_pin_change_ends_sessions_and_tokens(site: Site) -> None:
    browser, api = site.patron(), site.app.test_client()
    token = api.post("/api/v1/patron-token", json={"barcode": CARD, "pin": PIN}).get_json()["token"]
    bearer = {"Authorization": f"Bearer {token}"}
    assert browser.get("/record").status_code == api.post("/api/v1/patron/record", json={}, headers=bearer).status_code == 200
    other = cheap_hash("9876")
    site.world.store.now(lambda unit: unit.execute(update(PATRONS).where(PATRONS.c.barcode == CARD).values(pin_hash=other)))
    assert browser.get("/record").location.startswith("/login")
    assert api.post("/api/v1/patron/record", json={}, headers=bearer).status_code == 401
    assert log_in(browser, pin="9876") == (303, "/record")


def test_address_trying_one_pin_with_many_cards_is_throttled(site: Site) -> None:
    codes = [log_in(site.browser(), f"card-{n}", "1234")[0] for n in range(31)]
    assert codes == [401] * 30 + [429]


def test_card_locked_at_a_terminal_gets_the_reply_for_a_wrong_pin_until_the_lock_ends(site: Site) -> None:
    now = site.world.now
    site.world.store.now(cards.lock, CARD, now + timedelta(minutes=15), now)
    code, page = log_in(site.browser())
    assert (code, "Card or PIN is wrong." in page) == (401, True)
    assert log_in(site.browser(), "UG2") == (303, "/record")
    site.wait(minutes=15)
    assert log_in(site.browser()) == (303, "/record")


def test_card_blocked_at_a_terminal_sees_the_block_and_cannot_act(site: Site) -> None:
    browser = site.browser()
    log_in(browser)
    site.world.sip2("counter-1", "01N20170301    090000AOHKU|ALlost and found|AAUG1|AC|")
    assert "Your card is blocked." in browser.get("/record").text
    assert "Your card is blocked." in browser.get("/title/b-dune/request").text


def test_staff_and_patrons_cannot_open_each_others_pages(site: Site) -> None:
    patron, clerk = site.browser(), site.staff()
    log_in(patron)
    assert patron.get("/staff/").location.startswith("/staff/login")
    assert clerk.get("/record").location.startswith("/login")


def test_new_login_ends_the_earlier_session_of_the_browser(site: Site) -> None:
    browser = site.staff()
    log_in(browser)
    assert browser.get("/staff/").location.startswith("/staff/login")
    assert browser.get("/record").status_code == 200


def test_patron_session_expires_after_twenty_idle_minutes(site: Site) -> None:
    browser = site.browser()
    log_in(browser)
    site.wait(minutes=19)
    assert browser.get("/record").status_code == 200
    site.wait(minutes=20)
    assert browser.get("/record").status_code == 303


def test_logout_revokes_the_session(site: Site) -> None:
    browser = site.browser()
    log_in(browser)
    kept = browser.client.get_cookie("__Host-hkall")
    assert kept is not None
    assert browser.get("/logout").status_code == 200  # a link, or a picture of another site, does not log out
    assert browser.get("/record").status_code == 200
    assert browser.post("/logout").location == "/login?left=pin"
    assert "You are logged out here." in browser.get("/login?left=pin").text
    browser.client.set_cookie("__Host-hkall", kept.value, secure=True)
    assert browser.get("/record").status_code == 303


def test_login_form_without_a_csrf_token_is_refused(site: Site) -> None:
    browser = site.browser()
    assert browser.send("/login", barcode=CARD, pin=PIN).status_code == 400
    assert browser.get("/record").status_code == 303


def test_login_page_redirects_a_logged_in_browser(site: Site) -> None:
    browser = site.browser()
    log_in(browser)
    assert browser.get("/login").location == "/record"


def test_patron_pages_are_not_cached_by_browsers_or_proxies(site: Site) -> None:
    browser = site.browser()
    log_in(browser)
    for path in ("/record", "/login", "/title/b-dune/request"):
        answer = browser.get(path)
        assert answer.headers["Cache-Control"] == "no-store", path
        assert answer.headers["Referrer-Policy"] == "no-referrer", path
