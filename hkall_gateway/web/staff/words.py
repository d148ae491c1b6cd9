"""Display texts for staff: labels of journal events, messages, charges and facts, and translations of circulation's texts.

Tables translate the English texts from circulation, rules and database. A text is a phrase in PHRASES, a phrase with a detail
("declined: not on the shelf"), a measure with a value ("priority 10"), or several of these separated by commas. A text that is
in no table, which a later release may have written, is shown unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from types import MappingProxyType
from typing import Final

from markupsafe import Markup

from hkall_gateway.circulation.results import Refused
from hkall_gateway.circulation.staff.explaining import OURS
from hkall_gateway.circulation.staff.losses import NO_PRICE_KNOWN, NOT_THEIRS, PRICED_BEFORE
from hkall_gateway.circulation.staff.permitted import DenialReason
from hkall_gateway.db.queries.request_history import JournalRow
from hkall_gateway.rules.lender_reasons import LENDER_REASONS, reason_label
from hkall_gateway.rules.lifecycle import Event, Notification
from hkall_gateway.rules.published_rules import PUBLISHED
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vendor_words.languages import CHINESE
from hkall_gateway.web import labels
from hkall_gateway.web.i18n import N_, day, gettext, language, moment, money, place_name
from hkall_gateway.web.labels import POSITIONS, category_words, material_words, sentence

E, N, H = Event, Notification, DenialReason

# fmt: off
EVENTS: Final[Mapping[str, str]] = MappingProxyType({
    "OPEN":                        N_("Request placed"),
    E.ASK.name:                    N_("Lender asked"),
    E.NO_LENDER.name:              N_("No library could be asked"),
    E.ASK_NEXT.name:               N_("Lender declined; next one asked"),
    E.ASK_NEXT_AFTER_SILENCE.name: N_("Lender was silent; next one asked"),
    E.POSTPONE.name:               N_("Postponed while the service rests"),
    E.END_OF_LIST.name:            N_("No library is left to ask"),
    E.CANCEL.name:                 N_("Cancelled"),
    E.CANCEL_SETTLED.name:         N_("Lender confirmed the cancellation"),
    E.SHIP.name:                   N_("Sent by the lender"),
    E.SHIP_UNWANTED.name:          N_("Sent although it was cancelled"),
    E.NOT_SENT.name:               N_("It was not sent after all"),
    E.ARRIVE.name:                 N_("Arrived"),
    E.ARRIVE_UNANNOUNCED.name:     N_("Arrived without an announcement"),
    E.ARRIVE_UNWANTED.name:        N_("Arrived, and no longer wanted"),
    E.NOTIFY.name:                 N_("Pickup letter sent"),
    E.EXPIRE_PICKUP.name:          N_("Last day to collect is over"),
    E.CHECK_OUT.name:              N_("Lent to the patron"),
    E.UNDO_CHECK_OUT.name:         N_("Loan undone"),
    E.RENEW.name:                  N_("Renewed"),
    E.RENEW_PENDING.name:          N_("Lender asked for a renewal"),
    E.RENEWAL_GRANTED.name:        N_("Lender granted the renewal"),
    E.RENEWAL_DENIED.name:         N_("Lender denied the renewal"),
    E.OWNER_RENEW.name:            N_("Renewed by the lender"),
    E.ASK_LATER_DATE.name:         N_("Lender asked for a later date"),
    E.RECALL.name:                 N_("Recalled by the lender"),
    E.RECALL_NOTED.name:           N_("Recalled before the loan"),
    E.CANCEL_RECALL.name:          N_("Recall cancelled"),
    E.FALL_DUE.name:               N_("Overdue letter"),
    E.RETURN.name:                 N_("Returned by the patron"),
    E.RETURN_UNUSED.name:          N_("Goes home without a loan"),
    E.DISPATCH.name:               N_("Sent home"),
    E.UNDO_RETURN.name:            N_("Return undone"),
    E.CLAIM_RETURNED.name:         N_("Patron says that it was returned"),
    E.LOSE.name:                   N_("Declared lost"),
    E.DAMAGE.name:                 N_("Declared damaged"),
    E.SETTLE.name:                 N_("Settled with the owner"),
    E.HOME.name:                   N_("Back at its library"),
    E.PRINT.name:                  N_("Pull slip printed"),
    E.SUBSTITUTE.name:             N_("Another copy goes instead"),
    E.LEND.name:                   N_("Sent to the borrowing library"),
    E.DECLINE.name:                N_("Declined by us"),
    E.DECLINE_SHIPPED.name:        N_("Declined after it was sent"),
    E.WITHDRAW.name:               N_("Withdrawn by the borrowing library"),
    E.BORROWER_HAS_IT.name:        N_("Borrowing library has it"),
    E.BORROWER_RENEWED.name:       N_("Renewed by the borrowing library"),
    E.RECALL_LENT.name:            N_("Recalled by us"),
    E.CANCEL_RECALL_LENT.name:     N_("Our recall cancelled"),
    E.COMING_HOME.name:            N_("Coming home"),
    E.CHECK_IN_HOME.name:          N_("Home again"),
    E.BORROWER_CLAIMS.name:        N_("Borrower says that it was returned"),
    E.BORROWER_LOST.name:          N_("Lost at the borrower"),
    E.SETTLE_LENT.name:            N_("Settled with the borrower"),
    E.FORCE.name:                  N_("Put there by hand"),
    "AMEND":                       N_("Changed"),
    "REFUSED":                     N_("Refused"),
    "LATE":                        N_("Message came too late"),
    "LOOKED":                      N_("Lender's shelf looked up"),
    "STUCK":                       N_("Stands still"),
    "CHARGE":                      N_("Charged"),
    "PAY":                         N_("Paid"),
    "WAIVE":                       N_("Waived"),
    "SEEN":                        N_("Flags settled"),
    "REOPEN":                      N_("Placed again"),
    "PINNED":                      N_("Kept to one lender"),
    "SKIPPED":                     N_("Lender passed over by hand"),
    "INSERTED":                    N_("Copy put first by hand"),
    "NEVER_SENT":                  N_("Lender never sent it"),
    "REFUSED_THERE":               N_("Refused by the partner"),
    "LETTER_BOUNCED":              N_("Letter came back"),
    "RECONCILED":                  N_("Compared with the partner"),
    "RENEWAL_REFUSED":             N_("Lender refused the renewal"),
    "OVERSEAS_ALLOWED":            N_("May go overseas"),
    "OUTBOX_DONE":                 N_("Message told by hand"),
    "OUTBOX_DROPPED":              N_("Message dropped by hand"),
    "OUTBOX_RETRY":                N_("Message sent again by hand"),
})
"""Labels of journal events."""

STATES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType({
    "waiting":       (N_("Waiting"),       "look"),
    "unsure":        (N_("Not sure"),      "look"),
    "dead":          (N_("Given up"),      "no"),
    "sent":          (N_("Sent"),          "done"),
    "done":          (N_("Told by hand"),  "done"),
    "dropped":       (N_("Dropped"),       ""),
    "queued":        (N_("Waiting"),       "look"),
    "undeliverable": (N_("Undeliverable"), "no"),
    "not_needed":    (N_("Not needed"),    ""),
})
"""Label and tone for each state of a message or letter."""

TRIES: Final[Mapping[str, str]] = MappingProxyType({
    "accepted":      N_("accepted"),
    "already":       N_("known there already"),
    "refused":       N_("refused"),
    "later":         N_("not now"),
    "fault":         N_("our access was refused"),
    "unreachable":   N_("not reached"),
    "unknown":       N_("no usable answer"),
    "undeliverable": N_("no address"),
    "not_needed":    N_("not needed"),
})
"""Labels of the outcomes of an attempt to send a message."""

PROBLEMS: Final[Mapping[str, str]] = MappingProxyType({
    "ConnectionRefusedError": N_("nothing answers at its address"),
    "DNSLookupError":         N_("its name is not known"),
    "no answer within":       N_("no answer in time"),
    "Timeout":                N_("no answer in time"),
    "NoRouteError":           N_("its network cannot be reached"),
    "ConnectionLost":         N_("the connection broke off"),
    "ConnectionDone":         N_("the connection broke off"),
    "ConnectionResetError":   N_("the connection broke off"),
    "BrokenPipeError":        N_("the connection broke off"),
    "ResponseNeverReceived":  N_("the connection broke off"),
    "certificate":            N_("its certificate is not accepted"),
    "HTTP 5":                 N_("its server has an error"),
    "HTTP 4":                 N_("its server refuses the document"),
    "SMTP":                   N_("the mail server does not take it"),
    "smtp":                   N_("the mail server does not take it"),
})
"""What went wrong with a line, by a part of the technical text. The first part that occurs counts."""

CHARGES: Final[Mapping[str, str]] = MappingProxyType({**labels.CHARGES, "refund": N_("Refund")})
"""Labels of charges, by kind."""

CHANNELS: Final[Mapping[str, str]] = MappingProxyType({
    "sip2":    N_("terminal"),
    "ncip":    N_("partner"),
    "cli":     N_("command line"),
    "web":     N_("console"),
    "timer":   N_("by date"),
    "courier": N_("delivery"),
    "import":  N_("import"),
})
"""Labels of the channels through which changes are made."""

SOURCES: Final[Mapping[str, str]] = MappingProxyType({
    "snapshot": N_("the file that was loaded"),
    "manual":   N_("what was entered here"),
    "sip2":     N_("the library's own system, asked just now"),
    "ncip":     N_("the library's own system, asked just now"),
    "alma":     N_("the library's own system, asked just now"),
    OURS:       N_("our record"),
})
"""Labels of the sources of patron data."""

HINDRANCES: Final[Mapping[DenialReason, str]] = MappingProxyType({
    H.ROLE:        N_("your role may not"),
    H.POSITION:    N_("not where it stands now"),
    H.NO_FLAG:     N_("there is no flag"),
    H.NO_RECALL:   N_("it is not recalled"),
    H.NOT_MISSING: N_("it is neither lost nor claimed"),
    H.NO_PATRON:   N_("its patron is not kept any more"),
})
"""Labels of the reasons why a command is not allowed now."""

FACTS: Final[Mapping[str, str]] = MappingProxyType({
    "agency":         N_("Library"),
    "copy":           N_("Copy"),
    "lender":         N_("Lender"),
    "asked_due":      N_("Date asked for"),
    "author":         N_("Author"),
    "call_number":    N_("Call number"),
    "blocked":        N_("Blocked"),
    "category":       N_("Category"),
    "expires":        N_("Card expires"),
    "fine_cents":     N_("Fine"),
    "hkall_used":     N_("HKALL books now"),
    "local_loans":    N_("Loans of our own books"),
    "local system":   N_("Library system"),
    "owed_cents":     N_("Owed"),
    "position":       N_("Where it stands"),
    "study_mode":     N_("Study mode"),
    "total_quota":    N_("Books allowed in all"),
    "recalled":       N_("Recalled"),
    "due_before_recall": N_("Due before the recall"),
    "day":            N_("Day"),
    "attempt":        N_("Attempt"),
    "barcode":        N_("Barcode"),
    "because":        N_("Reason"),
    "bib_id":         N_("Title number"),
    "card":           N_("Card"),
    "cents":          N_("Amount"),
    "claimed_on":     N_("Said to be returned on"),
    "destination":    N_("Goes to"),
    "detail":         N_("Details"),
    "dropped_on":     N_("In the book drop since"),
    "due":            N_("Due"),
    "first_checkout": N_("First lent"),
    "flags":          N_("Flags"),
    "item":           N_("Copy"),
    "item_agency":    N_("Owner"),
    "item_barcode":   N_("Barcode"),
    "lender_due":     N_("Due at the owner"),
    "linked_title":   N_("Title in the original script"),
    "loan_days":      N_("Days of the loan"),
    "lost_on":        N_("Lost since"),
    "need_before":    N_("Wanted until"),
    "old_due":        N_("Due before"),
    "partner":        N_("Library"),
    "patron":         N_("Card"),
    "pickup_last":    N_("Collect by"),
    "pickup_location": N_("Pickup"),
    "problem":        N_("Problem"),
    "reason":         N_("Reason"),
    "recalled_on":    N_("Recalled"),
    "received_on":    N_("Arrived"),
    "renewal_sync":   N_("Renewal at the lender"),
    "renewals":       N_("Renewals"),
    "request":        N_("Request"),
    "returned_on":    N_("Returned"),
    "title":          N_("Title"),
    "until":          N_("Until"),
    "volume":         N_("Volume"),
    "wire_id":        N_("Number for the partner"),
})
"""Labels of facts, by field name. A fact without a label is shown under the field name."""
# fmt: on
CODES: Final[Mapping[str, Callable[[str], str]]] = MappingProxyType(
    {
        "pickup_location": place_name,
        "category": category_words,
        "material": material_words,
        "reason": lambda reason: reason_label(reason, language()),
    }
)
"""Functions that return the words for a code, by the name of the fact."""
IN_THE_EVENT: Final = frozenset({"position", "moved_at", "placed_at", "id", "side", "stage", "used", "kind", "wire_agency"})
"""Facts that are not shown, since the journal line's label and time already imply them."""

