"""The library's own system as commands use it: queries, a cache of recent answers, and fallbacks while it is unreachable.

Only this module decides what its absence means. Callers answer `reachable` False with "try again".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Literal, cast

from hkall_gateway.circulation.borrowers import LOADED, loaded_facts
from hkall_gateway.circulation.command import Library
from hkall_gateway.circulation.ports import (
    AWAY,
    BorrowerFacts,
    Gathered,
    Identified,
    LocalIls,
    LocalLoan,
    TellsLoans,
    Unreachable,
    Verb,
)
from hkall_gateway.circulation.results import TRY_AGAIN, Refused
from hkall_gateway.db import bind
from hkall_gateway.db.cards import is_blocked, is_locked
from hkall_gateway.db.database import Store
from hkall_gateway.db.engine.deadline import current
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.loads.former_cards import follow_card, has_anything, reinstate, who_replaced
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.observability.unknown_words import UnknownWords
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import StaffFlag
from hkall_gateway.rules.vocabulary import NOTHING, Actor, Borrower, Holding, Sensitive

BY_ILS: Final = Actor("ils", "ils")
"""The actor of a card replacement that the local system reports."""
PARTNER: Final = BorrowerFacts(None, "partner")
"""The facts about a partner's card, which no patron owns."""
WRONG_PIN: Final = Refused(Reason.WRONG_PIN, Reason.WRONG_PIN.rule)
PIN_UNKNOWN: Final = Refused(Reason.TRY_AGAIN, detail={"unknown": "pin"})
"""The answer while the PIN cannot be checked."""

_PIN_ANSWERS: Final = {True: None, False: WRONG_PIN, None: PIN_UNKNOWN}
MOST_KEPT: Final = 5_000
"""Borrowers in the cache: more than a library serves within a quarter of an hour."""


async def reject_pin(_card: str, _stored: Sensitive, _pin: Sensitive) -> bool:
    """Accept no PIN. The default `verify`, which has no hash function."""
    return False


@dataclass(frozen=True, slots=True)
class OfflineRules:
    """Rules for deciding without the local system.

    `fallback` while it is away: "allow" decides by its own answer of less than `keep_s` seconds ago, else by the loaded file;
    "refuse" decides no request. `pin`, where the connector cannot check one: "refuse", by the "loaded" hash, or "unchecked".
    `verify(card, stored hash, pin)` compares. `recent_pin(card, pin, now)`: the system took this PIN less than `keep_s` ago; it
    serves whatever `pin` says, where `fallback` is "allow".
    """

    fallback: Literal["allow", "refuse"] = "allow"
    keep_s: float = 900.0
    pin: Literal["refuse", "loaded", "unchecked"] = "refuse"
    verify: Callable[[str, Sensitive, Sensitive], Awaitable[bool]] = reject_pin
    recent_pin: Callable[[str, Sensitive, datetime], bool] = lambda _card, _pin, _now: False


USUAL: Final = OfflineRules()


@dataclass(frozen=True, slots=True)
class WebPins:
    """Checks of PINs from the web, where strangers guess: wrong ones lock no card.

    `fits(card, stored hash, pin)` compares. An empty hash takes as long and fits no PIN. `asked(card, pin)` asks the
    local system.
    """

    fits: Callable[[str, Sensitive, Sensitive], Awaitable[bool]]
    asked: Callable[[str, Sensitive], Awaitable[bool]]


LOANS_KEPT: Final = timedelta(minutes=1)
"""The local system is asked again after this time; by SIP2 one answer takes a question for each book."""
LOANS_ROOM: Final = 1_000
"""Borrowers whose loans are kept."""

Loans = tuple[LocalLoan, ...]


class OwnLoans:
    """Keeps the answers of `ask` for a minute, until the borrower logs out; "not told" and "away" (None) are not kept."""

    def __init__(self, ask: Callable[[str], Awaitable[Loans | None]], now: Callable[[], datetime]) -> None:
        self._ask_about, self._now = ask, now
        self._kept: OrderedDict[str, tuple[datetime, Loans]] = OrderedDict()

    async def of(self, card: str) -> Loans | None:
        """Return the loans of a borrower. None where the local system does not tell them, or is away."""
        self._forget_old()
        if card in self._kept:
            return self._kept[card][1]
        loans = await self._ask_about(card)
        if loans is not None:
            self._kept.pop(card, None)
            self._kept[card] = self._now(), loans
            if len(self._kept) > LOANS_ROOM:
                self._kept.popitem(last=False)
        return loans

    def forget(self, card: str) -> None:
        """Forget the loans of a borrower."""
        self._kept.pop(card, None)

    def _forget_old(self) -> None:
        while self._kept and next(iter(self._kept.values()))[0] <= self._now() - LOANS_KEPT:
            self._kept.popitem(last=False)


