"""Display texts for staff: journal events, facts, policy keys, and the English texts of circulation, rules and database.

An English text is a phrase, a phrase with a detail ("declined: not on the shelf"), a measure with a value ("priority 10"), or
several of these separated by commas. A text that is not in `words.toml`, which a later release may have written, is unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Final

from markupsafe import Markup

from hkall_gateway.circulation.results import Refused
from hkall_gateway.db.queries.request_history import JournalRow
from hkall_gateway.rules.lender_reasons import LENDER_REASONS, reason_label
from hkall_gateway.rules.published_rules import PUBLISHED, meanings_of
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vendor_words.languages import CHINESE
from hkall_gateway.web.i18n import day, gettext, language, moment, money
from hkall_gateway.web.labels import CODES, WORDS, category_words, code_words, sentence, word
from hkall_gateway.web.services import services

IN_THE_EVENT: Final = frozenset(
    {
        "alert",
        "expired_pickup",
        "held",
        "id",
        "kind",
        "language",
        "moved_at",
        "placed_at",
        "position",
        "renewed_at",
        "side",
        "stage",
        "used",
        "what",
        "wire_agency",
    }
)
"""Facts that are not shown, since the journal line's label and time already imply them."""

_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_RULE: Final = re.compile(r"R\d+[a-z]?")


def event_words(line: JournalRow, facts: Mapping[str, str]) -> str:
    """Return a journal line's event in words. For a refusal, return the reason."""
    if line.event == "REFUSED" and line.outcome in tuple(Reason):
        return sentence(Refused(why=Reason(line.outcome), rule=line.rule, detail=facts))
    return word("events", line.event)


def rules_of(text: str) -> list[str]:
    """Return the published rule numbers that occur in a text. /help has an anchor for each number."""
    return [number for number in _RULE.findall(text) if number in PUBLISHED]


def shown_facts(facts: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return facts as (label, text)."""
    return [(word("facts", name), shown(name, value)) for name, value in facts.items() if name not in IN_THE_EVENT]


def shown(name: str, value: str) -> str:
    """Return the text for one fact."""
    if name in CODES:
        return CODES[name](value)
    if name == "cents" and value.lstrip("-").isdigit():
        return money(int(value))
    if _DAY.match(value):
        try:
            return day(date.fromisoformat(value)) if _DAY.fullmatch(value) else moment(datetime.fromisoformat(value))
        except ValueError:
            return value
    return gettext("yes") if value == "True" else value


def fact_label(name: str) -> str:
    """Return the label of a fact, whose name may end with a copy, a card or a rank."""
    head, blank, rest = (name, "", "") if name in WORDS["facts"] else name.partition(" ")
    return f"{word('facts', head)}{blank}{rest}"


def source_words(text: str) -> str:
    """Return the source of a fact, with the number of the request if the source has one."""
    known = next((source for source in WORDS["sources"] if text.startswith(source)), "")
    return f"{word('sources', known)}{text[len(known) :]}" if known else text


def value(name: str, found: object) -> str:
    """Return the text for a fact of any type. Join the members of a list with commas."""
    if found is None:
        return gettext("not known")
    if isinstance(found, (tuple, list)):
        return ", ".join(value(name, one) for one in found)
    if isinstance(found, bool):
        return gettext("yes") if found else gettext("no")
    return shown("cents" if name.endswith("_cents") else name, found.isoformat() if isinstance(found, date) else str(found))


def policy_rows(keys: Mapping[str, object]) -> list[tuple[str, str, str]]:
    """Return what each of these policy keys means, the key, and its value in words. Omit the names of categories and roles."""
    meanings, colon = meanings_of(services().library().policy), "：" if language() == CHINESE else ": "
    rows = []
    for key, setting in keys.items():
        field = key.rpartition(".")[2]
        if field not in {"key", "label", "label_zh", "role"}:
            subject, meaning = (gettext(text).rstrip(".。") for text in meanings[key])
            about = word("roles", category_words(subject))
            text = word("choices", setting) if isinstance(setting, str) and field not in CODES else setting
            shown_text = "–" if text in ("", (), None) else value(field, text)
            rows.append((f"{about}{colon}{meaning}" if about else meaning, key, shown_text))
    return rows


def problem(text: str) -> str | Markup:
    """Return what went wrong with a line, in words, with the technical text as their title."""
    known = next((part for part in WORDS["problems"] if part in text), "")
    return Markup('<span title="{}">{}</span>').format(text, word("problems", known)) if known else text


def in_words(text: str) -> str:
    """Translate a text from circulation into the language of this request."""
    if text in LENDER_REASONS:
        label = reason_label(text, language())
        return f"{label[:1].lower()}{label[1:]}"
    for subject in ("phrases", "positions", "states", "statuses", "sends"):
        if text in WORDS[subject]:
            return word(subject, text)
    colon, comma = ("：", "，") if language() == CHINESE else (": ", ", ")
    head, found, detail = text.partition(": ")
    if found:
        return f"{in_words(head)}{colon}{in_words(detail)}"
    if ", " in text:
        return comma.join(map(in_words, text.split(", ")))
    measure = next((one for one in WORDS["measures"] if text.startswith(f"{one} ")), "")
    return f"{word('measures', measure)} {code_words(measure, text[len(measure) + 1 :])}" if measure else text
