"""Split a text into words for comparison, without case, diacritics and punctuation, and in simplified Chinese.

`stem` and `syllables` return what is stored in the index for a word, and for a Chinese text.

The index and the queries use the same words, so that both databases find the same titles.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

_SEPARATORS: Final = re.compile(r"[;,|\s]+")
_GAPS: Final = re.compile(r"[ \-\u2010-\u2015]+")
_PREFIXES: Final = ("978", "979")
_LIKE_ISBN: Final = re.compile(r"[0-9][0-9 \-\u2010-\u2015]{8,20}[0-9Xx]")


def isbn_13(text: str) -> str:
    """Return an ISBN-10 or ISBN-13, with or without hyphens and blanks, as ISBN-13. Return "" for any other text."""
    from stdnum import ean, isbn

    if not _LIKE_ISBN.fullmatch(text):
        return ""
    number = _GAPS.sub("", text)
    number = f"0{number}" if len(number) == 9 else number
    if len(number) == 10 and isbn.is_valid(number):
        number = f"978{number[:9]}"
        return number + str(ean.calc_check_digit(number))
    # `is_valid` cleans the number three times, which is too slow for a catalogue of millions.
    is_isbn = len(number) == 13 and number.startswith(_PREFIXES) and number.isdigit()
    return number if is_isbn and ean.calc_check_digit(number[:-1]) == number[-1] else ""


def isbns_of(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct ISBN-13s in the cells of a file. A cell may contain several ISBNs."""
    numbers = (isbn_13(number) for text in texts if text for number in _SEPARATORS.split(text))
    return tuple(dict.fromkeys(number for number in numbers if number))


MOST_WORDS: Final = 250
"""Maximum number of words used from one text. PostgreSQL stores at most 256 positions of a word."""
LONGEST_WORD: Final = 64

_NEEDED: Final = ("Stemmer", "opencc", "pypinyin", "stdnum")
_RULES: Final = 5
"""Version of the rules of this module and of the index. Increase it with every change, so that words are computed again."""

_DROPPED: Final = "'\u2018\u2019\u02b9\u02ba\u02bb\u02bc\u00ad\u200b\u200c\u200d\u200e\u200f"
"""Characters removed from words: apostrophes (O'Neill is one word), signs of romanisation, and invisible characters."""
_VOICED: Final = "\u3099\u309a"
"""Combining marks that turn a kana into another kana. They are not accents."""
_LETTERS: Final = {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "æ": "ae", "œ": "oe", "þ": "th", "ı": "i"}
"""Letters that Unicode does not decompose, with their usual spelling on a plain keyboard."""

_IDEOGRAPHS: Final = "\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_SINGLE: Final = f"\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff{_IDEOGRAPHS}"
"""Ideographs and kana. Each is a word, because these scripts have no blanks between words."""
_IDEOGRAPH: Final = re.compile(rf"[{_IDEOGRAPHS}]")
_WORDS: Final = re.compile(rf"(?=[^\W_])[{_SINGLE}]|[^\W\d_{_SINGLE}]+|\d+")
_ASCII_WORDS: Final = re.compile(r"[a-z]+|[0-9]+")
_SYLLABLE: Final = re.compile(
    r"(?:[bpmfdtnlgkhjqxrzcsyw]|[zcs]h)"
    r"(?:i(?:a[on]?|ang|e|n|ng|ong|u)?|u(?:a[in]?|ang|e|i|n|o)?|a(?:i|ng?|o)?|e(?:i|ng?)?|o(?:ng|u)?)"
    r"|a(?:i|ng?|o)?|e(?:i|ng?|r)?|ou?"
)
"""A syllable of Pinyin, without its tone, in which "ü" is written "u"."""


@cache
def installed() -> bool:
    """Return whether the libraries of the extra `web` are installed, which the index of titles needs."""
    return all(find_spec(name) for name in _NEEDED)


@cache
def folding_version() -> str:
    """Return a version that changes whenever `words` may return another result for the same text."""
    return f"{_RULES}/{version('opencc')}/{version('pypinyin')}/{version('PyStemmer')}/{unicodedata.unidata_version}"


