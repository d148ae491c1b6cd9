"""Reads items and titles from MARC21 and MARCXML files, using the field mapping in rules/marc_fields.py."""

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
    """The contents of a MARC file, apart from its items.

    Attributes:
        titles: Titles by record number.
        complete: (agency, bib_id) pairs for which the file lists all items, which are none for a deleted record.
        mistakes: One error per skipped record.
    """

    titles: dict[str, Title]
    complete: frozenset[tuple[str, str]]
    mistakes: tuple[str, ...] = ()


def installed() -> bool:
    """Return whether pymarc is installed, which the extra `web` includes."""
    return find_spec("pymarc") is not None


def read(path: Path, mapping: MarcMapping, staged: StagedCopies, agency: str = "", *, skip: bool = False) -> MarcFile:
    """Read a MARC file, and store its items in `staged`.

    `agency` is the library that owns the items; "" if the records name the library. Raise BadFile with all errors and their
    record numbers. With `skip`, skip bad records instead, but still raise BadFile for a truncated file.
    """
    reader = RecordReader(path, mapping, agency)
    keep_records(reader.rows(), HOLDINGS, lambda row: Holding(**row), ("agency", "barcode"), staged.add, reader.mistakes)
    if reader.mistakes and not skip:
        raise BadFile(reader.mistakes)
    return MarcFile(reader.titles, frozenset(reader.complete), tuple(reader.mistakes))


class RecordReader:
    """Reads the items in a file, and meanwhile collects the file's titles, complete titles and mistakes (see MarcFile)."""

    def __init__(self, path: Path, mapping: MarcMapping, agency: str) -> None:
        self.titles: dict[str, Title] = {}
        self.complete: set[tuple[str, str]] = set()
        self.mistakes: list[str] = []
        self._path, self._mapping, self._agency = path, mapping, agency
        self._items = {row.tag: row for row in mapping.items}

    def rows(self) -> Iterator[Row]:
        """Yield the items as rows with their places."""
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
        """Return the items of a record, and store the title. Raise BadRecord if the record is unusable."""
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
        """Return the record number, from the fields or, for a deleted record, from the OAI-PMH identifier.

        Raise BadRecord if the two contradict each other, since a deletion might otherwise affect another title.
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
            bib_id=bib_id,
            title=self._first_text(record, "title"),
            author=BETWEEN_AUTHORS.join(_unique_texts(record, sources["author"])),
            isbns=isbns_of(_unique_texts(record, sources["isbn"])),
            language=self._first_text(record, "language").strip(" |"),
            published=self._first_text(record, "published"),
            linked_title=next(_find_texts(linked, sources["title"]), ""),
            linked_author=BETWEEN_AUTHORS.join(_unique_texts(linked, sources["author"])),
        )

    def _first_text(self, record: MarcRecord, fact: str) -> str:
        return next(_find_texts(record, self._mapping.titles[fact]), "")

    def _find_copies(self, record: MarcRecord) -> list[dict[str, str]]:
        """Return the items in the first mapped field that has a barcode."""
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
    """Raise BadRecord for forbidden characters. The texts of items are checked with their columns instead."""
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
    """Return the field in `others` with the same link number, or the first field, or an empty dict if there is none."""
    link = _link_number(copy)
    return next((other for other in others if link and _link_number(other) == link), others[0] if others else {})


def _link_number(parts: _Parts) -> str:
    r"""Return the link number in subfield 8: "1" for 1.3 and for 1\c."""
    return _LINK_END.split(parts.get("8", ""))[0]


def _unique_texts(record: MarcRecord, sources: Iterable[MarcSource]) -> list[str]:
    """Return the texts from `sources` in order, without duplicates."""
    return list(dict.fromkeys(_find_texts(record, sources)))


def _find_texts(record: MarcRecord, sources: Iterable[MarcSource]) -> Iterator[str]:
    """Yield the non-empty texts from `sources`, in order."""
    for one in sources:
        if one.codes:
            yield from filter(None, (_without_punctuation(field, one.codes) for field in record.data.get(one.tag, ())))
        else:
            places = slice(None) if one.first is None else slice(one.first, (one.last or one.first) + 1)
            yield from filter(None, (text[places].strip() for text in record.control.get(one.tag, ())))


def _without_punctuation(found: DataField, codes: str) -> str:
    """Return the text of a field without final ISBD punctuation."""
    joined = " ".join([value.strip() for code, value in found if code in codes]).rstrip(_PUNCTUATION)
    return joined[:-1] if joined[-1:] == "." and joined[-4:-1].isalnum() else joined


def _find_linked_fields(record: MarcRecord) -> MarcRecord:
    """Return the 880 fields by the tag of the field that they give in another script (subfield 6: 245-01/$1)."""
    linked: dict[str, list[DataField]] = {}
    for one in record.data.get("880", ()):
        if link := _LINK.match(next((value for code, value in one if code == "6"), "")):
            linked.setdefault(link[1], []).append(one)
    return MarcRecord(leader="", control={}, data=linked)
