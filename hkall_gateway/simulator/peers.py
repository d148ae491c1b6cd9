"""A partner library on a real socket, which replies to documents, ships and receives."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from twisted.internet.defer import ensureDeferred
from twisted.web import resource, server
from twisted.web.server import NOT_DONE_YET

from hkall_gateway.ncip.codec import documents
from hkall_gateway.ncip.codec.dialects import DIALECTS
from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.ncip.shorthand import make_message
from hkall_gateway.net.http_post import NoReply, NotSent, Post
from hkall_gateway.rules import dates
from hkall_gateway.rules.vocabulary import Holding
from hkall_gateway.simulator.scenario.scripted_partner import OK, PartnerBehaviour, reply

LOG = structlog.get_logger()

WAY_HOME_DAYS = 50


@dataclass(slots=True)
class PartnerLibrary:
    """One partner library, which sends its documents to `gateway_url`.

    Attributes:
        secret: Secret shared with the gateway.
        post: Sends a document.
        later: The reactor's callLater.
        ships_after_s: Seconds until the partner ships a requested copy; None to ship only on command.
        waits_s: Seconds before each reply.
        shelf: The partner's copies, for LookupItemSet.
        script: Behaviours for the next replies.
        seen: Every document that the partner has read.
        watch: Called with each document, and "<" for a received or ">" for a sent document.
    """

    agency: str
    us: str
    gateway_url: str
    secret: str
    post: Post
    later: Callable[..., object]
    now: Callable[[], datetime]
    ships_after_s: float | None = None
    waits_s: float = 0.0
    shelf: tuple[Holding, ...] = ()
    script: deque[PartnerBehaviour] = field(default_factory=deque)
    seen: list[NcipMessage] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    watch: Callable[[str, NcipMessage], object] = lambda _direction, _message: None

    def site(self) -> server.Site:
        """Return the HTTP site that listens at the partner's URL."""
        return server.Site(_Responder(self))  # type: ignore[no-untyped-call]  # twisted.web has no types

    def treat(self, body: bytes) -> tuple[PartnerBehaviour, bytes]:
        """Handle a document with the next scripted behaviour, or accept it. Return the behaviour and the reply."""
        behaviour = self.script.popleft() if self.script else OK
        message = documents.decode(body)
        self.watch("<", message)
        if behaviour.taken:
            self.seen.append(message)
            self.bodies.append(body)
            act = {"RequestItem": self.ship, "ItemShipped": self.receive}.get(message.service)
            if act is not None and self.ships_after_s is not None:
                request, item = message.text("RequestId/RequestIdentifierValue"), message.text("ItemId/ItemIdentifierValue")
                self.later(self.ships_after_s, lambda: ensureDeferred(self._act_unless_cancelled(act, request, item)))
        return behaviour, reply(message, self.agency, behaviour.problem, behaviour.words, self.shelf)

    async def say(self, service: str, *words: str) -> NcipMessage:
        """Send a document in shorthand to the gateway, and return the reply."""
        message = make_message(service, words, self.agency, self.us, self.secret, self.now())
        self.watch(">", message)
        posted = await self.post(self.gateway_url, documents.encode(message, DIALECTS["direct"]), 20)
        answer = documents.decode(posted.body)
        self.watch("<", answer)
        return answer

    async def ship(self, request: str, item: str) -> NcipMessage:
        """Send ItemShipped for the copy, with the borrower's RequestId."""
        due = dates.civil(self.now()) + timedelta(days=WAY_HOME_DAYS)
        return await self.say("ItemShipped", f"request={self.us}:{request}", f"item={self.agency}:{item}", f"due={due}")

    async def receive(self, request: str, item: str) -> NcipMessage:
        """Send ItemReceived, since the copy is back at its owner."""
        return await self.say("ItemReceived", f"request={self.us}:{request}", f"item={self.agency}:{item}")

    async def _act_unless_cancelled(self, act: Callable[[str, str], Awaitable[NcipMessage]], request: str, item: str) -> None:
        """Ship or receive a copy, unless the borrower cancelled the request before the shipment."""
        cancelled = [message for message in self.seen if message.service == "CancelRequestItem"]
        withdrawn = any(message.text("RequestId/RequestIdentifierValue") == request for message in cancelled)
        if act == self.ship and withdrawn:
            return
        try:
            await act(request, item)
        except Exception:
            LOG.exception("lab.partner_failed", agency=self.agency)


def short(message: NcipMessage) -> str:
    """Format a document as one line: service, request, copy and due date, or the Problem."""
    problem = message.text("Problem/ProblemType")
    if problem:
        return f"{message.service}: {problem} ({message.text('Problem/ProblemDetail')})"
    parts = [
        message.text("RequestId/RequestIdentifierValue"),
        "/".join(filter(None, [message.text("ItemId/AgencyId"), message.text("ItemId/ItemIdentifierValue")])),
        message.text("DateDue") or message.text("ItemOptionalFields/DateDue"),
    ]
    return " ".join([message.service, *filter(None, parts)])


class _Responder(resource.Resource):
    """The partner's NCIP responder. A scripted behaviour may close the connection or reply 503 instead."""

    isLeaf = True  # noqa: N815  # Twisted's own name

    def __init__(self, library: PartnerLibrary) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # twisted.web has no types
        self._library = library

    def render_POST(self, request: Any) -> bytes | int:  # noqa: N802
        behaviour, answer = self._library.treat(request.content.read())
        try:
            posted = behaviour.http_reply(answer)
        except (NoReply, NotSent):
            request.transport.loseConnection()
            return NOT_DONE_YET
        request.setResponseCode(posted.status)
        request.setHeader(b"content-type", posted.content_type.encode())
        if not self._library.waits_s:
            return posted.body

        def finish() -> None:
            if request.channel is not None:  # the initiator is still waiting
                request.write(posted.body)
                request.finish()

        self._library.later(self._library.waits_s, finish)
        return NOT_DONE_YET