_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_RULE: Final = re.compile(r"R\d+[a-z]?")


def event_words(line: JournalRow, facts: Mapping[str, str]) -> str:
    """Return a journal line's event in words. For a refusal, return the reason."""
    if line.event == "REFUSED" and line.outcome in tuple(Reason):
        return sentence(Refused(Reason(line.outcome), line.rule, facts))
    return word(EVENTS, line.event)


def rules_of(text: str) -> list[str]:
    """Return the published rule numbers that occur in a text. /help has an anchor for each number."""
    return [number for number in _RULE.findall(text) if number in PUBLISHED]


def shown_facts(facts: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return facts as (label, text)."""
    return [(word(FACTS, name), shown(name, value)) for name, value in facts.items() if name not in IN_THE_EVENT]


def shown(name: str, value: str) -> str:
    """Return the text for one fact."""
    if name in CODES:
        return CODES[name](value)
    if name == "cents" and value.lstrip("-").isdigit():
        return money(int(value))
    if _DAY.fullmatch(value):
        return day(date.fromisoformat(value))
    if _DAY.match(value) and "T" in value:
        try:
            return moment(datetime.fromisoformat(value))
        except ValueError:
            return value
    return word(POSITIONS, value)


def fact_label(name: str) -> str:
    """Return the label of a fact, whose name may end with a copy, a card or a rank."""
    head, blank, rest = ("", "", "") if name in FACTS else name.partition(" ")
    return f"{word(FACTS, head)} {rest}" if blank else word(FACTS, name)


def source_words(text: str) -> str:
    """Return the source of a fact, with the number of the request if the source has one."""
    known = next((source for source in SOURCES if text.startswith(source)), "")
    return f"{gettext(SOURCES[known])}{text[len(known) :]}" if known else text


def value(name: str, found: object) -> str:
    """Return the text for a fact of any type. Join the members of a list with commas."""
    if found is None:
        return gettext("not known")
    if isinstance(found, (tuple, list)):
        return ", ".join(value(name, one) for one in found)
    if isinstance(found, bool):
        return gettext("yes") if found else gettext("no")
    return shown("cents" if name.endswith("_cents") else name, found.isoformat() if isinstance(found, date) else str(found))


def problem(text: str) -> str | Markup:
    """Return what went wrong with a line, in words, with the technical text as their title."""
    said = next((words for part, words in PROBLEMS.items() if part in text), "")
    return Markup('<span title="{}">{}</span>').format(text, gettext(said)) if said else text


def word(table: Mapping[str, str], name: str) -> str:
    """Return the label for `name` in the language of this request, or `name` itself if the table has no label."""
    return gettext(table[name]) if name in table else name


# fmt: off
_PLAIN: Final = (
    # Reasons why a copy is not requested, from `passed_over` in rules/lenders.py.
    N_("our own copy"), N_("not a partner"), N_("with us"), N_("already asked"), N_("cannot be reached"),
    N_("another volume"), N_("not lendable"), N_("none"), N_("another copy of this library is asked for"),
    # Reasons for a copy's rank.
    N_("closed tomorrow"), N_("asked for by another request"),
    # Lenders' answers.
    N_("accepted"), N_("declined"), N_("refused"),
    # Reasons why an erasure keeps a row.
    N_("it has not ended"), N_("money is open"), N_("a message about it is not sent yet"), N_("it is not sent yet"),
    N_("open matters need name and address"), N_("open matters are found by it too"), N_("it waits to be judged"),
    N_("a terminal blocked the card"), N_("it is not here"),
    # What is known about a patron or a copy: circulation/staff/explaining.py.
    N_("in no open request"), N_("nobody can tell"), N_("away"), N_("not known"),
)
PHRASES: Final[Mapping[str, str]] = MappingProxyType({
    **{text: text for text in _PLAIN},
    "the patron claims to have returned it": N_("the patron says that it was returned"),
    # Notes from commands about losses.
    NO_PRICE_KNOWN: N_("Nothing is charged for the book, since no price is known. Say it later by the same command."),
    PRICED_BEFORE:  N_("Nothing more is charged: a price was charged before."),
    NOT_THEIRS:     N_("Nothing is charged: the patron does not answer for it."),
    # Kinds of rows that an erasure may keep.
    "request":     N_("Request"),
    "patron":      N_("Patron"),
    "former_card": N_("Former card"),
    "message":     N_("Message"),
    "quarantine":  N_("Fits no request"),
    "card_block":  N_("Card blocked"),
    "fine":        N_("Money"),
    "archive":     N_("Archive"),
})
MEASURES: Final = (
    N_("priority"), N_("balance"), N_("declines"), N_("suspended until"), N_("closed"), N_("material"), N_("status"),
)
"""Phrases that are followed by a space and a value."""
ENDS: Final[Mapping[str, str]] = MappingProxyType({
    "request":     N_("Its end, and what is owed for it."),
    "patron":      N_("Erase once more when it is settled."),
    "former_card": N_("Erase once more when it is settled."),
    "message":     N_("It is sent, or a supervisor settles it."),
    "quarantine":  N_("A supervisor settles it."),
    "card_block":  N_("A terminal lifts it (SIP2 25)."),
    "fine":        N_("It is paid or waived."),
    "archive":     N_("Erase on the command line, where the file is."),
})
"""For each kind of row, what must happen before an erasure can remove the row."""
# fmt: on


def in_words(text: str) -> str:
    """Translate a text from circulation into the language of this request."""
    if text in LENDER_REASONS:
        label = reason_label(text, language())
        return f"{label[:1].lower()}{label[1:]}"
    if text in PHRASES:
        return gettext(PHRASES[text])
    if text in POSITIONS:
        return gettext(POSITIONS[text])
    if text in STATES:
        return gettext(STATES[text][0])
    colon, comma = ("：", "，") if language() == CHINESE else (": ", ", ")
    head, found, detail = text.partition(": ")
    if found:
        return f"{in_words(head)}{colon}{in_words(detail)}"
    if ", " in text:
        return comma.join(map(in_words, text.split(", ")))
    measure = next((one for one in MEASURES if text.startswith(f"{one} ")), "")
    return f"{gettext(measure)} {text[len(measure) + 1 :]}" if measure else text
