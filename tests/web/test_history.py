"""/record/history: past loans and letters, only for a patron who asked for it, and gone with the choice or the person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from lxml import html
from sqlalchemy import select

from hkall_gateway.circulation.circulation import Circulation
from hkall_gateway.db.loads.former_cards import follow_card
from hkall_gateway.db.privacy import persons
from hkall_gateway.db.tables import NOTICES, PATRON_CHOICES
from hkall_gateway.rules.settings import Retention
from hkall_gateway.rules.vocabulary import Actor, Position
from tests.web.conftest import Browser, Site
from tests.web.given import given
from tests.web.test_patrons import page_of

P = Position
HISTORY = "/record/history"
CLERK = Actor(who="test", channel="world")


def main(browser: Browser, language: str = "en") -> str:
    page = html.fromstring(browser.get(HISTORY, headers={"Accept-Language": language}).text)
    return " ".join(page.xpath("string(//main)").split())


def choose(browser: Browser, keep: str) -> None:
    assert browser.post(HISTORY, keep=keep).status_code == 303


def returned(site: Site, number: str = "R-OLD", patron: str = "UG1") -> None:
    """Insert a loan that ended today."""
    today = site.world.now.date()
    given(site, P.CLOSED, number, patron=patron, first_checkout=today - timedelta(days=9), returned_on=today)


def write_overdue_letter(site: Site) -> None:
    """Let a loan become overdue, and send the letter about it."""
    given(site, P.ON_LOAN, "R-LATE", due=date(2017, 2, 28), loan_days=15, first_checkout=date(2017, 2, 13))
    site.world.round("overdue")
    site.world.pump()
    assert [letter.patron for letter in site.world.letters] == ["UG1"]


def stored(site: Site) -> Any:
    """(patrons who keep a history, texts of letters) in the database."""
    return site.world.store.now(
        lambda unit: (
            unit.execute(select(PATRON_CHOICES.c.patron)).scalars().all(),
            unit.execute(select(NOTICES.c.text).where(NOTICES.c.text != "")).scalars().all(),
        )
    )


@pytest.fixture
def purge_after(site: Site, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], str]:
    """Wait for some days, purge with the usual retention, and return the patron of the ended loan."""
    library = site.world.circulation.library
    usual = replace(library, policy=replace(library.policy, retention=Retention()))
    monkeypatch.setattr(Circulation, "library", usual)

    def purged(days: int) -> str:
        site.wait(days=days)
        site.world.round("purge")
        return site.world.request("R-OLD").patron

    return purged


def test_nothing_is_kept_unless_the_patron_asks_for_it(site: Site) -> None:
    returned(site)
    write_overdue_letter(site)
    browser = site.patron()
    assert "Title of R-OLD" not in main(browser)
    assert "Title of R-OLD" not in browser.get("/record").text
    assert stored(site) == ([], [])


def test_patron_who_asks_for_it_sees_returned_books_and_reads_letters_again(site: Site) -> None:
    browser = site.patron()
    choose(browser, "yes")
    returned(site)
    returned(site, "R-OTHER", patron="PG1")
    write_overdue_letter(site)
    (letter,) = site.world.letters

    page = main(browser)

    assert "Title of R-OLD" in page
    assert "R-OTHER" not in page
    assert letter.subject in page
    assert " ".join(letter.text.split()) in page
    assert "我們為您保留" in main(browser, "zh-Hant")


def test_letter_texts_are_deleted_when_the_choice_is_withdrawn(site: Site) -> None:
    browser = site.patron()
    choose(browser, "yes")
    write_overdue_letter(site)
    assert [len(part) for part in stored(site)] == [1, 1]
    choose(browser, "no")
    assert stored(site) == ([], [])
    assert "Keep them for me" in main(browser)


def test_history_is_kept_beyond_the_retention_period(site: Site, purge_after: Callable[[int], str]) -> None:
    returned(site)
    choose(site.patron(), "yes")
    assert purge_after(181) == "UG1"


def test_loans_are_anonymised_after_the_retention_period_when_the_choice_is_withdrawn(
    site: Site, purge_after: Callable[[int], str]
) -> None:
    returned(site)
    choose(site.patron(), "yes")
    choose(site.patron(), "no")
    assert purge_after(181) == ""


def test_history_is_exported_with_the_person(site: Site) -> None:
    choose(site.patron(), "yes")
    write_overdue_letter(site)
    rows: Any = site.world.store.now(
        lambda unit: [(table.name, row) for table, row in persons.rows_about(unit, persons.person(unit, "UG1"))]
    )
    assert "patron_choices" in {name for name, _row in rows}
    assert [row["text"] for name, row in rows if name == "notices"] != [""]


def test_history_is_erased_with_the_person(site: Site, tmp_path: Path) -> None:
    returned(site)
    choose(site.patron(), "yes")
    browser = site.staff("supervisor")
    site.erased = tmp_path / "erased"
    address = page_of(browser)
    assert browser.post(f"{address}/erase", at=address, reason="asked", apply="1").status_code == 200
    assert stored(site) == ([], [])
    assert site.world.request("R-OLD").patron == ""


def test_history_follows_a_replaced_card(site: Site) -> None:
    choose(site.patron(), "yes")
    returned(site)
    site.world.store.now(lambda unit: follow_card(unit, "UG1", "UG9", site.world.now, CLERK))
    assert stored(site)[0] == ["UG9"]
    assert "Title of R-OLD" in main(site.patron("UG9"))


def test_history_keeps_its_first_day_when_chosen_again_or_moved_to_another_card(site: Site) -> None:
    choose(site.patron(), "yes")
    first = site.world.now
    site.wait(days=3)
    choose(site.patron(), "yes")
    site.world.store.now(lambda unit: follow_card(unit, "UG1", "UG9", site.world.now, CLERK))
    assert site.world.store.now(lambda unit: unit.patrons.history_since("UG9")) == first
