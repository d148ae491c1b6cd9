"""NCIP peers: the discovery system in which patrons request and renew, and a lending library."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from itertools import count
from typing import Any

from hkall_gateway.ncip.codec.messages import NcipMessage, instant
from hkall_gateway.rules import dates
from hkall_gateway.simulator.peers import PartnerLibrary
from hkall_gateway.simulator.scenario.scripted_partner import PartnerBehaviour
from tests.published.records import Copy, Reader, Title

Do = Callable[[Callable[[], Any]], Any]
"""Runs a coroutine in the reactor thread; returns its result."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply. `ok`: success; `says`: the refusal reason as text for display."""

    message: NcipMessage

    @property
    def ok(self) -> bool:
        return not self.message.has("Problem")

    @property
    def says(self) -> str:
        return " ".join(f"{one.text('ProblemType')}: {one.text('ProblemDetail')}" for one in self.message.each("Problem"))

    @property
    def rule(self) -> str:
        """The rule of a refusal, "" if none is named."""
        found = re.search(r"\bR\d+a?(?=:)", self.says)
        return found[0] if found else ""

    @property
    def due(self) -> date | None:
        """The due date in the reply."""
        return day(self.message.text("DateDue"))


@dataclass(frozen=True, slots=True)
class Record:
    """A patron's circulation record. `due` by barcode; `status` by title; `owed_cents` is the balance."""

    due: dict[str, date | None]
    status: dict[str, str]
    owed_cents: int


class Catalogue:
    """The HKALL discovery system, acting for a logged-in patron."""

    def __init__(self, speaker: PartnerLibrary, do: Do) -> None:
        self._speaker, self._do = speaker, do
        self._placed: dict[tuple[str, str], str] = {}
        self._numbers = count(1)

    def request(self, reader: Reader, title: Title, *more: str, pin: str = "") -> Answer:
        """Request a title. `pin` as on the login page; `more` are further fields of the document, `pickup=…`."""
        number = f"d-{next(self._numbers)}"
        self._placed[reader.card, title.number] = number
        asked = (f"user={reader.card}", f"bib={title.number}", f"request={number}")
        return self._say("RequestItem", *asked, *(_authentication(pin) if pin else ()), *more)

    def cancel(self, reader: Reader, title: Title) -> Answer:
        """Cancel the request for a title."""
        number = self._placed[reader.card, title.number]
        return self._say("CancelRequestItem", f"user={reader.card}", f"request={number}")

    def renew(self, reader: Reader, copy: Copy) -> Answer:
        """Renew a loan."""
        return self._say("RenewItem", f"user={reader.card}", f"item={copy.library}:{copy.barcode}")

    def record(self, reader: Reader) -> Record:
        """View the circulation record."""
        wanted = ("LoanedItemsDesired=yes", "RequestedItemsDesired=yes", "UserFiscalAccountDesired=yes")
        seen = self._say("LookupUser", f"user={reader.card}", *wanted).message
        loans, requests = list(seen.each("LoanedItem")), list(seen.each("RequestedItem"))
        return Record(
            {one.text("ItemId/ItemIdentifierValue"): day(one.text("DateDue")) for one in loans},
            {one.text("Title"): " ".join(_texts(one.fields)) for one in requests},
            int(seen.text("UserFiscalAccount/AccountBalance/MonetaryValue") or 0),
        )

    def _say(self, service: str, *words: str) -> Answer:
        return Answer(self._do(lambda: self._speaker.say(service, *words)))


class Lender:
    """One of the other libraries: the messages it received, and its actions."""

    def __init__(self, library: PartnerLibrary, do: Do, settle: Callable[[], None]) -> None:
        self._library, self._do, self._settle, self._numbers = library, do, settle, count(1)

    @property
    def heard(self) -> list[str]:
        """The services of all documents it received."""
        return [message.service for message in self.documents]

    @property
    def documents(self) -> list[NcipMessage]:
        """All documents it received."""
        self._settle()
        return list(self._library.seen)

    def sends(self, copy: Copy, due: str = "2017-06-30") -> None:
        """Ship the requested item, due back on this day."""
        self._tell("ItemShipped", f"request=HKU:{self._asked(copy)}", f"item={copy.barcode}", f"due={due}")

    def cancels(self, copy: Copy) -> None:
        """Decline the requested item."""
        self._tell("ItemRequestCancelled", f"request=HKU:{self._asked(copy)}", f"item={copy.barcode}", "user=HKU-INST")

    def borrows(self, title: Title) -> Answer:
        """Request a title of HKU for one of its own users."""
        me = self._library.agency
        return self.say("RequestItem", f"user=HKU:{me}-INST", f"bib={title.number}", f"request={me}:{next(self._numbers)}")

    def recalls(self, copy: Copy, *more: str) -> Answer:
        """Recall an item for one of its own users."""
        return self.say("ItemRecalled", f"item={copy.library}:{copy.barcode}", *more)

    def takes_recall_back(self, copy: Copy) -> None:
        """Cancel the recall."""
        self._tell("ItemRecallCancelled", f"item={copy.barcode}")

    def will_answer(self, problem: str) -> None:
        """Reply to the next document with this problem."""
        self._library.script.append(PartnerBehaviour(kind="Problem", taken=True, problem=problem))

    def say(self, service: str, *words: str) -> Answer:
        """Send a document."""
        return Answer(self._do(lambda: self._library.say(service, *words)))

    def _tell(self, service: str, *words: str) -> None:
        answer = self.say(service, *words)
        assert answer.ok, answer.says

    def _asked(self, copy: Copy) -> str:
        """The RequestId under which an item was last requested."""
        asked = [
            m for m in self.documents if m.service == "RequestItem" and m.text("ItemId/ItemIdentifierValue") == copy.barcode
        ]
        return asked[-1].text("RequestId/RequestIdentifierValue")


def _authentication(pin: str) -> tuple[str, ...]:
    said = {"Type": "PIN", "Data": pin}
    words = [f"AuthenticationInput/AuthenticationInput{name}={value}" for name, value in said.items()]
    return (*words, "AuthenticationInput/AuthenticationDataFormatType=text")


def day(text: str) -> date | None:
    """The Hong Kong date of a timestamp in a document."""
    when = instant(text, dates.HONG_KONG) if text else None
    return dates.civil(when) if when else None


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [str(value)]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for part in parts for text in _texts(part)]
