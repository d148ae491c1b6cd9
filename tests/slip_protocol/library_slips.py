"""A protocol of partners, as a third-party distribution would provide it: slips in JSON over HTTP, decided apart."""

import json
from collections.abc import Collection
from datetime import date
from typing import Any

from pydantic import BaseModel, Field

from hkall_gateway.circulation.lending import BorrowFromUs
from hkall_gateway.circulation.partner_notice import ItemReceived, ItemRenewed, ItemShipped, RequestAccepted, RequestCancelled
from hkall_gateway.circulation.recalls import RenewalRefused
from hkall_gateway.circulation.results import DeliveryResult, Refused
from hkall_gateway.observability.examination import DoctorRow, Report
from hkall_gateway.peers.callers import NotProven, authenticate
from hkall_gateway.peers.document_site import DocumentSite, PeersResponder, Posted
from hkall_gateway.peers.incoming import CORR, digest_of, execute_once
from hkall_gateway.peers.protocol import House, Line, Operator, PartnerProtocol, Peers, Traits, terms_of
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage
from hkall_gateway.rules.partners import Partner
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
    Notification.ASK_LENDER_TO_RENEW: ItemRenewed,
}
"""What a slip says -> the command that it becomes. The same word means the other side's event at the other side."""
DECISIONS: dict[str, Any] = {"promised": RequestAccepted, "renewed": ItemRenewed, "not_renewed": RenewalRefused}
"""The decisions of a lender, which have no message of their own in other protocols."""


class SlipSettings(BaseModel):
    motto: str = Field(default="Post a slip here.", description="pigeon: text for who opens its path in a browser")


class SlipPartner(BaseModel):
    url: str = Field(description="pigeon: URL to which its slips are posted", pattern="^https?://")


def write(message: PartnerMessage, agency: str, secret: str) -> dict[str, Any]:
    facts = {"title": message.bib_id, "item": message.item, "pickup": message.pickup_location, "reason": message.reason}
    due = message.due.isoformat() if message.due else None
    said = {"from": agency, "secret": secret, "say": message.send, "request": [message.wire_agency, message.wire_id]}
    return {**said, **facts, "due": due}


def read(slip: dict[str, Any], by: Actor, *, judged: bool = False) -> Any:
    """Make the command from a slip. Raises KeyError, TypeError or ValueError if the slip is malformed."""
    agency, number = map(str, slip["request"])
    item = ItemKey(*map(str, slip["item"])) if slip.get("item") else None
    named: dict[str, Any] = {"by": by, "partner": by.who, "wire_agency": agency, "wire_id": number, "item": item}
    if slip["say"] == Notification.ASK_LENDER:
        return BorrowFromUs(**named, bib_id=str(slip["title"]), pickup_location=str(slip.get("pickup", "")))
    due = date.fromisoformat(slip["due"]) if slip.get("due") else None
    kind = {**EVENTS, **DECISIONS}[slip["say"]]
    return kind(**named, due=due, reason=str(slip.get("reason", "")), judged=judged)


class Slips(PeersResponder):
    """Answers slips."""

    @property
    def about(self) -> str:
        return f"{self.peers.settings.motto}\n"  # type: ignore[attr-defined]  # the settings are SlipSettings

    def try_again(self, posted: Posted) -> bytes:
        return self._reply(posted, 503, "try again")

    def _reply(self, posted: Posted, status: int, refused: str = "") -> bytes:
        posted.set_status(status)
        return json.dumps({"received": not refused, "refused": refused}).encode()

    async def answer(self, posted: Posted) -> bytes:
        digest = digest_of(posted.body)
        try:
            slip = json.loads(posted.body)
            caller = await authenticate(self.peers, str(slip["from"]), str(slip["secret"]), posted.peer)
            if isinstance(caller, NotProven):
                return self._reply(posted, 401, caller.detail)
            posted.prove(caller)
            by = Actor(who=caller.agency, channel=self.protocol, message=str(slip["say"]), corr=digest[:CORR])
            command = read(slip, by)
        except (ValueError, KeyError, TypeError, RecursionError):
            return self._reply(posted, 400, "no slip")
        result = await execute_once(self.peers, command, digest, json.dumps({**slip, "secret": "•"}, ensure_ascii=False))
        return self._reply(posted, 409, result.why) if isinstance(result, Refused) else self._reply(posted, 200)


class SlipClient:
    def __init__(self, line: Line) -> None:
        self._line = line

    async def deliver(
        self, message: PartnerMessage, partner: Partner, *, unsure: bool = False, look_for: Collection[str] = ()
    ) -> DeliveryResult:
        slip = write(message, self._line.agency, self._line.secrets[partner.agency])
        reply = await self._line.send(partner, message.send, partner.url, json.dumps(slip).encode())
        if isinstance(reply, DeliveryResult):
            return reply
        refused = str(json.loads(reply.body)["refused"]) if reply.status in (401, 409) else ""
        return DeliveryResult(kind=KINDS.get(reply.status, DeliveryKind.UNKNOWN), problem=refused)


async def replay(peers: Peers, agency: str, digest: str, document: str) -> str | Refused:
    slip = json.loads(document)
    by = Actor(who=agency, channel=peers.protocol, message=slip["say"], corr=digest[:CORR])
    result = await peers.circulation.execute(read(slip, by, judged=True))
    return result if isinstance(result, Refused) else ""


def open_entrances(peers: Peers, house: House) -> dict[str, DocumentSite]:
    return {"listen": DocumentSite(Slips(peers), house.bounds, house.reactor, house.balancers)}


TRAITS = Traits(
    decides_apart=True,
    tells=frozenset(map(Notification, (Notification.ASK_LENDER, *EVENTS))),
    looks=False,
    renewal_modes=("local_then_notify", "ask_first"),
)
HELLO = DoctorRow(name="slip.hello", tries="posts a slip of greeting", advice="Ask the library whether its slips are read.")


async def greet(report: Report, line: Line, partner: Partner) -> None:
    body = json.dumps({"from": line.agency, "secret": line.secrets[partner.agency], "say": "hello"}).encode()
    reply = await line.post(partner.url, body, partner.timeout_s)
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
