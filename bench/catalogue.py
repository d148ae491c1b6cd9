"""The generated union catalogue: titles in English and Chinese, their copies, files of both, and queries that patrons type.

Every value is derived from a number. Word frequencies follow Zipf's law, as in a language, and half of all titles contain a
rare name.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from bench.resources import SOURCES
from hkall_gateway.db.loads import loading
from hkall_gateway.rules.vocabulary import Holding, Title
from hkall_gateway.simulator.databases import SoleStore

CHUNK: Final = 1_000
"""Titles per transaction."""

OWNERS: Final = ("CUHK", "HKUST", "LU")
_ENGLISH_LINES, _CHINESE_LINES = (SOURCES / "title_words.txt").read_text(encoding="utf-8").split("\n\n")
ENGLISH: Final = tuple(_ENGLISH_LINES.split())
"""Words of English titles, the most frequent first."""
CHINESE: Final = tuple(tuple(pair.replace("-", " ").split("=")) for pair in _CHINESE_LINES.split())
"""Words of Chinese titles with their romanisation, the most frequent first."""
LITTLE: Final = ("of", "the", "and", "in", "a", "to", "for", "on", "from", "with", "the", "and", "of", "the")
_SYLLABLES: Final = [left + right for left in "bdfgklmnprstvz" for right in ("a", "en", "or", "is")]
_GIVEN: Final = ("Anna", "Boris", "Clara", "David", "Elena", "Frank", "Grace", "Hugo", "Irene", "James", "Karl", "Lucy")
_SUBJECTS: Final = ("Congresses", "Bibliography", "Handbooks, manuals, etc", "Study and teaching")
_NOTE: Final = "Includes bibliographical references (pages 241-263) and index"


def _zipf(words: Sequence[Any]) -> list[float]:
    return list(accumulate(1 / (place + 3) for place in range(len(words))))


_ENGLISH_WEIGHTS, _CHINESE_WEIGHTS = _zipf(ENGLISH), _zipf(CHINESE)


@dataclass(frozen=True, slots=True)
class CatalogueTitle:
    """One title, its copy, and the random generator for further values."""

    title: Title
    copy: Holding
    chance: random.Random


def catalogue_title(number: int) -> CatalogueTitle:
    """Return title `number`: three of six are English, one is Chinese, two are romanised with linked Chinese fields."""
    chance = random.Random(number)
    text, author, linked, linked_author = _title_texts(chance, number % 6)
    bib_id, isbn = f"u{number:07d}", _make_isbn(number)
    language, published = ("eng" if number % 6 < 3 else "chi"), f"Hong Kong : {_pick_name(chance)} Press, {1950 + number % 75}"
    title = Title(
        bib_id=bib_id,
        title=text,
        author=author,
        isbns=(isbn,),
        language=language,
        published=published,
        linked_title=linked,
        linked_author=linked_author,
    )
    call = f"{chance.choice('ABDHPQRTZ')}{chance.choice('ABCDEFGL')}{chance.randrange(1, 9999)} .{author[:1]}{number % 97}"
    status = "On Loan" if number % 5 == 0 else "Available On Shelf"
    copy = Holding(
        agency=OWNERS[number % 3],
        barcode=f"U{number:08d}",
        bib_id=bib_id,
        title=text,
        author=author,
        isbn=isbn,
        call_number=call,
        status=status,
    )
    return CatalogueTitle(title, copy, chance)


def _title_texts(chance: random.Random, kind: int) -> tuple[str, str, str, str]:
    """Return title, author, and both in Chinese if linked."""
    if kind < 3:
        return _english_words(chance), f"{_pick_name(chance)}, {chance.choice(_GIVEN)}", "", ""
    words = chance.choices(CHINESE, cum_weights=_CHINESE_WEIGHTS, k=chance.randint(2, 5))
    person = chance.choices(CHINESE, k=2)
    chinese, romanised = ("".join(word[script] for word in words) for script in (0, 1))
    romanised = " ".join(word[1] for word in words).capitalize()
    chinese_author = "".join(word[0] for word in person)[:3]
    if kind == 3:
        return chinese, chinese_author, "", ""
    return romanised, ", ".join(word[1].capitalize() for word in person), chinese, chinese_author


def _english_words(chance: random.Random) -> str:
    words = chance.choices(ENGLISH, cum_weights=_ENGLISH_WEIGHTS, k=chance.randint(2, 6))
    if chance.random() < 0.5:
        words.append(_pick_name(chance))
    text = words[0].capitalize()
    for at, word in enumerate(words[1:]):
        text += (" : " if at == 2 else f" {chance.choice(LITTLE)} " if chance.random() < 0.6 else " ") + word
    return text


def _pick_name(chance: random.Random) -> str:
    """Return the name of a person or a place, one of more than ten thousand."""
    return "".join(chance.choices(_SYLLABLES, k=3)).capitalize()


def _make_isbn(number: int) -> str:
    digits = f"9789{number % 10**8:08d}"
    total = sum(int(digit) * (3 if at % 2 else 1) for at, digit in enumerate(digits))
    return f"{digits}{-total % 10}"


def fill_catalogue(store: SoleStore, numbers: range) -> None:
    """Write these titles to the database, as a load of MARC records does."""
    for start in range(numbers.start, numbers.stop, CHUNK):
        made = [catalogue_title(number) for number in range(start, min(start + CHUNK, numbers.stop))]
        titles = {one.title.bib_id: one.title for one in made}
        store.now(loading.write_copies, [one.copy for one in made], 1, None, titles)


def write_csv(path: Path, numbers: range) -> None:
    """Write holdings.csv with one copy of each title."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([one.name for one in fields(Holding)])
        for number in numbers:
            rows.writerow(["yes" if value is True else value for value in astuple(catalogue_title(number).copy)])


