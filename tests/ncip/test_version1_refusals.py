"""Invalid NCIP 1 documents are refused, quickly, and the reply can be written in NCIP 1."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from hkall_gateway.ncip.codec.dialects import DIALECTS, NCIP_1_0, Dtd
from hkall_gateway.ncip.codec.documents import BadDocument, NcipMessage, decode, encode
from hkall_gateway.ncip.codec.elements_v1 import CONTENT, KINDS, RENAMED, SERVICES
from tests.examples import example_count

OURS = Path(__file__).parents[2] / "fixtures" / "ncip" / "v1"
DIRECT = DIALECTS["direct"]
SYNTAX = "Invalid Message Syntax Error"
AGENCY = "<UniqueAgencyId><Value>HKU</Value></UniqueAgencyId>"


def refusal(body: bytes) -> BadDocument:
    with pytest.raises(BadDocument) as caught:
        decode(body)
    return caught.value


def outcome(body: bytes) -> str:
    """The decoded service, if it can be encoded again, or the problem."""
    try:
        message = decode(body)
    except BadDocument as bad:
        return bad.problem
    encode(message, DIRECT)
    return message.service


def first(service: str, inside: str) -> bytes:
    """A document of NCIP 1.0 with `inside` in its service."""
    return f'<NCIPMessage version="{NCIP_1_0}"><{service}>{inside}</{service}></NCIPMessage>'.encode()


def user(card: str) -> str:
    return f"<UniqueUserId><UserIdentifierValue>{card}</UserIdentifierValue></UniqueUserId>"


OPEN = '<?xml version="1.0"?><!DOCTYPE NCIPMessage '
HOSTILE = {
    "a subset": f'{OPEN}PUBLIC "-//NISO//NCIP DTD Version 1.0//EN" "{NCIP_1_0}" [<!ENTITY a "b">]><NCIPMessage/>',
    "a bomb": f'{OPEN}[<!ENTITY a "b"><!ENTITY c "&a;&a;">]>{first("LookupUser", user("&c;")).decode()}',
    "an entity": first("LookupUser", user("&who;")).decode(),
    "an entity of an unread DTD": f'{OPEN}SYSTEM "file:///v1_0.dtd">{first("LookupUser", user("&who;")).decode()}',
    "a truncated document": (OURS / "item-shipped.xml").read_bytes()[:1500].decode(),
    "schemes that never end": f'<NCIPMessage version="{NCIP_1_0}">' + "<Scheme>" * 59_000 + "&" * 100_000,
    "too deep": first("LookupUser", "<a>" * 70 + "</a>" * 70).decode(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_document_is_refused_quickly_with_a_reply_in_ncip_1(name: str, dtd: etree.DTD) -> None:
    started = time.process_time()
    bad = refusal(HOSTILE[name].encode())
    assert (bad.problem, time.process_time() - started < 2.0) == (SYNTAX, True)
    reply = NcipMessage(service="Problem", fields={"Problem": {"ProblemType": bad.problem}}, version=bad.version)
    assert dtd.validate(etree.fromstring(encode(reply, DIRECT)))


@given(at=st.integers(min_value=0), byte=st.integers(0, 255))
@settings(max_examples=example_count(200))
def test_flipped_byte_causes_at_worst_a_refusal(at: int, byte: int) -> None:
    body = bytearray((OURS / "lookup-user-refused.xml").read_bytes())
    body[at % len(body)] = byte
    assert outcome(bytes(body)) in {"LookupUserResponse", SYNTAX, "Unknown Service"}


NAMES = st.sampled_from(sorted(CONTENT.keys() | KINDS.keys() | {"Ext", "NCIPMessage", "Umbrella"}))
TREES = st.recursive(
    NAMES.map(lambda name: f"<{name}>7</{name}>"),
    lambda inside: st.builds(lambda name, held: f"<{name}>{''.join(held)}</{name}>", NAMES, st.lists(inside, max_size=4)),
)


@given(st.sampled_from(sorted(SERVICES)), st.lists(TREES, max_size=5))
@settings(max_examples=example_count(300), suppress_health_check=list(HealthCheck))
def test_elements_of_ncip_1_in_any_order_cause_at_worst_a_refusal(service: str, inside: list[str]) -> None:
    body = first(service, "".join(inside))
    assert outcome(body) in {RENAMED.get(service, service), SYNTAX, "Needed Data Missing"}


def test_external_dtd_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "v1_0.dtd").write_text('<!ENTITY who "LEAKED"><!ATTLIST NCIPMessage version CDATA "LEAKED">')
    start = f'<!DOCTYPE NCIPMessage SYSTEM "{(tmp_path / "v1_0.dtd").as_uri()}">'
    assert "LEAKED" not in decode(f"{start}<NCIPMessage><ItemShippedResponse/></NCIPMessage>".encode()).version


@pytest.mark.parametrize("service", ["DeleteItem", "LookupItemSet", "LendUmbrella"])
def test_service_missing_in_ncip_1_is_unknown(service: str) -> None:
    bad = refusal(first(service, "<UniqueItemId><ItemIdentifierValue>1</ItemIdentifierValue></UniqueItemId>"))
    assert (bad.problem, bad.service, isinstance(bad.version, Dtd)) == ("Unknown Service", service, True)


def test_incomplete_document_names_the_missing_element_and_the_sender() -> None:
    header = f"<InitiationHeader><FromAgencyId>{AGENCY}</FromAgencyId></InitiationHeader>"
    bad = refusal(first("LookupUser", header))
    assert (bad.detail, bad.header.from_agency, bad.version) == (
        "LookupUser lacks UserId or AuthenticationInput",
        "HKU",
        NCIP_1_0,
    )
