"""A patron's own token, by card and PIN. A new one each time, so that no Idempotency-Key is needed."""

from __future__ import annotations

import secrets
from typing import Any

from flask_openapi3.blueprint import APIBlueprint

from hkall_gateway.db import web_sessions
from hkall_gateway.db.api_tokens import hash_of
from hkall_gateway.db.web_sessions import API_LONGEST, PATRON_API, WebSession, digest
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.web.api.access import CHALLENGE, PATRON_PREFIX, SECURITY, patron_session
from hkall_gateway.web.api.patron_models import PatronLogin, PatronToken
from hkall_gateway.web.api.problems import Trouble, described, refused
from hkall_gateway.web.patron import pins
from hkall_gateway.web.patron.pins import PinRefused
from hkall_gateway.web.services import services
from hkall_gateway.web.sessions import PIN, count_login

API = APIBlueprint("patron_token", __name__, abp_responses=described())


@API.post("/patron-token", responses={"201": PatronToken})
def make(body: PatronLogin) -> Any:
    """A token for an hour by card and PIN. After some wrong ones each further try waits; no card is locked by them."""
    found = pins.check(body.barcode, body.pin)
    if isinstance(found, PinRefused):
        return _refused(found)
    now, text = services().now(), PATRON_PREFIX + secrets.token_urlsafe(32)
    ends = now + API_LONGEST
    credential = digest(pins.compared_hash(found))
    row = WebSession(hash_of(text), PATRON_API, "", found.barcode, "", "", PIN, "", now, now, ends, credential)
    services().bridge.run(web_sessions.begin, row, now)
    count_login("patron", "admitted")
    return PatronToken(token=text, ends_at=ends).model_dump(mode="json"), 201


@API.delete("/patron-token", security=SECURITY, responses={"204": None})
def end() -> Any:
    """End this token at once. A client's token is ended by `hkall-gateway token revoke`."""
    own = patron_session()
    if own is None:
        raise Trouble(403, "this needs a patron's own token")
    services().bridge.run(web_sessions.end, own.token_hash)
    services().circulation.ils.own_loans.forget(own.patron)
    return "", 204


def _refused(no: PinRefused) -> Any:
    if no.wait_s:
        raise Trouble(429, f"too many wrong PINs; wait {no.wait_s} s", **{"Retry-After": str(no.wait_s)})
    if no.why.why is Reason.TRY_AGAIN:
        return refused(no.why, to_patron=True)
    raise Trouble(401, "card or PIN is wrong", **{"WWW-Authenticate": CHALLENGE})
