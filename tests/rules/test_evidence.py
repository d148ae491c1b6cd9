"""The table of verdicts: how its file is read, and how the days of a report and of our scan are compared."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from hkall_gateway.rules import evidence
from hkall_gateway.rules.evidence import TABLE, Dated, Names, News, Verdict, dated, judge, read_table
from hkall_gateway.rules.vocabulary import Position, Side

P = Position
TWO_ROWS = """
[borrow]
reports = ["SHIPPED", "DECLINED"]
names_differ = "h r"
ON_LOAN = "i iha"
[lend]
reports = ["LOST"]
names_differ = "-"
SHIPPED = "r"
"""


def test_cell_has_one_verdict_or_one_for_each_order_of_the_days() -> None:
    shipped, declined = ((Side.BORROWING, P.ON_LOAN, news) for news in (News.SHIPPED, News.DECLINED))
    lost = (Side.LENDING, P.SHIPPED, News.LOST)
    assert dict(read_table(TWO_ROWS)) == {
        **{(*shipped, when, Names.AGREE): Verdict.IGNORED for when in Dated},
        **{(*shipped, when, Names.DIFFER): Verdict.HELD for when in Dated},
        (*declined, Dated.EARLIER, Names.AGREE): Verdict.IGNORED,
        (*declined, Dated.SAME, Names.AGREE): Verdict.HELD,
        (*declined, Dated.LATER, Names.AGREE): Verdict.APPLIED,
        **{(*declined, when, Names.DIFFER): Verdict.REFUSED for when in Dated},
        **{(*lost, when, Names.AGREE): Verdict.REFUSED for when in Dated},
    }


@pytest.mark.parametrize("cells", ["a", "a a a", "aa a", "aaaa a"])
def test_row_with_too_few_or_too_many_verdicts_is_an_error(cells: str) -> None:
    with pytest.raises(ValueError, match="argument"):
        list(read_table(f'[borrow]\nreports = ["SHIPPED", "DECLINED"]\nnames_differ = "h h"\nON_LOAN = "{cells}"'))


@pytest.mark.parametrize(
    ("report", "position", "cell"), [("RUMOUR", "ON_LOAN", "a"), ("LOST", "EATEN", "a"), ("LOST", "PAGED", "x")]
)
def test_unknown_report_position_or_verdict_is_an_error(report: str, position: str, cell: str) -> None:
    with pytest.raises(KeyError):
        list(read_table(f'[lend]\nreports = ["{report}"]\nnames_differ = "h"\n{position} = "{cell}"'))


def test_shipped_table_is_the_one_in_use() -> None:
    text = Path(evidence.__file__).with_suffix(".toml").read_text(encoding="utf-8")
    assert dict(read_table(text)) == TABLE
    assert judge(Side.LENDING, P.SHIPPED, News.COMING_HOME, Dated.EARLIER) is Verdict.HELD
    assert judge(Side.LENDING, P.SHIPPED, News.COMING_HOME) is Verdict.APPLIED


@pytest.mark.parametrize(
    ("reported", "scanned", "order"),
    [
        ("2017-03-16T15:59:59", "2017-03-16T16:00:00", Dated.EARLIER),
        ("2017-03-15T16:00:00", "2017-03-16T15:59:59", Dated.SAME),
        ("2017-03-16T15:59:59", "2017-03-15T16:00:00", Dated.SAME),
        ("2017-03-16T16:00:00", "2017-03-16T15:59:59", Dated.LATER),
    ],
)
def test_report_and_scan_are_compared_by_hong_kong_day(reported: str, scanned: str, order: Dated) -> None:
    news_at, scanned_at = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (reported, scanned))
    assert dated(news_at, scanned_at) is order
    assert dated(news_at, None) is dated(None, scanned_at) is Dated.SAME
