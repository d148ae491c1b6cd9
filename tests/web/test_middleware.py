"""The outermost layer: proxies that are believed, log lines without a person's words, metrics."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.metrics import value
from tests.web.conftest import Browser, Site

FORWARDED = {"X-Forwarded-For": "198.51.100.9", "X-Forwarded-Proto": "https"}


def answered(browser: Browser, path: str, **named: Any) -> dict[str, Any]:
    with capture_logs() as lines:
        browser.get(path, **named)
    (line,) = [line for line in lines if line["event"] == "web.answered"]
    return dict(line)


@pytest.mark.parametrize(("proxy", "peer"), [("10.0.0.0/8", "192.0.2.7"), ("192.0.2.0/24", "198.51.100.9")])
def test_a_forwarded_address_is_believed_from_a_proxy_of_ours_alone(site: Site, proxy: str, peer: str) -> None:
    site.trust(proxy)
    assert answered(site.browser(), "/help", headers=FORWARDED)["peer"] == peer


def test_a_caller_behind_a_proxy_cannot_choose_its_address(site: Site) -> None:
    site.trust("192.0.2.7")
    chain = {"X-Forwarded-For": "203.0.113.1, 198.51.100.9"}
    assert answered(site.browser(), "/help", headers=chain)["peer"] == "198.51.100.9"


def test_a_page_over_https_tells_browsers_to_stay_with_it(site: Site) -> None:
    site.trust("192.0.2.7")
    assert "Strict-Transport-Security" in site.browser().get("/help", headers=FORWARDED).headers
    assert "Strict-Transport-Security" not in site.browser().get("/help").headers


def test_a_guesser_cannot_change_its_address_by_a_header(site: Site) -> None:
    browser = site.browser()
    for number in range(3):
        browser.client.environ_base["HTTP_X_FORWARDED_FOR"] = f"198.51.100.{number}"
        browser.log_in("clerk", "wrong")
    assert browser.log_in("clerk").status_code == 429


def test_the_log_has_the_rule_of_a_page_and_nothing_that_was_typed(site: Site) -> None:
    line = answered(site.browser(), "/staff/login?next=/staff/patrons/77&q=secret+words")
    assert (line["page"], line["code"], line["verb"]) == ("/staff/login", "200", "GET")
    assert "secret" not in str(line)
    assert "77" not in str({key: text for key, text in line.items() if key != "ms"})


def test_a_path_that_does_not_exist_is_not_logged_in_its_own_words(site: Site) -> None:
    assert answered(site.browser(), "/Chan%20Tai%20Man")["page"] == ""


def test_requests_are_measured_by_page_and_code(site: Site) -> None:
    site.browser().get("/help")
    site.browser().get("/nowhere")
    assert value(site.metrics, "web_latency_seconds", "/help", "200") == 1
    assert value(site.metrics, "web_latency_seconds", "", "404") == 1
