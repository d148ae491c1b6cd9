"""Services shared by the parts of the desk: borrower facts, one transaction per command, repeated documents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from hkall_gateway.desk.common.context import in_context
from hkall_gateway.desk.common.idempotency import once
from hkall_gateway.desk.common.library import Library
from hkall_gateway.desk.common.their_numbers import as_ours
from hkall_gateway.desk.ils.local_system import USUAL, LocalSystem, OfflineRules, WebPins
from hkall_gateway.desk.ils.own_loans import OwnLoans
from hkall_gateway.desk.ils.unknown_words import UnknownWords
from hkall_gateway.desk.messages.commands import InboxKey, PartnerNotice
from hkall_gateway.desk.messages.results import Refused
from hkall_gateway.desk.ports import BorrowerFacts, LocalIls
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Sensitive
from hkall_gateway.store.engine.database import Store
from hkall_gateway.store.engine.deadline import current
from hkall_gateway.store.engine.locks import LockSet

Said = TypeVar("Said")
Asked = TypeVar("Asked")

WRONG_PIN = Refused(Reason.WRONG_PIN, Reason.WRONG_PIN.rule)
TRY_AGAIN = Refused(Reason.TRY_AGAIN)

PIN_UNKNOWN = Refused(Reason.TRY_AGAIN, detail={"unknown": "pin"})
"""The answer while the PIN cannot be checked."""

_PIN_ANSWERS = {True: None, False: WRONG_PIN, None: PIN_UNKNOWN}


class DeskServices:
    """Holds the store, the local system, the library's identity and the clock.

    `library` returns the library of this gateway (a reload may change it); `now` returns the aware UTC instant; `terms`
    returns the rules for deciding without the local system; `web_pins` check PINs from the web, by default as all others.
    """

    def __init__(
        self,
        store: Store,
        ils: LocalIls,
        library: Callable[[], Library],
        now: Callable[[], datetime],
        terms: Callable[[], OfflineRules] = lambda: USUAL,
        web_pins: WebPins | None = None,
    ) -> None:
        self.store, self._library, self.now = store, library, now
        self.local = LocalSystem(store, ils, now, terms, web_pins)
        self.own_loans = OwnLoans(self.local.loans, now)
        self._words = UnknownWords()

    @property
    def library(self) -> Library:
        return self._library()

    @property
    def loaded(self) -> bool:
        """Whether borrowers are rows of our database, which the unit of work reads itself, without an earlier query."""
        return self.local.loaded

    def we_borrow(self, ask: PartnerNotice) -> bool:
        """Whether we are the borrower: the RequestId is ours, or without one the copy is not ours."""
        if ask.wire_id and ask.wire_agency:
            return ask.wire_agency == self.library.agency
        return ask.item is None or ask.item.agency != self.library.agency

    async def under_our_number(self, ask: PartnerNotice) -> PartnerNotice:
        """A lender's notice under our RequestId, even if it names the lender's own number."""
        if not ask.wire_id or ask.wire_agency == self.library.agency:
            return ask
        return await self.store.read_inline(as_ours, ask, self.library.agency)

    async def run(self, work: Callable[..., Said], *args: Any, **options: Any) -> Said:
        """Run `work(context, *args)` in one transaction, before the caller's deadline; `options` are those of `Store.run`."""
        what = (in_context, work, self.library, self.now(), *args)
        result: Said = await self.store.run(*what, deadline=current(), **options)
        return result

    async def read(self, work: Callable[..., Said], *args: Any, **options: Any) -> Said:
        """Run `work(context, *args)` as a query; `options` are those of `Store.read_inline`."""
        result: Said = await self.store.read_inline(in_context, work, self.library, self.now(), *args, **options)
        return result

    async def once(self, key: InboxKey | None, locks: LockSet, work: Callable[..., Said], ask: Any, *facts: Any) -> Said:
        locks = replace(locks, document=(key.agency, key.digest)) if key else locks
        result: Said = await self.run(once, key, work, ask, *facts, locks=locks, repeatable=key is not None)
        return result

    async def facts(self, card: str) -> BorrowerFacts:
        """The facts about a borrower; the caller answers TRY_AGAIN when `reachable` is False."""
        return await self._followed(card, await self.local.borrower(card))

    async def known(self, card: str, bib_id: str = "") -> BorrowerFacts:
        """The facts about a borrower, and the status of our own copies of a title: the basis of a request's decision."""
        facts = await self._followed(card, await self.local.for_request(card, bib_id))
        listed = self.library.policy.local_available_statuses
        self._words.check(facts.source, [copy.status for copy in facts.at_home or ()], listed)
        return facts

    async def _followed(self, card: str, facts: BorrowerFacts) -> BorrowerFacts:
        """The facts, after moving the borrower's records to the present card."""
        await self.local.follow(card, facts)
        return facts

    async def pin_ok(self, card: str, pin: Sensitive) -> bool | None:
        """Whether the PIN is right; None where it cannot be checked at the moment. An empty PIN is never right."""
        return await self.local.pin_ok(card, pin) if pin else False

    async def pin_refused(self, card: str, pin: Sensitive) -> Refused | None:
        """The refusal of a command's PIN; None if it is right, if none came, or if it was right just before it got unknown."""
        right = await self.pin_ok(card, pin) if pin else True
        return None if right is None and self.local.pin_was_right(card, pin) else _PIN_ANSWERS[right]


def as_present(ask: Asked, facts: BorrowerFacts) -> Asked:
    """The command under the borrower's present card: the local system may return another card than the one asked about."""
    name = "patron" if hasattr(ask, "patron") else "card"
    if facts.borrower is None or getattr(ask, name) == facts.borrower.barcode:
        return ask
    return replace(ask, **{name: facts.borrower.barcode})  # type: ignore[type-var]  # every command is a dataclass


def locks_for(patron: str = "", request: str = "", item: str = "", channel: str = "") -> LockSet:
    """Locks for the rows of a command; `item` is a barcode, `channel` a recipient of the outbox."""
    return LockSet(patron, request, ("", item), channel=channel)


def heard_locks(ask: PartnerNotice) -> LockSet:
    """Locks for a partner's message: the copy, the RequestId, or both."""
    return LockSet(item=("", ask.item.barcode if ask.item else ""), partner_ids=((ask.wire_agency, ask.wire_id),))
