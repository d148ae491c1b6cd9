"""Answers an NCIP document: decodes it, authenticates the caller, runs the service, encodes the reply, and logs one line.

If a partner's message matches no request or contradicts our own record, we reply with a Problem, and store the redacted
message in the quarantine. Staff decide whether to replay the message, which then overrides our record. Typical causes are a
restored database or a partner that confuses request numbers.
Source: life cycle reference, table of repeated and misplaced messages; OpenRS's codes for unmatched messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

import structlog
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from hkall_gateway.circulation.results import Refused
from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.deadline import Deadline, Undecided
from hkall_gateway.ncip.callers import authenticate_caller, check_addressee, check_barcodes, check_rate
from hkall_gateway.ncip.codec.dialects import DIALECTS, NCIP_2_02, minor
from hkall_gateway.ncip.codec.documents import BadDocument, decode, encode
from hkall_gateway.ncip.codec.elements import ELEMENTS
from hkall_gateway.ncip.codec.messages import NOBODY, SHAPES, Header, NcipMessage, redacted
from hkall_gateway.ncip.lookups import make_version_fields
from hkall_gateway.ncip.profile import HANDLERS, Service, service_for
from hkall_gateway.ncip.reply_payload import Belief, Payload, make_belief_fields
from hkall_gateway.ncip.service_request import NcipServices, ServiceRequest, digest_message, spell_agencies
from hkall_gateway.ncip.tables import problems
from hkall_gateway.ncip.tables.problems import Problem
from hkall_gateway.net.limits.timeout import TooLate
from hkall_gateway.observability.log_context import log_context
from hkall_gateway.peers import exchanges
from hkall_gateway.peers.callers import LONGEST_CLAIM, Caller, Peer
from hkall_gateway.peers.incoming import CORR, keep_unplaced
from hkall_gateway.rules.callers import PartnerAccess
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.xml.reader import QUESTION
from hkall_gateway.xml.tree import Coded, Fields

LOG = structlog.get_logger()

COMMANDS: Final = frozenset({"AcceptItem", "CheckInItem", "CheckOutItem"})
"""Commands that report a completed event and are therefore treated like notifications."""


async def quarantine_unplaced(call: ServiceRequest, payload: Payload) -> Payload:
    """Quarantine a partner's message if it matches no request or contradicts our record. Return the payload unchanged."""
    reports_event = SHAPES[call.message.service].kind == "N" or call.message.service in COMMANDS
    if call.from_client or not isinstance(payload, Refused):
        return payload
    kept = await keep_unplaced(
        call.services.circulation,
        call.by,
        call.digest,
        redact_document(call.message),
        payload,
        reports_event=reports_event,
    )
    if kept is not None:
        LOG.warning("ncip.quarantined", peer=call.caller.agency, service=call.message.service, reason=payload.why, kept=kept)
    return payload


def redact_document(message: NcipMessage) -> str:
    """Encode a message in the direct dialect, with secrets and personal data replaced by a dot."""
    return encode(NcipMessage(service=message.service, fields=redacted(message)), DIALECTS["direct"]).decode()


async def replay_document(services: NcipServices, agency: str, digest: str, kept: str) -> Payload:
    """Replay `kept`, a quarantined document that staff have accepted, and return the reply's payload."""
    message = decode(kept.encode())
    caller = services.callers.get(agency) or Caller(access=PartnerAccess(agency=agency, allow_from=()))
    service = service_for(services, caller, message.service)
    if service is None:
        return Refused(why=Reason.NOT_SUPPORTED)
    return await service.handle(ServiceRequest(services=services, caller=caller, message=message, digest=digest, judged=True))


__all__ = ["HANDLERS", "Caller", "NcipServices", "Peer", "Service", "authenticate_caller", "respond"]

ABOUT_VERSIONS: Final = "LookupVersion"


Proven = Callable[[Caller], object]


def _ignore_argument(_said: object) -> None:
    """Ignore the argument. Used as default for callbacks that tests and raw TCP connections do not need."""


