"""The library's own system for commands: queries, a cache of recent replies, and fallbacks while it is unreachable.

Only this module implements the fallbacks. If `reachable` is False in a result, callers reply "try again".
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
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.loads.former_cards import follow_card, has_anything, reinstate, who_replaced
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.deadline import current
from hkall_gateway.observability.unknown_words import UnknownWords
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import StaffFlag
from hkall_gateway.rules.vocabulary import NOTHING, Actor, Borrower, Holding, Sensitive

BY_ILS: Final = Actor(who="ils", channel="ils")
"""The actor of card replacements reported by the local system."""
PARTNER: Final = BorrowerFacts(borrower=None, source="partner")
"""The facts about a partner's institutional card, which belongs to no patron."""
WRONG_PIN: Final = Refused(why=Reason.WRONG_PIN, rule=Reason.WRONG_PIN.rule)
PIN_UNKNOWN: Final = Refused(why=Reason.TRY_AGAIN, detail={"unknown": "pin"})
"""The refusal if the PIN cannot be checked at the moment."""

_PIN_ANSWERS: Final = {True: None, False: WRONG_PIN, None: PIN_UNKNOWN}
MOST_KEPT: Final = 5_000
"""Maximum number of cached borrowers, which is more than a library serves in fifteen minutes."""


async def reject_pin(_card: str, _stored: Sensitive, _pin: Sensitive) -> bool:
    """Return False. This is the default for `OfflineRules.verify`."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflineRules:
    """Rules for deciding without the local system.

    Attributes:
        fallback: "allow" to use the system's last reply or the loaded file while the system is unreachable, or "refuse".
        keep_s: Age in seconds up to which the last reply is used.
        pin: What decides about a PIN if the system does not say whether it is right: "loaded" compares it with the loaded hash,
            "trust" accepts it, and "refuse" leaves it unknown. A PIN without a loaded hash is unknown too.
        verify: Takes card, stored hash and PIN, and returns whether hash and PIN match.
        recent_pin: Takes card, PIN and time, and returns whether the system accepted this PIN less than `keep_s` before. If
            `fallback` is "allow", such a PIN is right while the system is unreachable, regardless of `pin`.
    """

    fallback: Literal["allow", "refuse"] = "allow"
    keep_s: float = 900.0
    pin: Literal["refuse", "loaded", "trust"] = "loaded"
    verify: Callable[[str, Sensitive, Sensitive], Awaitable[bool]] = reject_pin
    recent_pin: Callable[[str, Sensitive, datetime], bool] = lambda _card, _pin, _now: False


USUAL: Final = OfflineRules()


@dataclass(frozen=True, slots=True)
class WebPins:
    """PIN checks for the web, where a wrong PIN never locks the card, since anybody can enter one.

    `fits(card, stored hash, pin)` compares a PIN with a hash; an empty hash never matches, but takes the same time.
    `asked(card, pin)` queries the local system; the result is None if the system does not say whether the PIN is right.
    """

    fits: Callable[[str, Sensitive, Sensitive], Awaitable[bool]]
    asked: Callable[[str, Sensitive], Awaitable[bool | None]]


LOANS_KEPT: Final = timedelta(minutes=1)
"""Time for which a borrower's loans are cached, since SIP2 needs one query per book."""
LOANS_ROOM: Final = 1_000
"""Maximum number of borrowers whose loans are cached."""

Loans = tuple[LocalLoan, ...]


class OwnLoans:
    """Caches the results of `ask`, except None, until LOANS_KEPT has passed or the borrower logs out."""

    def __init__(self, ask: Callable[[str], Awaitable[Loans | None]], now: Callable[[], datetime]) -> None:
        self._ask_about, self._now = ask, now
        self._kept: OrderedDict[str, tuple[datetime, Loans]] = OrderedDict()

    async def of(self, card: str) -> Loans | None:
        """Return a borrower's loans, or None if the local system does not support this query or is unreachable."""
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
        """Remove a borrower's loans from the cache."""
        self._kept.pop(card, None)

    def _forget_old(self) -> None:
        while self._kept and next(iter(self._kept.values()))[0] <= self._now() - LOANS_KEPT:
            self._kept.popitem(last=False)


