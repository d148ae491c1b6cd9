"""A small NCIP responder over the toy library, which keeps every clause but a planted fault's."""

from __future__ import annotations

import http.server
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from xml.sax.saxutils import escape

from circprobe.ncip import documents
from circprobe.ncip.documents import Document, Unreadable
from circprobe.scripted.library import Item, Library, Patron
from circprobe.scripted.ncip_faults import NcipFault

AGENCIES = {"HKA", "HKX"}
OWN_AGENCY = "HKX"
PROBLEM_SCHEME = "http://www.niso.org/ncip/v1_0/schemes/processingerrortype/"
NOTIFICATIONS = {
    *("ItemShipped", "ItemReceived", "ItemRequested", "ItemCheckedOut", "ItemCheckedIn"),
    *("ItemRenewed", "ItemRequestCancelled", "ItemRecalled"),
}


class Problem(Exception):
    """An answer in the negative: the type of the problem, the element and its value."""

    def __init__(self, kind: str, element: str = "", value: str = "") -> None:
        super().__init__(kind)
        self.kind = kind
        self.element = element
        self.value = value


@dataclass
class Request:
    """A request of a partner."""

    number: str
    item: str
    is_cancelled: bool = False


@dataclass
class NcipAnswers:
    """Answers documents.

    Attributes:
        log: service, time and body of each document, for the other side's count.
    """

    library: Library
    fault: NcipFault = field(default_factory=NcipFault)
    knows_every_agency: bool = False
    requests: dict[str, Request] = field(default_factory=dict)
    log: list[tuple[float, str, bytes]] = field(default_factory=list)
    last: str = ""
    broken: str = ""
    wrong_pins: int = 0
    checked_in: set[str] = field(default_factory=set)
    answered_version_1: bool = False

    def answer(self, body: bytes) -> bytes:
        """Answer a body with a message, whatever the body is."""
        asked = body.decode("utf-8", "replace")
        try:
            document = self._read(body)
        except Unreadable as error:
            self.log.append((time.monotonic(), "", body))
            self.last = asked
            problem = Problem("Invalid Message Syntax Error", "NCIPMessage", "")
            return self._finish(_problem(problem, str(error)), "Problem", "v2", asked)
        self.log.append((time.monotonic(), document.service, body))
        if self._is_broken(asked):
            return b""
        is_version_1 = document.is_version_1 and _says_version_1(document, asked)
        stays = self.fault.has("stays in version 1") and self.answered_version_1
        if is_version_1 and not self.fault.has("answers version 1 in version 2"):
            self.answered_version_1 = "<LookupUser>" in asked and "CIRC" not in asked
            return self._answer_version_1(document, asked)
        if stays:
            return self._answer_version_1(document, asked)
        return self._answer_version_2(document, asked)

    def _is_broken(self, asked: str) -> bool:
        """Say whether a fault leaves a document without an answer."""
        fault = self.fault
        if fault.has("answers every second document only") and asked == self.last:
            return True
        is_broken = (
            (fault.has("breaks after an unknown service") and "LookUpEverything" in self.last)
            or (
                fault.has("breaks after a malformed document") and "<LookupUser></NCIP" in self.last
            )
            or (fault.has("breaks after entities") and "&d;" in self.last)
        )
        # A client may try once more on a new connection; it stays broken for that document.
        if not is_broken or asked == self.broken:
            self.last = asked
        self.broken = asked if is_broken else ""
        return is_broken

    def _read(self, body: bytes) -> Document:
        if b"<!ENTITY" in body and not self.fault.has("resolves entities"):
            raise Unreadable("an internal subset is not allowed")
        if self.fault.has("resolves entities"):
            body = body.replace(b"&secret;", b"secret-of-the-server")
            body = re.sub(rb"<!DOCTYPE[^\[]*\[.*?\]>", b"", body, flags=re.DOTALL)
        return documents.read(body)

    def _answer_version_2(self, document: Document, asked: str) -> bytes:
        service = document.service
        try:
            self._check_form(document, asked)
            handler = _HANDLERS.get(service)
            if service in NOTIFICATIONS:
                handler = NcipAnswers._notification
            if handler is None:
                kind = "Unsupported Service" if service in documents.SERVICES else "Unknown Service"
                answer = _problem(Problem(kind, "NCIPMessage", service), "not a service here")
                return self._finish(answer, "Problem", "v2", asked)
            payload = self._authorized(document, handler)
        except Problem as problem:
            payload = _problem(problem, "please correct it and send it again")
        header = self._header(document)
        fragment = f"<{service}Response>{header}{payload}</{service}Response>"
        return self._finish(fragment, f"{service}Response", "v2", asked)

    def _check_form(self, document: Document, asked: str) -> None:
        """Refuse what a fault makes this responder refuse."""
        refused = REFUSED.get(self.fault.does)
        if refused is not None and refused(asked):
            raise Problem("Invalid Message Syntax Error", document.service)

    def _authorized(
        self, document: Document, handler: Callable[[NcipAnswers, Document], str]
    ) -> str:
        sender = document.text(".//InitiationHeader/FromAgencyId/AgencyId")
        is_known = not sender or sender in AGENCIES or self.knows_every_agency
        if not is_known and not self.fault.has("serves unknown agencies"):
            raise Problem("Unknown Agency", "FromAgencyId", sender)
        if sender and self.fault.has("refuses its partners"):
            raise Problem("Agency Authentication Failed", "FromAgencyAuthentication")
        return handler(self, document)

    def _header(self, document: Document) -> str:
        sender = document.text(".//InitiationHeader/FromAgencyId/AgencyId")
        receiver = document.text(".//InitiationHeader/ToAgencyId/AgencyId")
        if not sender:
            return ""
        if self.fault.has("does not swap the agencies"):
            sender, receiver = receiver, sender
        return (
            f"<ResponseHeader><FromAgencyId><AgencyId>{escape(receiver)}</AgencyId></FromAgencyId>"
            f"<ToAgencyId><AgencyId>{escape(sender)}</AgencyId></ToAgencyId></ResponseHeader>"
        )

    def _finish(self, fragment: str, service: str, form: str, asked: str) -> bytes:
        fragment = self.fault.change_fragment(fragment, asked)
        content = documents.compose(fragment, form)
        if not self.fault.concerns(service, asked):
            return content
        return self.fault.change_text(content.decode(), service, asked).encode()

    # Lookups.

    def _user(self, document: Document) -> Patron:
        card = document.text(".//UserId/UserIdentifierValue")
        barcode, pin = _credentials(document)
        if not card and not barcode:
            raise Problem("Needed Data Missing", "UserId")
        patron = self.library.patrons.get(card or barcode)
        is_lookup = document.service == "LookupUser"
        if self.fault.has("knows every user") and patron is None and is_lookup:
            patron = Patron(card, "", "")
        if self.fault.has("knows nobody"):
            patron = None
        if patron is None:
            raise Problem("Unknown User", "UserIdentifierValue", card or barcode)
        has_wrong_pin = bool(barcode or pin) and pin != patron.pin
        self.wrong_pins += has_wrong_pin
        if self.fault.has("remembers a wrong PIN") and self.wrong_pins and barcode:
            has_wrong_pin = True
        if self.fault.has("refuses PINs") and barcode:
            has_wrong_pin = True
        if has_wrong_pin and not self.fault.has("accepts every PIN"):
            raise Problem("User Authentication Failed", "AuthenticationInput")
        return patron

    def _lookup_user(self, document: Document) -> str:
        patron = self._user(document)
        plain = document.plain
        desired = {element.text for element in plain.iter("UserElementType")}
        if self.fault.has("shows what nobody desired"):
            desired.add("Name Information")
        lists = ""
        if plain.find(".//UserFiscalAccountDesired") is not None:
            lists += (
                "<UserFiscalAccount><AccountBalance><CurrencyCode>HKD</CurrencyCode>"
                "<MonetaryValue>250</MonetaryValue></AccountBalance></UserFiscalAccount>"
            )
        wants_loans = plain.find(".//LoanedItemsDesired") is not None
        if wants_loans or self.fault.has("lists loans always"):
            lists += "".join(map(_loaned, self.library.loans_of(patron.barcode)))
        wants_requests = plain.find(".//RequestedItemsDesired") is not None
        if wants_requests or self.fault.has("lists requests always"):
            lists += "".join(map(_requested, self.library.holds_of(patron.barcode)))
        return _user_id(patron) + lists + self._user_fields(patron, desired)

    def _user_fields(self, patron: Patron, desired: set[str | None]) -> str:
        fields = ""
        if "Name Information" in desired:
            fields += (
                "<NameInformation><PersonalNameInformation><UnstructuredPersonalUserName>"
                f"{escape(patron.name)}</UnstructuredPersonalUserName></PersonalNameInformation>"
                "</NameInformation>"
            )
        if "User Address Information" in desired:
            fields += (
                "<UserAddressInformation><UserAddressRoleType>Notice</UserAddressRoleType>"
                "<ElectronicAddress><ElectronicAddressType>mailto</ElectronicAddressType>"
                "<ElectronicAddressData>wong@example.org</ElectronicAddressData>"
                "</ElectronicAddress></UserAddressInformation>"
            )
        if "User Privilege" in desired:
            fields += (
                f"<UserPrivilege><AgencyId>{OWN_AGENCY}</AgencyId><AgencyUserPrivilegeType>STATUS"
                "</AgencyUserPrivilegeType><UserPrivilegeStatus><UserPrivilegeStatusType>OK"
                "</UserPrivilegeStatusType></UserPrivilegeStatus></UserPrivilege>"
            )
        if "Block Or Trap" in desired:
            fields += (
                f"<BlockOrTrap><AgencyId>{OWN_AGENCY}</AgencyId><BlockOrTrapType>Block Renewal"
                "</BlockOrTrapType></BlockOrTrap>"
            )
        return f"<UserOptionalFields>{fields}</UserOptionalFields>" if fields else ""

    def _item(self, document: Document) -> Item:
        barcode = document.text(".//ItemId/ItemIdentifierValue")
        if not barcode:
            raise Problem("Needed Data Missing", "ItemId")
        item = self.library.items.get(barcode)
        is_lookup = document.service == "LookupItem"
        if item is None and self.fault.has("knows every item") and is_lookup:
            return Item(barcode, "A title")
        if item is None:
            raise Problem("Unknown Item", "ItemIdentifierValue", barcode)
        return item

    def _lookup_item(self, document: Document) -> str:
        number = document.text(".//RequestId/RequestIdentifierValue")
        if number and document.plain.find(".//ItemId") is None:
            raise Problem("Unknown Request", "RequestIdentifierValue", number)
        item = self._item(document)
        desired = {element.text for element in document.plain.iter("ItemElementType")}
        if self.fault.has("shows what nobody desired of an item"):
            desired.add("Bibliographic Description")
        borrower = ""
        wants_borrower = document.plain.find(".//CurrentBorrowerDesired") is not None
        if item.borrower and (wants_borrower or self.fault.has("shows the borrower always")):
            card = f"<UserIdentifierValue>{item.borrower}</UserIdentifierValue>"
            borrower = (
                f"<ItemTransaction><CurrentBorrower><UserId>{card}</UserId></CurrentBorrower>"
                "</ItemTransaction>"
            )
        fields = ""
        if "Bibliographic Description" in desired:
            title = f"<Title>{escape(item.title)}</Title>"
            fields += f"<BibliographicDescription>{title}</BibliographicDescription>"
        if "Circulation Status" in desired:
            status = "On Loan" if item.borrower else "Available On Shelf"
            if self.fault.has("shows a return late") and item.barcode in self.checked_in:
                status = "On Loan"
            fields += f"<CirculationStatus>{status}</CirculationStatus>"
        if "Hold Queue Length" in desired:
            fields += f"<HoldQueueLength>{len(item.holds)}</HoldQueueLength>"
        if "Location" in desired:
            fields += (
                "<Location><LocationType>Permanent Location</LocationType><LocationName>"
                "<LocationNameInstance><LocationNameLevel>1</LocationNameLevel><LocationNameValue>"
                "Main</LocationNameValue></LocationNameInstance></LocationName></Location>"
            )
        optional = f"<ItemOptionalFields>{fields}</ItemOptionalFields>" if fields else ""
        return _item_id(item) + borrower + optional

    def _lookup_request(self, document: Document) -> str:
        request = self._request(document)
        if self.fault.has("does not find a request"):
            raise Problem("Unknown Request", "RequestIdentifierValue", request.number)
        item = self.library.items[request.item]
        return (
            _request_id(request)
            + _item_id(item)
            + "<RequestType>Hold</RequestType><RequestStatusType>In Process</RequestStatusType>"
        )

    def _request(self, document: Document) -> Request:
        number = document.text(".//RequestId/RequestIdentifierValue")
        if not number:
            raise Problem("Needed Data Missing", "RequestId")
        request = self.requests.get(number)
        if request is None or request.is_cancelled:
            if self.fault.has("knows every request"):
                return Request(number, "30001")
            raise Problem("Unknown Request", "RequestIdentifierValue", number)
        return request

    def _lookup_agency(self, document: Document) -> str:
        service = document.plain[0]
        agency = service.findtext("AgencyId") or ""
        if not agency:
            raise Problem("Needed Data Missing", "AgencyId")
        if agency not in AGENCIES:
            raise Problem("Unknown Agency", "AgencyId", agency)
        return (
            f"<AgencyId>{escape(agency)}</AgencyId><OrganizationNameInformation>"
            "<OrganizationNameType>Official Name</OrganizationNameType>"
            "<OrganizationName>Toy Library</OrganizationName></OrganizationNameInformation>"
        )

    # Transactions.

    def _request_item(self, document: Document) -> str:
        patron = self._user(document)
        item = self._item(document)
        number = document.text(".//RequestId/RequestIdentifierValue")
        existing = self.requests.get(number)
        is_duplicate = existing is not None and not existing.is_cancelled
        if is_duplicate and not self.fault.has("opens a request twice"):
            raise Problem("Duplicate Request", "RequestIdentifierValue", number)
        if not document.text(".//RequestType"):
            raise Problem("Needed Data Missing", "RequestType")
        request = Request(number, item.barcode)
        self.requests[number] = request
        scope = "<RequestScopeType>Item</RequestScopeType>"
        kind = f"<RequestType>{escape(document.text('.//RequestType'))}</RequestType>"
        return _request_id(request) + _item_id(item) + _user_id(patron) + kind + scope

    def _cancel_request(self, document: Document) -> str:
        patron = self._user(document)
        request = self._request(document)
        if not self.fault.has("forgets a cancellation"):
            request.is_cancelled = True
        return _request_id(request) + _user_id(patron)

    def _check_out(self, document: Document) -> str:
        patron = self._user(document)
        item = self._item(document)
        if item.borrower not in {"", patron.barcode}:
            raise Problem("User Ineligible To Check Out This Item", "ItemId", item.barcode)
        if item.borrower and self.fault.has("refuses a second checkout"):
            raise Problem("User Ineligible To Check Out This Item", "ItemId", item.barcode)
        self.library.check_out(patron.barcode, item)
        return f"{_item_id(item)}{_user_id(patron)}<DateDue>{_due()}</DateDue>"

    def _check_in(self, document: Document) -> str:
        item = self._item(document)
        self.library.check_in(item)
        self.checked_in.add(item.barcode)
        return _item_id(item)

    def _renew(self, document: Document) -> str:
        patron = self._user(document)
        item = self._item(document)
        if item.borrower != patron.barcode and not self.fault.has("renews what is not lent"):
            raise Problem("Item Not Checked Out", "ItemIdentifierValue", item.barcode)
        return f"{_item_id(item)}<DateDue>{_due()}</DateDue>"

    def _accept(self, document: Document) -> str:
        self._user(document)
        number = document.text(".//RequestId/RequestIdentifierValue")
        if not number:
            raise Problem("Needed Data Missing", "RequestId")
        return _request_id(Request(number, ""))

    def _notification(self, document: Document) -> str:
        number = document.text(".//RequestId/RequestIdentifierValue")
        barcode = document.text(".//ItemId/ItemIdentifierValue")
        is_known = number in self.requests or barcode in self.library.items
        if is_known or self.fault.has("accepts every notification"):
            return ""
        if number:
            raise Problem("Unknown Request", "RequestIdentifierValue", number)
        raise Problem("Unknown Item", "ItemIdentifierValue", barcode)

    # Version 1.

    def _answer_version_1(self, document: Document, asked: str) -> bytes:
        service = document.service
        sender = document.text(".//InitiationHeader/FromAgencyId/UniqueAgencyId/Value")
        receiver = document.text(".//InitiationHeader/ToAgencyId/UniqueAgencyId/Value")
        header = (
            f"<ResponseHeader><FromAgencyId>{_agency(receiver)}</FromAgencyId>"
            f"<ToAgencyId>{_agency(sender)}</ToAgencyId></ResponseHeader>"
        )
        try:
            payload = self._payload_version_1(service, document)
        except Problem as problem:
            kind = f"<Scheme>{PROBLEM_SCHEME}generalprocessingerror.scm</Scheme>"
            payload = (
                f"<Problem><ProcessingError><ProcessingErrorType>{kind}<Value>{problem.kind}</Value>"
                f"</ProcessingErrorType><ProcessingErrorElement><ElementName>{problem.element}"
                "</ElementName></ProcessingErrorElement></ProcessingError></Problem>"
            )
        fragment = f"<{service}Response>{header}{payload}</{service}Response>"
        return self._finish(fragment, f"{service}Response", "v1", asked)

    def _payload_version_1(self, service: str, document: Document) -> str:
        if service in NOTIFICATIONS:
            return ""
        if service == "LookupUser":
            card = document.text(".//UserIdentifierValue")
            barcode = document.text(".//VisibleUserIdentifier")
            patron = self.library.patrons.get(card or barcode)
            if patron is None:
                raise Problem("Unknown User", "UserIdentifierValue", card)
            value = f"<UserIdentifierValue>{patron.barcode}</UserIdentifierValue>"
            return f"<UniqueUserId>{_agency(OWN_AGENCY)}{value}</UniqueUserId>"
        if service == "LookupItem":
            barcode = document.text(".//ItemIdentifierValue")
            item = self.library.items.get(barcode)
            if item is None:
                raise Problem("Unknown Item", "ItemIdentifierValue", barcode)
            value = f"<ItemIdentifierValue>{item.barcode}</ItemIdentifierValue>"
            return f"<UniqueItemId>{_agency(OWN_AGENCY)}{value}</UniqueItemId>"
        raise Problem("Unsupported Service", service)


