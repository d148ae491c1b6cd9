"""Sessions: expiry, new tokens at login, and cookies that other sites cannot use."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from sqlalchemy import select
from werkzeug.test import TestResponse

from hkall_gateway.db.tables import WEB_SESSIONS
from hkall_gateway.db.web_sessions import BROWSER, MOST_BROWSERS, PATRON, STAFF, WebSession
from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.simulator.scenario.world_file import cheap_hash
from hkall_gateway.web.services import StaffAccount
from hkall_gateway.web.sessions import COOKIE
from tests.web.conftest import HASH, Browser, Site


def rows(site: Site) -> list[dict[str, object]]:
    of_people = select(WEB_SESSIONS).where(WEB_SESSIONS.c.kind != BROWSER)
    return site.world.store.now(lambda unit: [dict(row) for row in unit.execute(of_people).mappings()])


def token(browser: Browser) -> str:
    found = browser.client.get_cookie(COOKIE, domain="localhost")
    return found.value if found else ""


def is_asked_to_log_in(answer: TestResponse) -> bool:
    return answer.status_code == 303 and answer.location.startswith("/staff/login")


def test_login_stores_only_the_hash_of_its_token(site: Site) -> None:
    browser = site.staff("clerk")

    (row,) = rows(site)
    assert row["token_hash"] == sha256(token(browser).encode()).hexdigest()
    assert token(browser) not in map(str, row.values())
    assert (row["kind"], row["login"], row["role"], row["source"]) == ("staff", "clerk", "clerk", "local")


def test_cookie_is_restricted_to_this_host_secure_and_hidden_from_scripts(site: Site) -> None:
    browser = site.browser()
    (cookie,) = [c for c in browser.log_in("clerk").headers.getlist("Set-Cookie") if c.startswith(f"{COOKIE}=")]

    attributes = set(cookie.split("; ")[1:])
    assert attributes == {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"}


def test_expired_session_is_cleared_from_the_browser(site: Site) -> None:
    browser = site.staff()
    assert "Clear-Site-Data" not in browser.get("/staff/").headers
    site.wait(minutes=60)
    assert browser.get("/help").headers["Clear-Site-Data"] == '"cache"'
    assert "Clear-Site-Data" not in browser.get("/help").headers


def test_logout_invalidates_a_copied_cookie(site: Site) -> None:
    browser = site.staff()
    thief = site.browser()
    thief.client.set_cookie(COOKIE, token(browser))
    assert thief.get("/staff/").status_code == 200

    left = browser.post("/staff/logout", at="/staff/")

    assert (left.status_code, left.location) == (303, "/staff/login")
    assert left.headers["Clear-Site-Data"] == '"cache"'
    assert rows(site) == []
    assert is_asked_to_log_in(thief.get("/staff/"))


def test_session_ends_after_an_hour_without_a_request(site: Site) -> None:
    browser = site.staff()
    site.wait(minutes=59, seconds=59)
    assert browser.get("/staff/").status_code == 200
    site.wait(minutes=60)

    assert is_asked_to_log_in(browser.get("/staff/"))


def test_automatic_refresh_does_not_extend_the_session(site: Site) -> None:
    browser = site.staff()
    for _ in range(12):
        site.wait(minutes=5)
        answer = browser.get("/staff/", headers={"X-Refresh": "1"})
    assert is_asked_to_log_in(answer)


def test_session_expires_twelve_hours_after_the_login_despite_activity(site: Site) -> None:
    browser = site.staff()
    for _ in range(15):
        site.wait(minutes=47)
        assert browser.get("/staff/").status_code == 200
    site.wait(minutes=16)

    assert is_asked_to_log_in(browser.get("/staff/"))


def test_next_login_deletes_expired_sessions(site: Site) -> None:
    site.staff()
    site.wait(hours=13)
    site.staff()
    assert len(rows(site)) == 1


@pytest.mark.parametrize(("kind", "minutes"), [(STAFF, 60), (PATRON, 20)])
def test_patrons_have_a_shorter_idle_time_than_staff(site: Site, kind: str, minutes: int) -> None:
    now = site.world.now
    session = WebSession(
        token_hash="",
        kind=kind,
        login="",
        patron="",
        name="",
        role="",
        source="",
        csrf="",
        created_at=now,
        seen_at=now,
        ends_at=now.replace(year=now.year + 1),
    )

    site.wait(minutes=minutes)
    assert session.ended(site.world.now)
    assert not session.ended(now)


def test_last_use_is_written_at_most_once_a_minute(site: Site) -> None:
    browser = site.staff()
    (before,) = rows(site)
    site.wait(seconds=59)
    browser.get("/staff/")
    assert rows(site) == [before]

    site.wait(seconds=1)
    browser.get("/staff/")
    assert rows(site) == [{**before, "seen_at": site.world.now}]


def test_token_planted_before_the_login_is_refused(site: Site) -> None:
    browser = site.browser()
    browser.client.set_cookie(COOKIE, "planted")
    browser.log_in("clerk")
    attacker = site.browser()
    attacker.client.set_cookie(COOKIE, "planted")

    assert token(browser) != "planted"
    assert is_asked_to_log_in(attacker.get("/staff/"))


def test_second_login_in_the_browser_ends_the_first_session(site: Site) -> None:
    browser = site.staff("clerk")
    first = token(browser)
    page = browser.get("/help").text
    browser.send("/staff/login", csrf_token=page.split('name="csrf_token" value="')[1].split('"')[0],
                 login="viewer", password="open sesame")  # fmt: skip

    assert [row["login"] for row in rows(site)] == ["viewer"]
    assert token(browser) != first


def test_removed_account_loses_its_sessions_at_once(site: Site) -> None:
    browser = site.staff("clerk")
    site.settings = replace(site.settings, staff={})
    assert is_asked_to_log_in(browser.get("/staff/"))


def test_password_change_ends_existing_sessions(site: Site) -> None:
    browser = site.staff("clerk")
    changed = replace(site.settings.staff["clerk"], secret_hash=cheap_hash("another"))
    site.settings = replace(site.settings, staff={**site.settings.staff, "clerk": changed})
    assert is_asked_to_log_in(browser.get("/staff/"))


def test_number_of_known_browsers_per_account_is_bounded(site: Site) -> None:
    kept = select(WEB_SESSIONS.c.token_hash).where(WEB_SESSIONS.c.kind == BROWSER, WEB_SESSIONS.c.login == "clerk")
    for _ in range(MOST_BROWSERS + 3):
        site.staff("clerk")
        site.wait(seconds=30)
    assert len(site.world.store.now(lambda unit: unit.execute(kept).all())) == MOST_BROWSERS


def test_role_change_applies_to_open_sessions(site: Site) -> None:
    browser = site.staff("supervisor")
    demoted = {"supervisor": StaffAccount(login="supervisor", name="Desk", secret_hash=HASH, role=StaffRole.VIEWER)}
    site.settings = replace(site.settings, staff=demoted)

    with site.app.test_request_context("/staff/", headers={"Cookie": f"{COOKIE}={token(browser)}"}):
        from hkall_gateway.web.sessions import may

        assert not may(StaffRole.CLERK)


def test_cookie_without_a_session_is_deleted(site: Site) -> None:
    browser = site.browser()
    browser.client.set_cookie(COOKIE, "nonsense")
    browser.get("/help")
    assert token(browser) == ""