@dataclass(frozen=True, slots=True)
class ReceivedDocument:
    """The readable parts of a document. `service` is None if the reply has to be a Problem directly under NCIPMessage."""

    service: str | None
    header: Header = NOBODY
    message: NcipMessage = field(default_factory=lambda: NcipMessage(service="", fields={}))


def respond(
    services: NcipServices,
    body: bytes,
    charset: str | None,
    peer: Peer,
    proven: Proven = _ignore_argument,
    challenge: Callable[[tuple[str, ...]], object] = _ignore_argument,
    deadline: Deadline | None = None,
) -> Deferred[bytes]:
    """Reply to one document, which may be any bytes. `charset` is the charset in the transport's headers.

    Call `proven` with the caller after successful authentication, or `challenge` with WWW-Authenticate headers if
    authentication fails. `deadline` is the time limit for this document.

    The returned Deferred can only fail with Undecided, which means that the command's outcome is unknown. The transport must
    then close the connection, since any reply might be wrong.
    """
    began = services.now()
    received, unread = _read_document(body, charset)
    mark = ""
    if received.message.service:
        mark = f"{int(began.timestamp() * 1_000_000) & 0xFFFF_FFFF_FFFF:012x}"
    answering = _Answering(services, received, mark, peer, len(body), began, proven, challenge)
    if unread:
        return succeed(answering.reply(unread))
    with answering.bound():  # the coroutine copies this log context when it starts
        work = _handle_within_limits(answering)
        answer = services.timeout.run(work, deadline) if services.timeout else Deferred.fromCoroutine(work)
    return answer.addCallbacks(answering.reply, answering.too_late)


@dataclass(slots=True)
class _Answering:
    """A document in progress.

    Attributes:
        mark: What identifies the document: a timestamp, or its digest once the sender is authenticated. Replies to look-ups
            are not stored in the inbox, so the timestamp suffices for them. An unreadable document has none.
        caller: The authenticated sender, "" before the authentication.
    """

    services: NcipServices
    received: ReceivedDocument
    mark: str
    peer: Peer
    size: int
    began: datetime
    proven: Proven
    challenge: Callable[[tuple[str, ...]], object]
    caller: str = ""

    @property
    def sender(self) -> str:
        """The sender's agency, from the header or else from the authentication, or "" if unknown."""
        return self.received.header.from_agency or self.caller

    def prove(self, caller: Caller) -> None:
        """Note the authenticated sender. Only now is the document hashed, which costs more than to refuse a stranger."""
        self.caller = caller.agency
        if SHAPES[self.received.message.service].kind != "L":
            self.mark = digest_message(self.received.message)
        self.proven(caller)

    def reply(self, payload: Fields | Problem) -> bytes:
        if isinstance(payload, Problem) and payload.challenge:
            self.challenge(payload.challenge)
        with self.bound():
            dialect = self.services.dialect(self.sender)
            try:
                written = encode(_make_reply(self.services, self.received, payload, self.sender), dialect)
            except Exception:
                LOG.exception("ncip.writing_failed", service=self.received.service)
                written = encode(
                    _make_reply(self.services, ReceivedDocument(self.received.service), _make_try_again_problem(), self.sender),
                    dialect,
                )
            self.tell(payload)
        return written

    def tell(self, payload: Fields | Problem) -> None:
        """Update the metrics and log one line without the body. Rate-limit lines about unauthenticated documents."""
        services, received, named = self.services, self.received, self.services.known(self.sender)
        seconds = (services.now() - self.began).total_seconds()
        known = named if named in services.callers else "unknown"
        service = received.service or "unknown"
        exchanges.observe(services.metrics, services.protocol, known, service, "in", seconds)
        if isinstance(payload, Problem):
            kind = "problem" if received.message.service else "xml"
            exchanges.count_error(services.metrics, services.protocol, known, kind)
        left_out = 0 if self.caller else services.unproven.left_out(known, services.now())
        if left_out is None:
            return
        facts: dict[str, object] = {"peer": known, "service": service, "ms": round(seconds * 1000, 1), "bytes": self.size}
        if known == "unknown" and received.header.from_agency:
            facts["claimed"] = received.header.from_agency[:LONGEST_CLAIM]
        facts |= {"notes": list(received.message.notes)} if received.message.notes else {}
        facts |= {"left_out": left_out} if left_out else {}
        if not isinstance(payload, Problem):
            LOG.info("ncip.answered", outcome="ok", **facts)
            return
        facts |= {"outcome": "problem", "problem": payload.problem, "rule": payload.rule, "reason": payload.detail}
        level = LOG.warning if payload.problem in _FOR_OPERATORS else LOG.info
        level("ncip.answered", host=self.peer.address, **facts)

    def too_late(self, failure: Failure) -> bytes:
        """Reply "try again" if the command had not started before the timeout. Otherwise re-raise Undecided."""
        failure.trap(TooLate, Undecided)  # type: ignore[no-untyped-call]  # Failure.trap is untyped
        with self.bound():
            if failure.check(Undecided):  # type: ignore[no-untyped-call]
                LOG.error("ncip.undecided", service=self.received.service)
                failure.raiseException()
            LOG.warning("ncip.too_late", service=self.received.service)
        return self.reply(_make_try_again_problem())

    def bound(self) -> AbstractContextManager[None]:
        """Bind the channel, the correlation id and the peer's trace id to all log lines about this document."""
        trace = {"traceparent": self.peer.traceparent} if self.peer.traceparent else {}
        return log_context(channel="ncip", corr_id=self.mark[:CORR], **trace)