class ConnectedSystem:
    """Asks the connector."""

    def __init__(
        self,
        store: Store,
        ils: LocalIls,
        library: Callable[[], Library],
        now: Callable[[], datetime],
        terms: Callable[[], OfflineRules] = lambda: USUAL,
        web_pins: WebPins | None = None,
    ) -> None:
        self._store, self._ils, self._library, self._now, self._terms = store, ils, library, now, terms
        self._web_pins = web_pins or WebPins(terms().verify, ils.verify_pin)
        self._kept: OrderedDict[str, BorrowerFacts] = OrderedDict()
        self._words = UnknownWords()
        self._own_loans = OwnLoans(self.loans, now)

    async def owner(self, card: str, pin: Sensitive = NOTHING) -> Gathered[BorrowerFacts] | Refused:
        """Gather the facts about the owner of a card. A PIN that comes with the command must be right."""
        if not self.loaded:
            return await self._live_owner(card, await self.facts(card), pin)
        if pin and not await self._loaded_pin_fits(card, pin):
            return WRONG_PIN
        return Gathered(partial(loaded_facts, card=card))

    async def for_checkout(self, card: str, pin: Sensitive) -> Gathered[BorrowerFacts] | Refused:
        """Gather the facts about the patron who borrows. A partner's card has none."""
        if not self.loaded and await self._store.read(lambda unit: unit.partners.with_card(card)) is not None:
            return Gathered(lambda _unit: PARTNER)
        return await self.owner(card, pin)

    async def for_request(self, card: str, bib_id: str) -> Gathered[BorrowerFacts] | Refused:
        """Gather the facts about the patron who requests a title, and the statuses of our own copies of it (R6)."""
        if self.loaded:
            return Gathered(partial(loaded_facts, card=card))
        return await self._live_owner(card, await self.known(card, bib_id))

    async def identify(self, card: str, pin: Sensitive, pin_given: bool) -> Gathered[Identified]:
        """Gather who owns a card, and whether the PIN that came is right."""
        if self.loaded:
            return await self._identify_loaded(card, pin, pin_given)
        facts = await self.facts(card)
        checked = pin_given and facts.borrower is not None
        pin_ok = (await self.pin_ok(card, pin) if pin else False) if checked else None
        unsure = checked and pin_ok is None  # the card has an owner, but the PIN cannot be checked
        return Gathered(lambda _unit: Identified(AWAY if unsure else facts, pin_ok, unsure))

    async def _identify_loaded(self, card: str, pin: Sensitive, pin_given: bool) -> Gathered[Identified]:
        found = await self._store.read(bind(loaded_facts, card)) if pin_given else None
        if found is None or found.borrower is None:
            return Gathered(lambda unit: Identified(loaded_facts(unit, card)))
        fits, without_hash = await self.hash_fits(found, pin), not found.borrower.pin_hash
        return Gathered(lambda unit: Identified(loaded_facts(unit, card), fits, without_hash))

    async def _live_owner(self, card: str, facts: BorrowerFacts, pin: Sensitive = NOTHING) -> Gathered[BorrowerFacts] | Refused:
        if not facts.reachable:
            return TRY_AGAIN
        present = facts.borrower.barcode if facts.borrower else card
        return await self.pin_refused(present, pin) or Gathered(lambda _unit: facts, present)

    async def pin_refused(self, card: str, pin: Sensitive) -> Refused | None:
        """Return the refusal of a PIN. None if it is right, or if none came."""
        right = await self.pin_ok(card, pin) if pin else True
        return None if right is None and self.pin_was_right(card, pin) else _PIN_ANSWERS[right]

    async def facts(self, card: str) -> BorrowerFacts:
        """Return the facts about a borrower, after moving the borrower's records to the present card."""
        facts, ours = await self._ask_about(card)
        await self._follow_cards(card, facts, ours)
        return facts

    async def known(self, card: str, bib_id: str = "") -> BorrowerFacts:
        """Return the facts that decide a request: about a borrower, and the statuses of our own copies of a title."""
        borrower, ours = await self._ask_about(card)
        facts = await self._with_copies(borrower, bib_id)
        await self._follow_cards(card, facts, ours)
        listed = self._library().policy.local_available_statuses
        self._words.check(facts.source, [copy.status for copy in facts.at_home or ()], listed)
        return facts

    async def authenticate(self, card: str, pin: Sensitive) -> Borrower | Refused:
        """Return the patron with this card and PIN, from the web.

        An unknown card is refused as a wrong PIN, after the same time.
        """
        right = await self.web_pin_ok(card, pin)
        if not right:
            return TRY_AGAIN if right is None else WRONG_PIN
        return await self.patron(card)

    async def patron(self, card: str) -> Borrower | Refused:
        """Return the patron of a card that needs no PIN: an identity provider has named it."""
        facts = await self.facts(card)
        if not facts.reachable:
            return TRY_AGAIN
        return facts.borrower or Refused(facts.stranger)

    @property
    def loaded(self) -> bool:
        """Whether borrowers are rows of our database, which the unit of work reads itself, without an earlier query."""
        return Verb.LOADED in self._ils.supports

    @property
    def sees_shelves(self) -> bool:
        """Whether the connector reports our own copies as they are now, and not as loaded."""
        return Verb.COPIES in self._ils.supports and not self.loaded

    async def borrower(self, card: str) -> BorrowerFacts:
        """Return the facts about a borrower.

        A card that a terminal blocked here is blocked, even if the local system disagrees.
        A card that the system does not know may have been replaced. A card that a file says was replaced has no owner, even if
        the system still knows it.
        """
        return (await self._ask_about(card))[0]

    async def _ask_about(self, card: str) -> tuple[BorrowerFacts, _Records]:
        """Ask the system about a card, then read our own records about the answer, in one transaction."""
        try:
            facts = await self._ils.borrower(card)
        except Unreachable:
            facts = await self._decide_offline(card)
        else:
            self._cache(card, facts)
        if not facts.reachable:
            return facts, _Records()
        ours = await self._store.read(bind(_read_own_records, card, facts))
        borrower = facts.borrower
        if borrower is None:
            return replace(facts, replaced=bool(ours.replaced_by)), ours
        if facts.source == LOADED:
            return facts, ours
        if borrower.barcode == card and ours.replaced_by not in {"", BY_ILS.who}:
            return replace(facts, borrower=None, replaced=True), ours
        return (replace(facts, borrower=replace(borrower, blocked=True)) if ours.blocked else facts), ours

    async def _follow_cards(self, card: str, facts: BorrowerFacts, ours: _Records) -> None:
        """Move the records of a borrower's former cards to the present one, where the system names another card.

        `facts` are its answer to a question about `card`: the card that it names is the present one.
        """
        if facts.borrower is None:
            return
        present = facts.borrower.barcode
        for one in ours.former:
            if one == card or not await self._belongs_to_another(one, present):
                locks = LockSet(present, former=one, whole=True)
                await self._store.write(bind(follow_card, one, present, self._now(), BY_ILS), locks, current())
        if present == card and ours.replaced_by == BY_ILS.who:
            await self._store.write(bind(reinstate, [card]), until=current())  # it was issued to another borrower

    async def _belongs_to_another(self, former: str, present: str) -> bool:
        """Whether a former card now belongs to another borrower. True also where the local system cannot be asked."""
        try:
            owner = (await self._ils.borrower(former)).borrower
        except Unreachable:
            return True
        return owner is not None and owner.barcode != present

    async def with_copies(self, card: str, bib_id: str) -> BorrowerFacts:
        """Return the facts about a borrower, with the status of our own items of the title (R6). "" is no title."""
        return await self._with_copies(await self.borrower(card), bib_id)

    async def _with_copies(self, facts: BorrowerFacts, bib_id: str) -> BorrowerFacts:
        if not bib_id or not self.sees_shelves or not facts.reachable:
            return facts
        return replace(facts, looked=True, at_home=await self.at_home(bib_id))

    async def pin_ok(self, card: str, pin: Sensitive) -> bool | None:
        """Return whether the PIN is right. None where it cannot be checked at the moment."""
        terms = self._terms()
        if self.loaded:
            return await self._loaded_pin_fits(card, pin)
        if Verb.VERIFY_PIN not in self._ils.supports:
            return terms.pin == "unchecked" or await self._by_loaded_hash(card, pin)
        try:
            return await self._ils.verify_pin(card, pin)
        except Unreachable:
            known = terms.fallback == "allow" and terms.pin == "loaded"
            return await self._by_loaded_hash(card, pin) if known else None

    def pin_was_right(self, card: str, pin: Sensitive) -> bool:
        """Whether the local system took this PIN a moment ago, and the rules allow to decide by that while it is away."""
        terms = self._terms()
        return terms.fallback == "allow" and terms.recent_pin(card, pin, self._now())

    @property
    def checks_web_pins(self) -> bool:
        """Whether a PIN from the web can be checked at all. A PIN that terminals accept unchecked is refused on the web."""
        return self.loaded or Verb.VERIFY_PIN in self._ils.supports or self._terms().pin == "loaded"

    @property
    def compares_web_pins(self) -> bool:
        """Whether a PIN from the web is compared with the loaded hash, so that another hash is another PIN."""
        return self.loaded or Verb.VERIFY_PIN not in self._ils.supports

    async def web_pin_ok(self, card: str, pin: Sensitive) -> bool | None:
        """Return whether a PIN from the web is right. None where it cannot be checked at the moment.

        An unknown card gets the answer of a wrong PIN, after the same time; so does a card that wrong PINs locked elsewhere.
        """
        if not self.checks_web_pins:
            return False
        locked = await self._store.read(bind(is_locked, card, self._now()))
        if self.compares_web_pins:
            return await self._web_hash_fits(card, pin) and not locked
        if locked:
            return False
        terms = self._terms()
        try:
            return await self._web_pins.asked(card, pin) and bool(pin)
        except Unreachable:
            known = terms.fallback == "allow" and terms.pin == "loaded"
            return await self._web_hash_fits(card, pin) if known else None

    async def _web_hash_fits(self, card: str, pin: Sensitive) -> bool:
        known = (await self._store.read(bind(loaded_facts, card))).borrower
        fits = await self._web_pins.fits(card, known.pin_hash if known else NOTHING, pin)
        return fits and known is not None and bool(known.pin_hash)

    async def hash_fits(self, facts: BorrowerFacts, pin: Sensitive) -> bool:
        """Whether the PIN fits the loaded borrower's hash. False without a hash, and for an empty PIN."""
        known = facts.borrower
        if known is None or not known.pin_hash or not pin:
            return False
        return await self._terms().verify(known.barcode, known.pin_hash, pin)

    async def at_home(self, bib_id: str) -> tuple[Holding, ...] | None:
        """Return our own items of a title as they are now. None where they cannot be seen (R6)."""
        try:
            return await self._ils.copies(bib_id)
        except Unreachable:
            return None

    async def loans(self, card: str) -> tuple[LocalLoan, ...] | None:
        """Return the borrower's loans of our own books. None where the system does not tell them, or is away."""
        if Verb.LOANS not in self._ils.supports:
            return None
        try:
            return await cast(TellsLoans, self._ils).loans(card)
        except Unreachable:
            return None

    async def own_loans(self, card: str) -> tuple[LocalLoan, ...] | None:
        """Return the same loans, asking at most once a minute for a borrower."""
        return await self._own_loans.of(card)

    def forget_loans(self, card: str) -> None:
        """Forget the loans of a borrower who logs out."""
        self._own_loans.forget(card)

    async def _decide_offline(self, card: str) -> BorrowerFacts:
        terms, kept = self._terms(), self._kept.get(card)
        if terms.fallback == "refuse":
            return AWAY
        if kept and kept.as_of and self._now() - kept.as_of < timedelta(seconds=terms.keep_s):
            return replace(kept, flag=StaffFlag.ILS_AWAY)
        facts = await self._store.read(bind(loaded_facts, card))
        return replace(facts, flag=StaffFlag.ILS_AWAY) if facts.borrower else AWAY

    async def _by_loaded_hash(self, card: str, pin: Sensitive) -> bool:
        return self._terms().pin == "loaded" and await self._loaded_pin_fits(card, pin)

    async def _loaded_pin_fits(self, card: str, pin: Sensitive) -> bool:
        return await self.hash_fits(await self._store.read(bind(loaded_facts, card)), pin)

    def _cache(self, card: str, facts: BorrowerFacts) -> None:
        if facts.as_of is None:  # a row of our database, or an answer without an instant
            return
        self._kept[card] = facts
        self._kept.move_to_end(card)
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)


@dataclass(frozen=True, slots=True)
class _Records:
    """Our own records about an answer: who replaced the card, whether it is blocked here, and former cards with records."""

    replaced_by: str = ""
    blocked: bool = False
    former: tuple[str, ...] = ()


def _read_own_records(unit: UnitOfWork, card: str, facts: BorrowerFacts) -> _Records:
    who = who_replaced(unit, card)
    if facts.borrower is None:
        return _Records(who)
    present = facts.borrower.barcode
    former = sorted({card, *facts.former} - {present})
    return _Records(who, is_blocked(unit, present), tuple(one for one in former if has_anything(unit, one)))