def _says_version_1(document: Document, asked: str) -> bool:
    is_named = "v1_" in document.plain.get("version", "") or "NCIP DTD" in asked
    return is_named or document.plain.find(".//UniqueAgencyId") is not None


def _credentials(document: Document) -> tuple[str, str]:
    """Give the barcode and the PIN of the elements AuthenticationInput."""
    barcode = pin = ""
    for element in document.plain.iter("AuthenticationInput"):
        value = element.findtext("AuthenticationInputData") or ""
        if (element.findtext("AuthenticationInputType") or "") == "PIN":
            pin = value
        else:
            barcode = value
    return barcode, pin


def _problem(problem: Problem, detail: str) -> str:
    scheme = f"{PROBLEM_SCHEME}generalprocessingerror.scm"
    value = f"<ProblemValue>{escape(problem.value)}</ProblemValue>" if problem.value else ""
    element = f"<ProblemElement>{problem.element}</ProblemElement>" if problem.element else ""
    kind = f'<ProblemType Scheme="{scheme}">{problem.kind}</ProblemType>'
    detail = f"<ProblemDetail>{escape(detail)}</ProblemDetail>"
    return f"<Problem>{kind}{detail}{element}{value}</Problem>"


def _agency(value: str) -> str:
    scheme = "http://www.niso.org/ncip/v1_0/schemes/agencyidtype/agencyidtype.scm"
    value = escape(value)
    return f"<UniqueAgencyId><Scheme>{scheme}</Scheme><Value>{value}</Value></UniqueAgencyId>"


