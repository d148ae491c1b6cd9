"""API operations for staff: requests and their commands, work lists, and statistics."""

from __future__ import annotations

from functools import partial
from typing import Final

from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from hkall_gateway.circulation import queries
from hkall_gateway.circulation.borrowing import RequestTitle
from hkall_gateway.circulation.fines import Refund
from hkall_gateway.circulation.results import Refused
from hkall_gateway.circulation.staff import console, permitted
from hkall_gateway.circulation.staff.actions import Act, Reopen
from hkall_gateway.circulation.staff.console import list_counts, statistics_of, work_list
from hkall_gateway.db.queries.work_lists import Only, PageOrder
from hkall_gateway.web.api import models
from hkall_gateway.web.api.access import SECURITY, IdempotencyHeader, actor, execute_once, inbox_key, role
from hkall_gateway.web.api.problems import Reply, Trouble, described, refused
from hkall_gateway.web.services import execute

REQUESTS, MONEY, LISTS, STATISTICS = (
    APIBlueprint(name, __name__, abp_tags=[Tag(name=tag)], abp_security=SECURITY, abp_responses=described())
    for name, tag in (("requests", "Requests"), ("money", "Money"), ("lists", "Work lists"), ("statistics", "Statistics"))
)
"""Blueprints whose names are prefixes of the operation ids that clients use."""

_ACTIONS: Final = {row.name: row for row in permitted.ACTIONS}


@REQUESTS.post("/requests/search", responses={"200": models.Found})
def search(body: models.SearchBody) -> Reply:
    """Find requests by number, barcode, card or title words. The search changes nothing and needs no Idempotency-Key."""
    return models.Found.json_of({"requests": execute(console.search_requests(body.q, role()))})


@REQUESTS.get("/requests/<number>", responses={"200": models.RequestDetail, **described(404)})
def one(path: models.RequestPath) -> Reply:
    """Show a request with its journal, the lenders, and the commands that are possible now."""
    page = execute(console.request_page(path.number, role()))
    return refused(page) if isinstance(page, Refused) else models.RequestDetail.json_of(page)


@REQUESTS.post("/requests", responses={"201": models.Placed, **described(404, 409)})
def place(header: IdempotencyHeader, body: models.PlaceBody) -> Reply:
    """Place a request for a patron. The rules apply, but a second request for the same title is allowed."""
    card = execute(queries.present_card(body.card))
    command = RequestTitle(
        by=actor("place"), patron=card, bib_id=body.bib_id, volume=body.volume, pickup_location=body.pickup, staff=True
    )
    return execute_once(command, header, models.Placed, 201)


@REQUESTS.post("/requests/<number>/<action>", responses={"200": models.ActionDone, **described(404, 409)})
def act(path: models.ActionPath, header: IdempotencyHeader, body: models.ActionBody) -> Reply:
    """Run a staff command on a request: receive, lend, return, renew, cancel, extend and others."""
    row = _ACTIONS.get(path.action)
    if row is None:
        raise Trouble(404, f"no command {path.action}; the request's `actions` names them")
    if role() < row.role:
        raise Trouble(403, f"{row.name} needs a token with the role {row.role.word}")
    agency, _, barcode = (body.lender if "lender" in row.takes else body.item).rpartition("/")
    if body.lender and not agency:
        agency, barcode = barcode, ""
    make_command = Reopen if row.name == permitted.REOPEN else partial(Act, action=row.name)
    command = make_command(
        by=actor(row.name),
        request=path.number,
        barcode=barcode,
        agency=agency,
        reason=body.reason,
        on=body.on,
        cents=body.cents,
        position=body.to,
    )
    outcome = execute(command, inbox=inbox_key(header))
    if isinstance(outcome, Refused):
        return refused(outcome)
    number = getattr(outcome, "request", path.number)  # `reopen` places a new request
    after = execute(console.request_page(number, role()))
    done = models.ActionDone(
        request=number,
        position="" if isinstance(after, Refused) else after.request.position.value,
        again=getattr(outcome, "again", False),
        due=getattr(outcome, "due", None),
        cents=getattr(outcome, "cents", 0) or getattr(outcome, "fine_cents", 0),
        note=getattr(outcome, "note", ""),
    )
    return done.model_dump(mode="json")


@MONEY.post("/refunds", responses={"200": models.RefundDone, **described(409)})
def refund(header: IdempotencyHeader, body: models.RefundBody) -> Reply:
    """Record that a patron got money back which we owed, for a book that was paid for and found again."""
    command = Refund(by=actor("refund"), card=body.card, cents=body.cents, transaction_id=body.transaction)
    return execute_once(command, header, models.RefundDone)


@LISTS.get("/lists", responses={"200": models.ListCounts})
def counts() -> Reply:
    """Count the requests in each work list."""
    return models.ListCounts(counts={str(name): number for name, number in execute(list_counts()).items()}).model_dump()


@LISTS.get("/lists/<name>", responses={"200": models.ListPageRecord, **described(404)})
def page(path: models.ListPath, query: models.ListQuery) -> Reply:
    """Show one page of a work list."""
    order = PageOrder(key=query.sort, reverse=query.reverse, after=query.after, most=query.most)
    found = execute(
        work_list(path.name, role(), order, Only(partner=query.partner, pickup=query.pickup, material=query.material))
    )
    return models.ListPageRecord.json_of(found)


@STATISTICS.get("/statistics", responses={"200": models.StatisticsRecord})
def period(query: models.PeriodQuery) -> Reply:
    """Count requests, turnaround times, refusals and declines in a period, by month and partner."""
    found = execute(statistics_of(query.first, query.last))
    return refused(found) if isinstance(found, Refused) else models.StatisticsRecord.json_of(found)
