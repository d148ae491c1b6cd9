"""The initiator: documents match the examples, and any reply or network error gives one outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

import pytest
from lxml import etree
from structlog.testing import capture_logs

from hkall_gateway.circulation.results import DeliveryResult
from hkall_gateway.db.database import finished
from hkall_gateway.ncip.codec.dialects import DIALECTS
from hkall_gateway.ncip.codec.documents import decode, encode
from hkall_gateway.ncip.codec.messages import SHAPES, NcipMessage
from hkall_gateway.ncip.transport.client import DOCUMENTS, HttpReply, NcipClient, NoReply, NotSent, make_document
from hkall_gateway.observability.metrics import Metrics
from hkall_gateway.peers.exchanges import note
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage, is_letter
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.stored_words import DeliveryKind
from hkall_gateway.rules.vocabulary import ItemKey
from hkall_gateway.xml.tree import Fields, Value
from tests.metrics import value

EXAMPLES = Path(__file__).parents[3] / "shared/ncip/examples"
CUHK = Partner(agency="CUHK", name="CUHK Library", url="http://cuhk.test/ncip", timeout_s=7)
C1 = ItemKey("CUHK", "C00001")
XML = 'application/xml; charset="utf-8"'


def partner_message(
    send: Notification, at: str = "2017-03-01T02:00:00+00:00", due: str = "2017-03-17", **facts: object
) -> PartnerMessage:
    """Request R-1001 at CUHK, with `at` and `due` as in the examples."""
    said: dict[str, object] = {"item": C1, "bib_id": "b1", "local_bib_id": "990012", "pickup_location": "HKU-MAIN-LENDING"}
    said |= {"wire_agency": "HKU", "wire_id": "R-1001-1", "renewals": 1, "patron": "UG1", **facts}
    when, until = datetime.fromisoformat(at), date.fromisoformat(due)
    return PartnerMessage(send=send.value, request="R-1001", partner="CUHK", at=when, due=until, **said)  # type: ignore[arg-type]  # facts by name


def shape(value: Value) -> object:
    """A message's structure without its texts."""
    if isinstance(value, Mapping):
        return {name: shape(one) for name, one in value.items()}
    return [shape(one) for one in value] if isinstance(value, list) else type(value) is bool


# Which of our documents is which example. One that a lender writes to us is compared in shape, since we lend too.
N = Notification
# fmt: off
SAME = (
    ("03-we-ask-the-lender-RequestItem",             N.ASK_LENDER,             "2017-03-01T02:00:00+00:00", "2017-03-17"),
    ("09-we-cancel-at-the-lender-CancelRequestItem", N.CANCEL_AT_LENDER,       "2017-03-01T02:00:00+00:00", "2017-03-17"),
    ("07-we-received-ItemReceived",                  N.TELL_LENDER_RECEIVED,   "2017-03-02T03:00:00+00:00", "2017-03-17"),
    ("10-we-lent-it-ItemCheckedOut",                 N.TELL_LENDER_ON_LOAN,    "2017-03-01T02:00:00+00:00", "2017-03-17"),
    ("12-we-renewed-ItemRenewed",                    N.TELL_LENDER_RENEWED,    "2017-03-01T02:00:00+00:00", "2017-03-25"),
    ("14-we-send-it-home-ItemShipped",               N.TELL_LENDER_ON_ITS_WAY, "2017-03-18T02:00:00+00:00", "2017-03-17"),
)
ALIKE = (
    (N.TELL_BORROWER_DECLINED, "04-lender-declines-ItemRequestCancelled"),
    (N.TELL_BORROWER_SHIPPED,  "05-lender-ships-ItemShipped"),
    (N.TELL_BORROWER_RECALLED, "13-lender-recalls-ItemRecalled"),
    (N.TELL_BORROWER_HOME,     "15-lender-has-it-ItemReceived"),
)
# fmt: on


def example(name: str) -> Fields:
    file = EXAMPLES / f"{name}.xml"
    if not file.exists():
        pytest.skip(f"{file} is not on this machine")
    return decode(file.read_bytes()).fields


def written(send: Notification, said: PartnerMessage | None = None) -> NcipMessage | None:
    return make_document(said or partner_message(send), CUHK, "HKU", "a-secret")


