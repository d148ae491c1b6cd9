"""Scripted partners behave as told, and each received document can be expected once."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from hkall_gateway.db.database import finished
from hkall_gateway.ncip.codec import documents
from hkall_gateway.ncip.codec.dialects import DIALECTS
from hkall_gateway.ncip.codec.messages import SHAPES, NcipMessage
from hkall_gateway.ncip.shorthand import make_message
from hkall_gateway.ncip.transport.client import HttpReply, NoReply, NotSent
from hkall_gateway.simulator.scenario.scripted_partner import MANNERS, PartnerBehaviour, Peers, manner, reply

URL = "http://cuhk.test/ncip"
NOW = datetime(2017, 3, 1, 2, 0, tzinfo=UTC)


def peers() -> Peers:
    return Peers({URL: "CUHK"}, lambda agency: f"{agency}-secret")


def document(secret: str = "CUHK-secret") -> bytes:
    said = ["user=CUHK:HKU-INST", "bib=CUHK:990001", "item=CUHK:C1", "request=HKU:R1-1"]
    return documents.encode(make_message("RequestItem", said, "HKU", "CUHK", secret, NOW), DIALECTS["direct"])


def post(partners: Peers, body: bytes) -> HttpReply:
    return finished(partners.post(URL, body, 20))


def test_partner_accepts_by_default() -> None:
    answer = documents.decode(post(peers(), document()).body)

    assert answer.service == "RequestItemResponse"
    assert answer.text("RequestId/RequestIdentifierValue") == "R1-1"
    assert not answer.has("Problem")


def test_partner_requires_its_secret() -> None:
    answer = documents.decode(post(peers(), document("wrong")).body)

    assert answer.text("Problem/ProblemType") == "Agency Authentication Failed"


def test_problem_is_answered_with_its_type() -> None:
    partners = peers()
    partners.script("CUHK", *manner("Problem Unknown Item"))

    assert documents.decode(post(partners, document()).body).text("Problem/ProblemType") == "Unknown Item"


def test_busy_partner_sends_retry_after_without_an_effect() -> None:
    partners = peers()
    partners.script("CUHK", *manner("503 after 1h20m"))
    found = post(partners, document())
    assert (found.status, found.retry_after_s, partners.arrived("CUHK")) == (503, 4800, None)


def test_unreadable_reply_can_be_scripted() -> None:
    partners = peers()
    partners.script("CUHK", *manner("nonsense"))
    with pytest.raises(documents.BadDocument):
        documents.decode(post(partners, document()).body)
    assert partners.arrived("CUHK") is not None


def test_scripted_503_is_repeated_as_specified_without_an_effect() -> None:
    partners = peers()
    partners.script("CUHK", *manner("503 x2"))

    assert [post(partners, document()).status for _ in range(3)] == [503, 503, 200]
    assert partners.unasked() == ["CUHK RequestItem"]


def test_scripted_disconnect_receives_the_document_without_replying() -> None:
    partners = peers()
    partners.script("CUHK", *manner("cut"))

    with pytest.raises(NoReply):
        post(partners, document())
    assert partners.bodies == [document()]


@pytest.mark.parametrize(("words", "error"), [("silence", NoReply), ("away", NotSent)])
def test_lost_document_never_arrives(words: str, error: type[Exception]) -> None:
    partners = peers()
    partners.script("CUHK", *manner(words))

    with pytest.raises(error):
        post(partners, document())
    assert partners.unasked() == []


def test_expectation_of_a_received_document_is_consumed_once() -> None:
    partners = peers()
    post(partners, document())

    first, second = partners.arrived("CUHK"), partners.arrived("CUHK")

    assert first is not None
    assert first.service == "RequestItem"
    assert second is None


def test_unplayed_script_is_reported() -> None:
    partners = peers()
    partners.script("CUHK", *manner("ok x2"))
    post(partners, document())

    assert partners.unplayed() == ["CUHK answers ok"]


@pytest.mark.parametrize("name", MANNERS)
def test_scripted_behaviour_is_identified_by_its_row(name: str) -> None:
    assert manner(name) == (MANNERS[name], 1)
    assert manner(f"{name} x3") == (MANNERS[name], 3)


def test_problem_type_of_several_words_may_be_repeated() -> None:
    assert manner("Problem Unknown Item x2") == (PartnerBehaviour(kind="Problem", taken=True, problem="Unknown Item"), 2)


def test_unknown_scripted_behaviours_are_refused() -> None:
    with pytest.raises(ValueError, match="not 'maybe'"):
        manner("maybe")


@pytest.mark.parametrize("service", SHAPES)
def test_every_service_has_a_valid_reply(service: str) -> None:
    question = NcipMessage(service=service, fields={"InitiationHeader": {"FromAgencyId": {"AgencyId": "HKU"}}})

    assert documents.decode(reply(question, "CUHK")).service == SHAPES[service].reply
