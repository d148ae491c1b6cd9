"""The staff login: who is admitted, the redirect, and throttling of guesses."""

from __future__ import annotations

from dataclasses import replace

import pytest
from argon2 import PasswordHasher
from structlog.testing import capture_logs

from tests.metrics import value
from tests.web.conftest import PASSWORD, Site


def test_correct_password_opens_the_dashboard(site: Site) -> None:
    answer = site.browser().log_in("clerk")
    assert (answer.status_code, answer.location) == (303, "/staff/")
    assert value(site.metrics, "web_logins_total", "staff", "admitted") == 1


@pytest.mark.parametrize(("login", "password"), [("clerk", "wrong"), ("nobody", PASSWORD), ("clerk", ""), ("", PASSWORD)])
def test_unknown_account_and_wrong_password_get_the_same_reply(site: Site, login: str, password: str) -> None:
    answer = site.browser().log_in(login, password)
    assert answer.status_code == 401
    assert "Login or password is wrong." in answer.text
    assert PASSWORD not in answer.text


def test_login_returns_to_the_page_that_required_it(site: Site) -> None:
    browser = site.browser()
    asked = browser.get("/staff/?list=pull&sort=call")
    assert asked.location == "/staff/login?next=/staff/?list%3Dpull%26sort%3Dcall"

    shown = browser.get(asked.location)
    assert 'name="next" value="/staff/?list=pull&amp;sort=call"' in shown.text
    assert browser.log_in("clerk", next="/staff/?list=pull&sort=call").location == "/staff/?list=pull&sort=call"


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.test/",
        "https:/evil.test",
        "http:evil.test",
        "//evil.test/",
        "///evil.test",
        " //evil.test",
        "/\\evil.test",
        "\\\\evil.test",
        "/\t/evil.test",
        "/%09//evil.test\n",
        "evil.test",
        "javascript:alert(1)",
    ],
)
def test_login_does_not_redirect_to_another_host(site: Site, elsewhere: str) -> None:
    assert site.browser().log_in("clerk", next=elsewhere).location == "/staff/"
    assert site.staff().get("/staff/login", query_string={"next": elsewhere}).location == "/staff/"
    assert site.browser().get("/language/en", query_string={"next": elsewhere}).location == "/"


def test_wait_doubles_after_three_wrong_passwords(site: Site) -> None:
    browser = site.browser()
    for _ in range(3):
        assert browser.log_in("clerk", "wrong").status_code == 401
    waits = []
    for _ in range(4):
        refused = browser.log_in("clerk")
        assert refused.status_code == 429  # also with the right password
        waits.append(int(refused.headers["Retry-After"]))
        site.seconds += waits[-1]
        assert browser.log_in("clerk", "wrong").status_code == 401

    assert waits == [2, 4, 8, 16]


def test_login_page_says_how_long_to_wait(site: Site) -> None:
    browser = site.browser()
    for _ in range(3):
        browser.log_in("clerk", "wrong")
    assert "Too many tries. Wait 2 seconds." in browser.log_in("clerk").text


def test_guesses_from_one_address_do_not_lock_the_account_elsewhere(site: Site) -> None:
    for _ in range(5):
        site.browser("192.0.2.66").log_in("clerk", "wrong")
    assert site.browser("192.0.2.66").log_in("clerk").status_code == 429
    assert site.browser("192.0.2.7").log_in("clerk").status_code == 303


def test_address_trying_one_password_with_many_names_is_throttled(site: Site) -> None:
    codes = [site.browser("192.0.2.66").log_in(f"name-{n}", "wrong").status_code for n in range(31)]
    assert codes == [401] * 30 + [429]


def test_correct_password_resets_the_failure_count(site: Site) -> None:
    browser = site.browser()
    for _ in range(2):
        browser.log_in("clerk", "wrong")
    assert browser.log_in("clerk").status_code == 303
    assert site.browser().log_in("clerk", "wrong").status_code == 401
    assert site.browser().log_in("clerk", "wrong").status_code == 401
    assert site.browser().log_in("clerk").status_code == 303


def test_refused_login_is_logged_without_the_typed_name(site: Site) -> None:
    with capture_logs() as lines:
        site.browser().log_in("my-password-in-the-wrong-field", "x")
    assert "my-password" not in str(lines)
    assert [line["outcome"] for line in lines if line["event"] == "web.login_refused"] == ["wrong"]


def test_login_page_redirects_a_logged_in_browser(site: Site) -> None:
    assert site.staff().get("/staff/login").location == "/staff/"


def test_guesses_on_one_name_from_many_networks_are_throttled(site: Site) -> None:
    codes = [site.browser(f"192.0.2.{n}").log_in("clerk", "wrong").status_code for n in range(11)]
    assert codes == [401] * 10 + [429]
    assert site.browser("198.51.100.1").log_in("Clerk").status_code == 429
    assert site.browser("198.51.100.1").log_in("viewer").status_code == 303


def test_guesses_from_one_ipv6_network_are_counted_together(site: Site) -> None:
    codes = [site.browser(f"2001:db8::{n:x}").log_in(f"name-{n}", "wrong").status_code for n in range(31)]
    assert codes == [401] * 30 + [429]
    assert site.browser("2001:db8:0:1::1").log_in("clerk").status_code == 303


def test_guesses_by_others_do_not_lock_out_a_known_browser(site: Site) -> None:
    own = site.staff("clerk")
    own.post("/staff/logout", at="/staff/")
    for n in range(40):
        site.browser(f"192.0.2.{n}").log_in("clerk", "wrong")
    for n in range(40):
        site.browser(own.address).log_in(f"name-{n}", "wrong")
    assert site.browser("198.51.100.1").log_in("clerk").status_code == 429
    assert own.log_in("viewer").status_code == 429
    assert own.log_in("clerk").status_code == 303


def test_known_browser_is_throttled_eventually(site: Site) -> None:
    own = site.staff("clerk")
    own.post("/staff/logout", at="/staff/")
    assert [own.log_in("clerk", "wrong").status_code for _ in range(4)] == [401, 401, 401, 429]


def test_password_change_revokes_the_exemption_of_known_browsers(site: Site) -> None:
    own = site.staff("clerk")
    own.post("/staff/logout", at="/staff/")
    changed = replace(site.settings.staff["clerk"], secret_hash=PasswordHasher(1, 8, 1).hash("another"))
    site.settings = replace(site.settings, staff={**site.settings.staff, "clerk": changed})
    for n in range(11):
        site.browser(f"192.0.2.{n}").log_in("clerk", "wrong")
    assert own.log_in("clerk", "another").status_code == 429