def test_every_message_to_a_partner_has_a_row() -> None:
    assert DOCUMENTS.keys() == {send for send in Notification if not is_letter(send)}


@pytest.mark.parametrize("send", DOCUMENTS)
def test_every_document_is_valid(send: Notification, xsd: etree.XMLSchema) -> None:
    message = written(send)
    silent = {Notification.TELL_LENDER_RETURNED}
    assert (message is None) == (send in silent)
    if message is not None:
        xsd.assertValid(etree.fromstring(encode(message, DIALECTS["direct"])))


@pytest.mark.parametrize(("name", "send", "at", "due"), SAME, ids=[row[0] for row in SAME])
def test_document_to_a_partner_equals_the_example(name: str, send: Notification, at: str, due: str) -> None:
    message = written(send, partner_message(send, at, due))
    assert message is not None
    assert decode(encode(message, DIALECTS["direct"])).fields == example(name)


@pytest.mark.parametrize(("send", "name"), ALIKE, ids=[row[1] for row in ALIKE])
def test_document_from_a_lender_has_the_structure_of_the_example(send: Notification, name: str) -> None:
    message = written(send)
    assert message is not None
    assert shape(decode(encode(message, DIALECTS["direct"])).fields) == shape(example(name))


def test_lender_gets_no_patron_data_unless_configured() -> None:
    rows = (Partner(agency="CUHK", name="", user_sent=kind) for kind in ("institution", "patron"))
    messages = [make_document(partner_message(Notification.ASK_LENDER), row, "HKU", "") for row in rows]
    told = [message.text("UserId/UserIdentifierValue") for message in messages if message]
    assert told == ["HKU-INST", "UG1"]


# ---- what comes back


class Script:
    """A transport that replies as told, and records what it sends."""

    def __init__(self, reply: HttpReply | Exception) -> None:
        self.reply = reply
        self.given: list[tuple[str, bytes, float]] = []

    async def __call__(self, url: str, body: bytes, timeout_s: float) -> HttpReply:
        self.given.append((url, body, timeout_s))
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply


def delivered(
    reply: HttpReply | Exception, send: Notification = Notification.ASK_LENDER, partner: Partner = CUHK
) -> DeliveryResult:
    return finished(NcipClient(Script(reply), "HKU", {"CUHK": "a-secret"}).deliver(partner_message(send), partner))


def replied(service: str = "RequestItemResponse", status: int = 200, wait: int = 0, **fields: Value) -> HttpReply:
    return HttpReply(
        status=status,
        content_type=XML,
        body=encode(NcipMessage(service=service, fields=fields), DIALECTS["direct"]),
        retry_after_s=wait,
    )


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_are_a_channel_fault_regardless_of_the_body(status: int) -> None:
    problem: Fields = {"ProblemType": "Anything", "ProblemDetail": "JWT subject does not match"}
    for reply in (
        HttpReply(status=status, content_type="text/html", body=b"<html>log in</html>"),
        replied(status=status, Problem=[problem]),
    ):
        found = delivered(reply)
        assert (found.kind, found.problem) == ("fault", "Agency Authentication Failed")
        assert f"HTTP {status}" in found.detail


def test_document_is_sent_by_the_transport_configured_for_its_partner() -> None:
    usual, own = Script(replied()), Script(replied())
    finished(NcipClient(usual, "HKU", {}, posts={"CUHK": own}).deliver(partner_message(Notification.ASK_LENDER), CUHK))
    assert (len(usual.given), len(own.given)) == (0, 1)


def test_partner_that_uses_system_ids_gets_our_system_id() -> None:
    message = make_document(partner_message(Notification.ASK_LENDER), replace(CUHK, from_system_id="HKU-SYSTEM"), "HKU", "")
    assert message is not None
    assert message.text("InitiationHeader/FromSystemId") == "HKU-SYSTEM"


