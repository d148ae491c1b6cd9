"""The NCIP initiator, which writes a document for a partner, posts it, and converts the reply to a result."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from hkall_gateway.circulation.results import DeliveryResult
from hkall_gateway.ncip import shelves
from hkall_gateway.ncip.codec.dialects import DIALECTS
from hkall_gateway.ncip.codec.documents import BadDocument, decode, encode
from hkall_gateway.ncip.codec.elements import GENERIC
from hkall_gateway.ncip.codec.messages import SHAPES, NcipMessage, instant
from hkall_gateway.ncip.reply_payload import make_request_lookup, read_positions
from hkall_gateway.ncip.shelves import ShelfResult
from hkall_gateway.ncip.tables.flows import FLOWS
from hkall_gateway.ncip.tables.notifications import BARCODE, DOCUMENTS, theirs_or_ours
from hkall_gateway.ncip.tables.problems import (
    AUTHENTICATION_FAILED,
    PROTOCOL_ERROR,
    SYNTAX_ERROR,
    UNKNOWN_AGENCY,
    Meanings,
    find_meaning,
    find_own_meaning,
    spell_problem,
)
from hkall_gateway.net.http_post import AgentPost, HttpReply, NoReply, NotSent, Post, charset
from hkall_gateway.observability.unknown_words import UnknownWords
from hkall_gateway.peers.exchanges import PartnerExchange
from hkall_gateway.rules import dates
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage
from hkall_gateway.rules.partners import Meaning, Partner
from hkall_gateway.rules.stored_words import DeliveryKind
from hkall_gateway.rules.vocabulary import Holding, ItemKey, Request
from hkall_gateway.xml.tree import Fields, Value, many

__all__ = ["DOCUMENTS", "AgentPost", "HttpReply", "NcipClient", "NoReply", "NotSent", "Post", "make_document", "read_result"]

HIDDEN: Final = "•"
"""Replacement for the secret in documents that are shown to people."""
BUSY: Final = frozenset({429, 503})
"""HTTP statuses that mean "try later". 502 and 504 are excluded, since a proxy sends them if it loses the peer's reply, and the
peer may have performed the action."""

NOT_BELIEVED: Final = frozenset({401, 403})
"""HTTP statuses that reject our credentials, whatever the body. The peer has done nothing. An administrator must act."""

UNKNOWN_THERE: Final = DeliveryResult(kind=DeliveryKind.REFUSED, problem="Unknown Request")
"""Assumed result of LookupRequest for partners that do not support LookupRequest."""

GARBLED: Final = frozenset({PROTOCOL_ERROR, SYNTAX_ERROR})
"""Problem types with which a peer reports that our document is unreadable."""


class NcipClient:
    """Sends messages to partners.

    Args:
        post: Transport to partners without an entry in `posts`.
        agency: Our AgencyId.
        secrets: AgencyId -> FromAgencyAuthentication that the partner expects.
        on_exchange: Called after every exchange.
        seconds: Clock for measuring exchanges.
        posts: AgencyId -> transport to a partner that authenticates us by an HTTP header.
    """

    def __init__(
        self,
        post: Post,
        agency: str,
        secrets: Mapping[str, str],
        on_exchange: Callable[[PartnerExchange], None] = lambda _exchange: None,
        seconds: Callable[[], float] = lambda: 0.0,
        posts: Mapping[str, Post] = MappingProxyType({}),
    ) -> None:
        self._post, self._agency, self._secrets = post, agency, secrets
        self._on_exchange, self._seconds, self._posts = on_exchange, seconds, posts
        self._words = UnknownWords()

    async def deliver(
        self, notification: PartnerMessage, partner: Partner, *, unsure: bool = False, look_for: Collection[str] = ()
    ) -> DeliveryResult:
        """Send one message to one partner, once. Return failures of the partner or the network as results.

        Args:
            notification: The message.
            partner: The partner.
            unsure: Whether an earlier attempt may have arrived. If the partner supports LookupRequest, send the request again
                only if the partner does not know the request; else send the same document again.
            look_for: Status words of available items. Unless `unsure`, look up the partner's items before sending a request,
                and send nothing if no item is available (R7). An unusable reply to the look-up does not prevent sending.
        """
        if not partner.url:
            return DeliveryResult(
                kind=DeliveryKind.REFUSED, problem=UNKNOWN_AGENCY, detail=f"{partner.agency} has no url", untold=True
            )
        message = make_document(notification, partner, self._agency, self._secrets.get(partner.agency, ""))
        if message is None:
            return DeliveryResult(kind=DeliveryKind.ACCEPTED, detail="the flow says nothing here", untold=True)
        if notification.send != Notification.ASK_LENDER:
            return await self._send(message, partner)
        if unsure:
            known = await self.look_up(notification, partner) if partner.can_lookup_request else UNKNOWN_THERE
            return await self._send(message, partner) if known.kind == DeliveryKind.REFUSED else known
        if not look_for:
            return await self._send(message, partner)
        question, look = shelves.make_shelf_lookup(notification, partner), shelves.UNSEEN
        reply = await self.ask(question.service, question.fields, partner) if question else None
        if reply is not None:
            self._words.check(partner.agency, shelves.read_copies(reply).values(), look_for)
            look = shelves.read_shelf_check(reply, notification, partner, tuple(look_for))
        if look.shelf is ShelfResult.NONE:
            return DeliveryResult(kind=DeliveryKind.REFUSED, problem=look.shelf.value, looked=look.shelf.value)
        wanted = replace(notification, item=look.item) if look.item else notification
        request = make_document(wanted, partner, self._agency, self._secrets.get(partner.agency, "")) or message
        return replace(await self._send(request, partner), looked=look.shelf.value)

    async def statuses(
        self, partner: Partner, bib_id: str, copies: Sequence[Holding], listed: Collection[str] = ()
    ) -> Mapping[str, str] | None:
        """Return barcode -> CirculationStatus for a partner's items of a title, or None if there is no usable reply.

        Send look-ups one after the other until a look-up fails. `listed` holds the policy's additional status words.
        """
        found: dict[str, str] = {}
        for question in shelves.make_title_lookups(bib_id, copies, partner):
            reply = await self.ask(question.service, question.fields, partner)
            shown = shelves.read_statuses(reply) if reply else None
            if shown is None:
                return found or None
            found |= shown
        self._words.check(partner.agency, found.values(), listed)
        return found

    async def positions(self, request: Request, partner: Partner, number: str) -> tuple[tuple[str, ...] | None, str]:
        """Return the positions at which a request may stand at the partner (None if unknown), and the barcode.

        `number` is the partner's own number for the request, as AGENCY:VALUE, or "".
        """
        question = make_request_lookup(request, partner, number)
        reply = await self.ask(*question, partner) if question else None
        if reply is None:
            return None, ""
        return read_positions(reply, request.side), reply.text("ItemId/ItemIdentifierValue")

    async def look_up(self, notification: PartnerMessage, partner: Partner) -> DeliveryResult:
        """Look up a request at the partner. Return ALREADY if the partner knows the request, REFUSED if not, or the failure."""
        query = NcipMessage(
            service="LookupRequest", fields={**self._make_header(partner), "RequestId": theirs_or_ours(notification)}
        )
        found = await self._send(query, partner)
        if found.kind != DeliveryKind.ACCEPTED:
            return found
        return replace(found, kind=DeliveryKind.ALREADY, detail="LookupRequest: known")

    async def ask(self, service: str, fields: Fields, partner: Partner) -> NcipMessage | None:
        """Send a look-up and return the reply, or None if there is no readable reply."""
        try:
            query = NcipMessage(service=service, fields={**self._make_header(partner), **_with_item_id_type(fields, partner)})
            _, reply = await self._exchange(query, partner)
        except (NotSent, NoReply):
            return None
        return None if isinstance(reply, BadDocument) else reply

    def _make_header(self, partner: Partner) -> Fields:
        return make_header(partner, self._agency, self._secrets.get(partner.agency, ""))

    async def _send(self, message: NcipMessage, partner: Partner) -> DeliveryResult:
        try:
            posted, reply = await self._exchange(message, partner)
        except NotSent as error:
            return DeliveryResult(kind=DeliveryKind.UNREACHABLE, detail=str(error))
        except NoReply as error:
            return DeliveryResult(kind=DeliveryKind.UNKNOWN, detail=str(error))
        return read_result(message, posted, reply, partner.problems)

    async def _exchange(self, message: NcipMessage, partner: Partner) -> tuple[HttpReply, NcipMessage | BadDocument]:
        """Send a message. Return the HTTP response and the decoded reply. Raises NotSent and NoReply."""
        began = self._seconds()
        try:
            post = self._posts.get(partner.agency, self._post)
            posted = await post(partner.url, encode(message, DIALECTS[partner.dialect]), partner.timeout_s)
        except (NotSent, NoReply) as failed:
            self._tell(partner, message, began, failure=failed.kind)
            raise

        reply = read_reply(posted)
        if isinstance(reply, BadDocument):
            self._tell(partner, message, began, failure="xml")
        elif reply.has("Problem"):
            self._tell(partner, message, began, failure="problem", notes=reply.notes)
        else:
            self._tell(partner, message, began, notes=reply.notes)
        return posted, reply

    def _tell(
        self, partner: Partner, message: NcipMessage, began: float, *, failure: str = "", notes: tuple[str, ...] = ()
    ) -> None:
        """Report an exchange that began at this second of the clock."""
        exchange = PartnerExchange(
            partner=partner.agency,
            service=message.service,
            seconds=self._seconds() - began,
            failure=failure,
            notes=notes,
        )
        self._on_exchange(exchange)


def make_document(notification: PartnerMessage, partner: Partner, agency: str, secret: str) -> NcipMessage | None:
    """Make the message for `notification`, with the header, or None if the partner's flow sends no document."""
    row = FLOWS[DIALECTS[partner.dialect].flow].get(Notification(notification.send))
    message = row(notification, partner, agency) if row else None
    if message is None:
        return None
    return NcipMessage(
        service=message.service, fields={**make_header(partner, agency, secret), **_with_item_id_type(message.fields, partner)}
    )


