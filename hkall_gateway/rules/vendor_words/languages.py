"""Maps patrons' language tags (BCP 47) and MARC language codes to the two languages of our letters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

ENGLISH: Final = "en"
CHINESE: Final = "zh-Hant"
"""Traditional Chinese, the only variant of Chinese in our texts."""

# fmt: off
_WRITTEN: Final[Mapping[str, str]] = {
    "en":  ENGLISH,
    "eng": ENGLISH,     # MARC, ISO 639-2
    "zh":  CHINESE,     # zh-HK, zh-TW, zh-Hant; also zh-Hans and zh-CN, since traditional Chinese is better than English
    "chi": CHINESE,     # MARC
    "zho": CHINESE,     # ISO 639-2/T
    "cmn": CHINESE,     # Mandarin
    "yue": CHINESE,     # Cantonese
}
# fmt: on
"""The language of our texts by the first part of a language tag."""


def written(tag: str) -> str:
    """Return the language of our texts for a tag or code. An unsupported tag is returned unchanged.

    Case is ignored, and `zh_HK` is accepted for `zh-HK`. Source: BCP 47; MARC code list for languages.
    """
    return _WRITTEN.get(tag.strip().replace("_", "-").partition("-")[0].lower(), tag)


_CHINESE_CHARACTER: Final = (
    r"[\u2e80-\u2fdf\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # radicals and ideographs
    r"\u3000-\u303f\uff01-\uff60]"  # full-width punctuation
)
"""Matches one Chinese character or full-width punctuation mark. Source: Unicode 15.1, blocks."""
_PLACE: Final = re.compile(rf"((?<={_CHINESE_CHARACTER}) )?%\((\w+)\)s( (?={_CHINESE_CHARACTER}))?")
_AT_START: Final = re.compile(_CHINESE_CHARACTER)
_AT_END: Final = re.compile(rf"{_CHINESE_CHARACTER}\Z")


def filled(text: str, /, **values: object) -> str:
    """Substitute values for the placeholders (such as `%(library)s`) in a text, after applying `without_blanks`."""
    return without_blanks(text, values) % values


def without_blanks(text: str, values: Mapping[str, object]) -> str:
    """Remove blanks around placeholders such as `%(library)s` that would end up between two Chinese characters.

    `向 %(library)s 申請` becomes `向%(library)s申請` if the value is 香港大學圖書館, but keeps the blanks if it is HKU.
    """
    if text.isascii():  # fast path for English texts
        return text

    def closed_up(place: re.Match[str]) -> str:
        before, name, after = place.groups(default="")
        value = str(values[name])
        return f"{'' if _AT_START.match(value) else before}%({name})s{'' if _AT_END.search(value) else after}"

    return _PLACE.sub(closed_up, text)