@pytest.mark.parametrize(
    "send",
    [
        Notification.ASK_LENDER,
        Notification.CANCEL_AT_LENDER,
        Notification.TELL_LENDER_ON_LOAN,
        Notification.ASK_LENDER_TO_RENEW,
    ],
)
@pytest.mark.parametrize(("our_user", "named"), [("", "HKU-INST"), ("ILL-0042", "ILL-0042")])
def test_partner_gets_the_user_identifier_configured_for_us(send: Notification, our_user: str, named: str) -> None:
    message = make_document(partner_message(send), replace(CUHK, our_user=our_user), "HKU", "")
    assert message is not None
    assert (message.text("UserId/AgencyId"), message.text("UserId/UserIdentifierValue")) == ("CUHK", named)


def test_refusal_contains_the_partners_institutional_card() -> None:
    message = make_document(
        partner_message(Notification.TELL_BORROWER_DECLINED), replace(CUHK, institutional_card="ILL-CUHK"), "HKU", ""
    )
    assert message is not None
    assert (message.text("UserId/AgencyId"), message.text("UserId/UserIdentifierValue")) == ("HKU", "ILL-CUHK")


def refused(problem: str, status: int = 200) -> HttpReply:
    return replied(status=status, Problem=[{"ProblemType": problem, "ProblemDetail": "because"}])


def reply_header(sender: str, addressee: str) -> Fields:
    return {"FromAgencyId": {"AgencyId": sender}, "ToAgencyId": {"AgencyId": addressee}}


NUMBER: Fields = {"AgencyId": "HKU", "RequestIdentifierValue": "R-1001-1"}
COPY: Fields = {"AgencyId": "CUHK", "ItemIdentifierValue": "C00001"}