def _read_document(body: bytes, charset: str | None) -> tuple[ReceivedDocument, Problem | None]:
    try:
        message = decode(body, charset, QUESTION)
    except BadDocument as bad:
        service = bad.service if bad.service in SHAPES else None
        received = ReceivedDocument(service, bad.header, NcipMessage(service="", fields={}, version=bad.version))
        return received, Problem(problem=bad.problem, detail=bad.detail)
    except Exception:
        LOG.exception("ncip.reading_failed", bytes=len(body))
        return ReceivedDocument(None), _make_try_again_problem()
    if message.service not in SHAPES and message.service != ABOUT_VERSIONS:
        problem = Problem(problem=problems.PROTOCOL_ERROR, detail=f"{message.service} is an answer, and nothing was asked")
        return ReceivedDocument(None, _read_header(message), message), problem
    return ReceivedDocument(message.service, _read_header(message), message), None


def _read_header(message: NcipMessage) -> Header:
    return Header(from_agency=_find_agency(message, "FromAgencyId"), to_agency=_find_agency(message, "ToAgencyId"))


def _find_agency(message: NcipMessage, side: str) -> str:
    return message.text(f"InitiationHeader/{side}/AgencyId") or message.text(f"ResponseHeader/{side}/AgencyId")


def _make_try_again_problem() -> Problem:
    return problems.make_problem(Reason.TRY_AGAIN, "", {})


async def _handle_within_limits(answering: _Answering) -> Fields | Problem:
    message = answering.received.message
    try:
        payload = await _handle_message(answering)
    except Unavailable:  # the store has already logged the cause
        return _make_try_again_problem()
    except Undecided:  # the outcome is unknown, so any reply might be wrong
        raise
    except Exception:
        with answering.bound():
            LOG.exception("ncip.handler_failed", service=message.service)
        return _make_try_again_problem()
    if isinstance(payload, Refused):
        held = payload.held
        payload = replace(problems.make_problem(payload.why, message.service, payload.detail), held=held)
    if not isinstance(payload, Problem) or payload.value or not payload.element:
        return payload
    return replace(payload, value=message.text(problems.VALUE_AT.get(payload.element, payload.element)))


async def _handle_message(answering: _Answering) -> Payload:
    services, message = answering.services, answering.received.message
    if message.service == ABOUT_VERSIONS:
        return make_version_fields((ABOUT_VERSIONS, *HANDLERS))
    caller = await authenticate_caller(services, message, answering.peer)
    if isinstance(caller, Problem):
        return caller
    answering.prove(caller)
    with answering.bound():  # the lines from here on bear the digest
        return await _serve(services, caller, message, answering.mark)


