"""Maps language tags (BCP 47) and MARC language codes to the languages of our letters, and marks other scripts in HTML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from markupsafe import Markup, escape

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


_IDEOGRAPHS: Final = r"\u2e80-\u2fdf\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_CHINESE_CHARACTER: Final = rf"[{_IDEOGRAPHS}\u3000-\u303f\uff01-\uff60]"  # with full-width punctuation
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


# fmt: off
_KANA, _HANGUL = r"\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f", r"\u1100-\u11ff\u3130-\u318f\uac00-\ud7af"
_LETTERS: Final[Mapping[str, str]] = {
    "cjk": _IDEOGRAPHS + _KANA + _HANGUL,
    "ru":  r"\u0400-\u052f",
    "el":  r"\u0370-\u03ff\u1f00-\u1fff",
    "he":  r"\u0590-\u05ff",
    "ar":  r"\u0600-\u06ff\u0750-\u077f",
    "hi":  r"\u0900-\u097f",
    "th":  r"\u0e00-\u0e7f",
}
"""The letters of each script under the language that most titles in the script are written in. Source: Unicode 15.1, blocks."""
_KANA_OR_HANGUL: Final = {"ja": re.compile(f"[{_KANA}]"), "ko": re.compile(f"[{_HANGUL}]")}
_CHARACTER_SETS: Final[Mapping[str, str]] = {"big5": CHINESE, "gb2312": "zh-Hans", "big5hkscs": CHINESE, "shift_jis": "ja"}
"""The language of ideographs that only this character set has. The first one that has all of them decides."""
_MARC_LANGUAGES: Final[Mapping[str, str]] = {"jpn": "ja", "kor": "ko"}
"""Languages other than Chinese that are written with ideographs, by MARC language code."""
# fmt: on
_RUN: Final = re.compile("|".join(rf"(?P<{tag}>[{x}](?:[{x}\W\d_]*[{x}])?)" for tag, x in _LETTERS.items()))
"""Matches words of one script, with the digits, blanks and marks between them."""


def marked(text: object, marc: str = "", page: str = ENGLISH) -> Markup:
    """Escape a text for HTML, and mark its parts in scripts other than Latin with their language (WCAG 3.1.2).

    `marc` is the language in the text's MARC record, and `page` the language of the page, which needs no mark.
    """

    def mark(run: re.Match[str]) -> str:
        words = run.group()
        tag = _language_of_ideographs(words, marc) if run.lastgroup == "cjk" else run.lastgroup
        return words if tag == page or (tag, page) == ("zh", CHINESE) else f'<span lang="{tag}">{words}</span>'

    return Markup(_RUN.sub(mark, escape(text)))  # noqa: S704  # nosec B704: escaped


def _language_of_ideographs(text: str, marc: str) -> str:
    known = next((tag for tag, letters in _KANA_OR_HANGUL.items() if letters.search(text)), _MARC_LANGUAGES.get(marc))
    ideographs = re.findall(f"[{_IDEOGRAPHS}]", text)
    sets = [tag for name, tag in _CHARACTER_SETS.items() if all(one.encode(name, "ignore") for one in ideographs)]
    return known or ("zh" if not sets or {CHINESE, "zh-Hans"} <= {*sets} else sets[0])
