"""The outermost layer: log lines without user input, and metrics."""

from __future__ import annotations

from typing import Any

from structlog.testing import capture_logs

from tests.metrics import value
from tests.web.conftest import Browser, Site


def answered(browser: Browser, path: str, **named: Any) -> dict[str, Any]:
    with capture_logs() as lines:
        browser.get(path, **named)
    (line,) = [line for line in lines if line["event"] == "web.answered"]
    return dict(line)


def test_log_contains_the_route_but_no_user_input(site: Site) -> None:
    line = answered(site.browser(), "/staff/login?next=/staff/patrons/77&q=secret+words")
    assert (line["page"], line["code"], line["verb"]) == ("/staff/login", "200", "GET")
    assert "secret" not in str(line)
    assert "77" not in str({key: text for key, text in line.items() if key != "ms"})


def test_unknown_path_is_logged_without_its_text(site: Site) -> None:
    assert answered(site.browser(), "/Chan%20Tai%20Man")["page"] == ""


def test_requests_are_counted_by_page_and_status_code(site: Site) -> None:
    site.browser().get("/help")
    site.browser().get("/nowhere")
    assert value(site.metrics, "web_latency_seconds", "/help", "200") == 1
    assert value(site.metrics, "web_latency_seconds", "", "404") == 1
