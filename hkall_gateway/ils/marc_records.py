"""Reads MARC21 and MARCXML files, plain or gzipped, record by record. A broken record does not affect the next.

Unlike pymarc's reader, this reader decodes only the fields that a load needs (about a third), so that errors in other fields do
not matter. pymarc is used to convert MARC-8.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Callable, Iterator, Set
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import IO, Final, TypeAlias, cast

from lxml import etree

from hkall_gateway.ils.columns import BadFile

SUFFIXES: Final = frozenset({".mrc", ".marc", ".xml"})

_BLOCK: Final = 1 << 20
_LONGEST: Final = 10_000_000
"""Maximum size of a record in bytes. The format allows 99,999, but some systems write larger records with a false length."""
_END, _END_OF_FIELD, _SUBFIELD, _ESCAPE, _BOM = b"\x1d", b"\x1e", b"\x1f", b"\x1b", b"\xef\xbb\xbf"
_BETWEEN: Final = b"\r\n\0 \x1a"
_LEADER, _ENTRY, _SCHEME = 24, 12, 9
"""Length of the leader and of a directory entry, and offset in the leader of the encoding (`a` for UTF-8, blank for MARC-8)."""
_DELETED: Final = "     d".ljust(_LEADER)
"""The leader assigned to records that are marked as deleted in OAI-PMH."""
_DIRECTORY: Final = re.compile(rb"(?:[0-9A-Za-z]{3}\d{9})*")

DataField: TypeAlias = list[tuple[str, str]]
"""The (code, text) subfields of a data field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarcRecord:
    """A record, with its `control` fields (00X) and `data` fields by tag.

    `identifier` is the OAI-PMH identifier, or "" without an OAI-PMH header. A record that is marked as deleted has no fields.
    """

    leader: str
    control: dict[str, list[str]]
    data: dict[str, list[DataField]]
    identifier: str = ""


class BadRecord(Exception):
    """A record that cannot be read. The text describes the error."""


def is_marc(path: Path) -> bool:
    """Return whether a file has a suffix for MARC21 or MARCXML."""
    return _suffix_of(path) in SUFFIXES


def records(path: Path, tags: Set[str]) -> Iterator[MarcRecord | BadRecord]:
    """Yield the records of a file with the fields in `tags`, and a BadRecord in place of each broken record.

    Raise BadFile if the rest of the file cannot be read.
    """
    try:
        with _open_file(path) as file:
            yield from (_xml_records if _suffix_of(path) == ".xml" else _marc21_records)(path, file, tags)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadFile([f"{path}: {error}"]) from None
    except OSError as error:
        raise BadFile([f"{path}: {error.strerror}"]) from None


def _suffix_of(path: Path) -> str:
    """Return the last suffix of a file name, ignoring .gz."""
    return (path.with_suffix("") if _is_compressed(path) else path).suffix.lower()


