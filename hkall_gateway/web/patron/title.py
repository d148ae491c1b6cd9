"""/title/<bib_id>: the copies of a title, and whether it may be requested."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from flask import Blueprint, Response, abort, render_template

from hkall_gateway.circulation import titles
from hkall_gateway.circulation.titles import CopySeen, CopyState, TitleSeen
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vendor_words.availability import circulation_status
from hkall_gateway.rules.vocabulary import BETWEEN_AUTHORS
from hkall_gateway.web.i18n import N_, gettext
from hkall_gateway.web.labels import notice, rule_of, sentence
from hkall_gateway.web.patron.home import A_MINUTE, kept
from hkall_gateway.web.services import consult, services

_IDEOGRAPH: Final = re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_MARC_LANGUAGES: Final = {"jpn": "ja", "kor": "ko"}
"""Languages other than Chinese that are written with ideographs, by their codes in MARC."""

# fmt: off
STATES: Final[Mapping[CopyState, str]] = MappingProxyType({
    CopyState.AVAILABLE: N_("AVAILABLE"),
    CopyState.NOT_LENT:  N_("Not lent to other libraries"),
    CopyState.IN_USE:    N_("Lent through HKALL"),
})
STATUSES: Final[Mapping[str, str]] = MappingProxyType({
    "Available For Pickup":                N_("Waiting for a reader"),
    "Available On Shelf":                  N_("On the shelf"),
    "Circulation Status Undefined":        N_("Not known"),
    "Claimed Returned Or Never Borrowed":  N_("Being looked for"),
    "In Process":                          N_("In processing"),
    "In Transit Between Library Locations": N_("In transit"),
    "Lost":                                N_("Lost"),
    "Missing":                             N_("Missing"),
    "Not Available":                       N_("Not available"),
    "On Loan":                             N_("Checked out"),
    "On Order":                            N_("On order"),
    "Pending Transfer":                    N_("In transit"),
    "Recalled":                            N_("Recalled"),
    "Waiting To Be Reshelved":             N_("Returned, not yet on the shelf"),
})
"""What a copy's library says of it, for a CirculationStatus of NISO."""
# fmt: on


def state_of(seen: CopySeen) -> str:
    """Return the state of a copy in words; a library's word that the table lacks is shown as it is."""
    if seen.state in STATES:
        return gettext(STATES[seen.state])
    word = seen.copy.status
    status = circulation_status(word)
    return gettext(STATUSES[status]) if status else word or gettext("Not known")


def language_of(text: str, marc: str = "") -> str:
    """Return the language of a text with ideographs for its `lang` attribute; "" for another text."""
    return _MARC_LANGUAGES.get(marc, "zh") if _IDEOGRAPH.search(text) else ""


PAGES = Blueprint("title", __name__)

MOST_COPIES: Final = 200
"""Copies that are shown; a set of many volumes may have more."""
LONGEST_NUMBER: Final = 200


@PAGES.get("/title/<title:bib_id>")
def page(bib_id: str) -> Response:
    """The page. 404 for a title of which no library has a copy."""
    seen = consult(titles.see_title, bib_id) if len(bib_id) <= LONGEST_NUMBER else None
    if seen is None:
        abort(404)
    live = services().live_status(bib_id, seen.to_ask(MOST_COPIES))
    loaded, seen = seen, titles.as_said(seen, live, services().library().policy)
    refusals = [one.refusal for one in seen.volumes if one.refusal]
    copies = seen.copies[:MOST_COPIES]
    words = render_template(
        "patron/title.html",
        title=seen.title,
        authors=seen.title.author.split(BETWEEN_AUTHORS),
        linked_authors=list(filter(None, seen.title.linked_author.split(BETWEEN_AUTHORS))),
        bib_id=bib_id,
        volumes=seen.volumes,
        sentence=sentence,
        rule_of=rule_of,
        suspended=notice(next((no for no in refusals if no.why is Reason.SERVICE_SUSPENDED), None)),
        copies=copies,
        names=seen.names,
        statuses=live.statuses,
        state_of=state_of,
        own=services().library().agency,
        asking=live.asking,
        taken=_may_be_sent(loaded) and not _may_be_sent(seen),
        more=max(0, len(seen.copies) - MOST_COPIES),
        on_shelf=next((one.copy for one in seen.copies if _is_ours(one) and one.state is CopyState.AVAILABLE), None),
        as_of=seen.as_of if any(one.copy.key not in live.statuses for one in copies) else None,
        language_of=language_of,
    )
    answer = Response(words)
    return answer if live.asking else kept(answer, A_MINUTE)


def _may_be_sent(seen: TitleSeen) -> bool:
    """Whether another library has a copy available."""
    return any(one.state is CopyState.AVAILABLE and not _is_ours(one) for one in seen.copies)


def _is_ours(one: CopySeen) -> bool:
    return one.copy.agency == services().library().agency
