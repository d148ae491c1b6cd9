"""Languages of patrons as systems write them (BCP 47 tags and MARC codes), and the two languages of this program's letters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

ENGLISH: Final = "en"
CHINESE: Final = "zh-Hant"
"""Traditional Chinese, the only Chinese of this program's texts."""

# fmt: off
_WRITTEN: Final[Mapping[str, str]] = {
    "en":  ENGLISH,
    "eng": ENGLISH,     # MARC, ISO 639-2
    "zh":  CHINESE,     # zh-HK, zh-TW, zh-Hant; for zh-Hans and zh-CN traditional Chinese is better than English
    "chi": CHINESE,     # MARC
    "zho": CHINESE,     # ISO 639-2/T
    "cmn": CHINESE,     # Mandarin
    "yue": CHINESE,     # Cantonese
}
# fmt: on
"""Maps the first part of a tag to the language of the texts."""


def written(tag: str) -> str:
    """Return the language of the texts for a person with this tag or code; the tag itself if there is none.

    Case does not count, and `zh_HK` is `zh-HK`. Source: BCP 47; MARC code list for languages.
    """
    return _WRITTEN.get(tag.strip().replace("_", "-").partition("-")[0].lower(), tag)
