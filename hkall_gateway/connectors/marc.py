"""Copies and titles from MARC21 and MARCXML files, by the table of fields in rules/marc_fields.py."""

from __future__ import annotations

import re
import xml.sax
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import IO, Any, Final

from hkall_gateway.connectors.columns import BadFile, Row, placed_records
from hkall_gateway.connectors.exports import HOLDINGS
from hkall_gateway.rules.marc_fields import MATERIALS, ItemField, MarcMapping, MarcSource
from hkall_gateway.rules.vocabulary import BETWEEN_AUTHORS, Holding, Title
from hkall_gateway.store.search.isbns import isbns_of

SUFFIXES: Final = frozenset({".mrc", ".marc", ".xml"})

_END: Final = b"\x1d"
_BLOCK: Final = 1 << 20
_LONGEST: Final = 10_000_000
"""Bytes of one record. The format allows 99,999; some systems write larger ones with a false length."""
_DELETED: Final = "d"
_PUNCTUATION: Final = " /:;,="
_LINK_END: Final = re.compile(r"[.\\]")
_LINK: Final = re.compile(r"(\w{3})-(\d\d)")


@dataclass(frozen=True, slots=True)
class MarcFile:
    """The copies of a file with their places, and its titles by number.

    `complete` are titles of which the file names all copies of a library, by (agency, bib_id); a deleted record names none.
    `mistakes` are those of records that were left out, a line each.
    """

    rows: tuple[tuple[str, Holding], ...]
    titles: dict[str, Title]
    complete: frozenset[tuple[str, str]]
    mistakes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Reading:
    """What has been read so far."""

    rows: list[Row] = field(default_factory=list)
    titles: dict[str, Title] = field(default_factory=dict)
    complete: set[tuple[str, str]] = field(default_factory=set)
    mistakes: list[str] = field(default_factory=list)


def installed() -> bool:
    """Return whether pymarc is there, which the extra `web` brings."""
    return find_spec("pymarc") is not None


def is_marc(path: Path) -> bool:
    """Return whether a file's name says that it is MARC21 or MARCXML."""
    return path.suffix.lower() in SUFFIXES


def read(path: Path, mapping: MarcMapping, agency: str = "", *, skip: bool = False) -> MarcFile:
    """Read a file; `agency` is the library whose copies these are, "" where the records say it.

    Raises BadFile with all mistakes, each with the number of its record; with `skip` bad records are left out. A file that
    cannot be read to its end is bad in any case.
    """
    reader, found = RecordReader(mapping, agency), _Reading()
    for number, record in enumerate(records(path), 1):
        where = f"{path}:record {number}"
        if isinstance(record, Exception):
            found.mistakes.append(f"{where}: {_said(record)}")
            continue
        reader.add(where, record, found)
    rows = placed_records(found.rows, HOLDINGS, lambda row: Holding(**row), ("agency", "barcode"), left_out=found.mistakes)
    if found.mistakes and not skip:
        raise BadFile(found.mistakes)
    return MarcFile(rows, found.titles, frozenset(found.complete), tuple(found.mistakes))


# ---- records


def records(path: Path) -> Iterator[Any]:
    """Yield the records of a file, in their order; an exception in place of one that is broken. Raises BadFile."""
    try:
        with path.open("rb") as file:
            yield from _xml_records(path, file) if path.suffix.lower() == ".xml" else _marc21_records(path, file)
    except OSError as error:
        raise BadFile([f"{path}: {error.strerror}"]) from None


def _marc21_records(path: Path, file: IO[bytes]) -> Iterator[Any]:
    """Split at the record terminators, not by the lengths: one broken record does not hide those after it."""
    from pymarc import Record

    for chunk in _chunks(path, file):
        try:
            yield Record(chunk, hide_utf8_warnings=True)
        except Exception as error:  # noqa: BLE001  # pymarc raises its own, and whatever its decoding of broken bytes raises
            yield error


