"""API operations for patrons: the union catalogue, a token for card and PIN, requests, and the circulation record."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from hkall_gateway.circulation import patron_record, queries, titles
from hkall_gateway.circulation.borrowing import CancelRequest, RequestTitle
from hkall_gateway.circulation.loans import Renew, RenewAll
from hkall_gateway.circulation.results import TRY_AGAIN, Refused
from hkall_gateway.circulation.staff import explaining
from hkall_gateway.db.api_tokens import hash_of
from hkall_gateway.db.search.parsing import LONGEST, MOST_WORDS, BadQuery
from hkall_gateway.db.search.searching import Narrowing
from hkall_gateway.db.web_sessions import API_LONGEST, PATRON_API, WebSession, digest
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.web.api import patron_models as models
from hkall_gateway.web.api.access import (
    CHALLENGE,
    PATRON_PREFIX,
    SECURITY,
    IdempotencyHeader,
    actor,
    card,
    execute_once,
    patron_session,
)
from hkall_gateway.web.api.models import Placed, RequestPath
from hkall_gateway.web.api.patron_models import PatronLogin, PatronToken
from hkall_gateway.web.api.problems import Reply, Trouble, described, refused
from hkall_gateway.web.i18n import place_name
from hkall_gateway.web.patron import login
from hkall_gateway.web.patron.login import PinRefused, facts_about
from hkall_gateway.web.patron.record import own_loans
from hkall_gateway.web.services import execute, explain, services
from hkall_gateway.web.sessions import PIN, count_login

TITLES = APIBlueprint("titles", __name__, abp_tags=[Tag(name="Titles")], abp_responses=described())
TOKEN = APIBlueprint("patron_token", __name__, abp_tags=[Tag(name="Patrons' tokens")], abp_responses=described())
PATRON = APIBlueprint(
    "patron",
    __name__,
    url_prefix="/patron",
    abp_tags=[Tag(name="Patrons")],
    abp_security=SECURITY,
    abp_responses=described(),
)


@TOKEN.post("/patron-token", responses={"201": PatronToken})
def make(body: PatronLogin) -> Reply:
    """Issue a token for one hour in exchange for card and PIN. Wrong PINs delay further attempts, but never lock a card."""
    found = login.check(body.barcode, body.pin)
    if isinstance(found, PinRefused):
        if found.wait_s:
            raise Trouble(429, f"too many wrong PINs; wait {found.wait_s} s", **{"Retry-After": str(found.wait_s)})
        if found.why.why is Reason.TRY_AGAIN:
            return refused(found.why, to_patron=True)
        raise Trouble(401, "card or PIN is wrong", **{"WWW-Authenticate": CHALLENGE})
    now, text = services().now(), PATRON_PREFIX + secrets.token_urlsafe(32)
    ends = now + API_LONGEST
    credential = digest(login.compared_hash(found))
    row = WebSession(
        token_hash=hash_of(text),
        kind=PATRON_API,
        login="",
        patron=found.barcode,
        name="",
        role="",
        source=PIN,
        csrf="",
        created_at=now,
        seen_at=now,
        ends_at=ends,
        credential=credential,
    )
    services().visits.begin_token(row)
    count_login("patron", "admitted")
    return PatronToken(token=text, ends_at=ends).model_dump(mode="json"), 201


@TOKEN.delete("/patron-token", security=SECURITY, responses={"204": None})
def end() -> Reply:
    """Revoke this token. A client's token is revoked by `hkall-gateway token revoke`."""
    patron_token = patron_session()
    if patron_token is None:
        raise Trouble(403, "this needs a patron's own token")
    services().visits.end(patron_token.token_hash)
    services().circulation.ils.forget_loans(patron_token.patron)
    return "", 204


# fmt: off
BAD: Final[Mapping[BadQuery, str]] = MappingProxyType({
    BadQuery.NO_WORDS:       "q: has neither letters nor digits",
    BadQuery.TOO_LONG:       f"q: has more than {LONGEST} characters",
    BadQuery.TOO_MANY_WORDS: f"q: has more than {MOST_WORDS} words",
    BadQuery.NO_SUCH_PAGE:   "page: there are fewer pages",
    BadQuery.NO_ISBN:        "q: is no ISBN",
})
# fmt: on


