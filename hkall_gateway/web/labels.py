"""Display texts for stored codes and refusals. The texts of codes are in `words.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from datetime import date, datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from hkall_gateway.circulation.results import Refused
from hkall_gateway.rules.lender_reasons import reason_label
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vendor_words.availability import circulation_status
from hkall_gateway.rules.vendor_words.languages import CHINESE
from hkall_gateway.web.i18n import N_, day, gettext, language, place_name
from hkall_gateway.web.services import services

WORDS: Final[Mapping[str, Mapping[str, str]]] = tomllib.loads(
    Path(__file__).with_name("words.toml").read_text(encoding="utf-8")
)
"""Texts for stored codes: for each subject, the English text of each code."""
POSITIONS, COMMANDS, DECLINES = WORDS["positions"], WORDS["commands"], WORDS["declines"]

# fmt: off
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
# fmt: on


def word(subject: str, code: str) -> str:
    """Return the text for a code in the language of this request, or the code if `words.toml` has no text for it."""
    return gettext(WORDS[subject][code]) if code in WORDS[subject] else code


def category_words(key: str) -> str:
    """Return the policy's label of a category in the language of this request. A category without a label is unchanged."""
    labels = {one.key: (one.label, one.label_zh) for one in services().library().policy.categories}
    english, chinese = labels.get(key, ("", ""))
    return (chinese if language() == CHINESE else "") or english or key


def status_words(status: str) -> str:
    """Return a copy's status, which may be in the words of a library system, in the words of the pages."""
    return word("statuses", circulation_status(status) or status)


def message_words(message: str) -> str:
    """Return the message that caused a change: a SIP2 code, an NCIP service, a job, a command or a message to a partner."""
    subject = next((one for one in ("messages", "jobs", "commands") if message in WORDS[one]), "")
    return word(subject or "sends", message if subject else message.lower())


def flag_words(flags: str) -> str:
    """Return the flags of a request in words, each with the reason or the message that it contains after a colon."""
    return "; ".join(map(_flag_words, flags.split()))


def _flag_words(flag: str) -> str:
    kind, _, detail = flag.partition(":")
    if flag in WORDS["flags"] or kind not in WORDS["flags"]:
        return word("flags", flag)
    return f"{word('flags', kind)}: {reason_in_words(word('sends', detail))}"


CODES: Final[Mapping[str, Callable[[str], str]]] = MappingProxyType(
    {
        **dict.fromkeys(("pickup", "pickup_location"), place_name),
        **dict.fromkeys(("material", "materials"), partial(word, "materials")),
        **dict.fromkeys(("position", "skipped", "theirs"), partial(word, "positions")),
        **dict.fromkeys(("renewal_sync", "study_mode"), partial(word, "choices")),
        **dict.fromkeys(("status", "lendable_statuses", "local_available_statuses"), status_words),
        **dict.fromkeys(("message", "messages"), message_words),
        **dict.fromkeys(("send", "letter"), partial(word, "sends")),
        **dict.fromkeys(("conflict", "why"), lambda reason: reason_in_words(reason)),
        "category": category_words,
        "flags": flag_words,
        "kind": partial(word, "charges"),
        "mend": partial(word, "phrases"),
        "reason": lambda reason: reason_label(word("phrases", reason), language()),
        "recipient": partial(word, "actors"),
        "scope": partial(word, "scopes"),
        "side": partial(word, "sides"),
        "state": partial(word, "states"),
    }
)
"""Functions that return the words for a stored code, by the name of the field."""


def code_words(field: str, code: str) -> str:
    """Return the words for a code of a field in the language of this request, or any other text unchanged."""
    return CODES[field](code) if field in CODES else code


def job_words(text: str) -> str:
    """Return the error of a scheduled job with the job's label before it."""
    job, colon, error = text.partition(": ")
    return f"{word('jobs', job)}{colon}{error}"


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
    return word("positions", str(value)) or UNKNOWN


def reason_in_words(reason: str) -> str:
    """Return a stored reason as a sentence. A reason that only a later release knows is returned unchanged."""
    return sentence(Refused(why=Reason(reason))) if reason in set(Reason) else reason


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