ANSWERS: dict[str, tuple[HttpReply | Exception, DeliveryResult]] = {
    "accepted": (replied(RequestId=NUMBER, ItemId=COPY), DeliveryResult(kind=DeliveryKind.ACCEPTED, item=C1)),
    "accepted with a status": (replied(status=202, RequestId=NUMBER), DeliveryResult(kind=DeliveryKind.ACCEPTED)),
    "asked already": (
        refused("duplicate request"),
        DeliveryResult(kind=DeliveryKind.ALREADY, problem="Duplicate Request", detail="because"),
    ),
    "a final no": (
        refused("UNKNOWN ITEM"),
        DeliveryResult(kind=DeliveryKind.REFUSED, problem="Unknown Item", detail="because"),
    ),
    "a final no with a 500": (
        refused("Unknown Item", 500),
        DeliveryResult(kind=DeliveryKind.REFUSED, problem="Unknown Item", detail="because"),
    ),
    "a no that nobody knows": (
        refused("Moon In Wrong Phase"),
        DeliveryResult(kind=DeliveryKind.REFUSED, problem="Moon In Wrong Phase", detail="because"),
    ),
    "not now": (
        refused("Temporary Processing Failure"),
        DeliveryResult(kind=DeliveryKind.LATER, problem="Temporary Processing Failure", detail="because"),
    ),
    "busy": (
        HttpReply(status=503, content_type="text/plain", body=b"later", retry_after_s=120),
        DeliveryResult(kind=DeliveryKind.LATER, detail="HTTP 503", retry_after_s=120),
    ),
    "too many": (
        HttpReply(status=429, content_type="text/html", body=b"<p>slow", retry_after_s=5),
        DeliveryResult(kind=DeliveryKind.LATER, detail="HTTP 429", retry_after_s=5),
    ),
    "its answer was lost": (
        HttpReply(status=502, content_type="text/html", body=b"Bad Gateway", retry_after_s=0),
        DeliveryResult(
            kind=DeliveryKind.UNKNOWN, detail="HTTP 502, not well-formed: ERR_DOCUMENT_EMPTY (4) in line 1, column 1"
        ),
    ),
    "a number of its own": (
        replied(RequestId={**NUMBER, "RequestIdentifierValue": "X"}),
        DeliveryResult(kind=DeliveryKind.ACCEPTED, number="HKU:X"),
    ),
    "the wrong reply": (
        replied("ItemShippedResponse"),
        DeliveryResult(kind=DeliveryKind.UNKNOWN, detail="RequestItem was answered by ItemShippedResponse"),
    ),
    "addressed to us": (
        replied(ResponseHeader=reply_header("CUHK", "hku"), RequestId=NUMBER),
        DeliveryResult(kind=DeliveryKind.ACCEPTED),
    ),
    "with our own header": (
        replied(ResponseHeader=reply_header("HKU", "CUHK"), RequestId=NUMBER),
        DeliveryResult(kind=DeliveryKind.ACCEPTED),
    ),
    "a failure in the words of iNCIPit": (
        replied(ResponseHeader=reply_header("CUHK", "Unable to find the item."), RequestId=NUMBER),
        DeliveryResult(kind=DeliveryKind.UNKNOWN, detail="the answer is addressed to Unable to find the item."),
    ),
    "addressed to another library": (
        replied(ResponseHeader=reply_header("CUHK", "LU"), RequestId=NUMBER),
        DeliveryResult(kind=DeliveryKind.UNKNOWN, detail="the answer is addressed to LU"),
    ),
    "not sent": (NotSent("refused"), DeliveryResult(kind=DeliveryKind.UNREACHABLE, detail="refused")),
    "cut": (NoReply("cut"), DeliveryResult(kind=DeliveryKind.UNKNOWN, detail="cut")),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_every_reply_is_classified_as_exactly_one_outcome(name: str) -> None:
    reply, answer = ANSWERS[name]
    assert delivered(reply) == answer


@pytest.mark.parametrize("body", [b"", b"<html><body>It works!</body></html>", b"<NCIPMessage>", b"\xff\xfe\x00"])
@pytest.mark.parametrize("status", [200, 302, 404, 500])
def test_malformed_reply_leaves_the_outcome_unknown(body: bytes, status: int) -> None:
    assert delivered(HttpReply(status=status, content_type="text/html", body=body, retry_after_s=0)).kind == "unknown"


def test_mod_ncip_catch_all_problem_is_retried() -> None:
    assert (
        delivered(
            HttpReply(
                status=500, content_type="application/xml", body=b"<Problem><message>NPE</message></Problem>", retry_after_s=0
            )
        ).kind
        == "later"
    )


def test_temporary_problem_takes_precedence_over_a_permanent_one() -> None:
    both: Value = [{"ProblemType": "Unknown Item"}, {"ProblemType": "Temporary Processing Failure"}]
    assert delivered(replied(Problem=both)).kind == "later"


def test_document_is_posted_to_the_partner_url_with_its_secret_and_timeout() -> None:
    script = Script(replied())
    finished(NcipClient(script, "HKU", {"CUHK": "a-secret"}).deliver(partner_message(Notification.ASK_LENDER), CUHK))
    ((url, body, timeout_s),) = script.given
    header = decode(body)
    assert (url, timeout_s) == ("http://cuhk.test/ncip", 7)
    assert header.text("InitiationHeader/FromAgencyAuthentication") == "a-secret"


def test_message_outside_the_flow_is_settled_without_sending() -> None:
    assert delivered(NotSent("nobody calls"), Notification.TELL_LENDER_RETURNED).kind == "accepted"


def test_partner_without_a_url_counts_as_a_refusal() -> None:
    assert delivered(replied(), partner=Partner(agency="CUHK", name="")).kind == "refused"


def test_due_date_in_a_reply_is_converted_to_the_hong_kong_date() -> None:
    reply = replied("RenewItemResponse", ItemId=COPY, DateDue="2017-04-20T15:59:59Z")
    assert delivered(reply, Notification.ASK_LENDER_TO_RENEW).due == date(2017, 4, 20)


def test_every_document_expects_the_response_to_its_service() -> None:
    for send in DOCUMENTS:
        message = written(send)
        if message is not None:
            assert delivered(replied(SHAPES[message.service].reply), send).kind == "accepted"


def test_timestamps_are_written_in_utc() -> None:
    said = partner_message(Notification.TELL_LENDER_RECEIVED, datetime(2017, 3, 2, 3, tzinfo=UTC).isoformat())
    message = written(Notification.TELL_LENDER_RECEIVED, said)
    assert message is not None
    assert message.text("DateReceived") == "2017-03-02T03:00:00Z"


# ---- what may have arrived


class Replies(Script):
    """A transport that gives these replies in sequence."""

    def __init__(self, *replies: HttpReply | Exception) -> None:
        super().__init__(replies[0])
        self.left = list(replies)

    async def __call__(self, url: str, body: bytes, timeout_s: float) -> HttpReply:
        self.reply = self.left.pop(0)
        return await super().__call__(url, body, timeout_s)


def again(
    post: Replies, send: Notification = Notification.ASK_LENDER, *, asks: bool = True
) -> tuple[DeliveryResult, list[str]]:
    """The outcome of resending a message of unknown outcome, and the documents sent."""
    partner = Partner(agency="CUHK", name="", url="http://cuhk.test/ncip", can_lookup_request=asks)
    answer = finished(NcipClient(post, "HKU", {}).deliver(partner_message(send), partner, unsure=True))
    return answer, [decode(body).service for _, body, _ in post.given]


def test_partner_with_lookups_is_queried_before_resending() -> None:
    answer, told = again(Replies(replied("LookupRequestResponse", RequestId=NUMBER)))
    assert (answer.kind, told) == ("already", ["LookupRequest"])


def test_request_unknown_to_the_partner_is_resent() -> None:
    answer, told = again(Replies(refused("Unknown Request"), replied(RequestId=NUMBER)))
    assert (answer.kind, told) == ("accepted", ["LookupRequest", "RequestItem"])


def test_lookup_without_a_reply_leaves_the_outcome_unknown() -> None:
    answer, told = again(Replies(NoReply("cut")))
    assert (answer.kind, told) == ("unknown", ["LookupRequest"])


def test_request_is_resent_to_a_partner_without_lookups() -> None:
    answer, told = again(Replies(replied(RequestId=NUMBER)), asks=False)
    assert (answer.kind, told) == ("accepted", ["RequestItem"])


def test_other_messages_are_resent_without_a_lookup() -> None:
    answer, told = again(Replies(replied("ItemReceivedResponse")), Notification.TELL_LENDER_RECEIVED)
    assert (answer.kind, told) == ("accepted", ["ItemReceived"])


@pytest.mark.parametrize("problem", ["Invalid Message Syntax Error", "protocol error"])
def test_document_garbled_in_transit_is_resent(problem: str) -> None:
    assert delivered(refused(problem)).kind == "later"


# ---- what is counted

COUNTED: dict[str, tuple[HttpReply | Exception, str]] = {
    "yes": (replied(RequestId=NUMBER), ""),
    "no": (refused("Unknown Item"), "problem"),
    "garbage": (HttpReply(status=200, content_type=XML, body=b"<html>", retry_after_s=0), "xml"),
    "no name": (NotSent("who?", "dns"), "dns"),
    "silence": (NoReply("no answer within 20 s", "timeout"), "timeout"),
}


@pytest.mark.parametrize("name", COUNTED)
def test_every_document_is_timed_and_failures_counted_by_kind(name: str) -> None:
    reply, failure = COUNTED[name]
    metrics, clock = Metrics(), iter((100.0, 101.5))
    client = NcipClient(Script(reply), "HKU", {}, partial(note, metrics, "ncip"), lambda: next(clock))
    finished(client.deliver(partner_message(Notification.ASK_LENDER), CUHK))
    assert value(metrics, "ncip_latency_seconds", "CUHK", "RequestItem", "out") == 1
    kinds = ("dns", "connect", "tls", "timeout", "http", "xml", "problem")
    assert [kind for kind in kinds if value(metrics, "ncip_errors_total", "CUHK", kind)] == ([failure] if failure else [])


def test_reply_valid_only_in_the_partners_dialect_is_accepted_and_reported() -> None:
    body = b"<NCIPMessage><RequestItemResponse><Dance/></RequestItemResponse></NCIPMessage>"
    client = NcipClient(
        Script(HttpReply(status=200, content_type=XML, body=body, retry_after_s=0)),
        "HKU",
        {},
        partial(note, Metrics(), "ncip"),
    )
    with capture_logs() as logs:
        answer = finished(client.deliver(partner_message(Notification.ASK_LENDER), CUHK))
    assert answer == DeliveryResult(kind=DeliveryKind.ACCEPTED)
    assert [(log["event"], log["partner"], log["notes"]) for log in logs] == [
        ("ncip.reply_tolerated", "CUHK", ["unknown element RequestItemResponse/Dance"])
    ]