def show_document(notification: PartnerMessage, partner: Partner, agency: str) -> str:
    """Return the document that would be sent now, with a dot for the secret, or "" if the flow sends no document."""
    message = make_document(notification, partner, agency, HIDDEN)
    return encode(message, DIALECTS[partner.dialect]).decode() if message else ""


def _with_item_id_type(fields: Fields, partner: Partner) -> Fields:
    """Set the ItemIdentifierType in the fields to the partner's `item_id_type`."""
    if partner.item_id_type == BARCODE or "ItemId" not in fields:
        return fields
    named, kind = fields["ItemId"], {"ItemIdentifierType": partner.item_id_type}
    typed: list[Value] = [{**one, **kind} for one in many(named) if isinstance(one, Mapping)]
    return {**fields, "ItemId": typed if isinstance(named, list) else typed[0]}


def make_header(partner: Partner, agency: str, secret: str) -> Fields:
    """Make the InitiationHeader for a message to a partner."""
    header: Fields = {
        **({"FromSystemId": partner.from_system_id} if partner.from_system_id else {}),
        "FromAgencyId": {"AgencyId": agency},
        "FromAgencyAuthentication": secret,
        "ToAgencyId": {"AgencyId": partner.agency},
        "ApplicationProfileType": partner.application_profile,
    }
    return {"InitiationHeader": header}


