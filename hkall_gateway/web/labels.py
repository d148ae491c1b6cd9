"""Display texts for positions, scheduled jobs, commands, charges, roles, flags and refusals."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from types import MappingProxyType
from typing import Final, NamedTuple

from hkall_gateway.circulation.results import Refused
from hkall_gateway.rules.lender_reasons import CHECKED_OUT_LOCALLY, NOT_ON_SHELF, NOT_SUITABLE
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vendor_words.languages import CHINESE
from hkall_gateway.rules.vocabulary import Position
from hkall_gateway.web.i18n import N_, day, gettext, language
from hkall_gateway.web.services import services

P = Position

# fmt: off
POSITIONS: Final[Mapping[str, str]] = MappingProxyType({
    P.NEW:            N_("New"),
    P.REQUESTED:      N_("Requested from a lender"),
    P.CANCELLING:     N_("Being cancelled"),
    P.IN_TRANSIT:     N_("On the way to us"),
    P.RECEIVED:       N_("On the hold shelf"),
    P.ON_LOAN:        N_("On loan"),
    P.TO_RETURN:      N_("To send home"),
    P.UNFILLED:       N_("No library could lend"),
    P.CANCELLED:      N_("Cancelled"),
    P.PAGED:          N_("To fetch from our shelves"),
    P.SHIPPED:        N_("Sent to a borrower"),
    P.AT_BORROWER:    N_("At the borrower"),
    P.DECLINED:       N_("Declined"),
    P.WITHDRAWN:      N_("Withdrawn"),
    P.RETURN_TRANSIT: N_("On the way home"),
    P.CLOSED:         N_("Home again"),
})
"""Labels of request positions, worded for staff."""

ROUNDS: Final[Mapping[str, str]] = MappingProxyType({
    "pickup_expiry":    N_("Books not collected"),
    "overdue":          N_("Overdue letters"),
    "not_needed_after": N_("Requests no longer needed"),
    "postponed":        N_("Postponed requests"),
    "silence":          N_("Lenders that do not answer"),
    "stuck":            N_("Requests that stand still"),
    "inbox_cleanup":    N_("Cleaning of the inbox"),
    "purge":            N_("Retention of records"),
})
"""Labels of scheduled jobs, by the job's name in the table `rounds`."""

_STAFF_COMMANDS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType({
    "receive":       (N_("Receive"),       N_("The copy is here.")),
    "lend":          (N_("Lend"),          N_("Its patron takes it at the counter.")),
    "return":        (N_("Return"),        N_("The patron has returned it.")),
    "renew":         (N_("Renew"),
                      N_("The patron keeps it longer, also when it is overdue; the fine until today is charged.")),
    "return_unused": (N_("Return-unused"), N_("It goes home from the hold shelf without a loan.")),
    "dispatch":      (N_("Dispatch"),      N_("It leaves for its owner.")),
    "cancel":        (N_("Cancel"),        N_("The patron no longer wants it.")),
    "ship":          (N_("Ship"),          N_("Our copy leaves for the borrowing library.")),
    "print":         (N_("Print"),         N_("Its slip is printed.")),
    "decline":       (N_("Decline"),       N_("We do not lend it; the reason is one of R37.")),
    "substitute":    (N_("Substitute"),    N_("Another copy of ours goes instead.")),
    "recall":        (N_("Recall"),        N_("A patron of ours wants our copy back.")),
    "cancel_recall": (N_("Cancel-recall"), N_("Our patron no longer wants it back.")),
    "lost":          (N_("Lost"),          N_("It is lost; the owner's price list says what it costs.")),
    "damaged":       (N_("Damaged"),       N_("It came back damaged.")),
    "claim":         (N_("Claim"),         N_("The patron says that it was returned; the fine stops.")),
    "seen":          (N_("Seen"),          N_("The flags are looked at and settled.")),
    "reopen":        (N_("Reopen"),        N_("The ended request is placed again, as a new one.")),
    "settle":        (N_("Settle"),        N_("It is settled with the owner; the request ends.")),
    "overseas":      (N_("Overseas"),      N_("Its owner agrees that it goes overseas, until the date.")),
    "extend":        (N_("Extend"),        N_("More time, until the date.")),
    "pin":           (N_("Pin"),           N_("Keep to one lender: no other is asked, also when it declines.")),
    "skip":          (N_("Skip"),          N_("Not this lender: the next one is asked.")),
    "insert":        (N_("Insert"),        N_("Ask for this copy next, whatever its rank was.")),
    "force":         (N_("Force"),         N_("Put it into a position to which no step leads; no message is sent.")),
})
"""For each staff command, the button text (in English the command-line word with a capital) and an explanation."""
COMMANDS: Final[Mapping[str, str]] = MappingProxyType({name: button for name, (button, _) in _STAFF_COMMANDS.items()})
ACTIONS: Final[Mapping[str, str]] = MappingProxyType({name: meaning for name, (_, meaning) in _STAFF_COMMANDS.items()})

DECLINES: Final[Mapping[str, str]] = MappingProxyType({
    NOT_ON_SHELF:        N_("Not on the shelf"),
    CHECKED_OUT_LOCALLY: N_("Lent to a patron of ours"),
    NOT_SUITABLE:        N_("Not suitable for loan"),
    "":                  N_("Another reason"),
})
"""Buttons of the command decline, by the reason that each stores (R37). The last one stores what staff type."""

