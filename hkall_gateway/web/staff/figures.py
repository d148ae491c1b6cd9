"""The tables of the statistics: for each its title, its headings and its rows. No person is in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from hkall_gateway.circulation.messages.results import Refused
from hkall_gateway.db.queries.statistics import Count, Statistics, Turnaround, days_within, total
from hkall_gateway.rules.lender_reasons import reason_label
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Side
from hkall_gateway.web.i18n import N_, gettext, language
from hkall_gateway.web.labels import sentence

Row = tuple[Any, ...]

# fmt: off
SIDES: Final[Mapping[str, str]] = MappingProxyType({
    Side.BORROWING: N_("We borrow"),
    Side.LENDING:   N_("We lend"),
})
# fmt: on


@dataclass(frozen=True, slots=True)
class Table:
    """One table. `heads` are its headings, `rows` makes its rows; the first `words` columns are texts, the others figures."""

    title: str
    heads: tuple[str, ...]
    rows: Callable[[Statistics], list[Row]]
    words: int = 1


def percent(share: float | None) -> int | None:
    """Return a share of 0 to 1 in percent; None if it is not known."""
    return None if share is None else round(100 * share)


def _counts(found: Iterable[Count], *by: str) -> list[Row]:
    return [
        (*(_word(name, getattr(one, name)) for name in by), one.requests, one.filled, one.unfilled, one.cancelled,
         one.still_open, percent(one.fill_rate))
        for one in total(found, *by)
    ]  # fmt: skip


def _word(field: str, value: str) -> str:
    return gettext(SIDES[value]) if field == "side" else value or "–"


def _borrowed(found: Statistics) -> list[Count]:
    return [one for one in found.counts if one.side == Side.BORROWING]


def turnaround_rows(found: Statistics) -> list[Row]:
    """Return for each lender its books, and the days within which half and nine of ten of them came."""
    by_partner: dict[str, list[Turnaround]] = {}
    for one in found.turnarounds:
        by_partner.setdefault(one.partner, []).append(one)
    return [
        (partner or "–", sum(one.requests for one in came), days_within(came, 0.5), days_within(came, 0.9))
        for partner, came in sorted(by_partner.items())
    ]


def refusal_rows(found: Statistics) -> list[Row]:
    """Return each reason of a refusal with its rule and how often, the most frequent first."""
    sums: dict[tuple[str, str], int] = {}
    for one in found.refusals:
        sums[one.rule, one.reason] = sums.get((one.rule, one.reason), 0) + one.times
    return [(rule or "–", _reason(reason), times) for (rule, reason), times in _most_first(sums)]


def decline_rows(found: Statistics) -> list[Row]:
    """Return each lender's reasons and how often, the most frequent first."""
    sums: dict[tuple[str, str], int] = {}
    for one in found.declines:
        sums[one.lender, one.reason] = sums.get((one.lender, one.reason), 0) + one.times
    return [(lender, reason_label(reason, language()), times) for (lender, reason), times in _most_first(sums)]


def _most_first(sums: Mapping[tuple[str, str], int]) -> list[tuple[tuple[str, str], int]]:
    return sorted(sums.items(), key=lambda one: (-one[1], one[0]))


def _reason(word: str) -> str:
    return sentence(Refused(Reason(word))) if word in set(Reason) else word


COUNTED: Final = (N_("Requests"), N_("Filled"), N_("Unfilled"), N_("Cancelled"), N_("Still open"), N_("Fill rate in percent"))

# fmt: off
TABLES: Final[Mapping[str, Table]] = MappingProxyType({
    "months":     Table(N_("By month"), (N_("Month"), N_("Side"), *COUNTED),
                        lambda found: _counts(found.counts, "month", "side"), words=2),
    "partners":   Table(N_("By library"), (N_("Library"), N_("Side"), *COUNTED),
                        lambda found: _counts(found.counts, "partner", "side"), words=2),
    "categories": Table(N_("By category of our patrons"), (N_("Category"), *COUNTED),
                        lambda found: _counts(_borrowed(found), "category")),
    "turnaround": Table(N_("Days from the request to our hold shelf"),
                        (N_("Lender"), N_("Books"), N_("Half within"), N_("Nine of ten within")), turnaround_rows),
    "declines":   Table(N_("Why lenders did not supply (R37)"), (N_("Lender"), N_("Reason"), N_("Times")), decline_rows,
                        words=2),
    "refusals":   Table(N_("Refusals"), (N_("Rule"), N_("Reason"), N_("Times")), refusal_rows, words=2),
    "sites":      Table(N_("From site to site"), (N_("From"), N_("To"), N_("Pickup place"), N_("Requests"), N_("Filled")),
                        lambda found: [(p.lender, p.borrower, p.place, p.requests, p.filled) for p in found.pairs], words=3),
})
"""In the order of the page; each is a CSV file too."""
# fmt: on


@dataclass(frozen=True, slots=True)
class Matrix:
    """Requests by lender and by the borrower's site; a pair without a request is missing in `cells`."""

    lenders: tuple[str, ...]
    sites: tuple[str, ...]
    cells: Mapping[tuple[str, str], int]


def matrix(found: Statistics) -> Matrix:
    """Return the matrix of lenders and sites; a site is a pickup place of ours, or another library."""
    cells: dict[tuple[str, str], int] = {}
    for one in found.pairs:
        key = (one.lender, one.place or one.borrower)
        cells[key] = cells.get(key, 0) + one.requests
    lenders, sites = sorted({lender for lender, _ in cells}), sorted({site for _, site in cells})
    return Matrix(tuple(lenders), tuple(sites), cells)
