"""A coverage-guided fuzzer for the NCIP codec; run manually, not part of the suite.

    python -m venv /tmp/fuzz && /tmp/fuzz/bin/pip install atheris -e .
    /tmp/fuzz/bin/python tests/fuzz/ncip_atheris.py -max_total_time=600 CORPUS

Any input, arbitrary bytes or one of our documents with shuffled elements, must give a message or a BadMessage in bounded time.
A decoded message can be written in its own version, and from then on round-trips except for skipped content. An empty CORPUS
starts with our own documents. Atheris writes a crash to a file; make a test of it.
"""

from __future__ import annotations

import copy
import sys
import time
from pathlib import Path
from typing import Any

import atheris
from lxml import etree

with atheris.instrument_imports(include=["hkall_gateway.ncip"]):
    from hkall_gateway.ncip.codec.dialects import DIALECTS
    from hkall_gateway.ncip.codec.documents import NISO, BadDocument, decode, encode
    from hkall_gateway.ncip.codec.elements import ELEMENTS
    from hkall_gateway.ncip.codec.elements_v1 import CONTENT

DOCUMENTS = tuple(file.read_bytes() for file in sorted((Path(__file__).parents[2] / "fixtures" / "ncip").rglob("*.xml")))
CHARSETS = (None, "utf-8", "iso-8859-1", "big5", "utf-16", "klingon")
NAMES = (*sorted(ELEMENTS), *sorted(CONTENT.keys() - ELEMENTS.keys()), "Dance")
SPACES = (f"{{{NISO}}}", "", "{urn:other}")
LENIENT = etree.XMLParser(recover=True)  # one of them is meant to be broken
MOST_EDITS = 8
SLOW_S = 2.0


def fuzz(data: bytes) -> None:
    """Run one input: its first byte decides whether the rest is a body or a list of edits to a document."""
    chosen = atheris.FuzzedDataProvider(data[1:])
    charset = CHARSETS[chosen.ConsumeIntInRange(0, len(CHARSETS) - 1)]
    body = _edited(chosen) if data[:1] > b"\x7f" else chosen.ConsumeBytes(chosen.remaining_bytes())
    began = time.monotonic()
    try:
        _read_and_written(body, charset)
    except BadDocument as bad:
        _told(bad)
    assert time.monotonic() - began < SLOW_S


def _told(bad: BadDocument) -> None:
    assert bad.problem
    assert len(bad.detail) < 1000


def _read_and_written(body: bytes, charset: str | None) -> None:
    message = decode(body, charset)
    try:
        once = decode(encode(message, DIALECTS["direct"]))
        twice = decode(encode(once, DIALECTS["direct"]))
    except BadDocument as bad:  # an element that held nothing is gone, and was needed
        if bad.problem != "Needed Data Missing":
            raise
        return
    assert message.service == once.service
    assert once.fields == twice.fields


def _edited(chosen: Any) -> bytes:
    """One of our documents after a few edits: elements dropped, doubled, renamed, moved or filled."""
    root = etree.fromstring(DOCUMENTS[chosen.ConsumeIntInRange(0, len(DOCUMENTS) - 1)], LENIENT)
    for _ in range(chosen.ConsumeIntInRange(1, MOST_EDITS)):
        nodes = [node for node in root.iter() if isinstance(node.tag, str)]
        node, other = (nodes[chosen.ConsumeIntInRange(0, len(nodes) - 1)] for _ in range(2))
        _edit(chosen, node, other)
    return etree.tostring(root.getroottree())


def _edit(chosen: Any, node: Any, other: Any) -> None:
    kind = chosen.ConsumeIntInRange(0, 4)
    if kind == 0 and node.getparent() is not None:
        node.getparent().remove(node)
    elif kind == 1:
        other.append(copy.deepcopy(node))
    elif kind == 2:
        space = SPACES[chosen.ConsumeIntInRange(0, len(SPACES) - 1)]
        node.tag = space + NAMES[chosen.ConsumeIntInRange(0, len(NAMES) - 1)]
    elif kind == 3:
        node.text = "".join(c for c in chosen.ConsumeUnicodeNoSurrogates(20) if c.isprintable())
    else:
        etree.SubElement(node, SPACES[0] + NAMES[chosen.ConsumeIntInRange(0, len(NAMES) - 1)])


def seed(corpus: Path) -> None:
    """Write our own documents and some edits as the initial corpus."""
    if not any(corpus.iterdir()):
        for number, body in enumerate(DOCUMENTS):
            (corpus / f"document-{number}").write_bytes(b"\0" + body + b"\0")
            (corpus / f"edits-{number}").write_bytes(b"\xff" + bytes(range(number, number + 64)))


if __name__ == "__main__":
    for folder in (Path(word) for word in sys.argv[1:] if not word.startswith("-")):
        seed(folder)
    atheris.Setup(sys.argv, fuzz)
    atheris.Fuzz()
