"""Documents with the markup of an earlier document: read without parsing, and with the result of parsing."""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path

import pytest

from hkall_gateway.ncip.codec import xml
from hkall_gateway.ncip.codec.documents import BadDocument, decode
from hkall_gateway.ncip.codec.messages import Coded, NcipMessage, Value

FIXTURES = Path(__file__).parents[2] / "fixtures" / "ncip"
SHARED = Path(__file__).parents[3] / "shared" / "ncip"
FILES = sorted([*FIXTURES.rglob("*.xml"), *SHARED.rglob("*.xml")])
TEXT = re.compile(r">[^<>&\s][^<>&]*</")
USER = (
    "<NCIPMessage xmlns='http://www.niso.org/2008/ncip' version='http://www.niso.org/schemas/ncip/v2_02/ncip_v2_02.xsd'>"
    "<LookupUser><UserId><UserIdentifierType>{}</UserIdentifierType><UserIdentifierValue>{}</UserIdentifierValue></UserId>"
    "</LookupUser></NCIPMessage>"
)


def everything(message: NcipMessage) -> object:
    """All parts of a message, which are not all compared by `==`."""
    manner = message.version, type(message.version), message.namespaced, message.extension, message.notes
    return message.service, with_schemes(message.fields), manner


def with_schemes(value: Value) -> object:
    if isinstance(value, Coded):
        return str(value), value.scheme
    if isinstance(value, str | bool):
        return value
    return (
        {name: with_schemes(one) for name, one in value.items()} if isinstance(value, dict) else list(map(with_schemes, value))
    )


def read(text: str) -> object:
    try:
        return everything(decode(text.encode(), "utf-8"))
    except BadDocument as bad:
        return str(bad), bad.service, bad.header, bad.version


def parsed(text: str) -> object:
    """Read a document as a whole, because it has a comment."""
    return read(f"{text.strip()}<!-- a comment -->")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_document_with_other_texts_is_read_as_if_it_were_parsed(file: Path) -> None:
    text = file.read_bytes().decode("utf-8", "replace").removeprefix("\ufeff")
    number = count()
    others = (
        TEXT.sub(lambda _: f">text  {next(number)} of 圖書館 </", text),
        TEXT.sub(lambda _: f">{next(number)}</", text),
        TEXT.sub(lambda found: found[0].swapcase(), text),
    )
    for one in (text, *others, text):
        assert read(one) == parsed(one)


def test_document_with_other_texts_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    decode(USER.format("Barcode Id", "UG1").encode())
    monkeypatch.delattr(xml, "parse_xml")
    message = decode(USER.format("Username", " UG2 ").encode())
    assert (message.text("UserId/UserIdentifierType"), message.text("UserId/UserIdentifierValue")) == ("Username", "UG2")


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "A&amp;B",
        "&#65;",
        "&#xE000;",
        "&#57344;",
        "&unknown;",
        "\x01",
        "\ue000",
        "\ue001",
        "a\nb",
        "a\u3000b",
        "<![CDATA[a]]>",
        "]]>",
        "a<Ext/>b",
    ],
    ids=ascii,
)
def test_unusual_text_is_read_as_if_it_were_parsed(value: str) -> None:
    decode(USER.format("Barcode Id", "UG1").encode())
    text = USER.format("Barcode Id", value)
    assert read(text) == parsed(text)


@pytest.mark.parametrize("kind", ["<Scheme>{}</Scheme><Value>{}</Value>", "{}<Ext>{}</Ext>", "<Value>{}</Value>{}"])
def test_text_with_elements_inside_is_read_as_if_it_were_parsed(kind: str) -> None:
    for words in (("a", "b"), ("c  d", "e"), ("b", "a")):
        text = USER.format(kind.format(*words), "UG1")
        assert read(text) == parsed(text)


@pytest.mark.parametrize("value", ["1", "UG1"])
def test_repeated_element_is_noted_even_if_its_texts_are_equal(value: str) -> None:
    text = USER.format("Barcode Id", f"{value}</UserIdentifierValue><UserIdentifierValue>{value}")
    assert "repeated element" in str(parsed(text))
    assert read(text) == parsed(text)
