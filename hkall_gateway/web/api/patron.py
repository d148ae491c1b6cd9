"""Operations of a patron: request, record, cancel, renew. The desk decides, as for the pages."""

from __future__ import annotations

from typing import Any

from flask import Response
from flask_openapi3.blueprint import APIBlueprint

from hkall_gateway.circulation import patron_record
from hkall_gateway.circulation.common.context import Context, in_context
from hkall_gateway.circulation.ils.local_system import TRY_AGAIN
from hkall_gateway.circulation.messages.commands import CancelRequest, Renew, RequestTitle
from hkall_gateway.circulation.messages.results import Cancelled, Refused, Renewed, Requested
from hkall_gateway.circulation.messages.terminal_commands import RenewAll
from hkall_gateway.circulation.ports import AWAY, BorrowerFacts
from hkall_gateway.circulation.staff import explaining
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import ItemKey
from hkall_gateway.web.api import patron_models as models
from hkall_gateway.web.api.access import SECURITY, actor, card
from hkall_gateway.web.api.idempotency import IdempotencyHeader, inbox_key
from hkall_gateway.web.api.models import Placed, RequestPath
from hkall_gateway.web.api.problems import described, refused
from hkall_gateway.web.services import consult, services

API = APIBlueprint("patron", __name__, url_prefix="/patron", abp_security=SECURITY, abp_responses=described())


@API.post("/may-request", responses={"200": models.MayRequest})
def may_request(body: models.RequestBody) -> Any:
    """Whether a request would be placed now. It changes no data, and needs no Idempotency-Key."""
    own = services()
    asked = explaining.request(actor("may-request"), card(body.card), body.bib_id, body.volume, body.pickup)
    known, now = _facts(asked.patron, body.bib_id), own.now()
    found: Any = own.bridge.read(in_context, explaining.explained, own.library(), now, asked, known, now)
    no = found.outcome if isinstance(found.outcome, Refused) else None
    if no and no.why is Reason.TRY_AGAIN:
        return _refused(no)
    return models.MayRequest(allowed=no is None, refusal=models.why_not(no)).model_dump()


@API.post("/requests", responses={"201": Placed, **described(404, 409)})
def place(header: IdempotencyHeader, body: models.RequestBody) -> Any:
    """Place a request; the rules decide. A second request for the same title is refused."""
    wanted = card(body.card)
    ask = RequestTitle(actor("place"), wanted, body.bib_id, body.volume, body.pickup)
    outcome = services().bridge.ask(services().circulation.execute(ask, inbox=inbox_key(header)))
    if isinstance(outcome, Refused):
        return _refused(outcome)
    assert isinstance(outcome, Requested)
    return Placed(request=outcome.request).model_dump(), 201


@API.post("/record", responses={"200": models.CirculationRecord, **described(404)})
def record(body: models.OnBehalf) -> Any:
    """The circulation record as it is now, without past loans. It changes no data, and needs no Idempotency-Key."""
    owner = card(body.card)
    facts = _facts(owner)
    if facts.borrower is None:
        return _refused(Refused(facts.stranger) if facts.reachable else TRY_AGAIN)
    found = consult(patron_record.patron_record, facts.borrower.barcode, facts)
    own = services().bridge.ask(services().circulation.ils.own_loans.of(owner))
    beside = None if isinstance(own, Refused) or own is None else patron_record.beside(found, own)
    return models.circulation_record(found, beside).model_dump(mode="json")


@API.post("/requests/<number>/cancel", responses={"200": models.CancelledRecord, **described(404, 409)})
def cancel(path: RequestPath, header: IdempotencyHeader, body: models.OnBehalf) -> Any:
    """Cancel a request of this patron, which is possible until its library has sent the book."""
    owner = card(body.card)
    ask = CancelRequest(actor("cancel"), owner, request=path.number)
    outcome = services().bridge.ask(services().circulation.execute(ask, inbox=inbox_key(header)))
    if isinstance(outcome, Refused):
        return _refused(outcome)
    assert isinstance(outcome, Cancelled)
    return models.CancelledRecord(request=outcome.request).model_dump()


@API.post("/requests/<number>/renew", responses={"200": models.RenewedRecord, **described(404, 409)})
def renew(path: RequestPath, header: IdempotencyHeader, body: models.OnBehalf) -> Any:
    """Renew a loan of this patron."""
    owner = card(body.card)
    item = consult(_lent, owner, path.number)
    if isinstance(item, Refused):
        return _refused(item)
    ask = Renew(actor("renew"), owner, item.barcode, item.agency)
    outcome = services().bridge.ask(services().circulation.execute(ask, inbox=inbox_key(header)))
    if isinstance(outcome, Refused):
        return _refused(outcome)
    assert isinstance(outcome, Renewed)
    return models.renewed(outcome).model_dump(mode="json")


@API.post("/renew-all", responses={"200": models.AllRenewedRecord, **described(404, 409)})
def renew_all(header: IdempotencyHeader, body: models.OnBehalf) -> Any:
    """Renew every loan of this patron that may be renewed; the others come with the reason."""
    ask = RenewAll(actor("renew"), card(body.card), fee_acknowledged=True)
    outcome = services().bridge.ask(services().circulation.execute(ask, inbox=inbox_key(header)))
    if isinstance(outcome, Refused):
        return _refused(outcome)
    return models.all_renewed(outcome).model_dump(mode="json")


def _refused(no: Refused) -> Response:
    """A refusal in words for a patron."""
    return refused(no, to_patron=True)


def _lent(context: Context, owner: str, number: str) -> ItemKey | Refused:
    """The copy of a request of this patron; another patron's request is as unknown as one that there never was."""
    found = context.unit.request(number)
    if found is None or found.patron != owner:
        return Refused(Reason.UNKNOWN_REQUEST)
    return found.item or Refused(Reason.NOT_ON_LOAN)


def _facts(owner: str, bib_id: str = "") -> BorrowerFacts:
    """The facts about a card from the library's own system; AWAY if it does not answer."""
    found = services().bridge.ask(services().circulation.ils.known(owner, bib_id))
    return AWAY if isinstance(found, Refused) else found
