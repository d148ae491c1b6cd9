"""/title/<bib_id> shows a title with its copies. /title/<bib_id>/request places a request for the title.

The form asks for the home library, the pickup location, card and PIN. Refusals that do not depend on the patron are shown
before the login.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from hashlib import sha256
from types import MappingProxyType
from typing import Final

from flask import Blueprint, Response, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as Redirect

from hkall_gateway.circulation import borrowing, patron_record, titles
from hkall_gateway.circulation.borrowing import RequestTitle
from hkall_gateway.circulation.command import InboxKey
from hkall_gateway.circulation.results import TRY_AGAIN, Refused
from hkall_gateway.circulation.titles import CopySeen, CopyState, TitleSeen
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import authors_of
from hkall_gateway.web.i18n import N_, gettext, place_name
from hkall_gateway.web.incoming import INBOX
from hkall_gateway.web.labels import WORDS, notice, rule_of, sentence, shown_refusal, status_words, word
from hkall_gateway.web.patron.home import A_MINUTE, kept
from hkall_gateway.web.patron.login import actor, admit, facts_about, own_card, ways
from hkall_gateway.web.services import execute, services
from hkall_gateway.web.sessions import patron

# fmt: off
COLUMNS: Final[Mapping[str, str]] = MappingProxyType({
    "call_number": N_("Call number"),
    "volume":      N_("Volume"),
})
"""Columns between a copy's library and its status, by the field names of `Holding`."""
# fmt: on


def state_of(seen: CopySeen) -> str:
    """Return a copy's state in words. Return a status that is not in the table unchanged."""
    state = word("copies", seen.state) if seen.state in WORDS["copies"] else status_words(seen.copy.status)
    return state or gettext("Not known")


PAGES = Blueprint("title", __name__)
REQUEST = Blueprint("request_title", __name__)
"""Separate from PAGES, so that error pages for requests do not highlight the search in the menu."""

MOST_COPIES: Final = 200
"""Maximum number of copies to show. A set of many volumes may have more."""
LONGEST_NUMBER: Final = 200


@PAGES.get("/title/<title:bib_id>")
def page(bib_id: str) -> Response:
    """Show a title and its copies. Answer 404 if no library has a copy."""
    seen = execute(titles.see_title(bib_id)) if len(bib_id) <= LONGEST_NUMBER else None
    if seen is None:
        abort(404)
    live = services().live_status(bib_id, seen.to_ask(MOST_COPIES))
    loaded, seen = seen, titles.with_live_statuses(seen, live, services().library().policy)
    refusals = [one.refusal for one in seen.volumes if one.refusal]
    copies = seen.copies[:MOST_COPIES]
    own_refusal, changes_on = _own_refusal(seen)
    words = render_template(
        "patron/title.html",
        own_refusal=shown_refusal(own_refusal),
        changes_on=changes_on,
        title=seen.title,
        authors=authors_of(seen.title.linked_author) + authors_of(seen.title.author),
        bib_id=bib_id,
        volumes=seen.volumes,
        columns={field: head for field, head in COLUMNS.items() if field != "volume" or len(seen.volumes) > 1},
        sentence=sentence,
        rule_of=rule_of,
        suspended=notice(next((refusal for refusal in refusals if refusal.why is Reason.SERVICE_SUSPENDED), None)),
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
    )
    answer = Response(words)
    return answer if live.asking or patron() else kept(answer, A_MINUTE)


QUOTAS: Final = frozenset({Reason.QUOTA_HKALL, Reason.QUOTA_TOTAL})
"""Refusals that end when a book comes back."""


def _own_refusal(seen: TitleSeen) -> tuple[Refused | None, date | None]:
    """Return why the patron who is logged in may not request this title, and the day on which this may change.

    Nothing is returned if nobody is logged in, if no volume can be requested by anybody, or if the library's own system does
    not answer. The day is the first due date of the patron's loans, if the quota is full.
    """
    volume = next((one.volume for one in seen.volumes if one.refusal is None), None)
    if volume is None or not patron():
        return None, None
    card = own_card()
    facts = facts_about(card, seen.title.bib_id)
    if not facts.reachable:
        return None, None
    command = RequestTitle(by=actor("request"), patron=card, bib_id=seen.title.bib_id, volume=volume)
    refusal = execute(borrowing.may_request(command, facts))
    if refusal is None or refusal.why not in QUOTAS:
        return refusal, None
    loans = execute(patron_record.patron_record(card, facts)).loans
    due_dates = [loan.request.due for loan in loans if loan.request.due is not None]
    return refusal, min(due_dates, default=None)


def _may_be_sent(seen: TitleSeen) -> bool:
    """Check whether another library has an available copy."""
    return any(one.state is CopyState.AVAILABLE and not _is_ours(one) for one in seen.copies)