async def _serve(services: NcipServices, caller: Caller, message: NcipMessage, mark: str) -> Payload:
    """Run the service of an authenticated caller's message, if the caller may use it."""
    if elsewhere := check_addressee(services, message):
        return elsewhere
    if unreadable := check_barcodes(message):
        return unreadable
    service = service_for(services, caller, message.service)
    if service is None:
        return Problem(problem=problems.UNSUPPORTED_SERVICE, detail=f"{message.service} is not done here")
    if caller.kind not in service.who:
        return Problem(
            problem=problems.UNAUTHORIZED_SERVICE,
            detail=f"{message.service} is not for this {caller.kind}",
            element="FromAgencyId",
        )
    if too_much := check_rate(services, caller, message.service):
        return too_much
    call = ServiceRequest(services=services, caller=caller, message=spell_agencies(services, message), digest=mark)
    return await quarantine_unplaced(call, await service.handle(call))


def _make_reply(services: NcipServices, received: ReceivedDocument, payload: Fields | Problem, sender: str) -> NcipMessage:
    """Make the reply. Write a namespace, and wrap the reply in an Ext, if the request did so.

    The reply has the request's version, or 2.02 if that version lacks the response element. The ResponseHeader swaps the
    agencies in the InitiationHeader, and is omitted if the request names no sender.
    """
    if isinstance(payload, Problem):
        kind = Coded(payload.problem, problems.find_scheme(payload.problem, received.service or ""))
        problem = {
            "ProblemType": kind,
            "ProblemDetail": payload.detail,
            "ProblemElement": payload.element,
            "ProblemValue": payload.value,
        }
        belief = make_belief_fields(received.message, Belief.HELD) if payload.held else {}
        payload = {"Problem": [problem], **belief}
    was, header = received.message, received.header
    if received.service is None:
        return NcipMessage(
            service="Problem",
            fields=payload,
            version=was.version,
            namespaced=was.namespaced,
            extension=was.extension,
        )
    service = REPLIES.get(received.service) or SHAPES[received.service].reply
    place, level = ELEMENTS["NCIPMessage"].children.get(service), minor(was.version)
    version = NCIP_2_02 if place and level is not None and level < place.since else was.version
    us, them = header.to_agency or services.agency, header.from_agency
    swapped: Fields = {"ResponseHeader": {"FromAgencyId": {"AgencyId": us}, "ToAgencyId": {"AgencyId": them}}} if them else {}
    extension = _make_extension(services, received, payload, sender)
    return NcipMessage(
        service=service,
        fields={**swapped, **payload, **extension},
        version=version,
        namespaced=was.namespaced,
        extension=was.extension,
    )


REPLIES: Final = {ABOUT_VERSIONS: f"{ABOUT_VERSIONS}Response"}


def _make_extension(services: NcipServices, received: ReceivedDocument, payload: Fields, sender: str) -> Fields:
    """Make the reply's Ext from the NCIP elements in the request's Ext and in the Ext of `payload`.

    NNCIPP and crosslink match replies to requests by the returned elements.
    Add the RequestId for callers with `request_id_in_ext`. OpenRS expects a RequestId in every reply, even with a Problem and
    in the reply to a notification, where the schema has no other place for a RequestId. Never return foreign elements, since
    they may name a patron and request an unsupported action.
    """
    sent, own = received.message.fields.get("Ext", {}), payload.get("Ext", {})
    if not isinstance(sent, Mapping) or not isinstance(own, Mapping):
        return {}
    kept = {name: value for name, value in sent.items() if name != "Ext"}
    number, caller = received.message.fields.get("RequestId"), services.callers.get(services.known(sender))
    if number and caller is not None and isinstance(caller.access, PartnerAccess) and caller.access.request_id_in_ext:
        kept = {"RequestId": [number], **kept}
    return {"Ext": {**kept, **own}} if kept else {}


_FOR_OPERATORS: Final = problems.MESSAGING | problems.GENERAL
