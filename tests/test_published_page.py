"""The published page of HKALL Borrowing Services, statement by statement, in its order, and a check that it is complete.

For librarians. The five chapters are in tests/published, in the order of the page:

    test_1_requests.py               the suspension of 2017, who may borrow, what can be requested and how
    test_2_loans.py                  borrowing and returning, loan quotas and loan periods
    test_3_recalls_and_renewals.py   holds, recalls, renewals
    test_4_cancellations.py          cancellation by the patron and by the lending library
    test_5_fines_and_losses.py       overdue notices, fines, loss and damage, content of letters

Each test is one statement. Its name paraphrases the statement; its docstring begins with the numbers of its rules, which
docs/rules.md lists. Its body plays a few minutes or weeks of a library: patrons request in the discovery system, lenders send
and recall books, books are scanned at the counter, nights pass, letters arrive. It asserts what a person sees: a screen
message, a letter, a status in the circulation record, an amount. The gateway is the real one and answers over real
connections; only the time of day is set by the test.

    page.clock("2017-03-16 23:59:59")        the time in Hong Kong; the nightly work in between is done
    reader = page.reader("undergraduates")   a new user of this category
    book = page.lent(reader)                 requested, shipped by its lender, received and lent just now
    page.counter.check_in(book).says         the message on the counter's screen
    page.letters_to(reader)                  the letters since the mailbox was last read

Every test begins on Wednesday, 1 March 2017, at ten in the morning. A test marked `xfail` states a missing feature.

Run the whole page with `pytest tests/published`, one statement with some words of its name:
`pytest tests/published -k five_calendar_days`.

The choice of the home library, the search and the pages of the circulation record are walked where they are shown.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hkall_gateway.rules.published_rules import PUBLISHED

CHAPTERS: Final = sorted((Path(__file__).parent / "published").glob("test_*.py"))
ELSEWHERE: Final = {"R9"}
"""Rules tested elsewhere: the patron pages ask for the home library."""


def statements() -> Iterator[tuple[str, str]]:
    """Yield the name and first docstring line of every test of the chapters."""
    for path in CHAPTERS:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield node.name, (ast.get_docstring(node) or "").partition("\n")[0]


def test_every_published_statement_names_its_rules() -> None:
    assert [name for name, line in statements() if not re.match(r"R\d+a?(, R\d+a?)*\. [A-Z]", line)] == []


def test_every_published_rule_is_tested() -> None:
    walked = {rule for _, line in statements() for rule in re.findall(r"R\d+a?", line.partition(".")[0])}
    assert walked == PUBLISHED.keys() - ELSEWHERE
