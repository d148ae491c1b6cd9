"""Adapter for a local system with SIP2, which connects like a terminal and keeps a few connections open."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, datetime
from typing import Final, cast

from twisted.internet.defer import DeferredSemaphore
from twisted.internet.defer import TimeoutError as TooLate
from twisted.internet.interfaces import IReactorTime

from hkall_gateway.circulation.ports import BorrowerFacts, LocalLoan, Unreachable, Verb
from hkall_gateway.clock import Clock
from hkall_gateway.ils.live import LiveFacts, copies_at_home, over_loaded
from hkall_gateway.ils.settings import Sip2Settings
from hkall_gateway.ils.tools import ConnectorTools
from hkall_gateway.net.limits.timeout import left_s
from hkall_gateway.rules.dates import HONG_KONG
from hkall_gateway.rules.plain_text import whole_number
from hkall_gateway.rules.vendor_words.availability import UNDEFINED
from hkall_gateway.rules.vocabulary import Holding, Sensitive
from hkall_gateway.sip2.client import Ask, encode_body, pin_verdict
from hkall_gateway.sip2.codec.dialects import Sip2Dialect
from hkall_gateway.sip2.codec.fields import date18
from hkall_gateway.sip2.codec.lines import BadMessage, Sip2Message, Value, decode
from hkall_gateway.sip2.handlers.items import ON_SHELF
from hkall_gateway.sip2.screen_messages import CHINESE, EN, ZH

MOST_WAITING: Final = 64
"""Maximum number of queries that wait for a free connection. Further queries raise Unreachable at once."""

LONGEST_WAIT_S: Final = 60.0
"""Maximum time to wait for a free connection, for queries that do not belong to a terminal's message."""

MOST_LOANS: Final = 30
"""Maximum number of loans that are looked up for one borrower."""
CHARGED_ITEMS: Final = "  Y       "
"""The value of the summary that requests the charged items. Source: SIP2 2.00, summary."""

CHARGE_DENIED, CARD_LOST, TOO_MANY = 0, 4, 5
"""Indexes into the patron status. Source: SIP2 2.00, patron status."""

STATUS: Final[Mapping[str, str]] = {
    **{code: name.title() for name, code in ON_SHELF.items()},
    "01": UNDEFINED,  # other
    "05": "On Loan",  # charged, and not to be recalled until the earliest recall date
}
"""The NCIP CirculationStatus for each SIP2 circulation status. Source: SIP2 2.00, circulation status."""
AVAILABLE: Final = "03"


class Sip2:
    """Connector to a SIP2 server, which sends 63 for borrowers, PINs and loans, and 17 for each loan and each own item."""

    supports = frozenset({Verb.BORROWER, Verb.VERIFY_PIN, Verb.COPIES, Verb.LOANS})

    def __init__(self, tools: ConnectorTools) -> None:
        outside = tools.abroad()
        self._store, self._agency, self._now, self._dialect = tools.store, tools.agency, outside.now, outside.dialect
        settings = tools.settings_of(Sip2Settings)
        self._follows, self._institution = settings.answered_card == "follow", settings.institution or tools.agency
        self._ask: Ask = ConnectionPool(outside.line, settings.connections, outside.clock)

    async def borrower(self, card: str) -> BorrowerFacts:
        """Look up a borrower. The result's `borrower` is None if the reply says that the card is invalid (BL is N)."""
        now = self._now()
        reply = await self._ask_server("63", now, {"AA": card})
        if reply.get("BL") == "N":
            return BorrowerFacts(borrower=None, source="sip2", as_of=now)
        answered = reply.get("AA").strip() if self._follows else ""
        return await over_loaded(self._store, card, replace(borrower_facts(reply), card=answered), "sip2", now)

    async def verify_pin(self, card: str, pin: Sensitive) -> bool | None:
        """Return whether the server accepts the PIN: CQ is Y, and BL is not N. None if it sends no CQ."""
        reply = await self._ask_server("63", self._now(), {"AA": card, "AD": pin.reveal()})
        answer = pin_verdict(reply)
        return answer and reply.get("BL") != "N"

    async def copies(self, bib_id: str) -> tuple[Holding, ...] | None:
        """Return our items with their current statuses, stopping at the first available item."""
        seen: list[Holding] = []
        for copy in await copies_at_home(self._store, bib_id, self._agency):
            reply = await self._ask_server("17", self._now(), {"AB": copy.barcode})
            code = reply.get("circulation_status")
            seen.append(replace(copy, status=STATUS.get(code, f"SIP2 {code}")))
            if code == AVAILABLE:
                break
        return tuple(seen)

    async def loans(self, card: str) -> tuple[LocalLoan, ...]:
        """Return at most MOST_LOANS loans: barcodes from a 64 (AU), titles and due dates from one 18 for each loan."""
        reply = await self._ask_server("63", self._now(), {"AA": card, "summary": CHARGED_ITEMS})
        found: list[LocalLoan] = []
        for barcode in reply.all("AU")[:MOST_LOANS]:
            item = await self._ask_server("17", self._now(), {"AB": barcode})
            found.append(LocalLoan(barcode=barcode, title=item.get("AJ").strip(), due=_parse_day(item.get("AH"))))
        return tuple(found)

    async def _ask_server(self, code: str, now: datetime, fields: Mapping[str, Value]) -> Sip2Message:
        common = {"transaction_date": date18(now, HONG_KONG), "AO": self._institution}
        body = encode_body(Sip2Message(code, {**common, **fields, "AC": ""}), self._dialect)
        return read(await self._ask(body), self._dialect)


