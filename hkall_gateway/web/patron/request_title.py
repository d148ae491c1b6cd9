"""/title/<bib_id>/request: home library, pickup place, card and PIN, and the request is placed.

Refusals that do not depend on the patron are shown before a PIN is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from flask import Blueprint, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from hkall_gateway.circulation import borrowing, titles
from hkall_gateway.circulation.borrowing import RequestTitle
from hkall_gateway.circulation.command import InboxKey
from hkall_gateway.circulation.results import TRY_AGAIN, Refused
from hkall_gateway.circulation.titles import TitleSeen
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.web.i18n import gettext, language
from hkall_gateway.web.labels import told
from hkall_gateway.web.patron.login import actor, admit, facts_about, own_card, ways
from hkall_gateway.web.services import consult, execute, services
from hkall_gateway.web.sessions import patron

PAGES = Blueprint("request_title", __name__)

REPEATED_S: Final = 900
"""Seconds in which the same request again (a second tab, the back button, a doubled click) gets the first answer."""
INBOX: Final = "web"


@PAGES.get("/title/<title:bib_id>/request")
def form(bib_id: str) -> str:
    """The page: the form, or why this title cannot be requested."""
    seen, typed = _title(bib_id), request.args
    no = _of_title(seen, typed)
    if no is None and patron():  # also what keeps this patron from requesting it
        facts = facts_about(own_card(), seen.title.bib_id)
        ask = RequestTitle(actor("request"), own_card(), seen.title.bib_id, _volume(seen, typed))
        no = consult(borrowing.may_request, ask, facts) if facts.reachable else TRY_AGAIN
    return _page(seen, typed, no)


@PAGES.post("/title/<title:bib_id>/request")
def submit(bib_id: str) -> Response | str | tuple[str, int]:
    """Leads patrons of other libraries to theirs, logs a patron of ours in, and places the request."""
    seen, typed = _title(bib_id), request.form
    home = typed.get("home_library", "")
    if home != services().library().agency:
        there = next((one for one in services().settings().partners if one.agency == home), None)
        if there is None:
            return _page(seen, typed, error=gettext("Choose your home library.")), 400
        return render_template("patron/elsewhere.html", title=seen.title, there=there)
    if (no := _of_title(seen, typed)) is not None:
        return _page(seen, typed, no), 409
    if patron() is None:
        card, pin = typed.get("barcode", ""), typed.get("pin", "")
        if not card.strip() and not pin:
            chosen = {name: typed[name] for name in ("pickup", "volume") if typed.get(name)}
            back = url_for("request_title.form", bib_id=bib_id, **chosen)  # type: ignore[arg-type]  # the query
            return redirect(url_for("patron_login.form", next=back), 303)
        if wrong := admit(card, pin):
            return wrong.answer(_page(seen, typed, error=wrong.words))
    card, volume, pickup = own_card(), _volume(seen, typed), typed.get("pickup", "")[:200]
    parts = "\n".join(("request", card, seen.title.bib_id, volume, pickup))  # the same request again is a repetition
    key = InboxKey(INBOX, sha256(parts.encode("utf-8", "surrogatepass")).hexdigest(), REPEATED_S)
    outcome = execute(RequestTitle(actor("request"), card, seen.title.bib_id, volume, pickup), inbox=key)
    if isinstance(outcome, Refused):
        return _page(seen, typed, outcome), 503 if outcome.why is Reason.TRY_AGAIN else 409
    return redirect(url_for("record.page", placed=outcome.request), 303)


def _title(bib_id: str) -> TitleSeen:
    return consult(titles.see_title, bib_id) or abort(404)


def _of_title(seen: TitleSeen, typed: Mapping[str, str]) -> Refused | None:
    """Why no patron can request the chosen volume; without a choice, why none of the volumes can be requested."""
    by_volume = {one.volume: one.refusal for one in seen.volumes}
    return by_volume.get(_volume(seen, typed))


def _volume(seen: TitleSeen, typed: Mapping[str, str]) -> str:
    """The volume that was chosen, else the first one that can be requested."""
    volumes = [one.volume for one in seen.volumes]
    chosen = typed.get("volume", "")
    if chosen in volumes:
        return chosen
    return next((one.volume for one in seen.volumes if one.refusal is None), volumes[0])


def _page(seen: TitleSeen, typed: Mapping[str, str], refused: Refused | None = None, *, error: str = "") -> str:
    own, settings = services().library(), services().settings()
    names = settings.places.get(language(), {})
    # After these the form is shown again beside the refusal: another place may be chosen, or the same be tried once more.
    mendable = refused is None or refused.why in {Reason.PICKUP_LOCATION, Reason.TRY_AGAIN}
    return render_template(
        "patron/request.html",
        title=seen.title,
        no=told(refused),
        again=refused is not None and refused.why is Reason.DUPLICATE_REQUEST,
        closed=not mendable,
        error=error,
        agency=own.agency,
        known=patron() is not None,
        partners=settings.partners,
        places=[(place, names.get(place, place)) for place in own.pickup_locations],
        volumes=[(one.volume, told(one.refusal)) for one in seen.volumes],
        volume=_volume(seen, typed),
        pickup=typed.get("pickup", ""),
        card=typed.get("barcode", "")[:100],
        way=url_for("request_title.form", bib_id=seen.title.bib_id),
        **ways(),
    )