def words(text: str) -> list[str]:
    """Return the words of a text, at most MOST_WORDS: runs of letters, runs of digits, and single ideographs."""
    if text.isascii():
        plain, wanted = text.lower().replace("'", ""), _ASCII_WORDS
    else:
        apart = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
        plain, wanted = unicodedata.normalize("NFC", apart.translate(_characters())), _WORDS
    found = wanted.findall(plain)
    return found if len(plain) <= LONGEST_WORD else [word[:LONGEST_WORD] for word in found[:MOST_WORDS]]


@lru_cache(maxsize=4_096)
def joined_words(text: str) -> str:
    """Return the words of a text, separated by blanks. Cached, because a title's index and sort keys use the same texts."""
    return " ".join(words(text))


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """Return the form of a folded word in the index: its English stem, in American spelling, and numerals in digits."""
    same, parts, stemmer = _spelling()
    word = same.get(word, word)
    if not (word.isascii() and word.isalpha()):
        return word
    for part, other in parts:
        word = part.sub(other, word)
    return str(stemmer.stemWord(word))


@lru_cache(maxsize=16_384)
def stemmed_words(folded: str) -> str:
    """Return the stems of folded words. Cached, because common words find the same titles first."""
    return " ".join(map(stem, folded.split(" ")))


@cache
def _spelling() -> tuple[dict[str, str], list[tuple[re.Pattern[str], str]], Any]:
    from Stemmer import Stemmer

    table = tomllib.loads(Path(__file__).with_name("spelling.toml").read_text(encoding="utf-8"))
    # Without the stemmer's own cache, which threads must not share.
    return table["words"], [(re.compile(part), other) for part, other in table["parts"].items()], Stemmer("english", 0)


def syllables(text: str) -> tuple[str, ...]:
    """Return the syllables of a Chinese text in Pinyin, without tones. They do not depend on how the text was divided.

    A text without ideographs is divided into syllables if it is Pinyin as a whole, with or without tone numbers. The result is
    empty for other texts, and for texts of more than MOST_WORDS ideographs.
    """
    found = words(text)
    ideographs = "".join(filter(_IDEOGRAPH.match, found))
    if ideographs:
        from pypinyin.seg.mmseg import seg

        found = [one for phrase in seg.cut(ideographs) for one in _pinyin(phrase)]
    elif found and found[-1] in _TONES:
        found = [word for word in found if word not in _TONES]
    return _divide("".join(found).replace("v", "u"))


_TONES: Final = frozenset("12345")


@lru_cache(maxsize=65_536)
def _pinyin(phrase: str) -> list[str]:
    """Return the syllables of a Chinese phrase, by which the readings of its characters are chosen."""
    from pypinyin import lazy_pinyin

    return lazy_pinyin(phrase)


@lru_cache(maxsize=1_024)
def _divide(pinyin: str) -> tuple[str, ...]:
    """Divide a text without blanks into syllables, the first one as long as possible. Return () if it is not Pinyin."""
    ways: list[tuple[str, ...] | None] = [None] * len(pinyin) + [()]
    for start in reversed(range(len(pinyin))):
        for end in range(min(start + 6, len(pinyin)), start, -1):
            rest = ways[end]
            if rest is not None and _SYLLABLE.fullmatch(pinyin, start, end):
                ways[start] = (pinyin[start:end], *rest)
                break
    return ways[0] or ()


@cache
def _characters() -> _Characters:
    return _Characters()


class _Characters(dict[int, str]):
    """Maps each character to its folded text, which is computed on first use. The text of an accent is empty.

    Each character is converted alone, because OpenCC converts by context, which a query of one character lacks.
    """

    def __init__(self) -> None:
        from opencc import OpenCC

        super().__init__({ord(c): "" for c in _DROPPED} | {ord(c): other for c, other in _LETTERS.items()})
        self._traditional: Any = OpenCC("jp2t")
        self._simplified: Any = OpenCC("hk2s")

    def __missing__(self, code: int) -> str:
        character = found = chr(code)
        if _IDEOGRAPH.match(character):
            found = str(self._simplified.convert(self._traditional.convert(character)))
        elif unicodedata.category(character) == "Mn" and character not in _VOICED:  # an accent
            found = ""
        if character.isprintable():  # do not cache unassigned characters
            self[code] = found
        return found
