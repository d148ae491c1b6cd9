"""/help: the published rules in both languages, from the table that docs/rules.md uses."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, render_template

from hkall_gateway.rules.published_rules import PUBLISHED, PUBLISHED_ZH
from hkall_gateway.rules.vendor_words.languages import CHINESE
from hkall_gateway.web.i18n import N_, language
from hkall_gateway.web.services import services

PAGES = Blueprint("help", __name__)

# fmt: off
HEADS: Final = (
    ("R1",  N_("Requests")),
    ("R12", N_("Collection and loans")),
    ("R22", N_("Recalls and renewals")),
    ("R34", N_("Cancelling, and when no library can lend")),
    ("R39", N_("Overdue books, loss and damage")),
)
"""The first rule of each chapter, in the order of the published page."""
# fmt: on


@PAGES.get("/help")
def rules() -> str:
    """The page; each rule has its number as anchor, so that a reason can link to it."""
    chinese, policy = language() == CHINESE, services().library().policy
    return render_template(
        "help.html",
        rules=PUBLISHED_ZH if chinese else PUBLISHED,
        chapters=chapters(),
        categories=policy.categories,
        category_name=lambda one: one.label_zh if chinese and one.label_zh else one.label,
        renewals=policy.renewal.max_count,
    )


def chapters() -> list[tuple[str, list[str]]]:
    """Return each chapter's heading with the numbers of its rules."""
    heads, found = dict(HEADS), list[tuple[str, list[str]]]()
    for number in PUBLISHED:
        if number in heads:
            found.append((heads[number], []))
        found[-1][1].append(number)
    return found