def _user_id(patron: Patron) -> str:
    agency = f"<AgencyId>{OWN_AGENCY}</AgencyId>"
    value = f"<UserIdentifierValue>{escape(patron.barcode)}</UserIdentifierValue>"
    return f"<UserId>{agency}{value}</UserId>"


def _item_id(item: Item) -> str:
    agency = f"<AgencyId>{OWN_AGENCY}</AgencyId>"
    value = f"<ItemIdentifierValue>{escape(item.barcode)}</ItemIdentifierValue>"
    return f"<ItemId>{agency}{value}</ItemId>"


def _request_id(request: Request) -> str:
    agency = "<AgencyId>HKA</AgencyId>"
    value = f"<RequestIdentifierValue>{escape(request.number)}</RequestIdentifierValue>"
    return f"<RequestId>{agency}{value}</RequestId>"


def _loaned(item: Item) -> str:
    fields = f"<DateDue>{_due()}</DateDue><Title>{escape(item.title)}</Title>"
    return f"<LoanedItem>{_item_id(item)}{fields}</LoanedItem>"


def _requested(item: Item) -> str:
    fields = (
        "<RequestType>Hold</RequestType><RequestStatusType>In Process</RequestStatusType>"
        f"<DatePlaced>{_due()}</DatePlaced>"
    )
    return f"<RequestedItem>{_item_id(item)}{fields}</RequestedItem>"


