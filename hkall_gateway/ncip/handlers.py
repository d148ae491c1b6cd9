"""One document in, one document out: read it, know who asks, let the service answer, write the reply and one log line."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Final

import structlog

from hkall_gateway.desk.asks import Refused
from hkall_gateway.edge.allow import AllowList
from hkall_gateway.edge.secrets import same
from hkall_gateway.ncip import problems, services
from hkall_gateway.ncip.calls import CORR, Call, Caller, CopyOf, Door, Kind, Peer, digest
from hkall_gateway.ncip.codec import BadMessage, decode, encode
from hkall_gateway.ncip.dialects import DIALECTS, Dialect
from hkall_gateway.ncip.messages import NOBODY, SHAPES, Coded, Fields, Header, Message
from hkall_gateway.ncip.problems import Trouble
from hkall_gateway.ncip.services import Said, copy_of
from hkall_gateway.rules.vocabulary import Why

__all__ = ["HANDLERS", "Caller", "CopyOf", "Door", "Peer", "Service", "copy_of", "respond"]

LOG = structlog.get_logger()

CLIENT: Final[frozenset[Kind]] = frozenset({"client"})
PARTNER: Final[frozenset[Kind]] = frozenset({"partner"})
BOTH: Final = CLIENT | PARTNER


@dataclass(frozen=True, slots=True)
class Service:
    """A service that is answered: who may call it, and by what."""

    who: frozenset[Kind]
    handle: Callable[[Call], Awaitable[Said]]


# fmt: off
HANDLERS: Final[Mapping[str, Service]] = MappingProxyType({
    "LookupUser":           Service(CLIENT,  services.lookup_user),
    "LookupItem":           Service(BOTH,    services.lookup_item),
    "RequestItem":          Service(BOTH,    services.request_item),
    "CancelRequestItem":    Service(BOTH,    services.cancel_request_item),
    "RenewItem":            Service(BOTH,    services.renew_item),
    "ItemShipped":          Service(PARTNER, services.item_shipped),
    "ItemReceived":         Service(PARTNER, services.item_received),
    "ItemRequestCancelled": Service(PARTNER, services.item_request_cancelled),
})
"""Every service that is done here; the others of SHAPES are known and answered "Unsupported Service"."""
# fmt: on


@dataclass(frozen=True, slots=True)
class Asked:
    """What is known of a document when its reply is written. `service` is None where no service can be answered by its own."""

    service: str | None
    header: Header = NOBODY
    message: Message = field(default_factory=lambda: Message("", {}))


async def respond(door: Door, body: bytes, charset: str | None, peer: Peer) -> bytes:
    """The reply to one document, whatever it was; never raises. `charset` is the one that the transport names."""
    began = door.now()
    asked, unread = _read(body, charset)
    mark = digest(asked.message) if asked.message.service else ""
    with structlog.contextvars.bound_contextvars(channel="ncip", corr_id=mark[:CORR]):
        said = unread or await _answered(door, asked.message, mark, peer)
        reply = _written(door, asked, said)
        _tell(door, asked, said, peer, len(body), (door.now() - began).total_seconds())
    return reply


# ---- reading


def _read(body: bytes, charset: str | None) -> tuple[Asked, Trouble | None]:
    try:
        message = decode(body, charset)
    except BadMessage as bad:
        service = bad.service if bad.service in SHAPES else None
        return Asked(service, bad.header), Trouble(bad.problem, bad.detail)
    except Exception:
        LOG.exception("ncip.reading_failed", bytes=len(body))
        return Asked(None), _try_again()
    if message.service not in SHAPES:
        no = Trouble(problems.PROTOCOL_ERROR, f"{message.service} is an answer, and nothing was asked")
        return Asked(None, _header(message), message), no
    return Asked(message.service, _header(message), message), None


def _header(message: Message) -> Header:
    sides = (message.texts(f"{head}/{side}/AgencyId") for side in ("FromAgencyId", "ToAgencyId") for head in _HEADERS)
    first = [next(iter(texts), "") for texts in sides]
    return Header(first[0] or first[1], first[2] or first[3])


_HEADERS = ("InitiationHeader", "ResponseHeader")


def _try_again() -> Trouble:
    return problems.trouble(Why.TRY_AGAIN, "", {})


# ---- answering


async def _answered(door: Door, message: Message, mark: str, peer: Peer) -> Fields | Trouble:
    try:
        said = await _said(door, message, mark, peer)
    except Exception:
        LOG.exception("ncip.handler_failed", service=message.service)
        return _try_again()
    return _trouble(said, message) if isinstance(said, Refused | Trouble) else said


async def _said(door: Door, message: Message, mark: str, peer: Peer) -> Said:
    caller = authenticated(door, message, peer)
    if isinstance(caller, Trouble):
        return caller
    service = HANDLERS.get(message.service)
    if service is None:
        return Trouble(problems.UNSUPPORTED_SERVICE, f"{message.service} is not done here")
    if caller.kind not in service.who:
        return Trouble(problems.UNAUTHORIZED_SERVICE, f"{message.service} is not for a {caller.kind}", "FromAgencyId")
    return await service.handle(Call(door, caller, message, mark))


def authenticated(door: Door, message: Message, peer: Peer) -> Caller | Trouble:
    """Who asks: the agency named, if it comes with the secret bound to it and from an address of its own."""
    claimed = message.text("InitiationHeader/FromAgencyId/AgencyId")
    secret = message.text("InitiationHeader/FromAgencyAuthentication")
    # Every secret is compared, so that the time does not tell which agency came close.
    owners = [caller.agency for caller in door.callers.values() if same(caller.secret, secret) and caller.secret]
    caller = door.callers.get(claimed)
    if not claimed:
        return Trouble(problems.NEEDED_DATA_MISSING, "the header does not say who asks", "FromAgencyId")
    if caller is None:
        return Trouble(problems.UNKNOWN_AGENCY, "no such agency", "FromAgencyId")
    if claimed not in owners and owners:
        return Trouble(problems.UNAUTHORIZED_VALUES, "the secret is another agency's", "FromAgencyId")
    if claimed not in owners or not _allowed(caller.allow_from).admits(peer.address):
        return Trouble(problems.AUTHENTICATION_FAILED, "the secret or the address does not fit", "FromAgencyId")
    return caller


@lru_cache(maxsize=1024)
def _allowed(networks: tuple[str, ...]) -> AllowList:
    return AllowList(networks)


def _trouble(no: Refused | Trouble, message: Message) -> Trouble:
    if isinstance(no, Refused):
        no = problems.trouble(no.why, message.service, no.detail)
    value = message.text(problems.VALUE_AT.get(no.element, no.element)) if no.element else ""
    return Trouble(no.problem, no.detail, no.element, no.value or value, no.rule)


# ---- writing


def _written(door: Door, asked: Asked, said: Fields | Trouble) -> bytes:
    dialect = _dialect(door, asked.header.from_agency)
    try:
        return encode(_reply(door, asked, said), dialect)
    except Exception:
        LOG.exception("ncip.writing_failed", service=asked.service)
        return encode(_reply(door, Asked(asked.service), _try_again()), dialect)


def _dialect(door: Door, agency: str) -> Dialect:
    row = DIALECTS[door.dialects.get(agency, "direct")]
    return row if row.minor is not None else DIALECTS["direct"]


def _reply(door: Door, asked: Asked, said: Fields | Trouble) -> Message:
    problem: Fields = {"Problem": [_problem(said, asked.service or "")]} if isinstance(said, Trouble) else said
    version, extension = asked.message.version, asked.message.extension
    if asked.service is None:
        return Message("Problem", problem, version, extension=extension)
    return Message(SHAPES[asked.service].reply, {**_swapped(door, asked.header), **problem}, version, extension=extension)


def _swapped(door: Door, header: Header) -> Fields:
    """The ResponseHeader: who was addressed answers who asked. Left out where nobody said who asks."""
    if not header.from_agency:
        return {}
    us = header.to_agency or door.agency
    return {"ResponseHeader": {"FromAgencyId": {"AgencyId": us}, "ToAgencyId": {"AgencyId": header.from_agency}}}


def _problem(said: Trouble, service: str) -> Fields:
    return {
        "ProblemType": Coded(said.problem, problems.scheme(said.problem, service)),
        "ProblemDetail": said.detail,
        "ProblemElement": said.element,
        "ProblemValue": said.value,
    }


# ---- telling operators


def _tell(door: Door, asked: Asked, said: Fields | Trouble, peer: Peer, size: int, seconds: float) -> None:
    """One line a document. Of what was not understood only the size and the reason, never the body."""
    known = asked.header.from_agency if asked.header.from_agency in door.callers else "unknown"
    service = asked.service or "unknown"
    door.counters.observe("ncip_latency_seconds", seconds, known, service, "in")
    facts = {"peer": known, "service": service, "ms": round(seconds * 1000, 1), "bytes": size}
    notes = {"notes": list(asked.message.notes)} if asked.message.notes else {}
    if not isinstance(said, Trouble):
        LOG.info("ncip.answered", outcome="ok", **facts, **notes)
        return
    door.counters.add("ncip_errors_total", known, "problem" if asked.message.service else "xml")
    level = LOG.warning if said.problem in _FOR_OPERATORS else LOG.info
    level(
        "ncip.answered",
        outcome="problem",
        problem=said.problem,
        rule=said.rule,
        reason=said.detail,
        host=peer.address,
        **facts,
        **notes,
    )


_FOR_OPERATORS: Final = problems.MESSAGING | problems.GENERAL
