"""Languages of people as systems write them, BCP 47 tags and MARC codes, and the two in which this house writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

ENGLISH: Final = "en"
CHINESE: Final = "zh-Hant"
"""Traditional Chinese, the only Chinese that is written here."""

# fmt: off
_WRITTEN: Final[Mapping[str, str]] = {
    "en":  ENGLISH,
    "eng": ENGLISH,     # MARC, ISO 639-2
    "zh":  CHINESE,     # zh-HK, zh-TW, zh-Hant; who reads zh-Hans or zh-CN is better served by this Chinese than by English
    "chi": CHINESE,     # MARC
    "zho": CHINESE,     # ISO 639-2/T
    "cmn": CHINESE,     # Mandarin
    "yue": CHINESE,     # Cantonese
}
# fmt: on
"""The first part of a tag -> the language that is written for it."""


def written(tag: str) -> str:
    """The language in which a person with this tag or code is written to; the tag itself where it is none of ours.

    Case does not count, and `zh_HK` is `zh-HK`. Source: BCP 47; MARC code list for languages.
    """
    return _WRITTEN.get(tag.strip().replace("_", "-").partition("-")[0].lower(), tag)
