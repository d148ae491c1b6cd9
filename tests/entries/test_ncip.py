"""Every element that a partner may send in every service, with invalid values."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from functools import cache
from itertools import cycle
from typing import Any, Final

import pytest
from sqlalchemy import Engine

from hkall_gateway.ncip.codec.dialects import DIALECTS
from hkall_gateway.ncip.codec.documents import decode, encode
from hkall_gateway.ncip.codec.elements import ELEMENTS, Element
from hkall_gateway.ncip.codec.messages import BadDocument, NcipMessage
from hkall_gateway.ncip.handlers import HANDLERS
from hkall_gateway.peers.callers import Peer
from hkall_gateway.rules.vocabulary import Position
from tests import databases
from tests.entries.bad_values import HUGE, MEGABYTE
from tests.ncip.conftest import BROKER, CUHK, DISCOVERY, DUNE, LOAN, UG1, World

PLACE: Final = b"its-place"
RAW: Final = {
    "NUL": b"a\0b",
    "escape": b"a\x1bb",
    "delete": b"a\x7fb",
    "lone surrogate": b"a\xed\xa0\x80b",
    "reference to NUL": b"a&#0;b",
    "reference to escape": b"a&#27;b",
    "reference to delete": b"a&#x7f;b",
    "reference to a lone surrogate": b"a&#xD800;b",
    "reference to no character": b"a&#xFFFF;b",
    "a megabyte": MEGABYTE.encode(),
}
"""Text that is invalid in every element, as bytes."""
READ: Final = {"beyond 64 bits": HUGE, "long": MEGABYTE[:60_000], "year 9999": "9999-12-31T23:59:59-12:00"}
"""Text that is valid in a document, and that the circulation service must check."""
LOST: Final = {"Temporary Processing Failure"}
USUAL: Final[dict[str, Any]] = {
    "UserId": UG1,
    "ItemId": {"AgencyId": CUHK, "ItemIdentifierType": "Barcode", "ItemIdentifierValue": "C1"},
    "RequestId": {"AgencyId": DISCOVERY, "RequestIdentifierValue": "d-1"},
    "BibliographicId": [DUNE],
    "DateShipped": "2017-03-01T10:00:00+08:00",
    "DateReceived": "2017-03-01T10:00:00+08:00",
    **LOAN,
}


@cache
def leaves(parent: str, above: tuple[str, ...] = ()) -> tuple[tuple[str, ...], ...]:
    """Return the paths to each leaf below an element; each leaf name once."""
    found: dict[str, tuple[str, ...]] = {}
    for name in ELEMENTS[parent].children:
        inside = ELEMENTS[name]
        if name in above or inside.kind in ("any", "empty"):
            continue
        paths = ((name,),) if inside.kind != "complex" else tuple((name, *path) for path in leaves(name, (*above, name)))
        for path in paths:
            found.setdefault(path[-1], path)
    return tuple(found.values())


def with_value(fields: dict[str, Any], element: Element, path: tuple[str, ...], value: str) -> dict[str, Any]:
    """Return the same fields with a value at a path."""
    name, *rest = path
    if not rest:
        inside: Any = value
    else:
        before = fields.get(name)
        kept = before[0] if isinstance(before, list) else before
        inside = with_value(kept if isinstance(kept, dict) else {}, ELEMENTS[name], tuple(rest), value)
    return {**fields, name: [inside] if element.children[name].repeats else inside}


def places() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each service that we answer, with each of its leaves."""
    for service in sorted(HANDLERS):
        for path in leaves(service):
            yield service, path


def usual(service: str, agency: str, secret: str) -> dict[str, Any]:
    header = {"FromAgencyId": {"AgencyId": agency}, "ToAgencyId": {"AgencyId": "HKU"}, "FromAgencyAuthentication": secret}
    return {"InitiationHeader": header} | {name: value for name, value in USUAL.items() if name in ELEMENTS[service].children}


@pytest.fixture
def world(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(databases, "empty", lambda: engine)
    made = World()
    made.put(Position.ON_LOAN, due=date(2017, 3, 16), first_checkout=date(2017, 3, 1), loan_days=15, used=True)
    return made


def test_every_element_refuses_invalid_characters() -> None:
    taken, asked = [], 0
    for service, path in places():
        fields = with_value(usual(service, CUHK, "c-key"), ELEMENTS[service], path, PLACE.decode())
        document = encode(NcipMessage(service=service, fields=fields), DIALECTS["direct"])
        assert PLACE in document
        for kind, value in RAW.items():
            # The header is the same for each service, and this test is slow.
            if kind == "a megabyte" and path[0] == "InitiationHeader":
                continue
            asked += 1
            try:
                decode(document.replace(PLACE, value))
            except BadDocument:
                continue
            taken.append((service, path, kind))
    assert taken == []
    assert asked > 10_000


def sender(world: World, service: str) -> tuple[str, str]:
    """Return a caller that may use the service, with its secret."""
    for agency in (CUHK, DISCOVERY, BROKER):
        secret = world.services.callers[agency].secret
        document = encode(NcipMessage(service=service, fields=usual(service, agency, secret)), DIALECTS["direct"])
        if "Service" not in world.send(document).text("Problem/ProblemType"):
            return agency, secret
    raise AssertionError(service)


@pytest.mark.long
def test_every_element_is_answered_for_any_value(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    wrong, asked = [], 0
    senders = {service: sender(world, service) for service in HANDLERS}
    capsys.readouterr()
    kinds = cycle(READ.items() if world.engine.dialect.name == "sqlite" else reversed(READ.items()))
    for (service, path), (kind, value) in zip(places(), kinds, strict=False):
        fields = with_value(usual(service, *senders[service]), ELEMENTS[service], path, value)
        peer = Peer(
            address=f"10.1.{asked // 250}.{asked % 250}"
        )  # use a new address each time, so that wrong secrets lock none
        reply = world.send(encode(NcipMessage(service=service, fields=fields), DIALECTS["direct"]), peer)
        asked += 1
        if reply.text("Problem/ProblemType") in LOST:
            wrong.append((service, path, kind))
    assert wrong == []
    assert "Traceback" not in capsys.readouterr().out
    assert asked > 1_500