@TITLES.get("/search", responses={"200": models.TitlesFound})
def search(query: models.SearchQuery) -> Reply:
    """Find titles with all search words, 20 per page. Quotation marks make a phrase. An ISBN matches in both forms."""
    found = execute(titles.search_titles(query.q, query.field, Narrowing(**query.model_dump(exclude={"q", "field"}))))
    if isinstance(found, BadQuery):
        raise Trouble(422, BAD[found])
    return models.titles_found(found)


@TITLES.get("/titles/<title:bib_id>", responses={"200": models.TitleDetail, **described(404)})
def one(path: models.TitlePath) -> Reply:
    """Show a title, its copies with their last reported statuses, and whether the title can be requested."""
    seen = execute(titles.see_title(path.bib_id))
    if seen is None:
        raise Trouble(404, "no library has this title")
    live = services().live_status(path.bib_id, seen.to_ask(models.MOST_COPIES))
    now = titles.with_live_statuses(seen, live, services().library().policy)
    places = [{"code": code, "name": place_name(code)} for code in services().library().pickup_locations]
    return models.title_detail(now, live, places)


@PATRON.post("/may-request", responses={"200": models.MayRequest})
def may_request(body: models.RequestBody) -> Reply:
    """Check whether a request would be accepted now. The check changes nothing and needs no Idempotency-Key."""
    question = explaining.request(actor("may-request"), card(body.card), body.bib_id, body.volume, body.pickup)
    found = explain(question)
    refusal = found.outcome if isinstance(found.outcome, Refused) else None
    if refusal and refusal.why is Reason.TRY_AGAIN:
        return refused(refusal, to_patron=True)
    return models.MayRequest.json_of({"allowed": refusal is None, "refusal": refusal})


@PATRON.post("/requests", responses={"201": Placed, **described(404, 409)})
def place(header: IdempotencyHeader, body: models.RequestBody) -> Reply:
    """Place a request. The rules apply; a second request for the same title is refused."""
    command = RequestTitle(
        by=actor("place"), patron=card(body.card), bib_id=body.bib_id, volume=body.volume, pickup_location=body.pickup
    )
    return execute_once(command, header, Placed, 201, to_patron=True)


@PATRON.post("/record", responses={"200": models.CirculationRecord, **described(404)})
def record(body: models.OnBehalf) -> Reply:
    """Show the current circulation record, without past loans. The query changes nothing and needs no Idempotency-Key."""
    owner = card(body.card)
    facts = facts_about(owner)
    if facts.borrower is None:
        return refused(Refused(why=facts.stranger) if facts.reachable else TRY_AGAIN, to_patron=True)
    found = execute(patron_record.patron_record(facts.borrower.barcode, facts))
    return models.circulation_record(found, own_loans(owner, found))


@PATRON.post("/requests/<number>/cancel", responses={"200": models.CancelledRecord, **described(404, 409)})
def cancel(path: RequestPath, header: IdempotencyHeader, body: models.OnBehalf) -> Reply:
    """Cancel one of the patron's requests, which is possible until the lender has sent the book."""
    command = CancelRequest(by=actor("cancel"), patron=card(body.card), request=path.number)
    return execute_once(command, header, models.CancelledRecord, to_patron=True)


@PATRON.post("/requests/<number>/renew", responses={"200": models.RenewedRecord, **described(404, 409)})
def renew(path: RequestPath, header: IdempotencyHeader, body: models.OnBehalf) -> Reply:
    """Renew one of the patron's loans."""
    owner = card(body.card)
    item = execute(queries.lent_item(owner, path.number))
    if isinstance(item, Refused):
        return refused(item, to_patron=True)
    command = Renew(by=actor("renew"), card=owner, barcode=item.barcode, agency=item.agency)
    return execute_once(command, header, models.RenewedRecord, to_patron=True)


@PATRON.post("/renew-all", responses={"200": models.AllRenewedRecord, **described(404, 409)})
def renew_all(header: IdempotencyHeader, body: models.OnBehalf) -> Reply:
    """Renew every loan of the patron that may be renewed. List the other loans with the reasons."""
    command = RenewAll(by=actor("renew"), card=card(body.card), fee_acknowledged=True)
    return execute_once(command, header, models.AllRenewedRecord, to_patron=True)
