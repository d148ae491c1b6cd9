"""Invents the titles of the demo's union catalogue, and their copies, from a fixed seed: 5,000 titles in several scripts.

`titles()` and `copies()` give the whole catalogue. Making it needs pypinyin, of the extra `test`: what `make run` starts
has the catalogue in its prepared database.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from opencc import OpenCC
from pypinyin import Style, lazy_pinyin

from hkall_gateway.rules.vocabulary import BETWEEN_AUTHORS, Holding, Title

COUNT: Final = 5_000
SEED: Final = 2017
FIRST_NUMBER: Final = 100_000
YEARS: Final = (1958, 2026)
AGENCIES: Final = ("HKU", "CUHK", "HKUST", "LU")
ON_LOAN, FOR_READING_ROOMS = 0.08, 0.02
"""Shares of the copies that other readers have, and that are never lent."""
VOLUMES: Final = ("v.1", "v.2", "v.3")

ENGLISH: Final = (
    "An introduction to {topic}",
    "{Topic} in {place}",
    "{Topic} and {other}",
    "A short history of {topic} in {place}",
    "{Topic}: theory and practice",
    "The handbook of {topic}",
    "Rethinking {topic}",
    "{Topic} for beginners",
    "Essays on {topic}",
    "Lectures on {topic}",
    "Lectures on {topic} II",
    "{Topic}: a reader",
    "New directions in {topic}",
    "{Topic} in {place} since {year}",
    "Understanding {topic}",
    "The future of {topic} in {place}",
    "Case studies in {topic}",
    "{Topic}, {other} and everyday life",
    "Fundamentals of {topic}",
    "Behind {topic}: voices from {place}",
    "A companion to {topic}",
)
SETS: Final = ("{Topic}: collected papers", "The encyclopaedia of {topic}", "A source book of {topic} in {place}")
"""Titles of works in several volumes."""
_SET_BEGINS, _SET_ENDS = ("The encyclopaedia of ", "A source book of "), ": collected papers"
CHINESE: Final = (
    "{topic}導論",
    "{place}{topic}史",
    "{topic}與{other}",
    "{topic}入門",
    "{topic}研究",
    "{place}的{topic}",
    "{topic}論集",
    "{topic}概說",
    "{topic}十講",
    "{topic}新論",
    "當代{place}{topic}",
    "{topic}圖解",
    "{place}{topic}口述史",
    "漫談{topic}",
    "{topic}案例",
)
_SIMPLIFIED: Final = OpenCC("t2s")
_WORDS: Final[dict[str, Any]] = tomllib.loads((Path(__file__).parent / "vocabulary.toml").read_text(encoding="utf-8"))
_ABROAD: Final[dict[str, Any]] = _WORDS["abroad"]
Topics = list[tuple[str, ...]]


def _rows(text: str) -> list[tuple[str, ...]]:
    """Return the lines of a block of the vocabulary, each split at its bars."""
    return [tuple(part.strip() for part in line.split("|")) for line in text.strip().splitlines()]


SUBJECTS: Final = [(row["call"].split(), _rows(row["topics"])) for row in _WORDS["subjects"]]
PLACES, PUBLISHERS, CHINESE_PUBLISHERS = (_rows(_WORDS[name]) for name in ("places", "publishers", "chinese_publishers"))
OTHER_SCRIPTS, EUROPEAN = _rows(_WORDS["other_scripts"]), _rows(_WORDS["european"])
SURNAMES, GIVEN = _WORDS["surnames"].split("\n")[:-1], _WORDS["given_names"].split("\n")[:-1]
CHINESE_SURNAMES, CHINESE_GIVEN = _WORDS["chinese_surnames"].split(), _WORDS["chinese_given_names"].split()


@cache
def titles() -> tuple[Title, ...]:
    """Return the 5,000 titles."""
    return tuple(Inventor().titles())


def copies() -> Iterator[Holding]:
    """Yield the copies of all titles: one to three libraries own each title, and a work in volumes has a copy of each."""
    draw = random.Random(SEED)  # noqa: S311  # no secret
    number = 0
    for title in titles():
        volumes = VOLUMES if title.title.startswith(_SET_BEGINS) or title.title.endswith(_SET_ENDS) else ("",)
        for agency in draw.sample(AGENCIES, draw.choices((1, 2, 3), (5, 4, 1))[0]):
            for volume in volumes:
                state = draw.random()
                yield Holding(
                    agency=agency,
                    barcode=f"{agency[0]}{agency[-1]}{number:06}",
                    bib_id=title.bib_id,
                    title=title.title,
                    author=title.author,
                    isbn=next(iter(title.isbns), ""),
                    volume=volume,
                    call_number=f"{_call_number(title)} {volume}".strip(),
                    status="On Loan" if state < ON_LOAN else "Available On Shelf",
                    lendable=state < 1 - FOR_READING_ROOMS,
                    local_bib_id=f"99{title.bib_id[1:]}",
                )
                number += 1


def _call_number(title: Title) -> str:
    """Return a Library of Congress call number: class, cutter of the author, year."""
    number = int(title.bib_id[1:])
    (letters, first), _ = SUBJECTS[(number - FIRST_NUMBER) % len(SUBJECTS)]
    initial = next((letter for letter in title.author.upper() if "A" <= letter <= "Z"), "X")
    return f"{letters}{int(first) + number % 97}.{initial}{10 + number % 89} {title.published[-4:]}"


class Inventor:
    """Makes titles that differ from each other; the same seed makes the same titles."""

    def __init__(self, seed: int = SEED) -> None:
        self._random = random.Random(seed)  # noqa: S311  # no secret
        self._known: set[str] = set()

    def titles(self, count: int = COUNT) -> Iterator[Title]:
        """Yield `count` titles, with about the same share of each language in any thousand."""
        for number in range(count):
            bib_id = f"b{FIRST_NUMBER + number}"
            _, topics = SUBJECTS[number % len(SUBJECTS)]
            share = self._random.random()
            if share < 0.62:
                yield self._english(bib_id, topics)
            elif share < 0.80:
                yield self._chinese(bib_id, topics)
            elif share < 0.89:
                yield self._chinese(bib_id, topics, convert=_SIMPLIFIED.convert)
            elif share < 0.975:
                yield self._romanised(bib_id, topics)
            else:
                yield self._foreign(bib_id)

    def _english(self, bib_id: str, topics: Topics) -> Title:
        def words() -> str:
            (topic, _), (other, _) = self._random.sample(topics, 2)
            place, year = self._random.choice(PLACES)[0], self._random.randrange(1841, 1998)
            pattern = self._random.choice(ENGLISH if self._random.random() < 0.97 else SETS)
            text = pattern.format(topic=topic, Topic=topic[0].upper() + topic[1:], other=other, place=place, year=year)
            return text[0].upper() + text[1:]

        authors = BETWEEN_AUTHORS.join(self._person() for _ in range(1 + (self._random.random() < 0.2)))
        place, publisher = self._random.choice(PUBLISHERS)
        return Title(
            bib_id=bib_id,
            title=self._new(words),
            author=authors,
            isbns=self._isbns(bib_id),
            language="eng",
            published=f"{place}: {publisher}, {self._year()}",
        )

    def _chinese(self, bib_id: str, topics: Topics, convert: Callable[[str], str] = str) -> Title:
        place, publisher = self._random.choice(CHINESE_PUBLISHERS)
        published = f"{place}：{publisher}，{self._year()}"
        title = self._new(lambda: convert(self._chinese_words(topics)))
        return Title(
            bib_id=bib_id,
            title=title,
            author=convert(self._chinese_person()),
            isbns=self._isbns(bib_id),
            language="chi",
            published=convert(published),
        )

    def _romanised(self, bib_id: str, topics: Topics) -> Title:
        """Return a title as Western catalogues have it: romanised, with the original beside it (field 880 of MARC)."""
        plain = self._chinese(bib_id, topics)
        surname, *given = lazy_pinyin(plain.author, style=Style.NORMAL)
        return Title(
            bib_id=bib_id,
            title=" ".join(lazy_pinyin(plain.title, style=Style.NORMAL)).capitalize(),
            author=f"{surname.capitalize()}, {''.join(given).capitalize()}",
            isbns=plain.isbns,
            language="chi",
            published=plain.published,
            linked_title=plain.title,
            linked_author=plain.author,
        )

    def _foreign(self, bib_id: str) -> Title:
        """Return a title in another language; in another script it is romanised, with the original beside it."""

        def words() -> str:
            row = self._random.choice(OTHER_SCRIPTS if self._random.random() < 0.55 else EUROPEAN)
            place = self._random.choice(_ABROAD[row[0]]["places"] or [""]).split(" | ")
            romanised = row[-1].format(place=place[0])
            return "|".join((row[0], romanised, row[1].format(place=place[-1]) if len(row) == 3 else ""))

        language, title, original = self._new(words).split("|")
        abroad = _ABROAD[language]
        author, *linked = self._random.choice(abroad["authors"]).split(" | ")
        published = f"{abroad['publisher']}, {self._year()}"
        return Title(
            bib_id=bib_id,
            title=title,
            author=author,
            isbns=self._isbns(bib_id),
            language=language,
            published=published,
            linked_title=original,
            linked_author="".join(linked),
        )

    def _new(self, words: Callable[[], str]) -> str:
        """Return words that are not in the catalogue yet, in Traditional or Simplified characters."""
        while (same := _SIMPLIFIED.convert(text := words())) in self._known:
            pass
        self._known.add(same)
        return text

    def _chinese_words(self, topics: Topics) -> str:
        (_, topic), (_, other) = self._random.sample(topics, 2)
        return self._random.choice(CHINESE).format(topic=topic, other=other, place=self._random.choice(PLACES)[1])

    def _person(self) -> str:
        return f"{self._random.choice(SURNAMES)}, {self._random.choice(GIVEN)}"

    def _chinese_person(self) -> str:
        return f"{self._random.choice(CHINESE_SURNAMES)}{self._random.choice(CHINESE_GIVEN)}"

    def _year(self) -> int:
        return round(self._random.triangular(*YEARS, 2016))

    def _isbns(self, bib_id: str) -> tuple[str, ...]:
        """Return an ISBN-13 of the range 978-99999, which no country has, or none for one title in ten."""
        if self._random.random() < 0.1:
            return ()
        digits = f"97899999{int(bib_id[1:]) % 10_000:04}"
        check = -sum(int(digit) * (1, 3)[place % 2] for place, digit in enumerate(digits)) % 10
        return (f"{digits}{check}",)
