"""The history of the demo: moved to end now, with something on every list, in any week and on any day of it."""

from __future__ import annotations

import json
import re
import sqlite3
import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lxml import html

from demo import build_history, demo_setup, history
from demo.pages import MailFolder
from hkall_gateway.db.database import Immediate
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.queries.consistency import find_disagreements
from hkall_gateway.db.queries.work_lists import ListName
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules import dates
from hkall_gateway.rules.vocabulary import Position
from hkall_gateway.simulator.scenario.world import World
from hkall_gateway.simulator.scenario.world_file import cheap_hash
from tests.web.conftest import Site

MONDAY = datetime(2026, 12, 14, 9, 50, tzinfo=dates.HONG_KONG)
WEDNESDAY = datetime(2027, 1, 13, 15, 30, tzinfo=dates.HONG_KONG)
SUNDAY = datetime(2026, 12, 6, 10, 0, tzinfo=dates.HONG_KONG)
SHOWN_EACH_DAY = [name for name in ListName if name not in (ListName.STUCK, ListName.FLAGGED)]


@dataclass
class Begun:
    """A demo at its first start."""

    now: datetime
    database: Path
    mailbox: Path

    @property
    def closed(self) -> frozenset[date]:
        """The closed days of our library."""
        return frozenset(date.fromisoformat(day) for (day,) in self.rows("SELECT day FROM closures WHERE agency = 'HKU'"))

    def rows(self, question: str, *values: str) -> list[Any]:
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(question, values).fetchall()