def _is_ours(one: CopySeen) -> bool:
    return one.copy.agency == services().library().agency


REPEATED_S: Final = 900
"""Seconds within which a repetition (a second tab, the back button, a double click) gets the first request's reply."""


@REQUEST.get("/title/<title:bib_id>/request")
def form(bib_id: str) -> str:
    """Show the request form, or the reason why the title cannot be requested."""
    seen, typed = _see_title(bib_id), request.args
    refusal = _title_refusal(seen, typed)
    if refusal is None and patron():  # apply the rules that depend on the patron
        facts = facts_about(own_card(), seen.title.bib_id)
        command = RequestTitle(
            by=actor("request"), patron=own_card(), bib_id=seen.title.bib_id, volume=_chosen_volume(seen, typed)
        )
        refusal = execute(borrowing.may_request(command, facts)) if facts.reachable else TRY_AGAIN
    return _render_form(seen, typed, refusal)


@REQUEST.post("/title/<title:bib_id>/request")
def submit(bib_id: str) -> Redirect | str | tuple[str, int]:
    """Place the request, after logging our patron in. Patrons of other libraries are referred to their own library."""
    seen, typed = _see_title(bib_id), request.form
    home = typed.get("home_library", "")
    if home != services().library().agency:
        there = next((one for one in services().settings().partners if one.agency == home), None)
        if there is None:
            return _render_form(seen, typed, error=gettext("Choose your home library.")), 400
        return render_template("patron/elsewhere.html", title=seen.title, there=there)
    if (refusal := _title_refusal(seen, typed)) is not None:
        return _render_form(seen, typed, refusal), 409
    if patron() is None:
        card, pin = typed.get("barcode", ""), typed.get("pin", "")
        if not card.strip() and not pin:
            chosen = {name: typed[name] for name in ("pickup", "volume") if typed.get(name)}
            back = url_for("request_title.form", bib_id=bib_id, **chosen)  # type: ignore[arg-type]  # for the query string
            return redirect(url_for("patron_login.form", next=back), 303)
        if wrong := admit(card, pin):
            return wrong.answer(_render_form(seen, typed, error=wrong.words))
    card, volume, pickup = own_card(), _chosen_volume(seen, typed), typed.get("pickup", "")[:200]
    parts = "\n".join(("request", card, seen.title.bib_id, volume, pickup))  # a repeated request has the same key
    key = InboxKey(agency=INBOX, digest=sha256(parts.encode("utf-8", "surrogatepass")).hexdigest(), keep_s=REPEATED_S)
    outcome = execute(
        RequestTitle(by=actor("request"), patron=card, bib_id=seen.title.bib_id, volume=volume, pickup_location=pickup),
        inbox=key,
    )
    if isinstance(outcome, Refused):
        return _render_form(seen, typed, outcome), 503 if outcome.why is Reason.TRY_AGAIN else 409
    return redirect(url_for("record.page", placed=outcome.request), 303)


def _see_title(bib_id: str) -> TitleSeen:
    return execute(titles.see_title(bib_id)) or abort(404)


def _title_refusal(seen: TitleSeen, typed: Mapping[str, str]) -> Refused | None:
    """Return why no patron can request the chosen volume, or why no volume can be requested if none was chosen."""
    by_volume = {one.volume: one.refusal for one in seen.volumes}
    return by_volume.get(_chosen_volume(seen, typed))


def _chosen_volume(seen: TitleSeen, typed: Mapping[str, str]) -> str:
    """Return the chosen volume, or else the first volume that can be requested, or else the first volume."""
    volumes = [one.volume for one in seen.volumes]
    chosen = typed.get("volume", "")
    if chosen in volumes:
        return chosen
    return next((one.volume for one in seen.volumes if one.refusal is None), volumes[0])


def _render_form(seen: TitleSeen, typed: Mapping[str, str], refused: Refused | None = None, *, error: str = "") -> str:
    library, settings = services().library(), services().settings()
    # After these refusals the form remains usable, since the patron may choose another pickup location or try again.
    mendable = refused is None or refused.why in {Reason.PICKUP_LOCATION, Reason.TRY_AGAIN}
    return render_template(
        "patron/request.html",
        title=seen.title,
        refusal=shown_refusal(refused),
        again=refused is not None and refused.why is Reason.DUPLICATE_REQUEST,
        closed=not mendable,
        error=error,
        agency=library.agency,
        known=patron() is not None,
        partners=settings.partners,
        places=[(place, place_name(place)) for place in library.pickup_locations],
        volumes=[(one.volume, shown_refusal(one.refusal)) for one in seen.volumes],
        volume=_chosen_volume(seen, typed),
        pickup=typed.get("pickup", ""),
        card=typed.get("barcode", "")[:100],
        way=url_for("request_title.form", bib_id=seen.title.bib_id),
        **ways(),
    )
