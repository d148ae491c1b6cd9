"""Invalid documents are refused, quickly, and with the data that a reply needs."""

from __future__ import annotations

import time
from pathlib import Path
from traceback import format_exception

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hkall_gateway.ncip.codec.documents import NISO, BadDocument, decode
from tests.examples import example_count

OURS = Path(__file__).parents[2] / "fixtures" / "ncip"
SYNTAX = "Invalid Message Syntax Error"
OLD = "http://www.niso.org/schemas/ncip/v2_0/imp1/xsd/ncip_v2_0.xsd"
R1 = "RequestId/RequestIdentifierValue"


def fixture(name: str) -> bytes:
    return (OURS / name).read_bytes()


def refusal(body: bytes, charset: str | None = None) -> BadDocument:
    with pytest.raises(BadDocument) as caught:
        decode(body, charset)
    return caught.value


def outcome(body: bytes) -> str:
    """The decoded service, or the problem."""
    try:
        return decode(body).service
    except BadDocument as bad:
        return bad.problem


OPEN = '<?xml version="1.0"?><!DOCTYPE NCIPMessage '
RENEWAL = "<NCIPMessage><ItemShipped><RequestId><RequestIdentifierValue>{}</RequestIdentifierValue></RequestId>"
RENEWAL += "</ItemShipped></NCIPMessage>"
BOMB = "".join(f'<!ENTITY b{n} "{f"&b{n - 1};" * 10}">' for n in range(1, 12))
SIXTY_FIVE = " ".join(f'a{n}="1"' for n in range(65))
HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "blanks": b" \r\n\0\x04",
    "no XML": b"+OK hello",
    "a truncated document": fixture("lookup-user-response.xml")[:900],
    "half a character": fixture("item-shipped.xml").partition("酒".encode())[0] + "酒".encode()[:2],
    "two documents": fixture("problem.xml") + fixture("problem.xml"),
    "rubbish behind the end": fixture("problem.xml") + b"HTTP/1.1 200 OK",
    "an entity bomb": f'{OPEN}[<!ENTITY b0 "lol">{BOMB}]>{RENEWAL.format("&b11;")}'.encode(),
    "a quadratic bomb": f'{OPEN}[<!ENTITY a "{"a" * 50_000}">]>{RENEWAL.format("&a;" * 10_000)}'.encode(),
    "a file of ours": f'{OPEN}[<!ENTITY f SYSTEM "file:///etc/passwd">]>{RENEWAL.format("&f;")}'.encode(),
    "a parameter entity": f'{OPEN}[<!ENTITY % p SYSTEM "http://127.0.0.1:9/p">%p;]>{RENEWAL.format("R1")}'.encode(),
    "a subset behind an external id": f'{OPEN}SYSTEM "a[>.dtd" [<!ENTITY f "x">]>{RENEWAL.format("R1")}'.encode(),
    "a subset behind comments": f"<!-- <x> --><!-- --><?p q?> <!DOCTYPE N [<!ELEMENT a ANY>]>{RENEWAL.format('R1')}".encode(),
    "an entity of an unread DTD": f'{OPEN}SYSTEM "file:///x.dtd">{RENEWAL.format("R&who;1")}'.encode(),
    "an entity of nobody": RENEWAL.format("&who;").encode(),
    "a bare ampersand": RENEWAL.format("R&D").encode(),
    "65 levels": RENEWAL.format("<a>" * 61 + "</a>" * 61).encode(),
    "100,000 levels": b"<NCIPMessage>" + b"<a>" * 100_000,
    "10,001 elements": RENEWAL.format("<b/>" * 10_001).encode(),
    "250,000 elements": RENEWAL.format("<b/>" * 250_000).encode(),
    "65 attributes": RENEWAL.replace("<ItemShipped>", f"<ItemShipped {SIXTY_FIVE}>", 1).format("R1").encode(),
    "40,000 attributes": b"<NCIPMessage " + b" ".join(b"b%d='x'" % n for n in range(40_000)) + b"/>",
    "32,500 namespaces": b"<NCIPMessage " + b" ".join(b"xmlns:b%d='b'" % n for n in range(32_500)) + b"/>",
    "60,000 comments": RENEWAL.format("<!---->" * 60_000).encode(),
    "60,000 processing instructions": RENEWAL.format("<?a?>" * 60_000).encode(),
    "200,000 references": RENEWAL.format("&lt;" * 200_000).encode(),
    "a DOCTYPE of quotation marks": b"<!DOCTYPE " + b"a'" * 400_000,
    "257 foreign elements": RENEWAL.replace("</ItemShipped>", f"<Ext>{'<odd/>' * 257}</Ext></ItemShipped>")
    .format("1")
    .encode(),
    "an address inside addresses": b"<FromAgencyId>" * 60 + b"<a/>" * 9_900 + b"</FromAgencyId>" * 60,
    "a long text": RENEWAL.format("R" * 65_537).encode(),
    "a long attribute": RENEWAL.replace("ItemShipped", f'ItemShipped a="{"R" * 65_537}"', 1).format("R1").encode(),
    "a prologue made to backtrack": b"<!---->" * 10_000 + b"<!DOCTYPE x",
    "control characters": RENEWAL.format("R\x011").encode(),
    "a control character by number": RENEWAL.format("&#4;").encode(),
    "an undeclared prefix": b"<n:NCIPMessage><n:ItemShippedResponse/></n:NCIPMessage>",
    "Latin-1 said to be UTF-8": RENEWAL.format("é").encode("latin-1"),
    "UTF-8 said to be UTF-16": fixture("problem.xml").replace(b"UTF-8", b"UTF-16"),
    "UTF-16 cut in the middle": fixture("problem.xml").decode().encode("utf-16")[:-33],
    "UTF-32": fixture("problem.xml").decode().encode("utf-32"),
    "an encoding nobody has": fixture("problem.xml").replace(b"UTF-8", b"x-klingon"),
    "an encoding that costs": fixture("problem.xml").replace(b"UTF-8", b"punycode"),
    "another root": b"<html><body>502 Bad Gateway</body></html>",
    "a version message that asks nothing": b"<NCIPVersionMessage/>",
    "two version messages": b"<NCIPVersionMessage><LookupVersion/><LookupVersion/></NCIPVersionMessage>",
    "an envelope without a message": f'<NCIPMessage xmlns="{NISO}"/>'.encode(),
    "an envelope with text alone": b"<NCIPMessage>RequestItem</NCIPMessage>",
    "two messages": b"<NCIPMessage><ItemShippedResponse/><ItemReceivedResponse/></NCIPMessage>",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_unreadable_document_is_refused_quickly(name: str) -> None:
    started = time.process_time()
    bad = refusal(HOSTILE[name])
    assert bad.problem == SYNTAX
    assert time.process_time() - started < 1.0