KEYS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType({
    "scan":    ("s", N_("Scan a card or a book")),
    "card":    ("c", N_("Done with this card")),
    "ship":    ("h", N_("Ship")),
    "slip":    ("i", N_("Print slip")),
    "lists":   ("l", N_("Books to fetch from our shelves")),
    "find":    ("q", N_("Find a request")),
    "patron":  ("p", N_("Find a patron")),
    "renew":   ("r", N_("Renew the first loan of the page")),
    "pay":     ("m", N_("Take the payment")),
    "decline": ("x", N_("Decline: not on the shelf")),
})
"""Access key of each frequent act, pressed with the browser's modifier (WCAG 2.2, 2.1.4), and an explanation."""

CHARGES: Final[Mapping[str, str]] = MappingProxyType({
    "overdue":     N_("Overdue fine"),
    "replacement": N_("Replacement"),
    "processing":  N_("Processing fee"),
    "damage":      N_("Damage"),
})
"""Labels of charges, by kind."""

ROLES: Final[Mapping[str, str]] = MappingProxyType({
    "counter":   N_("Counter"),
    "selfcheck": N_("Self-check"),
    "bookdrop":  N_("Book drop"),
    "lookup":    N_("Look-up"),
})
"""Labels of the terminal roles in the published policy. A role that a site has added is shown unchanged."""

FLAGS: Final[Mapping[str, str]] = MappingProxyType({
    "HKALL_IN_BOOKDROP":     N_("In the book drop"),
    "look_on_our_shelf":     N_("Look on our shelf"),
    "owner_unknown":         N_("Owner not in the directory"),
    "ils:away":              N_("Done while the library system was away"),
    "ils:not_told":          N_("The library system was not told"),
    "offline":               N_("Done while offline"),
    "refused":               N_("Partner refuses"),
    "no_price:lost":         N_("Lost, and no price is known"),
    "no_price:damaged":      N_("Damaged, and no price is known"),
    "local_check":           N_("The library system could not be asked"),
    "quota_check":           N_("The number of loans could not be checked"),
    "declined_after_shipment": N_("Declined after it was sent"),
    "contradicted":          N_("The partner says otherwise"),
})
"""Labels of request flags, by the whole flag or by the part before the colon."""
# fmt: on


MATERIALS: Final[Mapping[str, str]] = MappingProxyType({"book": N_("Book")})
"""Kinds of material in the published rules (R5). A site may define others, which are shown unchanged."""


def material_words(kind: str) -> str:
    """Return a kind of material in words."""
    return gettext(MATERIALS[kind]) if kind in MATERIALS else kind


def category_words(key: str) -> str:
    """Return the policy's label of a category in the language of this request. A category without a label is unchanged."""
    labels = {one.key: (one.label, one.label_zh) for one in services().library().policy.categories}
    english, chinese = labels.get(key, ("", ""))
    return (chinese if language() == CHINESE else "") or english or key


def job_words(text: str) -> str:
    """Return the error of a scheduled job with the job's label before it."""
    job, _, error = text.partition(": ")
    return f"{gettext(ROUNDS[job])}: {error}" if job in ROUNDS else text


UNKNOWN: Final = "…"
"""Placeholder for a value that a refusal does not have."""


class _Details(dict[str, str]):
    """Values to substitute into the message for a refusal. A missing value becomes UNKNOWN."""

    def __missing__(self, key: str) -> str:
        return UNKNOWN


def sentence(refused: Refused, *, to_patron: bool = False) -> str:
    """Return the reason for a refusal in the language of this request, worded for staff or for the patron."""
    texts = refused.why.patron if to_patron else refused.why.staff
    return texts[language() == CHINESE].format_map(_Details({name: _detail_words(v) for name, v in refused.detail.items()}))


def rule_of(refused: Refused) -> str:
    """Return the number of the published rule behind a refusal, such as "R13", or "" if there is none."""
    return refused.rule or refused.why.rule


def _detail_words(value: object) -> str:
    if isinstance(value, datetime):
        return day(value.date())
    if isinstance(value, date):
        return day(value)
    word = str(value)
    return gettext(POSITIONS[word]) if word in POSITIONS else word or UNKNOWN


def reason_in_words(word: str) -> str:
    """Return a stored reason as a sentence. A reason that only a later release knows is returned unchanged."""
    return sentence(Refused(Reason(word))) if word in set(Reason) else word


def notice(refused: Refused | None) -> str:
    """Return the notice for a suspension, with its end and the library's own message, or "" if there is no suspension."""
    if refused is None:
        return ""
    chinese = language() == CHINESE
    message = str(refused.detail["message_zh" if chinese else "message"])
    ended = message if message.endswith((".", "。", "!", "！")) else message + ("。" if chinese else ".")
    return f"{sentence(refused)} {ended[:1].upper()}{ended[1:]}"


def patron_words(refused: Refused) -> str:
    """Return the reason for a refusal, worded for the patron. For a suspended service, include the library's own message."""
    return notice(refused) if refused.why is Reason.SERVICE_SUSPENDED else sentence(refused, to_patron=True)


class ShownRefusal(NamedTuple):
    """A refusal in words, with the number of the published rule or ""."""

    words: str
    rule: str


def shown_refusal(refused: Refused | None) -> ShownRefusal | None:
    """Return a refusal in words for the patron, or None if there is no refusal."""
    return ShownRefusal(patron_words(refused), rule_of(refused)) if refused else None