def read_reply(posted: HttpReply) -> NcipMessage | BadDocument:
    """Decode the message in an HTTP response. Ignore the HTTP status, since peers send Problems with status 500."""
    try:
        return decode(posted.body, charset(posted.content_type))
    except BadDocument as bad:
        return bad


def read_result(
    request: NcipMessage, posted: HttpReply, reply: NcipMessage | BadDocument, own: Meanings = ()
) -> DeliveryResult:
    """Convert the HTTP response to `request` and the decoded `reply` to a result. `own` holds the partner's `Meanings`."""
    if posted.status in NOT_BELIEVED:
        words = "" if isinstance(reply, BadDocument) else reply.text("Problem/ProblemDetail")
        return DeliveryResult(
            kind=DeliveryKind.FAULT, problem=AUTHENTICATION_FAILED, detail=f"HTTP {posted.status} {words}".strip()[:200]
        )
    if isinstance(reply, BadDocument):
        kind, status = DeliveryKind.UNKNOWN, f"HTTP {posted.status}, {reply.detail}"[:200]
        if posted.status in BUSY:
            kind, status = DeliveryKind.LATER, f"HTTP {posted.status}"
        return DeliveryResult(kind=kind, detail=status, retry_after_s=posted.retry_after_s)
    if reply.has("Problem"):
        # The most serious Problem decides, in the order fault, later, refused, already.
        found = {_read_meaning(problem, request.service, own): problem for problem in reversed(reply.each("Problem"))}
        gravest = next(kind for kind in ("fault", "later", "refused", "already") if kind in found)
        named, detail = found[gravest].text("ProblemType"), found[gravest].text("ProblemDetail")[:200]
        return DeliveryResult(
            kind=DeliveryKind(gravest), problem=spell_problem(named), detail=detail, retry_after_s=posted.retry_after_s
        )
    if stranger := _find_other_addressee(request, reply):
        return DeliveryResult(kind=DeliveryKind.UNKNOWN, detail=f"the answer is addressed to {stranger}"[:200])
    shape = SHAPES[request.service]
    if reply.service not in (shape.reply, *([GENERIC] if shape.kind == "N" else [])):
        return DeliveryResult(kind=DeliveryKind.UNKNOWN, detail=f"{request.service} was answered by {reply.service}")
    when, barcode = instant(reply.text("DateDue"), dates.HONG_KONG), reply.text("ItemId/ItemIdentifierValue")
    return DeliveryResult(
        kind=DeliveryKind.ACCEPTED,
        due=dates.civil(when) if when else None,
        item=ItemKey(reply.text("ItemId/AgencyId"), barcode) if barcode else None,
        pending=reply.has("Pending"),
        number=_read_partner_number(request, reply),
    )


