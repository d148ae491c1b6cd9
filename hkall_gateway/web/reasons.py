"""Words for refusals and for results of commands, as staff at the counter need them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final

from hkall_gateway.circulation.messages.results import Refused
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vendor_words.languages import CHINESE
from hkall_gateway.web.i18n import day, gettext, language
from hkall_gateway.web.labels import POSITIONS

UNKNOWN: Final = "…"
"""Stands for a value that a refusal does not have."""


class _Known(dict[str, str]):
    """Values of a sentence; a missing one is UNKNOWN."""

    def __missing__(self, key: str) -> str:
        return UNKNOWN


def sentence(refused: Refused, *, to_patron: bool = False) -> str:
    """Return why, in the language of this request, for staff or to the patron. `rule_of` has the rule."""
    texts = refused.why.patron if to_patron else refused.why.staff
    return texts[language() == CHINESE].format_map(_Known({name: _shown(v) for name, v in refused.detail.items()}))


def rule_of(refused: Refused) -> str:
    """Return the number of the published rule, "R13"; "" if there is none."""
    return refused.rule or refused.why.rule


def _shown(value: object) -> str:
    if isinstance(value, datetime):
        return day(value.date())
    if isinstance(value, date):
        return day(value)
    word = str(value)
    return gettext(POSITIONS[word]) if word in POSITIONS else word or UNKNOWN


def reason_in_words(word: str) -> str:
    """Return the sentence of a stored reason; a word of a later release as it is."""
    return sentence(Refused(Reason(word))) if word in set(Reason) else word
