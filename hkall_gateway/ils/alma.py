"""Converts Alma's user XML (version 2), as a single file or several files in a zip file, to rows like those in patrons.csv.

Source: the schema of Alma's user object. Real files have elements in any order, with or without a namespace. A patron's barcode
is the active identifier of type BARCODE, or else the primary id. Inactive identifiers of this type are former cards.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Final
from zipfile import BadZipFile, ZipFile, is_zipfile

from lxml import etree

from hkall_gateway.ils.columns import BadFile, Row

User = etree._Element

_DAY: Final = re.compile(r"(\d{4}-\d{2}-\d{2})(Z|[+-]\d{2}:\d{2})?")
_CHINESE: Final = re.compile(r"[\u3400-\u9fff\U00020000-\U0003ffff]")


def is_alma(path: Path) -> bool:
    """Return whether a file starts like XML or is a zip file."""
    try:
        with path.open("rb") as file:
            return file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<" or is_zipfile(path)
    except OSError:
        return False


def rows(path: Path) -> Iterator[Row]:
    """Yield one row per user, with the columns of patrons.csv. Raise BadFile for a file that is not Alma's user XML."""
    if not is_zipfile(path):
        with path.open("rb") as file:
            yield from _read_users(str(path), file)
        return
    try:
        with ZipFile(path) as archive:
            found = sorted(name for name in archive.namelist() if name.lower().endswith(".xml"))
            if not found:
                raise BadFile([f"{path}: there is no XML file in it"])
            for name in found:
                with archive.open(name) as member:
                    yield from _read_users(f"{path}/{name}", member)
    except BadZipFile as bad:
        raise BadFile([f"{path}: {bad}"]) from None


def _read_users(name: str, file: IO[bytes]) -> Iterator[Row]:
    """Yield the users in a file. Free each element after use, since a file may list a whole university."""
    events = etree.iterparse(file, events=("start", "end"), resolve_entities=False, no_network=True, load_dtd=False)
    try:
        for number, (event, element) in enumerate(events):
            if number == 0 and _local_name(element) not in {"users", "user"}:
                raise BadFile([f"{name}:{element.sourceline}: {_local_name(element)}: not Alma's user XML"])
            if event == "end" and _local_name(element) == "user":
                yield f"{name}:{element.sourceline}", {column: read(element) for column, read in COLUMNS.items()}
                element.clear()
    except etree.XMLSyntaxError as bad:
        raise BadFile([f"{name}:{bad.lineno}: {bad.msg}"]) from None


def _find_barcode(user: User) -> str:
    return next(_find_barcodes(user, active=True), _child_text(user, "primary_id"))


def _former_barcodes(user: User) -> str:
    present = _find_barcode(user)
    return ";".join(value for value in _find_barcodes(user, active=False) if value != present)


def _find_barcodes(user: User, *, active: bool) -> Iterator[str]:
    """Yield the non-empty identifiers of type BARCODE that are active, or inactive if `active` is False."""
    for one in _find_children(user, "user_identifier"):
        is_active = _child_text(one, "status").upper() in {"", "ACTIVE"}
        if is_active is active and _child_text(one, "id_type").upper() == "BARCODE" and _child_text(one, "value"):
            yield _child_text(one, "value")


def _find_name(user: User) -> str:
    parts = (_child_text(user, part) for part in ("first_name", "middle_name", "last_name"))
    return _child_text(user, "full_name") or " ".join(part for part in parts if part)


def _name_zh(user: User) -> str:
    """Return the preferred name (family name first) if it is Chinese, or else ""."""
    name = _child_text(user, "pref_last_name") + _child_text(user, "pref_first_name")
    return name if _CHINESE.search(name) else ""


def _study_mode(user: User) -> str:
    """Return the first statistical category whose type contains "STUDY"."""
    for statistic in _find_children(user, "user_statistic"):
        if "STUDY" in _child_text(statistic, "category_type").upper():
            return _child_text(statistic, "statistic_category")
    return ""


def _read_day(user: User) -> str:
    """Return the expiry date without the time zone that Alma appends."""
    found = _child_text(user, "expiry_date")
    day = _DAY.fullmatch(found)
    return day[1] if day else found


def _find_email(user: User) -> str:
    found = list(_find_children(user, "email"))
    chosen = next((one for one in found if one.get("preferred") == "true"), found[0] if found else user)
    return _child_text(chosen, "email_address")


def _is_blocked(user: User) -> str:
    blocks = (_child_text(block, "block_status").upper() for block in _find_children(user, "user_block"))
    return "yes" if _child_text(user, "status").upper() == "INACTIVE" or "ACTIVE" in blocks else "no"


# fmt: off
COLUMNS: Final[Mapping[str, Callable[[User], str]]] = {
    "barcode":        _find_barcode,
    "name":           _find_name,
    "name_zh":        _name_zh,
    "category":       lambda user: _child_text(user, "user_group"),
    "study_mode":     _study_mode,
    "expires":        _read_day,
    "email":          _find_email,
    "language":       lambda user: _child_text(user, "preferred_language"),
    "blocked":        _is_blocked,
    "former_barcode": _former_barcodes,
}
# fmt: on
"""Columns of patrons.csv, with functions that read them from a user element. The XML does not contain the number of loans."""


def _find_children(user: User, name: str) -> Iterator[User]:
    """Yield all descendants with this name."""
    return user.iter(f"{{*}}{name}")


def _child_text(element: User, name: str) -> str:
    """Return the text of a child element, or "" if there is no such child."""
    found = element.find(f"{{*}}{name}")
    return (found.text or "").strip() if found is not None else ""


def _local_name(element: User) -> str:
    return etree.QName(element).localname
