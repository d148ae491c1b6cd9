"""Error pages: in both languages, with an error number that is also in the log."""

from __future__ import annotations

import re
from typing import Any, NoReturn

import pytest
from flask import abort
from structlog.testing import capture_logs

from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.web.app import MOST_BYTES
from hkall_gateway.web.errors import PAGES
from hkall_gateway.web.i18n import catalogue
from tests.web.conftest import Site
from tests.web.direct_bridge import DirectBridge

QUOTED = re.compile(r'class="number">([^<]+)<')


def failing(site: Site, raised: Any) -> str:
    def page() -> NoReturn:
        if isinstance(raised, int):
            abort(raised)
        raise raised

    site.own_routes = True
    site.app.add_url_rule("/fails", "fails", page)
    return "/fails"


@pytest.mark.parametrize("code", PAGES)
@pytest.mark.parametrize("language", ["en", "zh-Hant"])
def test_each_error_has_a_page_in_both_languages(site: Site, code: int, language: str) -> None:
    path = failing(site, code)
    answer = site.browser().get(path, headers={"Accept-Language": language})
    words = PAGES[code].title if language == "en" else catalogue("zh-Hant").gettext(PAGES[code].title)
    assert answer.status_code == code
    assert f"<h1>{words}</h1>" in answer.text
    assert f'<html lang="{language}">' in answer.text


def test_error_page_and_log_show_the_same_error_number(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    path = failing(site, ZeroDivisionError("a secret detail"))
    seen: list[str] = []

    def noted(_logger: Any, _method: str, event: Any) -> Any:
        from hkall_gateway.observability.log_context import logged_context

        seen.append(f"{event['event']} {logged_context().get('corr_id', '')}")
        return event

    with capture_logs(processors=[noted]):
        answer = site.browser().get(path)

    (number,) = QUOTED.findall(answer.text)
    assert answer.status_code == 500
    assert "a secret detail" not in answer.text
    assert f"web.failed {number}" in seen
    assert f"web.answered {number}" in seen


def test_database_outage_is_reported(site: Site) -> None:
    answer = site.browser().get(failing(site, Unavailable("away")))
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]


def test_session_survives_a_database_outage(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = site.staff()

    def away(*_: object) -> NoReturn:
        raise Unavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(DirectBridge, "read", away)
        assert browser.get("/staff/").status_code == 503
    assert browser.get("/staff/").status_code == 200


def test_oversized_form_is_refused(site: Site) -> None:
    browser = site.browser()
    answer = browser.log_in("clerk", "x" * (MOST_BYTES + 1))
    assert answer.status_code == 413
    assert "That was too much" in answer.text


def test_wrong_method_gets_the_list_of_allowed_methods(site: Site) -> None:
    answer = site.browser().client.put("/help")
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]


def test_failing_error_page_falls_back_to_a_plain_reply(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    path = failing(site, ZeroDivisionError())
    monkeypatch.setattr("hkall_gateway.web.errors.render_template", lambda *_, **__: 1 / 0)
    answer = site.browser().get(path)
    assert answer.status_code == 500
    assert "Something went wrong here" in answer.text
    assert "系統發生錯誤" in answer.text