class ConnectedSystem:
    """Queries the connector, with caches and fallbacks."""

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
        """Gather the facts about the owner of a card. If `pin` is given, it must be right."""
        if not self.loaded:
            return await self._live_owner(card, await self.facts(card), pin)
        refusal = await self.pin_refused(card, pin)
        return refusal or Gathered(partial(loaded_facts, card=card))

    async def for_checkout(self, card: str, pin: Sensitive) -> Gathered[BorrowerFacts] | Refused:
        """Gather the facts about the borrower at a checkout: PARTNER for a partner's institutional card."""
        if not self.loaded and await self._store.read(lambda unit: unit.partners.with_card(card)) is not None:
            return Gathered(lambda _unit: PARTNER)
        return await self.owner(card, pin)

    async def for_request(self, card: str, bib_id: str) -> Gathered[BorrowerFacts] | Refused:
        """Gather the facts about a patron who requests a title, and the statuses of our own items of the title (R6)."""
        if self.loaded:
            return Gathered(partial(loaded_facts, card=card))
        return await self._live_owner(card, await self.known(card, bib_id))

    async def identify(self, card: str, pin: Sensitive, pin_given: bool) -> Gathered[Identified]:
        """Gather the facts about the owner of a card, and whether the given PIN is right."""
        if self.loaded:
            return await self._identify_loaded(card, pin, pin_given)
        facts = await self.facts(card)
        if not pin_given or facts.borrower is None:
            return Gathered(lambda _unit: Identified(facts))
        pin_ok = await self.pin_ok(card, pin) if pin else False
        if pin_ok is None:  # the card has an owner, but the PIN cannot be checked
            return Gathered(lambda _unit: Identified(AWAY, None, unsure=True))
        return Gathered(lambda _unit: Identified(facts, pin_ok))

    async def _identify_loaded(self, card: str, pin: Sensitive, pin_given: bool) -> Gathered[Identified]:
        found = await self._store.read(bind(loaded_facts, card)) if pin_given else None
        if found is None or found.borrower is None:
            return Gathered(lambda unit: Identified(loaded_facts(unit, card)))
        pin_ok = await self.pin_ok(card, pin) if pin else False
        return Gathered(lambda unit: Identified(loaded_facts(unit, card), bool(pin_ok), unsure=pin_ok is None))

    async def _live_owner(self, card: str, facts: BorrowerFacts, pin: Sensitive = NOTHING) -> Gathered[BorrowerFacts] | Refused:
        if not facts.reachable:
            return TRY_AGAIN
        present = facts.borrower.barcode if facts.borrower else card
        return await self.pin_refused(present, pin) or Gathered(lambda _unit: facts, present)

    async def pin_refused(self, card: str, pin: Sensitive) -> Refused | None:
        """Return the refusal for a wrong or unverifiable PIN, or None if the PIN is right or empty."""
        right = await self.pin_ok(card, pin) if pin else True
        return _PIN_ANSWERS[right]

    async def facts(self, card: str) -> BorrowerFacts:
        """Return the facts about a borrower, after moving the borrower's records to the current card."""
        facts, ours = await self._ask_about(card)
        await self._follow_cards(card, facts, ours)
        return facts

    async def known(self, card: str, bib_id: str = "") -> BorrowerFacts:
        """Return the facts that decide a request: about the borrower, and the statuses of our own items of the title."""
        borrower, ours = await self._ask_about(card)
        facts = await self._with_copies(borrower, bib_id)
        await self._follow_cards(card, facts, ours)
        listed = self._library().policy.local_available_statuses
        self._words.check(facts.source, [copy.status for copy in facts.at_home or ()], listed)
        return facts

    async def authenticate(self, card: str, pin: Sensitive) -> Borrower | Refused:
        """Authenticate a patron on the web. An unknown card gets the same refusal as a wrong PIN, and takes as long."""
        right = await self.web_pin_ok(card, pin)
        if not right:
            return TRY_AGAIN if right is None else WRONG_PIN
        return await self.patron(card)

    async def patron(self, card: str) -> Borrower | Refused:
        """Return the owner of a card whom an identity provider has already authenticated."""
        facts = await self.facts(card)
        if not facts.reachable:
            return TRY_AGAIN
        return facts.borrower or Refused(why=facts.stranger)

    @property
    def loaded(self) -> bool:
        """Return whether borrowers are in our own database, so that the unit of work can read them itself."""
        return Verb.LOADED in self._ils.supports

    @property
    def sees_shelves(self) -> bool:
        """Return whether the connector reports the current status of our own items, rather than loaded data."""
        return Verb.COPIES in self._ils.supports and not self.loaded

    async def borrower(self, card: str) -> BorrowerFacts:
        """Return the facts about a borrower, corrected by our own records.

        A card that was blocked at a terminal stays blocked, even if the local system disagrees. A card that a loaded file
        reports as replaced has no owner, even if the local system still knows the card.
        """
        return (await self._ask_about(card))[0]

    async def _ask_about(self, card: str) -> tuple[BorrowerFacts, _Records]:
        """Query the system about a card, then read our own records about the card in the reply, in one transaction."""
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
        """Move records under a borrower's former cards to the current card.

        `facts` is the system's reply to a query about `card`. The card in the reply is the current card.
        """
        if facts.borrower is None:
            return
        present = facts.borrower.barcode
        for one in ours.former:
            if one == card or not await self._belongs_to_another(one, present):
                locks = LockSet(present, former=one, whole=True)
                await self._store.write(bind(follow_card, one, present, self._now(), BY_ILS), locks, current())
        if present == card and ours.replaced_by == BY_ILS.who:
            await self._store.write(bind(reinstate, [card]), LockSet(card), current())  # the card has been reissued

    async def _belongs_to_another(self, former: str, present: str) -> bool:
        """Return whether a former card now belongs to another borrower; True if the local system is unreachable."""
        try:
            owner = (await self._ils.borrower(former)).borrower
        except Unreachable:
            return True
        return owner is not None and owner.barcode != present

    async def _with_copies(self, facts: BorrowerFacts, bib_id: str) -> BorrowerFacts:
        if not bib_id or not self.sees_shelves or not facts.reachable:
            return facts
        return replace(facts, looked=True, at_home=await self.at_home(bib_id))

    async def pin_ok(self, card: str, pin: Sensitive) -> bool | None:
        """Return whether the PIN is right, or None if that is unknown. What the local system does not say is never "wrong"."""
        if self.loaded:
            return await self._loaded_pin_ok(card, pin)
        if Verb.VERIFY_PIN not in self._ils.supports:
            return await self.unsaid_pin_ok(card, pin)
        try:
            answer = await self._ils.verify_pin(card, pin)
        except Unreachable:
            return await self._pin_ok_while_away(card, pin)
        return await self.unsaid_pin_ok(card, pin) if answer is None else answer

    async def _loaded_pin_ok(self, card: str, pin: Sensitive) -> bool | None:
        """Decide by the loaded hash. Without a hash, a PIN that the relay's system accepted recently is right."""
        facts = await self._store.read(bind(loaded_facts, card))
        if facts.borrower is None:
            return False
        if facts.borrower.pin_hash:
            return await self.hash_fits(facts, pin)
        return True if self.pin_was_right(card, pin) else None

    async def unsaid_pin_ok(self, card: str, pin: Sensitive) -> bool | None:
        """Decide by the key `pin`, because the local system's answer does not say whether the PIN is right."""
        match self._terms().pin:
            case "trust":
                return True
            case "loaded":
                return await self._by_loaded_hash(card, pin)
            case "refuse":
                return None

    async def _pin_ok_while_away(self, card: str, pin: Sensitive) -> bool | None:
        """Decide while the local system is unreachable: by its last answer, else by the loaded hash if `pin` is "loaded".

        A PIN that does not match the loaded hash may have been changed since, so it is unknown and not wrong.
        """
        terms = self._terms()
        if self.pin_was_right(card, pin):
            return True
        may_compare = terms.fallback == "allow" and terms.pin == "loaded"
        return True if may_compare and await self._by_loaded_hash(card, pin) else None

    def pin_was_right(self, card: str, pin: Sensitive) -> bool:
        """Return whether the local system accepted this PIN recently, and the rules allow us to rely on that."""
        terms = self._terms()
        return terms.fallback == "allow" and terms.recent_pin(card, pin, self._now())

    @property
    def checks_web_pins(self) -> bool:
        """Return whether PINs from the web can be checked at all. The web, unlike terminals, never accepts unchecked PINs."""
        return self.loaded or Verb.VERIFY_PIN in self._ils.supports or self._terms().pin == "loaded"

    @property
    def compares_web_pins(self) -> bool:
        """Return whether PINs from the web are compared with the loaded hash, so that a changed hash means a changed PIN."""
        return self.loaded or Verb.VERIFY_PIN not in self._ils.supports

    async def web_pin_ok(self, card: str, pin: Sensitive) -> bool | None:
        """Return whether a PIN from the web is right, or None if it cannot be checked at the moment.

        Unknown cards, and cards locked by wrong PINs at terminals, get the same result as a wrong PIN, after the same time.
        """
        if not self.checks_web_pins:
            return False
        locked = await self._store.read(bind(is_locked, card, self._now()))
        if self.compares_web_pins:
            return await self._web_hash_fits(card, pin) and not locked
        if locked:
            return False
        terms = self._terms()
        may_compare = terms.pin == "loaded"
        try:
            answer = await self._web_pins.asked(card, pin)
        except Unreachable:
            answer, may_compare = None, may_compare and terms.fallback == "allow"
        if answer is not None:
            return answer and bool(pin)
        return await self._web_hash_fits(card, pin) if may_compare else None

    async def _web_hash_fits(self, card: str, pin: Sensitive) -> bool:
        known = (await self._store.read(bind(loaded_facts, card))).borrower
        fits = await self._web_pins.fits(card, known.pin_hash if known else NOTHING, pin)
        return fits and known is not None and bool(known.pin_hash)

    async def hash_fits(self, facts: BorrowerFacts, pin: Sensitive) -> bool:
        """Return whether the PIN matches the loaded borrower's hash; False if PIN or hash is empty."""
        known = facts.borrower
        if known is None or not known.pin_hash or not pin:
            return False
        return await self._terms().verify(known.barcode, known.pin_hash, pin)

    async def at_home(self, bib_id: str) -> tuple[Holding, ...] | None:
        """Return our own items of a title with their current statuses, or None if these are not available (R6)."""
        try:
            return await self._ils.copies(bib_id)
        except Unreachable:
            return None

    async def loans(self, card: str) -> tuple[LocalLoan, ...] | None:
        """Return the borrower's loans of our own books, or None if the query is unsupported or the system unreachable."""
        if Verb.LOANS not in self._ils.supports:
            return None
        try:
            return await cast(TellsLoans, self._ils).loans(card)
        except Unreachable:
            return None

    async def own_loans(self, card: str) -> tuple[LocalLoan, ...] | None:
        """Return the borrower's loans of our own books, from the cache if possible."""
        return await self._own_loans.of(card)

    def forget_loans(self, card: str) -> None:
        """Remove a borrower's loans from the cache, at logout."""
        self._own_loans.forget(card)

    async def _decide_offline(self, card: str) -> BorrowerFacts:
        terms, kept = self._terms(), self._kept.get(card)
        if terms.fallback == "refuse":
            return AWAY
        if kept and kept.as_of and self._now() - kept.as_of < timedelta(seconds=terms.keep_s):
            return replace(kept, flag=StaffFlag.ILS_AWAY)
        facts = await self._store.read(bind(loaded_facts, card))
        return replace(facts, flag=StaffFlag.ILS_AWAY) if facts.borrower else AWAY

    async def _by_loaded_hash(self, card: str, pin: Sensitive) -> bool | None:
        """Return whether the PIN matches the loaded hash, or None if there is no hash."""
        facts = await self._store.read(bind(loaded_facts, card))
        if facts.borrower is None or not facts.borrower.pin_hash:
            return None
        return await self.hash_fits(facts, pin)

    def _cache(self, card: str, facts: BorrowerFacts) -> None:
        if facts.as_of is None:  # the facts are loaded data, or the reply has no timestamp
            return
        self._kept[card] = facts
        self._kept.move_to_end(card)
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)


@dataclass(frozen=True, slots=True)
class _Records:
    """Our own records about a card: who replaced it, whether a block is stored, and the former cards with records."""

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
