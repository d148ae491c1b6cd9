"""An NCIP responder under test: posts what a probe says, and keeps what comes back."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import ssl
import time
import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

from lxml import etree

from circprobe.care import Connections, Permissions, Refused, Throttle
from circprobe.catalogue import Clause, Expectation, Probe
from circprobe.ncip import documents, judging
from circprobe.ncip.documents import Document, Unreadable
from circprobe.results import Exchange
from circprobe.runner import NotOffered

HEADER = (
    "<InitiationHeader><FromAgencyId><AgencyId>{from}</AgencyId></FromAgencyId>{authentication}"
    "<ToAgencyId><AgencyId>{to}</AgencyId></ToAgencyId></InitiationHeader>"
)
HEADER_1 = (
    "<InitiationHeader><FromAgencyId><UniqueAgencyId><Scheme>{scheme}</Scheme>"
    "<Value>{from}</Value></UniqueAgencyId></FromAgencyId>{authentication}<ToAgencyId>"
    "<UniqueAgencyId><Scheme>{scheme}</Scheme><Value>{to}</Value></UniqueAgencyId></ToAgencyId>"
    "</InitiationHeader>"
)
AGENCY_SCHEME = "http://www.niso.org/ncip/v1_0/schemes/agencyidtype/agencyidtype.scm"
UNSUPPORTED = {"Unsupported Service", "Unknown Service"}
_PIN = re.compile(rb"AuthenticationInputData[^>]*>([^<]+)<")


@dataclass(frozen=True)
class Target:
    """The responder under test.

    Attributes:
        headers: added to each request, such as Authorization.
        known_secrets: the PIN that the person gave.
    """

    url: str
    answer_s: float = 30.0
    headers: tuple[tuple[str, str], ...] = ()
    known_secrets: frozenset[str] = frozenset()


@dataclass
class NcipResponder:
    """The driver for an NCIP responder.

    Attributes:
        values: what stands for the places of the steps, such as "user" and "item".
    """

    target: Target
    values: dict[str, str]
    permissions: Permissions
    throttle: Throttle = field(default_factory=Throttle)
    connections: Connections = field(default_factory=Connections)
    remarks: list[str] = field(default_factory=list)
    _evidence: dict[str, list[Exchange]] = field(default_factory=dict)
    _unsupported: set[str] = field(default_factory=set)
    _kept: http.client.HTTPConnection | None = None
    _lent: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.throttle.is_on = not self.permissions.load
        self.connections.may_be_many = self.permissions.load
        run = uuid.uuid4().hex[:8]
        defaults = {
            "unknown_user": "CIRCPROBE0",
            "unknown_item": "CIRCPROBE0",
            "unknown_request": f"circprobe-none-{run}",
            "request": f"circprobe-{run}",
            "wrong_pin": "0" + self.values.get("pin", "") + "9",
            "scheme": AGENCY_SCHEME,
            "now": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "header": HEADER,
            "header1": HEADER_1,
            "authentication": "",
            "request_type": "Hold",
            "user_hex": f"{ord(self.values.get('user', '0')[:1] or '0'):x}",
            "user_rest": self.values.get("user", "")[1:],
        }
        for name, value in defaults.items():
            self.values.setdefault(name, value)

    # What the runner asks.

    def offers(self, names: Collection[str]) -> bool:
        """Say whether no answer so far said that one of these services is not supported."""
        return not self._unsupported & set(names)

    def gather(self, probe: Probe, clause: Clause | None) -> list[list[Exchange]]:
        """Do what a probe says, once in a run.

        Raises:
            NotOffered: if an answer says that the service is not supported.
        """
        del clause
        if probe.name not in self._evidence:
            self._evidence[probe.name] = self._do(probe)
        evidence = self._evidence[probe.name]
        for service in probe.offers:
            if any(_refuses(exchange, service) for exchange in evidence):
                self._unsupported.add(service)
        if self._unsupported & set(probe.offers):
            raise NotOffered(f"the system does not support {', '.join(probe.offers)}")
        return [evidence]

    def judge(self, expectation: Expectation, evidence: list[Exchange]) -> str:
        """Judge one expectation about the answers."""
        return judging.judge(judging.Case(evidence, self._variables()), expectation)

    def _variables(self) -> dict[str, str]:
        return {name: value for name, value in self.values.items() if not value.startswith("<")}

    def finish(self) -> None:
        """Check in what is still lent, and say so where it cannot be done."""
        for item in [item for item, is_out in self._lent.items() if is_out]:
            self.values["lent"] = item
            fragment = (
                "<CheckInItem>{header}<ItemId><AgencyId>{to}</AgencyId>"
                "<ItemIdentifierValue>{lent}</ItemIdentifierValue></ItemId></CheckInItem>"
            )
            self._step(f"post {fragment}", [])
            if self._lent[item]:
                self.remarks.append(f"could not check in the item {item}: please return it")
        self._drop()

    # Probes.

    def _do(self, probe: Probe) -> list[Exchange]:
        evidence: list[Exchange] = []
        if probe.connection == "fresh":
            self._drop()
        for step in probe.steps:
            self._step(step, evidence)
        return evidence

    def _step(self, step: str, evidence: list[Exchange]) -> None:
        verb, _, text = step.partition(" ")
        headers = {"Content-Type": 'application/xml; charset="utf-8"'}
        method = "POST"
        match verb.split(":"):
            case ["again"]:
                body = evidence[-1].sent
            case ["get"]:
                method, body, headers = "GET", b"", {}
            case ["raw"]:
                body = documents.fill(text, self.values).encode()
            case ["bom"]:
                body = b"\xef\xbb\xbf" + self._compose(text)
            case ["utf-16"]:
                document = self._compose(text).decode().replace("UTF-8", "UTF-16")
                body = document.encode("utf-16")
            case ["bare"]:
                body = self._compose(text).removeprefix(documents.PROLOGUE.encode())
            case ["type", content_type]:
                body, headers = self._compose(text), {"Content-Type": content_type}
            case ["expect"]:
                body = self._compose(text)
                headers["Expect"] = "100-continue"
            case ["chunked"]:
                body = self._compose(text)
                headers["Transfer-Encoding"] = "chunked"
            case ["http1.0"]:
                evidence.append(self._ask_http_1_0(self._compose(text)))
                return
            case ["version", version]:
                body = self._compose(text, version=documents.OTHER_VERSIONS[version])
            case ["post", form]:
                body = self._compose(text, form)
            case _:
                body = self._compose(text)
        exchange = self._ask(method, body, headers)
        self._note_loans(exchange)
        evidence.append(exchange)

    def _compose(self, text: str, form: str = "v2", version: str = "") -> bytes:
        fragment = documents.fill(text, self.values)
        return documents.compose(fragment, form, version or documents.VERSION_2_02)

    def _guard(self, body: bytes) -> None:
        changing = documents.services_in(body) - documents.READ_ONLY
        if changing and not self.permissions.transactions:
            raise Refused(f"{', '.join(sorted(changing))} needs --transactions")
        if not self.permissions.wrong_pin:
            # The barcode of the user stands in the same element as the PIN.
            known = self.target.known_secrets | {self.values.get("user", "")}
            for secret in _PIN.findall(body):
                if secret.decode("utf-8", "replace") not in known:
                    raise Refused("a PIN that is not the given one needs --wrong-pin")
        self.throttle.wait()

    # HTTP.

    def _ask(self, method: str, body: bytes, headers: dict[str, str]) -> Exchange:
        self._guard(body)
        began = time.monotonic()
        headers = {**dict(self.target.headers), **headers}
        for attempt in (1, 2):
            try:
                status, content_type, answer = self._exchange(method, body, headers)
            except (OSError, http.client.HTTPException) as error:
                was_kept = self._kept is not None
                self._drop()
                # A server may close an idle connection at any time; that is no finding.
                if attempt == 1 and was_kept and time.monotonic() - began < 1:
                    continue
                note = f"no answer: {type(error).__name__} {error}".strip()
                return Exchange(body, b"", time.monotonic() - began, note)
            break
        note = f"HTTP {status}; {content_type}"
        return Exchange(body, answer, time.monotonic() - began, note)

    def _exchange(
        self, method: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, str, bytes]:
        url = urlsplit(self.target.url)
        path = url.path or "/"
        if url.query:
            path += f"?{url.query}"
        if self._kept is None:
            self._kept = self._connect()
        is_chunked = headers.get("Transfer-Encoding") == "chunked"
        payload = iter([body[:40], body[40:]]) if is_chunked else body
        if method == "GET":
            payload = b""
        self._kept.request(method, path, payload, headers, encode_chunked=is_chunked)
        response = self._kept.getresponse()
        answer = response.read()
        content_type = response.headers.get("Content-Type", "")
        if response.will_close:
            self._drop()
        return response.status, content_type, answer

    def _connect(self) -> http.client.HTTPConnection:
        self.connections.add()
        url = urlsplit(self.target.url)
        host = url.hostname or ""
        if url.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(
                host, url.port, timeout=self.target.answer_s, context=context
            )
        return http.client.HTTPConnection(host, url.port, timeout=self.target.answer_s)

    def _drop(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None
            self.connections.remove()

    def _ask_http_1_0(self, body: bytes) -> Exchange:
        """Post without Host, as the clients of version 1 over sockets do."""
        self._guard(body)
        self._drop()
        url = urlsplit(self.target.url)
        if url.scheme == "https":
            return self._ask("POST", body, {"Content-Type": "application/xml"})
        head = f"POST {url.path or '/'} HTTP/1.0\r\nContent-Type: application/xml\r\n"
        for name, value in self.target.headers:
            head += f"{name}: {value}\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        began = time.monotonic()
        answer = b""
        note = "no answer"
        self.connections.add()
        with contextlib.suppress(OSError):
            address = (url.hostname or "", url.port or 80)
            with socket.create_connection(address, self.target.answer_s) as connection:
                connection.sendall(head.encode() + body)
                while chunk := connection.recv(65536):
                    answer += chunk
        self.connections.remove()
        top, _, content = answer.partition(b"\r\n\r\n")
        found = re.match(rb"HTTP/\d\.\d (\d+)", top)
        if found:
            kind = re.search(rb"(?i)content-type: *([^\r]*)", top)
            content_type = kind[1].decode("latin-1") if kind else ""
            note = f"HTTP {found[1].decode()}; {content_type}"
        return Exchange(body, content, time.monotonic() - began, note)

    # Care.

    def _note_loans(self, exchange: Exchange) -> None:
        try:
            sent, received = documents.read(exchange.sent), documents.read(exchange.received)
        except Unreadable:
            return
        item = _item_of(sent)
        if received.has_problem or not item:
            return
        if sent.service == "CheckOutItem":
            self._lent[item] = True
        if sent.service == "CheckInItem":
            self._lent[item] = False


def _item_of(document: Document) -> str:
    element = document.plain.find(".//ItemIdentifierValue")
    return (element.text or "") if isinstance(element, etree._Element) else ""


def _refuses(exchange: Exchange, service: str) -> bool:
    if service.encode() not in exchange.sent:
        return False
    try:
        document = documents.read(exchange.received)
    except Unreadable:
        return False
    return bool(UNSUPPORTED & set(document.problems()))
