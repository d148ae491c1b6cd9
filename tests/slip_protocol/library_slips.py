"""A protocol of partners, as a third-party distribution would provide it: slips in JSON over HTTP, decided apart."""

import json
from collections.abc import Collection
from datetime import date
from functools import partial
from hashlib import blake2b
from typing import Any

from pydantic import BaseModel, Field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from hkall_gateway.circulation.command import InboxKey
from hkall_gateway.circulation.lending import BorrowFromUs
from hkall_gateway.circulation.partner_notice import ItemReceived, ItemShipped, RequestCancelled
from hkall_gateway.circulation.partners.partner_reports import KeepUnplaced
from hkall_gateway.circulation.results import DeliveryResult, Refused
from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.net.http_post import NoReply, NotSent
from hkall_gateway.net.limits.timeout import TooLate
from hkall_gateway.observability.examination import DoctorRow, Report
from hkall_gateway.peers.callers import NotProven, authenticate, is_admitted
from hkall_gateway.peers.document_site import DocumentSite, Posted
from hkall_gateway.peers.exchanges import PartnerExchange, observe
from hkall_gateway.peers.protocol import House, Line, Operator, PartnerProtocol, Peers, Traits, terms_of
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import DeliveryKind
from hkall_gateway.rules.vocabulary import Actor, ItemKey

KINDS = {200: DeliveryKind.ACCEPTED, 401: DeliveryKind.FAULT, 409: DeliveryKind.REFUSED, 503: DeliveryKind.LATER}
EVENTS: dict[str, Any] = {
    Notification.CANCEL_AT_LENDER: RequestCancelled,
    Notification.TELL_BORROWER_DECLINED: RequestCancelled,
    Notification.TELL_LENDER_RECEIVED: ItemReceived,
    Notification.TELL_BORROWER_HOME: ItemReceived,
    Notification.TELL_BORROWER_SHIPPED: ItemShipped,
    Notification.TELL_LENDER_ON_ITS_WAY: ItemShipped,
}
"""What a slip says -> the command that it becomes. The same word means the other side's event at the other side."""
SAYS = frozenset(map(Notification, (Notification.ASK_LENDER, *EVENTS)))
MONTH_S = 30 * 24 * 3600


class SlipSettings(BaseModel):
    motto: str = Field(default="Post a slip here.", description="pigeon: text for who opens its path in a browser")


class SlipPartner(BaseModel):
    url: str = Field(description="pigeon: URL to which its slips are posted", pattern="^https?://")


def write(message: PartnerMessage, agency: str, secret: str) -> dict[str, Any]:
    facts = {"title": message.bib_id, "item": message.item, "pickup": message.pickup_location, "reason": message.reason}
    due = message.due.isoformat() if message.due else None
    said = {"from": agency, "secret": secret, "say": message.send, "request": [message.wire_agency, message.wire_id]}
    return {**said, **facts, "due": due}


def read(slip: dict[str, Any], partner: str, by: Actor, *, judged: bool = False) -> Any:
    """Make the command from a slip. Raises KeyError, TypeError or ValueError if the slip is malformed."""
    agency, number = map(str, slip["request"])
    item = ItemKey(*map(str, slip["item"])) if slip.get("item") else None
    named: dict[str, Any] = {"by": by, "partner": partner, "wire_agency": agency, "wire_id": number, "item": item}
    if slip["say"] == Notification.ASK_LENDER:
        return BorrowFromUs(**named, bib_id=str(slip["title"]), pickup_location=str(slip.get("pickup", "")))
    due = date.fromisoformat(slip["due"]) if slip.get("due") else None
    return EVENTS[slip["say"]](**named, due=due, reason=str(slip.get("reason", "")), judged=judged)


