"""Rules about one text, which both protocols use in their expectations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

DATE = r"\d{8}(?:    |   [A-Z]|[+-]?\d{3,4} ?|  [+-]\d)\d{6}"
"""date18 of SIP2: the zone is four blanks, a letter after three, or (in practice) an offset."""


def fill(text: str, values: Mapping[str, str]) -> str:
    """Put the values of a run into the places `{name}` of a text; others stay as they are."""

    def value_of(place: re.Match[str]) -> str:
        return values.get(place[1], place[0])

    return re.sub(r"\{([a-z_0-9]+)\}", value_of, text)


def broken(value: str, rule: Mapping[str, Any], values: Mapping[str, str]) -> str:
    """Judge a text by a rule of the catalogue.

    Args:
        value: the text that was seen.
        rule: `equals`, `matches`, `one_of`, `max_length`, `lacks`, `date` or several of them.
        values: what stands for the places of the rule.

    Returns:
        What is wrong, or an empty text.
    """
    if "equals" in rule and value != fill(rule["equals"], values):
        return f"is {value!r}, not {fill(rule['equals'], values)!r}"
    if "matches" in rule and not re.fullmatch(fill(rule["matches"], values), value, re.DOTALL):
        return f"is {value!r}, which does not match {rule['matches']}"
    if "one_of" in rule and value not in rule["one_of"]:
        return f"is {value!r}, none of {', '.join(map(repr, rule['one_of']))}"
    if "max_length" in rule and len(value) > rule["max_length"]:
        return f"has {len(value)} characters, more than {rule['max_length']}"
    if "lacks" in rule and re.search(rule["lacks"], value):
        return f"contains {rule['lacks']}: {value!r}"
    if rule.get("date") and not re.fullmatch(DATE, value):
        return f"is {value!r}, no date of the form YYYYMMDDZZZZHHMMSS"
    return ""