class ConnectionPool:
    """A pool of connections to a system. A query takes the most recently used connection, so that few stay open."""

    def __init__(self, connect: Callable[[], Ask], most: int, clock: Clock | None = None) -> None:
        self._free: deque[Ask] = deque(connect() for _ in range(most))
        self._clock = clock
        self._permits = DeferredSemaphore(most)

    async def __call__(self, body: bytes) -> bytes:
        """Send a query on a free connection. Raise Unreachable if no connection is free in time or no reply arrives."""
        if len(self._permits.waiting) >= MOST_WAITING:
            raise Unreachable("too many questions wait for it")
        await self._free_connection()
        connection = self._free.pop()
        try:
            return await connection(body)
        finally:
            self._free.append(connection)
            self._permits.release()

    async def _free_connection(self) -> None:
        """Wait for a free connection. Raise Unreachable if the time left for the current message runs out."""
        waiting = self._permits.acquire()
        if self._clock is not None and not waiting.called:
            _ = waiting.addTimeout(left_s(self._clock.seconds(), LONGEST_WAIT_S), cast(IReactorTime, self._clock))
        try:
            await waiting
        except TooLate:
            raise Unreachable("no connection was free in time") from None


def read(body: bytes, dialect: Sip2Dialect) -> Sip2Message:
    """Decode a reply. Raise Unreachable if it is unreadable."""
    try:
        return decode(body, dialect)
    except BadMessage as bad:
        raise Unreachable(f"its reply cannot be used: {bad}") from None


def borrower_facts(reply: Sip2Message) -> LiveFacts:
    """Read the data about a borrower from a 64 reply.

    Charge privileges that are denied only because the patron has reached the limit of loans do not count as a block; the quota
    check covers that. If the reply gives no limit in this case, the current number of loans is the limit.
    """
    status = reply.get("patron_status").ljust(14)
    loans, full = whole_number(reply.get("charged_items_count").strip()), status[TOO_MANY] == "Y"
    limit = whole_number(reply.get("CB").strip())
    return LiveFacts(
        blocked=status[CARD_LOST] == "Y" or (status[CHARGE_DENIED] == "Y" and not full),
        local_loans=loans,
        total_quota=loans if full and limit is None else limit,
        name=Sensitive(reply.get("AE")),
        email=Sensitive(reply.get("BE")),
        category=reply.get("PC").strip(),
        expires=_parse_day(reply.get("PA")),
        language=ZH if reply.get("language") in CHINESE else EN,
    )


def _parse_day(text: str) -> date | None:
    """Parse a date that starts with YYYYMMDD, as in Koha and Evergreen. Return None for any other text."""
    try:
        return date.fromisoformat(text.strip()[:8]) if len(text.strip()) >= 8 else None
    except ValueError:
        return None
