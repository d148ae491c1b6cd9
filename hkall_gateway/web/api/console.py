"""The half of the API for staff: requests with their commands, work lists, and statistics."""

from __future__ import annotations

from typing import Any, Final

from flask_openapi3.blueprint import APIBlueprint

from hkall_gateway.circulation.messages.commands import RequestTitle
from hkall_gateway.circulation.messages.staff_commands import Act, Reopen
from hkall_gateway.circulation.results import Refused, Requested
from hkall_gateway.circulation.staff import console, permitted
from hkall_gateway.circulation.staff.console import list_counts, statistics_of, work_list
from hkall_gateway.db import bind
from hkall_gateway.db.loads.former_cards import card_now
from hkall_gateway.db.queries.work_lists import Only, PageOrder
from hkall_gateway.web.api import models
from hkall_gateway.web.api.access import SECURITY, IdempotencyHeader, actor, inbox_key, role
from hkall_gateway.web.api.problems import Trouble, described, refused
from hkall_gateway.web.services import consult, services

REQUESTS, LISTS, STATISTICS = (
    APIBlueprint(name, __name__, abp_security=SECURITY, abp_responses=described())
    for name in ("requests", "lists", "statistics")
)
"""Their names begin the identifiers of the operations, which clients use."""

_ACTIONS: Final = {row.name: row for row in permitted.ACTIONS}


@REQUESTS.post("/requests/search", responses={"200": models.Found})
def search(body: models.SearchBody) -> Any:
    """Find requests by number, barcode, card or words of the title. Nothing is changed: no Idempotency-Key is needed."""
    return models.found(consult(console.search_requests, body.q, role())).model_dump(mode="json")


@REQUESTS.get("/requests/<number>", responses={"200": models.RequestDetail, **described(404)})
def one(path: models.RequestPath) -> Any:
    """One request with its journal, its lenders, and the commands that are possible now."""
    page = consult(console.request_page, path.number, role())
    return refused(page) if isinstance(page, Refused) else models.request_detail(page).model_dump(mode="json")


@REQUESTS.post("/requests", responses={"201": models.Placed, **described(404, 409)})
def place(header: IdempotencyHeader, body: models.PlaceBody) -> Any:
    """Place a patron's request; the rules decide, a second request for a title is allowed."""
    key = inbox_key(header)
    card = services().bridge.read(bind(card_now, body.card))
    ask = RequestTitle(actor("place"), card, body.bib_id, body.volume, body.pickup, staff=True)
    outcome = services().bridge.ask(services().circulation.execute(ask, inbox=key))
    if isinstance(outcome, Refused):
        return refused(outcome)
    assert isinstance(outcome, Requested)
    return models.Placed(request=outcome.request).model_dump(), 201


@REQUESTS.post("/requests/<number>/<action>", responses={"200": models.ActionDone, **described(404, 409)})
def act(path: models.ActionPath, header: IdempotencyHeader, body: models.ActionBody) -> Any:
    """Give one command of staff on a request: receive, lend, return, renew, cancel, extend …"""
    row = _ACTIONS.get(path.action)
    if row is None:
        raise Trouble(404, f"no command {path.action}; the request's `actions` names them")
    if role() < row.role:
        raise Trouble(403, f"{row.name} needs a token with the role {row.role.word}")
    key = inbox_key(header)
    circulation, named = services().circulation, _named(path, body)
    asked = (
        circulation.execute(Reopen(**named), inbox=key)
        if row.name == permitted.REOPEN
        else circulation.execute(Act(**named, action=row.name), inbox=key)
    )
    outcome: Any = services().bridge.ask(asked)
    return refused(outcome) if isinstance(outcome, Refused) else _done(outcome).model_dump(mode="json")


def _named(path: models.ActionPath, body: models.ActionBody) -> dict[str, Any]:
    """Return the fields of a staff command."""
    agency, _, barcode = (body.lender if "lender" in _ACTIONS[path.action].takes else body.item).rpartition("/")
    if body.lender and not agency:
        agency, barcode = barcode, ""
    return {
        "by": actor(path.action),
        "request": path.number,
        "barcode": barcode,
        "agency": agency,
        "reason": body.reason,
        "on": body.on,
        "cents": body.cents,
        "position": body.to,
    }


def _done(outcome: Any) -> models.ActionDone:
    """The results of commands differ; what they have in common is told."""
    facts: dict[str, Any] = {
        name: getattr(outcome, name, usual) for name, usual in (("again", False), ("due", None), ("note", ""))
    }
    after = consult(console.request_page, outcome.request, role())
    position = "" if isinstance(after, Refused) else after.request.position.value
    cents = getattr(outcome, "cents", 0) or getattr(outcome, "fine_cents", 0)
    return models.ActionDone(request=outcome.request, position=position, cents=cents, **facts)


@LISTS.get("/lists", responses={"200": models.ListCounts})
def counts() -> Any:
    """The number of requests in each work list."""
    return models.ListCounts(counts={str(name): number for name, number in consult(list_counts).items()}).model_dump()


@LISTS.get("/lists/<name>", responses={"200": models.ListPageRecord, **described(404)})
def page(path: models.ListPath, query: models.ListQuery) -> Any:
    """A page of a work list."""
    order = PageOrder(query.sort, query.reverse, query.after, query.most)
    found = consult(work_list, path.name, role(), order, Only(query.partner, query.pickup, query.material))
    return models.list_page(found).model_dump(mode="json")


@STATISTICS.get("/statistics", responses={"200": models.StatisticsRecord})
def period(query: models.PeriodQuery) -> Any:
    """Requests, turnaround, refusals and declines of a period, by month and partner."""
    found = consult(statistics_of, query.first, query.last)
    return (
        refused(found) if isinstance(found, Refused) else models.StatisticsRecord.model_validate(found).model_dump(mode="json")
    )
