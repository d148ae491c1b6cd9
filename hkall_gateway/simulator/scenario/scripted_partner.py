"""Partner libraries controlled by a script: they accept our documents, reply as scripted, and record the documents."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

from hkall_gateway.ncip.codec import documents
from hkall_gateway.ncip.codec.dialects import DIALECTS, SUPPORTED
from hkall_gateway.ncip.codec.elements import ELEMENTS
from hkall_gateway.ncip.codec.messages import SHAPES, NcipMessage
from hkall_gateway.ncip.shorthand import make_fields
from hkall_gateway.ncip.tables.notifications import item_id
from hkall_gateway.ncip.transport.client import HttpReply, NoReply, NotSent
from hkall_gateway.rules.vocabulary import Holding, ItemKey
from hkall_gateway.xml.tree import Fields, Value

_BUSY_UNTIL: Final = re.compile(r"503 after (([0-9]+[smhd])+)")
_TIMES: Final = re.compile(r"(.*?)(?:\s+x([1-9][0-9]*))?")

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PartnerBehaviour:
    """How a partner handles a document.

    Attributes:
        taken: Whether the partner reads the document, which then takes effect.
        words: Fields of the reply, in shorthand.
        wait_s: Retry-After in the reply.
        document: The whole reply, read from a file.
    """

    kind: str
    taken: bool
    problem: str = ""
    words: tuple[str, ...] = ()
    wait_s: int = 0
    document: bytes = b""

    def http_reply(self, accepting: bytes) -> HttpReply:
        """Return the HTTP reply, or raise NoReply or NotSent. `accepting` is the normal reply document."""
        match self.kind:
            case "503" | "504":
                return HttpReply(
                    status=int(self.kind), content_type="text/plain", body=b"come back later", retry_after_s=self.wait_s
                )
            case "nonsense":
                return HttpReply(
                    status=200, content_type="text/html", body=b"<p>Welcome to the library's new portal</p>", retry_after_s=0
                )
            case "cut" | "silence":
                raise NoReply(self.kind)
            case "away":
                raise NotSent(self.kind)
        return HttpReply(
            status=200, content_type='application/xml; charset="utf-8"', body=self.document or accepting, retry_after_s=0
        )


OK: Final = PartnerBehaviour(kind="ok", taken=True)

MANNERS: Final[Mapping[str, PartnerBehaviour]] = {
    "ok": OK,
    "503": PartnerBehaviour(kind="503", taken=False),
    "504": PartnerBehaviour(kind="504", taken=True),  # the partner's proxy did not wait for the reply
    "nonsense": PartnerBehaviour(kind="nonsense", taken=True),  # the document is read, and the reply is unreadable
    "cut": PartnerBehaviour(kind="cut", taken=True),  # the connection breaks after the document and before the reply
    "silence": PartnerBehaviour(kind="silence", taken=False),  # the document is lost on the way, and no reply ever comes
    "away": PartnerBehaviour(kind="away", taken=False),  # the address has no listener, so no byte is sent
}


def duration(text: str) -> timedelta:
    """Parse a duration such as `90s` or `2d4h`."""
    return sum((timedelta(**{_UNITS[unit]: int(n)}) for n, unit in re.findall(r"([0-9]+)([smhd])", text)), timedelta())


def manner(text: str, folder: Path = Path()) -> tuple[PartnerBehaviour, int]:
    """Parse a partner's behaviour, and the number of times that it applies."""
    found = _TIMES.fullmatch(text)
    name, times = (found[1], int(found[2] or 1)) if found else (text, 1)
    if name.startswith("Problem "):
        return PartnerBehaviour(kind="Problem", taken=True, problem=name.removeprefix("Problem ").strip()), times
    if name.startswith("ok "):
        return PartnerBehaviour(kind="ok", taken=True, words=tuple(shlex.split(name)[1:])), times
    if name.endswith(".xml"):
        return PartnerBehaviour(kind="document", taken=True, document=(folder / name).read_bytes()), times
    if waiting := _BUSY_UNTIL.fullmatch(name):
        return replace(MANNERS["503"], wait_s=int(duration(waiting[1]).total_seconds())), times
    if name not in MANNERS:
        known = ", ".join(MANNERS)
        raise ValueError(f"a partner answers {known}, 503 after TIME, ok key=value …, Problem TYPE or FILE.xml, not {name!r}")
    return MANNERS[name], times


