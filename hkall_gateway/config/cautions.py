"""What is no error in gateway.toml, and yet not what people want: `check-config` warns of it."""

from __future__ import annotations

from collections.abc import Iterator

from hkall_gateway.config.gateway import Gateway, Library
from hkall_gateway.config.loading import Fault, dotted


def cautions(config: Gateway) -> Iterator[Fault]:
    """(path of the key, what people would meet) of everything that works and is meant otherwise."""
    yield from _unnamed(config.library)


def _unnamed(library: Library) -> Iterator[Fault]:
    """Places of collection that a letter would call by their code."""
    for code in library.pickup_locations:
        in_chinese = code in library.place_names or code in library.place_names_zh
        known = {"en": code in library.place_names, "zh-Hant": in_chinese}
        if unknown := [language for language in library.languages if not known[language]]:
            yield dotted(("library", "place_names", code)), f"is missing; letters in {' and '.join(unknown)} say {code!r}"