def write_marc(path: Path, numbers: range) -> None:
    """Write a MARC21 or MARCXML (.xml) file. Each record has a copy and, as in real exports, some 1,500 bytes in 27 fields."""
    from pymarc import MARCWriter, XMLWriter

    with path.open("wb") as file:
        writer: Any = (XMLWriter if path.suffix == ".xml" else MARCWriter)(file)
        for number in numbers:
            writer.write(_make_record(catalogue_title(number)))
        writer.close(close_fh=False)


def _make_record(made: CatalogueTitle) -> Any:
    from pymarc import Field, Leader, Record

    record = Record(force_utf8=True)
    record.leader = Leader("00000nam a2200000 i 4500")
    title, copy, chance = made.title, made.copy, made.chance
    control = {"001": title.bib_id, "003": "HkHK", "005": "20261127120000.0"}
    control["008"] = f"260101s2026    cc a     b    001 0 {title.language} d"
    record.fields = [Field(tag, data=text) for tag, text in control.items()]
    record.fields += [_make_field(tag, *parts) for tag, *parts in _data_fields(title, copy, chance)]
    return record


def _data_fields(title: Title, copy: Holding, chance: random.Random) -> Iterator[tuple[str, ...]]:
    """Yield each data field as its tag and its subfields, each written as code and text."""
    main, _, rest = title.title.partition(" : ")
    linked = ("6880-02",) if title.linked_title else ()
    yield "020", f"a{title.isbns[0]} (hardback)", "qhardback"
    yield "100", *linked, f"a{title.author},", "eauthor."
    yield "245", *linked, f"a{main} :", f"b{rest or _english_words(chance)} /", f"c{title.author}."
    yield "264", f"a{title.published}"
    yield from (
        ("300", "axii, 90 pages :", "billustrations ;", "c24 cm"),
        ("336", "atext", "2rdacontent"),
        ("504", f"a{_NOTE}."),
    )
    yield "520", f"a{'. '.join(_english_words(chance) for _ in range(9))}."
    yield from (("650", f"a{_english_words(chance)}", f"x{chance.choice(_SUBJECTS)}", "zHong Kong.") for _ in range(12))
    yield "700", f"a{_pick_name(chance)}, {chance.choice(_GIVEN)},", "eeditor."
    if title.linked_title:
        yield "880", "6100-01/$1", f"a{title.linked_author},"
        yield "880", "6245-02/$1", f"a{title.linked_title} /"
    yield "852", f"a{copy.agency}", "bMAIN", f"h{copy.call_number}", f"p{copy.barcode}"


def _make_field(tag: str, *parts: str) -> Any:
    from pymarc import Field, Indicators, Subfield

    return Field(tag, Indicators(" ", " "), [Subfield(part[0], part[1:]) for part in parts])


def typed(size: int, number: int) -> str:
    """Return a query such as patrons type, for a catalogue of `size` titles. Most queries match titles of the catalogue."""
    chance = random.Random(-1 - number)
    title = catalogue_title(chance.randrange(size)).title
    words = title.title.split()
    chinese = title.linked_title or title.title
    common = chance.choices(ENGLISH, cum_weights=_ENGLISH_WEIGHTS, k=2)
    kinds = (
        *(title.title, f'"{" ".join(words[:3])}"', title.isbns[0], title.author, common[0], " ".join(common), chinese[:2]),
        *(chinese, f"{chance.choice(LITTLE)} {words[0]}", f"{words[-1]} {title.author.split(',')[0]}"),
    )
    return kinds[number % len(kinds)]
