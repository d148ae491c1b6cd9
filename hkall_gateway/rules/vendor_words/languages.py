"""Languages of patrons as systems write them (BCP 47 tags and MARC codes), and the two languages of this program's letters."""

from __future__ import annotations

import re
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


_CHINESE_CHARACTER: Final = (
    r"[\u2e80-\u2fdf\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # radicals and ideographs
    r"\u3000-\u303f\uff01-\uff60]"  # punctuation of full width
)
"""Source: Unicode 15.1, blocks."""
_PLACE: Final = re.compile(rf"((?<={_CHINESE_CHARACTER}) )?%\((\w+)\)s( (?={_CHINESE_CHARACTER}))?")
_AT_START: Final = re.compile(_CHINESE_CHARACTER)
_AT_END: Final = re.compile(rf"{_CHINESE_CHARACTER}\Z")


def filled(text: str, /, **values: object) -> str:
    """Return a text with the values in its places, such as `%(library)s`; see `without_blanks`."""
    return without_blanks(text, values) % values


def without_blanks(text: str, values: Mapping[str, object]) -> str:
    """Return a text with places such as `%(library)s`, without the blanks that would stand between two Chinese characters.

    `向 %(library)s 申請` becomes `向%(library)s申請` for 香港大學圖書館, and keeps its blanks for HKU. No value is changed.
    """
    if text.isascii():  # as English texts are: nothing to look for
        return text

    def closed_up(place: re.Match[str]) -> str:
        before, name, after = place.groups(default="")
        value = str(values[name])
        return f"{'' if _AT_START.match(value) else before}%({name})s{'' if _AT_END.search(value) else after}"

    return _PLACE.sub(closed_up, text)
