"""A document that was read by what is known of its markup says what it says; a comment in it makes it be read in full."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from hkall_gateway.ncip.codec.documents import BadDocument, Coded, decode
from hkall_gateway.ncip.codec.messages import Value
from hkall_gateway.ncip.codec.template_cache import torn

OURS = Path(__file__).parents[2] / "fixtures" / "ncip"
DOCUMENTS = sorted(str(path.relative_to(OURS)) for path in OURS.rglob("*.xml"))
WRITTEN = ("UG2", "O'Brien", 'the "Dune"', "a > b", "王小明", " x  y ", "a\tb", "a\nb", "2017-03-01T10:00:00+08:00", "0")
ODD = ("a\r\nb", "]]>", "&amp;", "&lt;UserId&gt;", "&#65;", "&nothing;", "\x01", "<![CDATA[x]]>", "\ue000", "\ufffe")


def read(document: str) -> object:
    """All that a reader says of a document."""
    try:
        message = decode(document.encode())
    except BadDocument as bad:
        return bad.problem, bad.service, bad.header, bad.version
    kept = (message.version, type(message.version), message.namespaced, message.extension, message.notes)
    return message.service, spelled_out(message.fields), kept


def spelled_out(value: Value) -> object:
    if isinstance(value, dict):
        return [(name, spelled_out(one)) for name, one in value.items()]
    if isinstance(value, list):
        return [spelled_out(one) for one in value]
    return (str(value), value.scheme) if isinstance(value, Coded) else value


def in_full(document: str) -> str:
    """The same document with a comment at its end."""
    return document + "<!-- read me -->"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_whatever_is_written_into_a_known_document_is_read(name: str) -> None:
    document, chance = (OURS / name).read_bytes().decode("utf-8", "replace"), random.Random(name)
    for choice in (WRITTEN, WRITTEN, ODD):
        filled = written_into(document, choice, chance)
        assert read(filled) == read(in_full(filled))


def written_into(document: str, texts: Sequence[str], chance: random.Random) -> str:
    return re.sub(r">[^<]*[^<\s][^<]*<", lambda _: f">{chance.choice(texts)}<", document)


@pytest.mark.parametrize("text", [*WRITTEN, *ODD])
def test_one_text_of_any_kind_is_read_as_in_full(text: str) -> None:
    document = (OURS / "request-item.xml").read_text()
    filled = re.sub(r"(UserIdentifierValue>)[^<]+", lambda found: found[1] + text, document)
    assert filled != document
    assert read(filled) == read(in_full(filled))


@pytest.mark.parametrize("text", WRITTEN)
def test_what_is_remembered_of_a_document_holds_no_text_of_it(text: str) -> None:
    found = torn(f"<a x='1'>\r\n <b>{text}</b><c>{text}</c></a>")
    assert found == (("<a x='1'>\r\n <b", "/b><c", "/c></a>"), [text, text])