def _due() -> str:
    return (datetime.now(UTC) + timedelta(days=28)).strftime("%Y-%m-%dT23:59:00+08:00")


_HANDLERS: dict[str, Callable[[NcipAnswers, Document], str]] = {
    "LookupUser": NcipAnswers._lookup_user,
    "LookupItem": NcipAnswers._lookup_item,
    "LookupRequest": NcipAnswers._lookup_request,
    "LookupAgency": NcipAnswers._lookup_agency,
    "RequestItem": NcipAnswers._request_item,
    "CancelRequestItem": NcipAnswers._cancel_request,
    "CheckOutItem": NcipAnswers._check_out,
    "CheckInItem": NcipAnswers._check_in,
    "RenewItem": NcipAnswers._renew,
    "AcceptItem": NcipAnswers._accept,
}

REFUSED: dict[str, Callable[[str], bool]] = {
    "refuses another prefix": lambda asked: "<nisoncip:" in asked,
    "refuses the default namespace": lambda asked: '<NCIPMessage xmlns="' in asked,
    "refuses other versions": lambda asked: "v2_01" in asked,
    "refuses an Ext": lambda asked: "Ext>" in asked,
    "refuses comments": lambda asked: "<!--" in asked,
    "refuses CDATA and references": lambda asked: "&#" in asked or "CDATA" in asked,
    "refuses white space": lambda asked: ">\n  <" in asked,
    "refuses messages without a header": lambda asked: "InitiationHeader" not in asked,
    "refuses a byte order mark": lambda asked: asked.startswith("\ufeff"),
    "refuses a missing declaration": lambda asked: not asked.lstrip("\ufeff").startswith("<?xml"),
    "refuses schemes": lambda asked: "probe.scm" in asked,
}
"""Forms of a request that a fault refuses."""