def _chunks(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    while block := file.read(_BLOCK):
        *whole, rest = (rest + block).split(_END)
        yield from (chunk.lstrip(b"\r\n\0 ") + _END for chunk in whole)
        if len(rest) > _LONGEST:
            raise BadFile([f"{path}: {len(rest)} bytes without the end of a record: not MARC21"])
    if rest.strip(b"\r\n\0 \x1a"):
        raise BadFile([f"{path}: the last record has no end: the file is cut off"])


def _xml_records(path: Path, file: IO[bytes]) -> Iterator[Any]:
    """Parse block by block, so that a large file is never in memory as a whole."""
    from pymarc.marcxml import XmlHandler

    handler: Any = XmlHandler()  # type: ignore[no-untyped-call]
    parser: Any = xml.sax.make_parser()  # noqa: S317  # expat limits entities itself; external ones are off
    parser.setFeature(xml.sax.handler.feature_namespaces, True)
    parser.setContentHandler(handler)
    count, empty = 0, True
    try:
        while block := file.read(_BLOCK):
            parser.feed(block)
            empty = False
            count += len(handler.records)
            yield from handler.records
            handler.records.clear()
        if empty:
            raise BadFile([f"{path}: is empty"])
        parser.close()
    except xml.sax.SAXException as error:
        raise BadFile([f"{path}: after record {count + len(handler.records)}: {error}"]) from None


def _said(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


# ---- facts of a record


class RecordReader:
    """Reads the facts of records by a mapping."""

    def __init__(self, mapping: MarcMapping, agency: str) -> None:
        self._mapping, self._agency = mapping, agency
        sources = chain.from_iterable(mapping.titles.values())
        tags = {one.tag for one in sources} | {row.tag for row in mapping.items} | {row.beside for row in mapping.items}
        self._tags = frozenset(tags | {"880"})
        self._rows = {row.tag: row for row in mapping.items}

    def add(self, where: str, record: Any, found: _Reading) -> None:
        """Add a record's copies and title to what has been found."""
        fields: dict[str, list[Any]] = {}
        for one in record.fields:
            if one.tag in self._tags:
                fields.setdefault(one.tag, []).append(one)
        bib_id = self._first(fields, "bib_id")
        if not bib_id:
            found.mistakes.append(f"{where}: has no number")
            return
        if str(record.leader)[5:6] == _DELETED:
            found.complete.add((self._agency, bib_id))
            return
        title = self._title(fields, bib_id)
        if not title.title:
            found.mistakes.append(f"{where}: has no title")
            return
        row = self._row(fields, title)
        copies = self._copies(fields, str(record.leader)[6:8])
        found.rows += [(where, row | copy) for copy in copies]
        libraries = {self._agency} if self._agency else {copy["agency"] for copy in copies if copy["agency"]}
        found.complete |= {(agency, bib_id) for agency in libraries}
        found.titles[bib_id] = title

    def _title(self, fields: dict[str, list[Any]], bib_id: str) -> Title:
        linked = _linked(fields.get("880", ()))
        sources = self._mapping.titles
        return Title(
            bib_id,
            self._first(fields, "title"),
            BETWEEN_AUTHORS.join(_all(fields, sources["author"])),
            isbns_of(_all(fields, sources["isbn"])),
            self._first(fields, "language").strip(" |"),
            self._first(fields, "published"),
            _first(linked, sources["title"]),
            BETWEEN_AUTHORS.join(_all(linked, sources["author"])),
        )

    def _row(self, fields: dict[str, list[Any]], title: Title) -> dict[str, str]:
        return {
            "bib_id": title.bib_id,
            "local_bib_id": self._first(fields, "local_bib_id"),
            "title": title.title,
            "author": title.author.partition(BETWEEN_AUTHORS)[0],
            "isbn": next(iter(title.isbns), ""),
        }

    def _first(self, fields: dict[str, list[Any]], fact: str) -> str:
        return _first(fields, self._mapping.titles[fact])

    def _copies(self, fields: dict[str, list[Any]], kind: str) -> list[dict[str, str]]:
        """Return the copies that the first field with a barcode describes."""
        for item in self._mapping.items:
            copies = [_subfields(one) for one in fields.get(item.tag, ())]
            if with_barcode := [copy for copy in copies if _joined(copy, item.barcode)]:
                beside = [_subfields(one) for one in fields.get(item.beside, ())]
                return [self._copy(item, copy, _beside(copy, beside), kind) for copy in with_barcode]
        return []

    def _copy(self, item: ItemField, copy: _Parts, beside: _Parts, kind: str) -> dict[str, str]:
        other = self._rows.get(item.beside)
        facts = {name: _joined(copy, getattr(item, name)) for name in _FACTS}
        if other is not None and beside:
            facts = {name: value or _joined(beside, getattr(other, name)) for name, value in facts.items()}
        agency, withheld = facts.pop("agency"), facts.pop("not_lendable")
        return {
            **facts,
            "agency": self._agency or self._mapping.agencies.get(agency, agency),
            "status": facts["status"] or self._mapping.no_status,
            "lendable": "yes" if withheld in {"", "0"} else "no",
            "material": facts["material"] or MATERIALS.get(kind, "book"),
        }


_Parts = dict[str, str]
_FACTS: Final = ("barcode", "agency", "call_number", "volume", "status", "not_lendable", "material")


def _subfields(one: Any) -> _Parts:
    parts: _Parts = {}
    for code, value in one.subfields:
        if stripped := value.strip():
            parts[code] = f"{parts[code]} {stripped}" if code in parts else stripped
    return parts


def _joined(parts: _Parts, codes: str) -> str:
    return " ".join([parts[code] for code in codes if code in parts])


def _beside(copy: _Parts, others: Sequence[_Parts]) -> _Parts:
    """Return the other field with the same link number, else the first; an empty one if there is none."""
    link = _link(copy)
    return next((other for other in others if link and _link(other) == link), others[0] if others else {})


def _link(parts: _Parts) -> str:
    """Return the number in subfield 8 (1.3, 1\\c) up to its point."""
    return _LINK_END.split(parts.get("8", ""))[0]


def _first(fields: dict[str, list[Any]], sources: Iterable[MarcSource]) -> str:
    """Return the text of the first of these sources that has one."""
    for one in sources:
        for found in fields.get(one.tag, ()):
            if made := _text_of(found, one):
                return made
    return ""


def _all(fields: dict[str, list[Any]], sources: Iterable[MarcSource]) -> list[str]:
    """Return the texts of these sources, in their order, each once."""
    there = [(one, fields[one.tag]) for one in sources if one.tag in fields]
    made = [_text_of(field, one) for one, found in there for field in found]
    return list(dict.fromkeys(filter(None, made)))


def _text_of(found: Any, one: MarcSource) -> str:
    """Return the text of a field without the punctuation that ends it (ISBD)."""
    if not one.codes:
        data = str(found.data or "")
        return (data if one.first is None else data[one.first : (one.last or one.first) + 1]).strip()
    joined = " ".join([value.strip() for code, value in found.subfields if code in one.codes]).rstrip(_PUNCTUATION)
    return joined[:-1] if joined[-1:] == "." and joined[-4:-1].isalnum() else joined


def _linked(fields: Iterable[Any]) -> dict[str, list[Any]]:
    """Return fields 880 by the tag that each repeats in another script (subfield 6: 245-01/$1)."""
    linked: dict[str, list[Any]] = {}
    for one in fields:
        if link := _LINK.match(one.get("6") or ""):
            linked.setdefault(link[1], []).append(one)
    return linked
