"""Copies and titles from MARC21 and MARCXML files, by the table of fields in rules/marc_fields.py."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Final

from hkall_gateway.db.loads.loading import StagedCopies
from hkall_gateway.db.search.folding import isbns_of
from hkall_gateway.ils.columns import BadFile, Row, keep_records
from hkall_gateway.ils.exports import HOLDINGS
from hkall_gateway.ils.marc_records import BadRecord, DataField, MarcRecord, records
from hkall_gateway.rules.marc_fields import MATERIALS, NUMBER_IN_IDENTIFIER, ItemField, MarcMapping, MarcSource
from hkall_gateway.rules.plain_text import fault_of_text
from hkall_gateway.rules.vocabulary import BETWEEN_AUTHORS, Holding, Title

_DELETED: Final = "d"
_PUNCTUATION: Final = " /:;,="
_LINK_END: Final = re.compile(r"[.\\]")
_LINK: Final = re.compile(r"(\w{3})-(\d\d)")


@dataclass(frozen=True, slots=True)
class MarcFile:
    """The titles of a file by number.

    `complete` are titles of which the file names all copies of a library, by (agency, bib_id). A deleted record names none.
    `mistakes` are those of records that were left out, a line each.
    """

    titles: dict[str, Title]
    complete: frozenset[tuple[str, str]]
    mistakes: tuple[str, ...] = ()


def installed() -> bool:
    """Return whether pymarc is there, which the extra `web` brings."""
    return find_spec("pymarc") is not None


def read(path: Path, mapping: MarcMapping, staged: StagedCopies, agency: str = "", *, skip: bool = False) -> MarcFile:
    """Read a file. `staged` gets its copies. `agency` is the library whose copies these are, "" where the records say it.

    Raises BadFile with all mistakes, each with the number of its record; with `skip` bad records are left out. A file that
    cannot be read to its end is bad in any case.
    """
    reader = RecordReader(path, mapping, agency)
    keep_records(reader.rows(), HOLDINGS, lambda row: Holding(**row), ("agency", "barcode"), staged.add, reader.mistakes)
    if reader.mistakes and not skip:
        raise BadFile(reader.mistakes)
    return MarcFile(reader.titles, frozenset(reader.complete), tuple(reader.mistakes))


class RecordReader:
    """Reads the copies of a file by a mapping; beside them, its titles, complete titles and mistakes."""

    def __init__(self, path: Path, mapping: MarcMapping, agency: str) -> None:
        self.titles: dict[str, Title] = {}
        self.complete: set[tuple[str, str]] = set()
        self.mistakes: list[str] = []
        self._path, self._mapping, self._agency = path, mapping, agency
        self._items = {row.tag: row for row in mapping.items}

    def rows(self) -> Iterator[Row]:
        """Yield the copies with their places."""
        sources = chain.from_iterable(self._mapping.titles.values())
        items = chain.from_iterable((row.tag, row.beside) for row in self._mapping.items)
        tags = frozenset({"880", *(one.tag for one in sources), *items} - {""})
        for number, record in enumerate(records(self._path, tags), 1):
            where = f"{self._path}:record {number}"
            try:
                yield from [(where, copy) for copy in self._read_copies(record)]
            except BadRecord as bad:
                self.mistakes.append(f"{where}: {bad}")

    def _read_copies(self, record: MarcRecord | BadRecord) -> list[dict[str, str]]:
        """Return the copies of a record, and keep its title. Raises BadRecord."""
        if isinstance(record, BadRecord):
            raise record
        bib_id = self._find_number(record)
        if not bib_id:
            raise BadRecord("has no number")
        _check_texts(bib_id)
        if record.leader[5] == _DELETED:
            self.complete.add((self._agency, bib_id))
            return []
        title = self._make_title(record, bib_id)
        if not title.title:
            raise BadRecord("has no title")
        _check_texts(*(text for text in astuple(title) if isinstance(text, str)))
        self.titles[bib_id] = title
        row = {
            "bib_id": bib_id,
            "local_bib_id": self._first_text(record, "local_bib_id"),
            "title": title.title,
            "author": title.author.partition(BETWEEN_AUTHORS)[0],
            "isbn": next(iter(title.isbns), ""),
        }
        copies = self._find_copies(record)
        libraries = {self._agency} if self._agency else {copy["agency"] for copy in copies if copy["agency"]}
        self.complete |= {(agency, bib_id) for agency in libraries}
        return [row | copy for copy in copies]

    def _find_number(self, record: MarcRecord) -> str:
        """Return the number of a title; where OAI-PMH deleted it, from the identifier. Raises BadRecord.

        Where the identifier should hold it, it must be that of the fields: else a deletion would meet another title.
        """
        stated, form = self._first_text(record, "bib_id"), self._mapping.oai_identifier
        if not record.identifier or (stated and not form):
            return stated
        if not form:
            what = f"OAI-PMH says that {record.identifier!r} is deleted"
            raise BadRecord(f"{what}; [marc] oai_identifier must say where its number is")
        before, _, after = form.partition(NUMBER_IN_IDENTIFIER)
        named = record.identifier[len(before) : len(record.identifier) - len(after)]
        if not named or record.identifier != f"{before}{named}{after}":
            raise BadRecord(f"OAI-PMH's identifier {record.identifier!r} is not like {form}")
        if stated and named != stated:
            raise BadRecord(f"by its OAI-PMH identifier its number is {named!r}, by its fields {stated!r}")
        return named

    def _make_title(self, record: MarcRecord, bib_id: str) -> Title:
        linked = _find_linked_fields(record)
        sources = self._mapping.titles
        return Title(
            bib_id,
            self._first_text(record, "title"),
            BETWEEN_AUTHORS.join(_unique_texts(record, sources["author"])),
            isbns_of(_unique_texts(record, sources["isbn"])),
            self._first_text(record, "language").strip(" |"),
            self._first_text(record, "published"),
            next(_find_texts(linked, sources["title"]), ""),
            BETWEEN_AUTHORS.join(_unique_texts(linked, sources["author"])),
        )

    def _first_text(self, record: MarcRecord, fact: str) -> str:
        return next(_find_texts(record, self._mapping.titles[fact]), "")

    def _find_copies(self, record: MarcRecord) -> list[dict[str, str]]:
        """Return the copies that the first field with a barcode describes."""
        for item in self._mapping.items:
            copies = [_subfields(one) for one in record.data.get(item.tag, ())]
            if with_barcode := [copy for copy in copies if _join_subfields(copy, item.barcode)]:
                beside = [_subfields(one) for one in record.data.get(item.beside, ())]
                kind = record.leader[6:8]
                return [self._make_copy(item, copy, _find_companion(copy, beside), kind) for copy in with_barcode]
        return []

    def _make_copy(self, item: ItemField, copy: _Parts, beside: _Parts, kind: str) -> dict[str, str]:
        other = self._items.get(item.beside)
        facts = {name: _join_subfields(copy, getattr(item, name)) for name in _FACTS}
        if other is not None and beside:
            facts = {name: value or _join_subfields(beside, getattr(other, name)) for name, value in facts.items()}
        agency, withheld = facts.pop("agency"), facts.pop("not_lendable")
        return {
            **facts,
            "agency": self._agency or self._mapping.agencies.get(agency, agency),
            "status": facts["status"] or self._mapping.no_status,
            "lendable": "yes" if withheld in {"", "0"} else "no",
            "material": facts["material"] or MATERIALS.get(kind, "book"),
        }


def _check_texts(*texts: str) -> None:
    """Raise BadRecord for a text that may not enter. The columns check those of a copy."""
    for text in texts:
        if fault := fault_of_text(text, lines=True):
            raise BadRecord(f"{text[:40]!r}: {fault}")


_Parts = dict[str, str]
_FACTS: Final = ("barcode", "agency", "call_number", "volume", "status", "not_lendable", "material")


def _subfields(one: DataField) -> _Parts:
    parts: _Parts = {}
    for code, value in one:
        if stripped := value.strip():
            parts[code] = f"{parts[code]} {stripped}" if code in parts else stripped
    return parts


def _join_subfields(parts: _Parts, codes: str) -> str:
    return " ".join([parts[code] for code in codes if code in parts])


def _find_companion(copy: _Parts, others: Sequence[_Parts]) -> _Parts:
    """Return the other field with the same link number, else the first. It is empty if there is none."""
    link = _link_number(copy)
    return next((other for other in others if link and _link_number(other) == link), others[0] if others else {})


def _link_number(parts: _Parts) -> str:
    r"""Return the number in subfield 8 (1.3, 1\c) up to its point."""
    return _LINK_END.split(parts.get("8", ""))[0]


def _unique_texts(record: MarcRecord, sources: Iterable[MarcSource]) -> list[str]:
    """Return the texts of these sources, in their order, each once."""
    return list(dict.fromkeys(_find_texts(record, sources)))


def _find_texts(record: MarcRecord, sources: Iterable[MarcSource]) -> Iterator[str]:
    """Yield the texts of these sources, in their order."""
    for one in sources:
        if one.codes:
            yield from filter(None, (_without_punctuation(field, one.codes) for field in record.data.get(one.tag, ())))
        else:
            places = slice(None) if one.first is None else slice(one.first, (one.last or one.first) + 1)
            yield from filter(None, (text[places].strip() for text in record.control.get(one.tag, ())))


def _without_punctuation(found: DataField, codes: str) -> str:
    """Return the text of a field without the punctuation that ends it (ISBD)."""
    joined = " ".join([value.strip() for code, value in found if code in codes]).rstrip(_PUNCTUATION)
    return joined[:-1] if joined[-1:] == "." and joined[-4:-1].isalnum() else joined


def _find_linked_fields(record: MarcRecord) -> MarcRecord:
    """Return fields 880 by the tag that each repeats in another script (subfield 6: 245-01/$1)."""
    linked: dict[str, list[DataField]] = {}
    for one in record.data.get("880", ()):
        if link := _LINK.match(next((value for code, value in one if code == "6"), "")):
            linked.setdefault(link[1], []).append(one)
    return MarcRecord("", {}, linked)