class ScriptedResponder(http.server.ThreadingHTTPServer):
    """The responder on a port of this machine."""

    daemon_threads = True
    request_queue_size = 32

    def __init__(self, answers: NcipAnswers) -> None:
        self.answers = answers
        self.lock = threading.Lock()
        self.open_connections = 0
        self.most_connections = 0
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        """The address that an initiator posts to."""
        return f"http://127.0.0.1:{self.server_address[1]}/ncip"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: ScriptedResponder

    def setup(self) -> None:
        super().setup()
        with self.server.lock:
            self.server.open_connections += 1
            most = max(self.server.most_connections, self.server.open_connections)
            self.server.most_connections = most

    def finish(self) -> None:
        with self.server.lock:
            self.server.open_connections -= 1
        super().finish()

    def do_POST(self) -> None:
        body = self._body()
        fault = self.server.answers.fault
        kind = self.headers.get("Content-Type", "")
        if fault.has("wants a charset") and "charset" not in kind:
            self._send(415, "text/plain", b"charset?")
            return
        if fault.has("wants a Host") and "Host" not in self.headers:
            self._send(400, "text/plain", b"Host?")
            return
        if not body and fault.has("hangs up on an empty body"):
            self.close_connection = True
            return
        with self.server.lock:
            content = self.server.answers.answer(body)
        if not content:
            self.close_connection = True
            return
        status, content_type = 200, 'application/xml; charset="utf-8"'
        is_problem = b"Problem>" in content
        if fault.http and (is_problem or fault.message != "Problem"):
            status = fault.http
        self._send(status, fault.content_type or content_type, content)

    def do_GET(self) -> None:
        self._send(405, "text/plain", b"POST only")

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        if self.server.answers.fault.has("loses chunks"):
            return body[:40]
        return body

    def _send(self, status: int, content_type: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Keep the terminal quiet."""


def start(library: Library, fault: NcipFault | None = None) -> ScriptedResponder:
    """Start a responder on a free port of the loopback interface, in a thread."""
    server = ScriptedResponder(NcipAnswers(library, fault or NcipFault()))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server
