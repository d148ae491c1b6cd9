"""The queries of `hkall-gateway explain` as forms: the same results, without any change."""

from __future__ import annotations

from typing import Any

import pytest
from lxml import html
from werkzeug.test import TestResponse

from hkall_gateway.db.tables import METADATA
from hkall_gateway.rules.vocabulary import Position
from hkall_gateway.web.staff.explain import FIELDS, QUESTIONS
from tests.web.conftest import TOKEN, Browser, Site
from tests.web.test_requests import given, lent

P = Position
EXPLAIN = "/staff/explain"


def ask(browser: Browser, question: str, **fields: str) -> Any:
    return html.fromstring(send(browser, question=question, **fields).text)


def send(browser: Browser, **fields: str) -> TestResponse:
    token = TOKEN.search(browser.get(EXPLAIN).text)
    assert token
    return browser.send(EXPLAIN, csrf_token=token[1], **fields)


def outcome(shown: Any) -> tuple[str, str, list[str]]:
    """(ok or no, the result, the linked rules)."""
    (found,) = shown.xpath("//*[@data-outcome]")
    words = found.xpath("string(.//*[@class='answer-what'])").strip()
    return found.get("data-outcome"), words, [a.removeprefix("/help#") for a in found.xpath(".//a/@href")]


def facts(shown: Any) -> dict[str, str]:
    return {
        row.xpath("string(th)").strip(): row.xpath("string(td[1])").strip()
        for row in shown.xpath("//section[h2='The facts']//tbody/tr")
    }


def test_granted_request_shows_rules_lenders_and_policy(site: Site) -> None:
    shown = ask(site.staff("clerk"), "request", patron="UG1", bib="b-dune")
    kind, words, rules = outcome(shown)
    assert (kind, words, "R7" in rules) == ("ok", "Yes.", True)
    assert facts(shown)["Lender 1"].startswith("CUHK/C1")
    assert facts(shown)["Category"] == "Undergraduates"
    assert shown.xpath("//section[h2='What the policy says']//code")


def test_refusal_names_its_rule(site: Site) -> None:
    shown = ask(site.staff("clerk"), "request", patron="EXPIRED", bib="b-dune")
    assert outcome(shown) == ("no", "The card expired on 28 February 2017 (Tuesday).", ["R2"])


def test_renewal_is_explained_as_of_a_given_time(site: Site) -> None:
    lent(site)
    soon = ask(site.staff(), "renew", item="C1")
    assert outcome(soon)[0] == "no"
    assert outcome(soon)[2] == ["R29"]
    later = ask(site.staff(), "renew", item="CUHK/C1", at="2017-03-10T09:00")
    assert outcome(later)[0] == "ok"
    assert facts(later)["Due"] == "16 March 2017 (Thursday)"


def test_checkout_recall_and_fine_are_explained(site: Site) -> None:
    given(site, P.RECEIVED)
    assert outcome(ask(site.staff(), "borrow", patron="UG2", item="C1"))[2] == ["R13"]
    assert outcome(ask(site.staff(), "borrow", patron="UG1", item="C1", role="bookdrop"))[0] == "no"
    lent(site, item_barcode="C2", wire_id="w-2")
    assert outcome(ask(site.staff(), "recall", item="C2", owner_says="2017-03-08"))[0] == "ok"
    late = ask(site.staff(), "fine", item="C2", at="2017-03-18T12:00")
    assert outcome(late)[1].startswith("The fine is HK$")
    assert outcome(ask(site.staff(), "fine", item="C1"))[0] == "no"


def test_explain_changes_nothing(site: Site) -> None:
    lent(site)

    def rows() -> dict[str, int]:
        tables = [t for t in METADATA.sorted_tables if t.name != "web_sessions"]
        return site.world.store.now(lambda unit: {t.name: len(unit.execute(t.select()).all()) for t in tables})

    clerk, before = site.staff("clerk"), rows()
    ask(clerk, "request", patron="UG1", bib="b-dune")
    ask(clerk, "renew", item="C1", at="2017-03-10T09:00")
    ask(clerk, "recall", item="C1")
    assert rows() == before


@pytest.mark.parametrize("question", [one.name for one in QUESTIONS])
def test_each_question_has_its_form(site: Site, question: str) -> None:
    shown = html.fromstring(site.staff("clerk").get(f"{EXPLAIN}?question={question}").text)
    (one,) = [row for row in QUESTIONS if row.name == question]
    named = {e.get("name") for e in shown.xpath("//main//form//*[@name]")}
    assert named == {*one.fields, "at", "question", "csrf_token", "form_key"}
    assert all(shown.xpath(f"//label[@for='{name}']") for name in (*one.fields, "at"))


def test_missing_and_invalid_input_is_reported(site: Site) -> None:
    viewer = site.staff("viewer")
    assert "Something is not filled in." in send(viewer, question="renew").text
    assert "This is no date." in send(viewer, question="fine", item="C1", at="tomorrow").text
    assert "This is no date." in send(viewer, question="recall", item="C1", owner_says="9.3.").text


def test_question_without_a_csrf_token_is_not_answered(site: Site) -> None:
    assert site.staff().send(EXPLAIN, question="fine", item="C1").status_code == 400


def test_unknown_question_is_not_found(site: Site) -> None:
    assert site.staff().get(f"{EXPLAIN}?question=why").status_code == 404


def test_question_tables_are_consistent() -> None:
    assert {name for one in QUESTIONS for name in one.fields} == set(FIELDS)
    assert all(set(one.needed) <= set(one.fields) for one in QUESTIONS)


@pytest.mark.parametrize("at", ["0001-01-01", "9999-12-31", "0001-01-01T00:00+14:00", "9999-12-31T23:59:59-12:00"])
@pytest.mark.parametrize(("question", "more"), [("renew", {}), ("fine", {}), ("borrow", {"patron": "UG1"})])
def test_time_beyond_the_calendar_is_refused(site: Site, at: str, question: str, more: dict[str, str]) -> None:
    lent(site)
    assert send(site.staff("clerk"), question=question, item="C1", at=at, **more).status_code == 422