@pytest.mark.parametrize("charset", ["x-klingon", "idna", "unicode_escape", "a\0b", "zip"])
def test_unsupported_charset_is_refused_by_name(charset: str) -> None:
    assert "character set" in refusal(fixture("problem.xml"), charset).detail


def test_document_within_the_limits_is_read() -> None:
    inside = "<x>" * 59 + "</x>" * 59 + "<y/>" * 9_900 + f"<z>{'1' * 65_536}</z>"
    assert decode(RENEWAL.replace("<ItemShipped>", f"<ItemShipped>{inside}").format("R1").encode()).text(R1) == "R1"


def test_external_dtd_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "leak.dtd").write_text('<!ENTITY who "LEAKED"><!ATTLIST NCIPMessage version CDATA "LEAKED">')
    start = f'<!DOCTYPE NCIPMessage SYSTEM "{(tmp_path / "leak.dtd").as_uri()}">'
    assert decode(f"{start}<NCIPMessage><ItemShippedResponse/></NCIPMessage>".encode()).version == ""
    assert refusal(f"{start}{RENEWAL.format('&who;')}".encode()).detail == "entities are refused"


def test_unknown_service_is_named_so_that_it_can_be_answered() -> None:
    bad = refusal(fixture("request-item.xml").replace(b"ns1:RequestItem>", b"ns1:LendUmbrella>"))
    assert (bad.problem, bad.service) == ("Unknown Service", "LendUmbrella")
    assert (bad.header.from_agency, bad.header.to_agency) == ("HKU", "LU")


def test_empty_request_names_the_missing_element() -> None:
    bad = refusal(b"<NCIPMessage><RequestItem/></NCIPMessage>")
    assert bad.detail == "RequestItem lacks UserId or AuthenticationInput, ItemId or BibliographicId"


def test_refusal_does_not_contain_a_password() -> None:
    body = fixture("lookup-user.xml").replace(b"0931", b"0931&oops")
    assert "0931" not in str(refusal(body))


def test_refusal_knows_the_version_for_the_reply() -> None:
    bad = refusal(f'<n:NCIPMessage xmlns:n="{NISO}" n:version="{OLD}"><n:LendUmbrella/></n:NCIPMessage>'.encode())
    assert bad.version == OLD


@given(st.binary(max_size=300))
def test_any_bytes_cause_at_worst_a_refusal(body: bytes) -> None:
    assert refusal(body).problem == SYNTAX


@given(at=st.integers(min_value=0), byte=st.integers(0, 255))
@settings(max_examples=example_count(200))
def test_flipped_byte_causes_at_worst_a_refusal(at: int, byte: int) -> None:
    body = bytearray(fixture("item-shipped.xml"))
    body[at % len(body)] = byte
    assert outcome(bytes(body)) in {"ItemShipped", SYNTAX, "Unknown Service", "Needed Data Missing"}


@pytest.mark.parametrize(
    "document",
    [
        "<NCIPMessage><FromAgencyAuthentication>hunter2</b></NCIPMessage>",
        "<NCIPMessage><hunter2>x</b>",
        "<NCIPMessage hunter2>",
        "<NCIPMessage a='hunter2' a='x'/>",
        "<NCIPMessage>&hunter2;</NCIPMessage>",
        "<NCIPMessage><x:hunter2/></NCIPMessage>",
        "<NCIPMessage>x</NCIPMessage>hunter2",
    ],
)
def test_error_message_gives_its_location_without_content(document: str) -> None:
    with pytest.raises(BadDocument) as refused:
        decode(document.encode())
    assert "hunter2" not in f"{refused.value.detail} {refused.value!r} {refused.value.__cause__!r}"
    assert "hunter2" not in "".join(format_exception(refused.value))


def test_error_location_is_element_name_index_line_and_column() -> None:
    with pytest.raises(BadDocument) as refused:
        decode(b"<NCIPMessage>\n<a><b></a></NCIPMessage>")
    assert refused.value.detail == "not well-formed: ERR_TAG_NAME_MISMATCH (76) in line 2, column 11"


@pytest.mark.parametrize("subset", ["[]", " [ \n] "])
def test_empty_doctype_subset_is_accepted(subset: str) -> None:
    assert decode(f'{OPEN}SYSTEM "ncip_v1_0.dtd"{subset}>{RENEWAL.format("R1")}'.encode()).service == "ItemShipped"
