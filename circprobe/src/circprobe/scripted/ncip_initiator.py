"""A scripted initiator, which keeps every clause unless a fault is planted."""

from __future__ import annotations

import contextlib
import http.client
from dataclasses import dataclass, field

from circprobe.ncip import documents
from circprobe.ncip.documents import Unreadable
from circprobe.ncip.responder import HEADER
from circprobe.scripted.ncip_faults import NcipFault

USER = (
    "<UserId><AgencyId>HKX</AgencyId><UserIdentifierValue>21234000</UserIdentifierValue></UserId>"
)
ITEM = "<ItemId><AgencyId>HKX</AgencyId><ItemIdentifierValue>30001</ItemIdentifierValue></ItemId>"
KIND = "<RequestType>Hold</RequestType><RequestScopeType>Item</RequestScopeType>"
DATE = "2026-12-02T10:15:00+08:00"
ADDRESS = (
    "<ShippingInformation><PhysicalAddress><UnstructuredAddress><UnstructuredAddressType>"
    "Newline-Delimited Text</UnstructuredAddressType><UnstructuredAddressData>Desk"
    "</UnstructuredAddressData></UnstructuredAddress><PhysicalAddressType>Postal Address"
    "</PhysicalAddressType></PhysicalAddress></ShippingInformation>"
)
PIN = (
    "<AuthenticationInput><AuthenticationInputData>7391</AuthenticationInputData>"
    "<AuthenticationDataFormatType>text</AuthenticationDataFormatType>"
    "<AuthenticationInputType>PIN</AuthenticationInputType></AuthenticationInput>"
)
ACCOUNT = (
    "<FiscalTransactionInformation><FiscalActionType>Payment</FiscalActionType>"
    "<FiscalTransactionType>Fine</FiscalTransactionType><Amount><CurrencyCode>HKD</CurrencyCode>"
    "<MonetaryValue>250</MonetaryValue></Amount></FiscalTransactionInformation>"
)


def _request(number: str) -> str:
    return (
        "<RequestId><AgencyId>HKA</AgencyId>"
        f"<RequestIdentifierValue>{number}</RequestIdentifierValue></RequestId>"
    )


DAY = (
    f"<LookupUser>{{header}}{USER}<UserElementType>Name Information</UserElementType></LookupUser>",
    f"<LookupUser>{{header}}{PIN}</LookupUser>",
    f"<LookupItem>{{header}}{ITEM}</LookupItem>",
    "<LookupAgency>{header}<AgencyId>HKX</AgencyId><AgencyElementType>Organization Name "
    "Information</AgencyElementType></LookupAgency>",
    f"<RequestItem>{{header}}{USER}{ITEM}{_request('R1')}{KIND}</RequestItem>",
    f"<RequestItem>{{header}}{USER}{ITEM}{_request('R2')}{KIND}</RequestItem>",
    f"<LookupRequest>{{header}}{_request('R2')}</LookupRequest>",
    f"<CancelRequestItem>{{header}}{USER}{_request('R1')}<RequestType>Hold</RequestType>"
    "</CancelRequestItem>",
    f"<ItemShipped>{{header}}{_request('R2')}<DateShipped>{DATE}</DateShipped>{ADDRESS}"
    "</ItemShipped>",
    f"<ItemReceived>{{header}}{ITEM}{_request('R2')}<DateReceived>{DATE}</DateReceived>"
    "</ItemReceived>",
    f"<AcceptItem>{{header}}{_request('R2')}<RequestedActionType>Hold For Pickup"
    f"</RequestedActionType>{USER}{ITEM}</AcceptItem>",
    f"<CheckOutItem>{{header}}{USER}{ITEM}<DesiredDateDue>{DATE}</DesiredDateDue></CheckOutItem>",
    f"<RenewItem>{{header}}{USER}{ITEM}</RenewItem>",
    f"<CheckInItem>{{header}}{ITEM}</CheckInItem>",
    f"<CreateUserFiscalTransaction>{{header}}{USER}{ACCOUNT}</CreateUserFiscalTransaction>",
    f"<ItemRenewed>{{header}}{ITEM}<DateDue>{DATE}</DateDue></ItemRenewed>",
    f"<ItemCheckedOut>{{header}}{USER}{ITEM}<DateDue>{DATE}</DateDue></ItemCheckedOut>",
    f"<ItemCheckedIn>{{header}}{ITEM}</ItemCheckedIn>",
    f"<ItemRequestCancelled>{{header}}{USER}{_request('R2')}<RequestType>Hold</RequestType>"
    "</ItemRequestCancelled>",
)
"""What the initiator sends, in order."""


@dataclass
class Initiator:
    """Sends its day, document by document, and repeats as it should."""

    port: int
    fault: NcipFault = field(default_factory=NcipFault)
    sent: int = 0

    def run(self) -> None:
        """Send everything."""
        values = {"header": HEADER, "from": "HKA", "to": "HKX", "authentication": ""}
        for fragment in DAY:
            self._deliver(documents.fill(fragment, values))

    def _deliver(self, fragment: str) -> None:
        """Send one document until it is answered, three times at most."""
        fault = self.fault
        body = self._compose(fragment)
        for attempt in range(3):
            if attempt and fault.has("changes a repeated document"):
                body = body.replace(b">R1<", b">R9<").replace(b">R2<", b">R8<")
            status, answer = self._post(body)
            if status == 503 and fault.has("takes 503 for success"):
                return
            if not status and fault.has("takes silence for success"):
                return
            if status == 200 and self._understands(answer):
                return

    def _understands(self, answer: bytes) -> bool:
        fault = self.fault
        repeats = {
            "repeats at another prefix": b"<partner:" in answer,
            "repeats at an Ext": b"Ext>" in answer,
            "repeats at the default namespace": b"<NCIPMessage xmlns=" in answer,
            "repeats at a Problem": b"Temporary Processing" in answer,
        }
        if repeats.get(fault.does):
            return False
        with contextlib.suppress(Unreadable):
            documents.read(answer)
        return True

    def _compose(self, fragment: str) -> bytes:
        fault = self.fault
        service = fragment[1 : fragment.index(">")]
        changed = fault.change_fragment(fragment, fragment)
        content = documents.compose(changed).decode()
        return fault.change_text(content, service, fragment).encode()

    def _post(self, body: bytes) -> tuple[int, bytes]:
        fault = self.fault
        headers = {"Content-Type": 'application/xml; charset="utf-8"'}
        if fault.content_type:
            headers["Content-Type"] = fault.content_type
        path = "/ncip?pin=7391" if fault.has("puts the PIN into the address") else "/ncip"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            if fault.has("uses GET") and self.sent == 0:
                connection.request("GET", path)
                connection.getresponse().read()
            self.sent += 1
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()