@pytest.fixture(scope="module", params=[MONDAY, WEDNESDAY, SUNDAY], ids=["monday", "wednesday", "sunday"])
def begun(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Begun:
    folder = tmp_path_factory.mktemp("history")
    made = Begun(request.param, folder / "hkall.db", folder / "mail")
    history.begin(made.database, made.mailbox, made.now)
    return made


@pytest.fixture(scope="module")
def site(begun: Begun) -> Iterator[Site]:
    """The pages of this demo. The PINs of its patrons are those of a world."""
    with closing(sqlite3.connect(begun.database)) as connection:
        connection.execute("UPDATE patrons SET pin_hash = ?", (cheap_hash("1234"),))
        connection.commit()
    engine = open_engine(f"sqlite:///{begun.database}")
    start = replace(build_history.start_of("HKU", (), ()), time=begun.now.astimezone(UTC))
    world = World(start, engine)
    yield Site(world)
    world.close()
    engine.dispose()


def test_history_ends_now_and_lasts_eighteen_months(begun: Begun) -> None:
    ((first, last),) = begun.rows("SELECT min(at), max(at) FROM journal")
    assert timedelta() <= begun.now - datetime.fromisoformat(last) < timedelta(days=1)
    assert timedelta(weeks=75) < begun.now - datetime.fromisoformat(first) < timedelta(weeks=80)
    assert not begun.rows("SELECT 1 FROM requests WHERE placed_at > ?", begun.now.astimezone(UTC).isoformat())


def test_every_loan_ends_on_the_day_that_the_rules_give(begun: Begun) -> None:
    loans = begun.rows(
        "SELECT first_checkout, loan_days, due FROM requests"
        " WHERE position = 'ON_LOAN' AND renewals = 0 AND recalled_on IS NULL"
    )
    assert len(loans) > 20
    today = f"{begun.now:%Y-%m-%d}"
    for first, days, due in loans:
        exact = date.fromisoformat(first) + timedelta(days=days)
        assert due == f"{exact if f'{exact}' < today else dates.roll(exact, begun.closed, 'roll_forward')}"


def test_every_book_waits_for_the_five_days_of_the_rules(begun: Begun) -> None:
    waiting = begun.rows(
        "SELECT notified_on, pickup_last FROM requests WHERE position = 'RECEIVED' AND notified_on IS NOT NULL"
    )
    today = f"{begun.now:%Y-%m-%d}"
    assert len(waiting) > 5
    for told, last in waiting:
        exact = date.fromisoformat(told) + timedelta(days=5)
        assert last == f"{exact if f'{exact}' < today else dates.roll(exact, begun.closed, 'roll_forward')}"


def test_tables_of_the_demo_agree(begun: Begun) -> None:
    engine = open_engine(f"sqlite:///{begun.database}")
    with closing(Immediate(engine, lambda connection: UnitOfWork(connection, str))) as store:
        found = store.read_now(lambda unit: list(find_disagreements(unit, begun.now)))
    engine.dispose()
    assert begun.rows("SELECT 1 FROM fines WHERE paid_cents > 0")
    assert found == []


def test_general_holidays_are_closed_days_of_every_library(begun: Begun) -> None:
    ahead = begun.rows("SELECT agency, reason FROM closures WHERE day = ?", f"{begun.now.year}-12-25")
    assert {agency for agency, _ in ahead} == {"HKU", *demo_setup.NAMES}
    assert {reason for _, reason in ahead} == {"Christmas Day"}
    assert len(begun.closed) > 40


def test_nothing_falls_due_on_a_closed_day_to_come(begun: Begun) -> None:
    dated = begun.rows(
        "SELECT due, pickup_last FROM requests WHERE position IN ('ON_LOAN', 'RECEIVED') AND recalled_on IS NULL"
    )
    today = f"{begun.now:%Y-%m-%d}"
    assert not {day for row in dated for day in row if day and day >= today} & {f"{day}" for day in begun.closed}


def test_staff_did_not_work_on_closed_days(begun: Begun) -> None:
    worked = begun.rows(
        "SELECT DISTINCT date(journal.at, '+8 hours') FROM journal JOIN requests ON requests.id = request"
        " WHERE channel IN ('sip2', 'cli') AND stage = 'ended' AND request NOT IN (SELECT request FROM fines)"
    )
    assert len(worked) > 300
    assert not {day for (day,) in worked} & {f"{day}" for day in begun.closed}


def test_weekends_stay_weekends(begun: Begun) -> None:
    placed = Counter(
        date.fromisoformat(day).weekday() for (day,) in begun.rows("SELECT date(placed_at, '+8 hours') FROM requests")
    )
    assert max(placed[5], placed[6]) < min(placed[day] for day in range(5))


def test_vacations_have_fewer_requests_than_terms(begun: Begun) -> None:
    days = Counter(day for (day,) in begun.rows("SELECT date(placed_at, '+8 hours') FROM requests WHERE side = 'borrow'"))

    def in_weeks(first: date, weeks: int) -> float:
        return sum(days[f"{first + timedelta(days=n)}"] for n in range(weeks * 7)) / weeks

    assert in_weeks(date(2026, 7, 6), 6) < 0.6 * in_weeks(date(2026, 9, 28), 6)
    assert in_weeks(date(2025, 12, 22), 1) < 0.4 * in_weeks(date(2025, 11, 3), 1)


def test_patrons_are_of_all_twelve_categories(begun: Begun) -> None:
    categories = Counter(category for (category,) in begun.rows("SELECT category FROM patrons"))
    assert categories.total() == 400
    assert len(categories) == 12
    borrowers = begun.rows("SELECT DISTINCT category FROM requests JOIN patrons ON barcode = requests.patron")
    assert len(borrowers) == 12


def test_requests_are_in_every_position(begun: Begun) -> None:
    found = {position for (position,) in begun.rows("SELECT DISTINCT position FROM requests")}
    assert found == set(Position) - {Position.NEW}  # in which a request stays only while the service is suspended
    open_now = {f"{side} {position}" for side, position in begun.rows("SELECT DISTINCT side, position FROM requests")}
    assert build_history.ALWAYS.keys() <= open_now


def test_money_was_owed_and_paid_and_books_were_dropped(begun: Begun) -> None:
    ((fines, unpaid),) = begun.rows("SELECT count(*), sum(cents > paid_cents + waived_cents) FROM fines")
    assert fines > unpaid > 0
    assert begun.rows("SELECT count(*) FROM payments WHERE outcome <> ''")[0][0] > 10
    assert begun.rows("SELECT count(*) FROM journal WHERE detail LIKE '%dropped_on%'")[0][0] > 10


@pytest.mark.parametrize("name", SHOWN_EACH_DAY)
def test_list_of_the_day_is_not_empty(site: Site, name: ListName) -> None:
    page = html.fromstring(site.staff().get(f"/staff/lists/{name}").text)
    assert page.xpath("//main//tr[@data-request]")


def test_pull_list_has_several_copies(begun: Begun) -> None:
    ((paged,),) = begun.rows("SELECT count(*) FROM requests WHERE position = 'PAGED'")
    assert paged >= 5


def test_one_or_two_letters_came_back(begun: Begun) -> None:
    came_back = begun.rows("SELECT error FROM notices WHERE state = 'undeliverable'")
    assert came_back in ([("no address",)], [("no address",)] * 2)


def test_requests_keep_the_title_in_its_own_script(begun: Begun) -> None:
    for stage in ("in_hand", "ended"):
        assert begun.rows("SELECT 1 FROM requests WHERE linked_title > '' AND stage = ?", stage), stage


def test_every_day_of_the_week_begins_with_full_lists() -> None:
    with tarfile.open(history.ARCHIVE) as archive:
        file = archive.extractfile(history.STEPS)
        assert file is not None
        steps = [json.loads(line) for line in file]
    full = [datetime.fromisoformat(step["at"]) for step in steps if not step["missing"]]
    days = Counter(at.astimezone(dates.HONG_KONG).weekday() for at in full)
    assert sorted(days) == list(range(7))


def test_books_are_due_today_and_lost(begun: Begun) -> None:
    assert begun.rows("SELECT 1 FROM requests WHERE position = 'ON_LOAN' AND due = ?", f"{begun.now:%Y-%m-%d}")
    assert begun.rows("SELECT 1 FROM requests WHERE position = 'ON_LOAN' AND lost_on IS NOT NULL")


def test_patron_of_the_readme_has_what_the_readme_promises(site: Site) -> None:
    page = html.fromstring(site.patron("P0001").get("/record").text)
    text = " ".join(page.xpath("string(//main)").split())
    assert "Collect by" in text
    assert page.xpath("//main//tr//button[normalize-space() = 'Renew']")
    assert "recalled books are not renewed" in text
    assert "In all HK$6.00" in text


def test_letters_are_moved_with_their_weekdays(begun: Begun) -> None:
    letters = MailFolder(begun.mailbox).newest()
    assert len(letters) > 100
    assert all(timedelta() <= begun.now - letter.sent < timedelta(days=60) for letter in letters)
    english = {found[0] for letter in letters for found in re.finditer(r"\w+day \d+ \w+ 202\d", letter.text)}
    assert len(english) > 10
    assert all(datetime.strptime(day, "%A %d %B %Y").strftime("%A") in day for day in english)  # noqa: DTZ007  # days
    chinese = [re.search(r"(\d+)年(\d+)月(\d+)日（星期(.)）", letter.text) for letter in letters]
    days = [(date(int(found[1]), int(found[2]), int(found[3])), found[4]) for found in chinese if found]
    assert len(days) > 10
    assert all("一二三四五六日"[day.weekday()] == word for day, word in days)


def test_returned_books_of_the_patron_have_gone_home(begun: Begun) -> None:
    positions = begun.rows("SELECT position FROM requests WHERE patron = 'P0001' AND returned_on IS NOT NULL")
    assert set(positions) == {("CLOSED",)}


def test_archive_is_small() -> None:
    assert history.ARCHIVE.stat().st_size < 5_000_000
