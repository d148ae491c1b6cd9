"""Every field of every terminal message with invalid values: control characters become blanks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import pytest
from sqlalchemy import Engine

from hkall_gateway.rules.plain_text import fault_of_text
from hkall_gateway.simulator.scenario.world import World
from hkall_gateway.sip2.codec.dialects import DIALECTS
from hkall_gateway.sip2.codec.fields import TAGS
from hkall_gateway.sip2.codec.lines import BadMessage, decode
from hkall_gateway.sip2.codec.messages import SHAPES, MessageShape
from tests.entries.bad_values import HUGE, MEGABYTE
from tests.web.conftest import WORLD

NOW: Final = "20170301    100000"
USUAL: Final = {"AO": "HKU", "AA": "UG1", "AB": "C1", "AD": "1234", "BV": "1.00", "AP": "desk", "AC": ""}
FIXED: Final = {"date18": NOW, "digits": "0" * 9, "flag": "N", "bit": "0", "code": " " * 18}
BAD: Final = {
    "NUL": b"a\0b",
    "escape": b"a\x1b[31mb",
    "tab": b"a\tb",
    "no character": b"a\xef\xbf\xbfb",
    "lone surrogate": b"a\xed\xa0\x80b",
    "beyond 64 bits": HUGE.encode(),
    "as long as a line may be": MEGABYTE[:3000].encode(),
    "a megabyte": MEGABYTE.encode(),
}
REQUESTS: Final = tuple(shape for shape in SHAPES.values() if shape.reply and shape.code not in ("97",))


def line(shape: MessageShape, tag: str, value: bytes) -> bytes:
    """Return a message with this value in one field and valid values in the others."""
    fixed = "".join((FIXED.get(part.kind, " ") * part.width)[: part.width] for part in shape.fixed)
    tags = dict.fromkeys((*shape.required, *shape.optional))
    told = {name: USUAL[name].encode() for name in tags if name in USUAL} | {tag: value}
    return (shape.code + fixed).encode() + b"".join(name.encode() + text + b"|" for name, text in told.items())


def places(shapes: Iterable[MessageShape] = REQUESTS) -> Iterator[tuple[MessageShape, str]]:
    """Yield each message with each of its fields."""
    for shape in shapes:
        for tag in (*shape.required, *shape.optional):
            if tag in TAGS and tag not in ("AY", "AZ"):
                yield shape, tag


@pytest.fixture
def world(engine: Engine) -> Iterator[World]:
    made = World.open(WORLD, engine)
    yield made
    made.close()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_decoded_fields_contain_no_invalid_characters(dialect: str) -> None:
    """Applies to terminal messages and to replies of the local system."""
    asked = 0
    for shape, tag in places(SHAPES.values()):
        for kind, value in BAD.items():
            asked += 1
            try:
                message = decode(line(shape, tag, value), DIALECTS[dialect])
            except BadMessage:
                continue
            assert not any(map(fault_of_text, (text for name in message.fields for text in message.all(name)))), (tag, kind)
    assert asked > 1500


def test_every_field_is_answered_for_any_value(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert world.sip2("counter-1", "9900802.00").startswith("98")
    connection = world.terminals._connections["counter-1"]
    asked, wrong = 0, []
    for shape, tag in places():
        for kind, value in BAD.items():
            if kind == "a megabyte" or shape.code == "93":
                continue
            reply = world.terminals.wire(connection, line(shape, tag, value) + b"\r").decode()
            asked += 1
            if reply[:2] not in (shape.reply, "96"):
                wrong.append(f"{shape.code} {tag} {kind}: {reply[:40]!r}")
    log = capsys.readouterr().out
    assert wrong == []
    assert "Traceback" not in log
    assert asked > 500