def _find_other_addressee(request: NcipMessage, reply: NcipMessage) -> str:
    """Return the agency to which a reply is addressed, or "" if it is addressed to us or to nobody.

    iNCIPit reports a failure without a Problem, with its text in ToAgencyId (seen on 2026-12-02). Some peers repeat our header.
    """
    addressee = reply.text("ResponseHeader/ToAgencyId/AgencyId")
    sides = {request.text(f"InitiationHeader/{side}/AgencyId").casefold() for side in ("FromAgencyId", "ToAgencyId")}
    return "" if addressee.casefold() in {"", *sides} else addressee


def _read_partner_number(request: NcipMessage, reply: NcipMessage) -> str:
    """Return the partner's own RequestId in a reply as AGENCY:VALUE, or "" if the reply has no number or our number.

    FOLIO (mod-ncip 1.17) and Koha's NCIPServer reply with their own request number, with or without an AgencyId.
    """
    own, number = (m.text("RequestId/RequestIdentifierValue") for m in (request, reply))
    named, known = reply.text("RequestId/AgencyId"), request.text("InitiationHeader/ToAgencyId/AgencyId")
    agency = known if named.casefold() in ("", known.casefold()) else named
    return f"{agency}:{number}" if own and number and own != number else ""


def _read_meaning(problem: NcipMessage, service: str, own: Meanings) -> Meaning:
    own_meaning = find_own_meaning(problem, own)
    if own_meaning:
        return own_meaning
    named = problem.text("ProblemType")
    # Our documents are well-formed, so an unreadable document was garbled in transit. Send it again.
    return "later" if spell_problem(named) in GARBLED else find_meaning(named, service)