class Peers:
    """All partner libraries, which are identified by their URLs.

    A partner without a script accepts every document with the `secret` of its agency, and returns a Problem for another secret.
    It answers LookupItemSet from its `holdings`; `shelves` overrides the status of single copies. `bodies` lists every document
    that a partner read, in the form in which it was sent.
    """

    def __init__(self, urls: Mapping[str, str], secret: Callable[[str], str], holdings: Sequence[Holding] = ()) -> None:
        self._urls, self._secret, self._holdings = urls, secret, holdings
        self.shelves: dict[ItemKey, str] = {}
        self._script: defaultdict[str, deque[PartnerBehaviour]] = defaultdict(deque)
        self._arrived: defaultdict[str, deque[NcipMessage]] = defaultdict(deque)
        self.bodies: list[bytes] = []

    def script(self, agency: str, manner: PartnerBehaviour, times: int = 1) -> None:
        """Set the behaviour for the next `times` documents, after which the partner accepts documents again."""
        self._script[agency].extend([manner] * times)

    def arrived(self, agency: str) -> NcipMessage | None:
        """Remove and return the oldest document that a partner read and no line has checked, or return None."""
        return self._arrived[agency].popleft() if self._arrived[agency] else None

    def unasked(self) -> list[str]:
        """List the documents that arrived and that no line has checked, as "AGENCY Service"."""
        return [f"{agency} {message.service}" for agency, queue in sorted(self._arrived.items()) for message in queue]

    def unplayed(self) -> list[str]:
        """List scripted behaviours that were not used, as "AGENCY answers BEHAVIOUR"."""
        return [f"{agency} answers {m.kind}" for agency, queue in sorted(self._script.items()) for m in queue]

    async def post(self, url: str, body: bytes, timeout_s: float) -> HttpReply:  # noqa: ARG002  # simulated time does not pass
        """Return the partner's reply to a document, in place of an HTTP client."""
        agency = self._urls[url]
        how = self._script[agency].popleft() if self._script[agency] else OK
        message = documents.decode(body)
        if how.taken:
            self.bodies.append(body)
            self._arrived[agency].append(message)
        secret = message.text("InitiationHeader/FromAgencyAuthentication")
        problem = how.problem or ("" if secret == self._secret(agency) else "Agency Authentication Failed")
        own_copies = (copy for copy in self._holdings if copy.agency == agency)
        shelf = tuple(replace(copy, status=self.shelves.get(copy.key, copy.status)) for copy in own_copies)
        return how.http_reply(reply(message, agency, problem, how.words, shelf))


ABOUT_VERSIONS: Final = "LookupVersion"


def reply(
    message: NcipMessage, agency: str, problem: str = "", words: Sequence[str] = (), shelf: Sequence[Holding] = ()
) -> bytes:
    """Build a partner's reply: the fields shared with the request and `words` in shorthand, or a Problem `problem`."""
    if message.service == ABOUT_VERSIONS:
        return documents.encode(
            NcipMessage(service=f"{ABOUT_VERSIONS}Response", fields={"VersionSupported": list(SUPPORTED)}), DIALECTS["direct"]
        )
    service = SHAPES[message.service].reply
    fields: dict[str, Value] = {
        "ResponseHeader": {
            "FromAgencyId": {"AgencyId": agency},
            "ToAgencyId": {"AgencyId": message.text("InitiationHeader/FromAgencyId/AgencyId")},
        }
    }
    if problem:
        fields["Problem"] = [{"ProblemType": problem, "ProblemDetail": f"{agency} says no"}]
    elif "Pending=yes" in words:
        fields["Pending"] = {}
    else:
        fields |= {name: message.fields[name] for name in message.fields.keys() & ELEMENTS[service].children.keys()}
        if message.service in _LOOK_UPS:
            fields |= _LOOK_UPS[message.service](message, shelf)
        fields |= make_fields(service, words, agency, message.text("InitiationHeader/FromAgencyId/AgencyId"))
    return documents.encode(NcipMessage(service=service, fields=fields), DIALECTS["direct"])


def _look_up_title(message: NcipMessage, shelf: Sequence[Holding]) -> Fields:
    """Return the copies of a title, found by the partner's own number or the union catalogue's number."""
    number = message.text("BibliographicId/BibliographicRecordId/BibliographicRecordIdentifier")
    copies = [_item_information(copy) for copy in shelf if number in {copy.bib_id, copy.local_bib_id}]
    found: Fields = {"HoldingsSet": [{"ItemInformation": copies}]}
    return {"BibInformation": [found if copies else {"Problem": [{"ProblemType": "Unknown Item"}]}]}


def _look_up_item(message: NcipMessage, shelf: Sequence[Holding]) -> Fields:
    wanted = message.text("ItemId/ItemIdentifierValue")
    return next((_item_information(copy) for copy in shelf if copy.barcode == wanted), {})


def _item_information(copy: Holding) -> Fields:
    return {"ItemId": item_id(copy.key), "ItemOptionalFields": {"CirculationStatus": copy.status}}


_LOOK_UPS: Final[Mapping[str, Callable[[NcipMessage, Sequence[Holding]], Fields]]] = {
    "LookupItemSet": _look_up_title,
    "LookupItem": _look_up_item,
}