class Slips:
    """Answers slips."""

    content_type = "application/json"

    def __init__(self, peers: Peers) -> None:
        self.serve(peers)

    def serve(self, peers: Peers) -> None:
        self.peers, self.protocol, self.public_keys = peers, peers.protocol, peers.public_keys
        self.timeout, self.about = peers.timeout, f"{getattr(peers.settings, 'motto', '')}\n"

    def admits(self, address: str) -> bool:
        return any(is_admitted(row.access.allow_from, address) for row in self.peers.callers.values())

    def refuse_long(self, address: str, size: int) -> None:
        """Say nothing of it."""

    def respond(self, posted: Posted) -> Deferred[bytes]:
        work = self._read_slip(posted)
        answer = self.timeout.run(work, posted.deadline) if self.timeout else Deferred.fromCoroutine(work)
        return answer.addCallbacks(lambda reply: reply, partial(self._too_late, posted))

    def _too_late(self, posted: Posted, failure: Failure) -> bytes:
        failure.trap(TooLate)  # type: ignore[no-untyped-call]  # Failure.trap is untyped
        return self._say(posted, 503, "try again")

    def _say(self, posted: Posted, status: int, refused: str = "") -> bytes:
        posted.set_status(status)
        return json.dumps({"received": not refused, "refused": refused}).encode()

    async def _read_slip(self, posted: Posted) -> bytes:
        began = self.peers.now()
        try:
            slip = json.loads(posted.body)
            caller = await authenticate(self.peers, str(slip["from"]), str(slip["secret"]), posted.peer)
            if isinstance(caller, NotProven):
                return self._say(posted, 401, caller.detail)
            posted.prove(caller)
            digest = blake2b(posted.body, digest_size=16).hexdigest()
            by = Actor(who=caller.agency, channel=self.protocol, message=str(slip["say"]), corr=digest[:12])
            command = read(slip, caller.agency, by)
        except (ValueError, KeyError, TypeError, RecursionError):
            return self._say(posted, 400, "no slip")
        try:
            outcome = await self.peers.circulation.execute(
                command, inbox=InboxKey(agency=caller.agency, digest=digest, keep_s=MONTH_S)
            )
            if isinstance(outcome, Refused) and outcome.why in (Reason.UNKNOWN_REQUEST, Reason.CONTRADICTS_US):
                kept = json.dumps({**slip, "secret": "•"}, ensure_ascii=False)
                await self.peers.circulation.execute(KeepUnplaced(by=by, digest=digest, document=kept, why=outcome.why))
        except Unavailable:
            return self._say(posted, 503, "try again")
        observe(self.peers.metrics, self.protocol, caller.agency, by.message, "in", (self.peers.now() - began).total_seconds())
        return self._say(posted, 409, outcome.why) if isinstance(outcome, Refused) else self._say(posted, 200)


class SlipClient:
    def __init__(self, line: Line) -> None:
        self._line = line

    async def deliver(
        self, message: PartnerMessage, partner: Partner, *, unsure: bool = False, look_for: Collection[str] = ()
    ) -> DeliveryResult:
        line, agency, began = self._line, partner.agency, self._line.seconds()
        body = json.dumps(write(message, line.agency, line.secrets[agency])).encode()
        failure = ""
        try:
            reply = await line.posts.get(agency, line.post)(terms_of(partner, SlipPartner).url, body, partner.timeout_s)
        except (NotSent, NoReply) as failed:
            failure = failed.kind
            kind = DeliveryKind.UNREACHABLE if isinstance(failed, NotSent) else DeliveryKind.UNKNOWN
            return DeliveryResult(kind=kind, detail=str(failed))
        finally:
            line.note(PartnerExchange(partner=agency, service=message.send, seconds=line.seconds() - began, failure=failure))
        refused = str(json.loads(reply.body)["refused"]) if reply.status in (401, 409) else ""
        return DeliveryResult(kind=KINDS.get(reply.status, DeliveryKind.UNKNOWN), problem=refused)


async def replay(peers: Peers, agency: str, digest: str, document: str) -> str | Refused:
    slip = json.loads(document)
    by = Actor(who=agency, channel=peers.protocol, message=slip["say"], corr=digest[:12])
    outcome = await peers.circulation.execute(read(slip, agency, by, judged=True))
    return outcome if isinstance(outcome, Refused) else ""


def open_entrances(peers: Peers, house: House) -> dict[str, DocumentSite]:
    return {"listen": DocumentSite(Slips(peers), house.bounds, house.reactor, house.balancers)}


TRAITS = Traits(decides_apart=True, tells=SAYS, looks=False, renewal_modes=("local_then_notify",))
HELLO = DoctorRow(name="slip.hello", tries="posts a slip of greeting", advice="Ask the library whether its slips are read.")


async def greet(report: Report, line: Line, partner: Partner) -> None:
    body = json.dumps({"from": line.agency, "secret": line.secrets[partner.agency], "say": "hello"}).encode()
    reply = await line.post(terms_of(partner, SlipPartner).url, body, partner.timeout_s)
    (report.ok if reply.status == 200 else report.fail)(HELLO.name, f"HTTP {reply.status}")


OPERATOR = Operator(
    show=lambda message, _partner, agency: json.dumps(write(message, agency, "•"), indent=1, ensure_ascii=False),
    replay=replay,
    word=lambda refused, _service: refused.why.value,
    address=lambda partner: terms_of(partner, SlipPartner).url,
    rows=(HELLO,),
    examine=greet,
)
PROTOCOL = PartnerProtocol(
    name="pigeon",
    titles={"en": "Slips", "zh-Hant": "便條"},
    settings=SlipSettings,
    partner_settings=SlipPartner,
    content_type="application/json",
    traits=lambda _partner: TRAITS,
    servers=open_entrances,
    client=SlipClient,
    operator=OPERATOR,
    hidden=frozenset({"secret"}),
)