def _is_compressed(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _open_file(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if _is_compressed(path) else path.open("rb")


def _marc21_records(path: Path, file: IO[bytes], tags: Set[str]) -> Iterator[MarcRecord | BadRecord]:
    """Yield the records in a MARC21 file, split at record terminators, since the lengths in leaders may be wrong."""
    wanted = frozenset(tag.encode() for tag in tags)
    for chunk in _split_records(path, file):
        try:
            yield _parse_record(chunk, wanted)
        except BadRecord as bad:
            yield bad


def _split_records(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    rest = file.read(len(_BOM)).removeprefix(_BOM)
    while block := file.read(_BLOCK):
        *whole, rest = (rest + block).split(_END)
        yield from (chunk.lstrip(_BETWEEN) + _END for chunk in whole)
        if len(rest) > _LONGEST:
            raise BadFile([f"{path}: {len(rest)} bytes without the end of a record: not MARC21"])
    if rest.strip(_BETWEEN):
        raise BadFile([f"{path}: the last record has no end: the file is cut off"])


def _parse_record(chunk: bytes, wanted: Set[bytes]) -> MarcRecord:
    """Return a record with the fields whose tags are in `wanted`. Raise BadRecord for a malformed record."""
    length, base = chunk[:5], chunk[12:17]
    if not (length.isdigit() and base.isdigit() and int(base) > _LEADER and chunk[:_LEADER].isascii()):
        raise BadRecord("its leader is not that of MARC21")
    if len(chunk) < int(length):
        raise BadRecord(f"it has {len(chunk)} bytes, but {int(length)} by its leader: it is cut off")
    directory, data = chunk[_LEADER : int(base) - 1], chunk[int(base) - 1 :]
    if not _DIRECTORY.fullmatch(directory) or data[:1] != _END_OF_FIELD:
        raise BadRecord("its directory is not that of MARC21")
    texts = [(tag.decode(), text) for tag, text in _find_fields(directory, data, wanted)]
    decode = _choose_decoder(chunk[_SCHEME : _SCHEME + 1], b"".join([text for _, text in texts]))
    found = MarcRecord(leader=chunk[:_LEADER].decode(), control={}, data={})
    for tag, text in texts:
        try:
            if _is_control(tag):
                found.control.setdefault(tag, []).append(decode(text))
            else:
                parts = [(chr(part[0]), decode(part[1:])) for part in text.split(_SUBFIELD)[1:] if part]
                found.data.setdefault(tag, []).append(parts)
        except UnicodeDecodeError as error:
            scheme = "UTF-8" if decode is bytes.decode else "MARC-8"
            raise BadRecord(f"field {tag} is not {scheme}, as the leader says: {error.object[:60]!r}") from None
    return found


def _find_fields(directory: bytes, data: bytes, wanted: Set[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield tag and bytes of each field in `wanted`. Raise BadRecord if a field does not end where the directory says."""
    for at in range(0, len(directory), _ENTRY):
        if (tag := directory[at : at + 3]) in wanted:
            start = int(directory[at + 7 : at + _ENTRY]) + 1
            end = start + int(directory[at + 3 : at + 7]) - 1
            if data[end : end + 1] != _END_OF_FIELD:
                raise BadRecord(f"field {tag.decode()} does not end where the directory says")
            yield tag, data[start:end]


def _choose_decoder(scheme: bytes, text: bytes) -> Callable[[bytes], str]:
    """Choose the decoder by the encoding in the leader (`scheme`). Detect UTF-8 even if the leader says MARC-8."""
    if scheme == b"a" or (text.isascii() and _ESCAPE not in text):
        return bytes.decode
    try:
        text.decode()
    except UnicodeDecodeError:
        return _from_marc8
    return _from_marc8 if _ESCAPE in text else bytes.decode


def _from_marc8(text: bytes) -> str:
    """Decode MARC-8. Raise UnicodeDecodeError also for characters that pymarc would replace with blanks."""
    from pymarc.marc8 import marc8_to_unicode

    if text.isascii() and _ESCAPE not in text:
        return text.decode()
    with redirect_stderr(StringIO()) as reported:
        made = marc8_to_unicode(text)
    if reported.getvalue():
        raise UnicodeDecodeError("MARC-8", text, 0, len(text), reported.getvalue())
    return made


def _is_control(tag: str) -> bool:
    return tag.startswith("00")


def _xml_records(path: Path, file: IO[bytes], tags: Set[str]) -> Iterator[MarcRecord | BadRecord]:
    """Yield the records in a MARCXML or OAI-PMH file. Free each element after use, so that files may be large."""
    ends = etree.iterparse(file, tag="{*}record", resolve_entities=False, no_network=True, load_dtd=False)
    count = 0
    try:
        for _, element in ends:
            header = element.find("{*}header")  # only OAI-PMH records have it; the MARC record inside has been read before
            if header is None:
                count += 1
                yield _parse_xml_record(element, tags)
            elif header.get("status") == "deleted":
                count += 1
                yield MarcRecord(leader=_DELETED, control={}, data={}, identifier=_read_identifier(header))
            element.clear()
            while element.getprevious() is not None and (parent := element.getparent()) is not None:
                del parent[0]
        if not count and ends.root is not None and (root := etree.QName(ends.root).localname) != "collection":
            raise BadFile([f"{path}: {root}: not MARCXML"])
    except etree.XMLSyntaxError as error:
        raise BadFile([f"{path}: after record {count}: {error.msg}"]) from None


def _read_identifier(header: etree._Element) -> str:
    return str(header.findtext("{*}identifier", "")).strip()


def _parse_xml_record(element: etree._Element, tags: Set[str]) -> MarcRecord | BadRecord:
    """Return a record with the fields in `tags`, or a BadRecord."""
    leader = next((child.text or "" for child in element.iterchildren("{*}leader")), "")
    around = next(element.iterancestors("{*}record"), None)  # the OAI-PMH record
    header = None if around is None else around.find("{*}header")
    found = MarcRecord(
        leader=leader.ljust(_LEADER), control={}, data={}, identifier="" if header is None else _read_identifier(header)
    )
    for child in element.iterchildren("{*}controlfield", "{*}datafield"):
        if (tag := child.get("tag", "")) not in tags:
            continue
        if _is_control(tag):
            found.control.setdefault(tag, []).append(child.text or "")
            continue
        parts = [(one.get("code") or "", one.text or "") for one in child.iterchildren("{*}subfield")]
        if not all(code for code, _ in parts):
            return BadRecord(f"a subfield of field {tag} has no code")
        found.data.setdefault(tag, []).append(parts)
    return found
