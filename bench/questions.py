"""Questions for a server: SIP2 lines and NCIP documents as bytes, each with the text that the answer must contain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from bench.generator import Question
from bench.plan import Size
from bench.world import BenchWorld
from demo.demo_setup import DISCOVERY, LOCATION, PASSWORD
from hkall_gateway.ncip.codec import documents
from hkall_gateway.ncip.codec.dialects import DIALECTS
from hkall_gateway.ncip.shorthand import make_message
from hkall_gateway.rules.dates import HONG_KONG
from hkall_gateway.sip2.codec.lines import checksum

US: Final = "HKU"
LOGIN: Final = f"9300CNcounter-1|CO{PASSWORD}|".encode()


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of question, which may be asked only `once`. `yes` begins a positive line, or is in a positive page."""

    key: str
    framing: str
    yes: bytes
    once: bool
    about: str
    make: Callable[[BenchWorld, str, int], Question]
    count: Callable[[Size], int]


def line(text: str, number: int) -> bytes:
    """Return a terminal's line with sequence number and checksum."""
    whole = f"{text}AY{number % 10}AZ".encode()
    return whole + checksum(whole) + b"\r"


def login() -> bytes:
    """Return the login line of a counter."""
    return line(LOGIN.decode(), 0)


def stamp(now: datetime) -> str:
    """Format a time for SIP2."""
    return f"{now.astimezone(HONG_KONG):%Y%m%d    %H%M%S}"


def post(document: bytes) -> bytes:
    """Return a document as an HTTP request."""
    head = f"POST /ncip HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/xml\r\nContent-Length: {len(document)}\r\n\r\n"
    return head.encode() + document


def _information(world: BenchWorld, when: str, number: int) -> Question:
    card = world.card(number)
    return line(f"63001{when}Y         AOHKU|AA{card}|AC|", number), f"|AA{card}|".encode()


def _checkout(world: BenchWorld, when: str, number: int) -> Question:
    barcode = world.barcode(number)
    # A due date that is not needed, since pysip2 0.1 refuses blanks. It has no effect without "no block".
    text = f"11NN{when}{when}AOHKU|AA{world.card(number)}|AB{barcode}|AC|"
    return line(text, number), f"|AB{barcode}|".encode()


def _undo(world: BenchWorld, when: str, number: int) -> Question:
    barcode = world.barcode(number)
    text = f"09N{when}{when}AP{LOCATION}|AOHKU|AA{world.card(number)}|AB{barcode}|AC|BIY|"
    return line(text, number), f"|AB{barcode}|".encode()


def _lookup(world: BenchWorld, _when: str, number: int) -> Question:
    card = world.card(number)
    elements = ("UserElementType=Name Information", "LoanedItemsDesired=yes", "RequestedItemsDesired=yes")
    return _document("LookupUser", (f"user={card}", *elements), world), f">{card}<".encode()


def _request(world: BenchWorld, _when: str, number: int) -> Question:
    words = (f"user={world.card(number)}", f"bib={world.wanted(number)}", f"request=d-{number}", f"pickup={LOCATION}")
    return _document("RequestItem", words, world), f">d-{number}<".encode()


def _document(service: str, words: Sequence[str], world: BenchWorld) -> bytes:
    return post(documents.encode(make_message(service, words, DISCOVERY, US, PASSWORD, world.now), DIALECTS["direct"]))


def _open(size: Size) -> int:
    return size.open


def _count_titles(size: Size) -> int:
    return min(size.open, size.titles)


# fmt: off
WORKS: Final[Mapping[str, Work]] = {work.key: work for work in (
    Work("sip2_63",      "line", b"64",                  False, "patron information (63)", _information, _open),
    Work("sip2_11",      "line", b"121",                 True, "checkout (11)", _checkout, _open),
    Work("sip2_09",      "line", b"101",                 True, "a checkout undone (09)", _undo, _open),
    Work("lookup_user",  "http", b"LookupUserResponse",  False, "LookupUser", _lookup, lambda size: min(size.open, 1000)),
    Work("request_item", "http", b"RequestItemResponse", True, "RequestItem", _request, _count_titles),
)}
"""Works by the key that rows use. 09 undoes a checkout (BI), so that the copy is on the hold shelf again."""
# fmt: on


def questions(work: Work, world: BenchWorld) -> list[Question]:
    """Return all questions of this kind that the world allows."""
    when = stamp(world.now)
    return [work.make(world, when, number) for number in range(work.count(world.size))]
