"""The MARC fields with the data of titles and items: the defaults in `marc_fields.toml`, which a site can override.

Source: MARC 21 Formats for Bibliographic and for Holdings Data (Library of Congress); Koha for field 952, common exports of
Sierra and Millennium for field 949.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, TypeAlias

from pydantic import Field

from hkall_gateway.rules.vendor_words.availability import ON_SHELF

_SOURCE: Final = re.compile(r"(?P<tag>[0-9A-Z]{3})(?:/(?P<first>\d{1,3})(?:-(?P<last>\d{1,3}))?|(?P<codes>[0-9a-z]+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class MarcSource:
    """A place in a record: subfields `codes` of a field, or characters `first` to `last` of a control field (None = all)."""

    tag: str
    codes: str = ""
    first: int | None = None
    last: int | None = None


def source(text: str) -> MarcSource:
    """Parse a source such as `245abnp`, `001` or `008/35-37`. Raise ValueError for a malformed text."""
    found = _SOURCE.fullmatch(text)
    if not found or (found["tag"] < "010") is bool(found["codes"]):
        raise ValueError(f"{text!r} is no MARC field with subfields (245ab) or control field (001, 008/35-37)")
    first = int(found["first"]) if found["first"] else None
    return MarcSource(
        tag=found["tag"], codes=found["codes"] or "", first=first, last=int(found["last"]) if found["last"] else first
    )


Subfields: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-z]*$")]
Tag: TypeAlias = Annotated[str, Field(pattern=r"^[0-9A-Z]{3}$")]


@dataclass(frozen=True, kw_only=True)
class ItemField:
    """A field of which each occurrence describes one item, and the subfields with the item's data ("" = no subfield).

    Missing data are taken from the `beside` field with the same link number in subfield 8, or else from the first such field.
    """

    tag: Annotated[Tag, Field(description="the field")]
    barcode: Annotated[Subfields, Field(min_length=1, description="subfield of the barcode; without it there is no copy")]
    agency: Annotated[Subfields, Field(description="subfield of the library's code; `agencies` maps it to an agency")] = ""
    call_number: Annotated[Subfields, Field(description="subfields of the call number, in their order")] = ""
    volume: Annotated[Subfields, Field(description="subfields of the volume")] = ""
    status: Annotated[Subfields, Field(description="subfield of the status")] = ""
    not_lendable: Annotated[Subfields, Field(description="subfield with a reason why it is not lent; 0 or empty: it is")] = ""
    material: Annotated[Subfields, Field(description="subfield of the material; without it the leader says it")] = ""
    beside: Annotated[
        str, Field(pattern=r"^([0-9A-Z]{3})?$", description="field that supplies what this one lacks, as 852 for 876")
    ] = ""


_TABLES: Final[dict[str, Any]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
ITEM_FIELDS: Final = tuple(ItemField(**row) for row in _TABLES["items"])
TITLE_SOURCES: Final = MappingProxyType({attribute: tuple(sources) for attribute, sources in _TABLES["titles"].items()})
MATERIALS: Final[Mapping[str, str]] = MappingProxyType(_TABLES["materials"])
NUMBER_IN_IDENTIFIER: Final = "{bib_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MarcMapping:
    """A site's mapping of MARC fields. `agencies` maps library codes in the records to AgencyIds.

    `oai_identifier` is a pattern of OAI-PMH identifiers with {bib_id} for the record number, or "" if they do not contain it.
    """

    titles: Mapping[str, tuple[MarcSource, ...]] = field(
        default_factory=lambda: {fact: tuple(map(source, texts)) for fact, texts in TITLE_SOURCES.items()}
    )
    items: tuple[ItemField, ...] = ITEM_FIELDS
    agencies: Mapping[str, str] = field(default_factory=dict)
    no_status: str = ON_SHELF
    oai_identifier: str = ""


def overlaid(rows: tuple[ItemField, ...]) -> tuple[ItemField, ...]:
    """Return a site's own item fields, followed by the default item fields with other tags."""
    site_tags = {row.tag for row in rows}
    return (*rows, *(row for row in ITEM_FIELDS if row.tag not in site_tags))
