"""The NCIP responder of the simulated library system: look-ups of patrons and books."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from hkall_gateway.ncip.codec import documents
from hkall_gateway.ncip.codec.dialects import DIALECTS
from hkall_gateway.ncip.codec.messages import SHAPES, NcipMessage
from hkall_gateway.net.http_post import HttpReply, NoReply, NotSent
from hkall_gateway.simulator.ils import SimulatedIls
from hkall_gateway.xml.tree import Fields, Value

URL: Final = "http://ils.test/ncip"


class IlsResponder:
    """Replies to documents posted to the library system, from any caller if `secret` is empty."""

    def __init__(self, system: SimulatedIls, secret: str = "") -> None:
        self._system, self._secret = system, secret

    async def post(self, url: str, body: bytes, timeout_s: float) -> HttpReply:  # noqa: ARG002  # simulated time does not pass
        """Return the reply to a document, in place of an HTTP client."""
        if self._system.state != "here":
            raise (NotSent if self._system.state == "away" else NoReply)(self._system.state)
        return HttpReply(status=200, content_type='application/xml; charset="utf-8"', body=self.answer(documents.decode(body)))

    def answer(self, request: NcipMessage) -> bytes:
        """Return the reply to a document."""
        self._system.heard.append(
            f"{request.service} {request.text('UserId/UserIdentifierValue') or request.text('ItemId')}".strip()
        )
        if self._system.documents:
            return self._system.documents.pop(0)
        inputs = request.text("InitiationHeader/FromAgencyAuthentication")
        if self._secret and inputs != self._secret:
            fields: Fields = _problem("Agency Authentication Failed")
        elif request.service in SERVICES:
            fields = SERVICES[request.service](self._system, request)
        else:
            fields = _problem("Unsupported Service")
        return documents.encode(NcipMessage(service=SHAPES[request.service].reply, fields=fields), DIALECTS["direct"])


def _look_up_user(system: SimulatedIls, request: NcipMessage) -> Fields:
    inputs = {
        one.text("AuthenticationInputType"): one.text("AuthenticationInputData") for one in request.each("AuthenticationInput")
    }
    card = request.text("UserId/UserIdentifierValue") or inputs.get("Barcode Id", "")
    reader = system.reader(card)
    if reader is None:
        return _problem("Unknown User")
    if "PIN" in inputs and inputs["PIN"] != reader.pin:
        return _problem("User Authentication Failed")
    loans = system.loans_of(reader.card)
    listed: list[Value] = [{"ItemId": _item_id(system, book.barcode), "Title": book.title} for book in loans]
    count = {"CirculationStatus": "On Loan", "LoanedItemCountValue": str(reader.loans + len(loans))}
    blocks: list[Value] = [{"AgencyId": system.agency, "BlockOrTrapType": "Block Check Out"}] if reader.blocked else []
    return {
        "UserId": {"AgencyId": system.agency, "UserIdentifierValue": reader.card},
        **({"LoanedItemsCount": [count], "LoanedItem": listed} if request.has("LoanedItemsDesired") else {}),
        "UserOptionalFields": {
            "NameInformation": {"PersonalNameInformation": {"UnstructuredPersonalUserName": reader.name or reader.card}},
            **({"BlockOrTrap": blocks} if blocks else {}),
        },
    }


def _look_up_item(system: SimulatedIls, request: NcipMessage) -> Fields:
    book = system.books.get(request.text("ItemId/ItemIdentifierValue"))
    if book is None:
        return _problem("Unknown Item")
    status = "On Loan" if book.reader else "Available On Shelf"
    return {"ItemId": _item_id(system, book.barcode), "ItemOptionalFields": {"CirculationStatus": status}}


def _item_id(system: SimulatedIls, barcode: str) -> Fields:
    return {"AgencyId": system.agency, "ItemIdentifierValue": barcode}


def _problem(kind: str) -> Fields:
    return {"Problem": [{"ProblemType": kind}]}


SERVICES: Final[Mapping[str, Callable[[SimulatedIls, NcipMessage], Fields]]] = {
    "LookupUser": _look_up_user,
    "LookupItem": _look_up_item,
}
