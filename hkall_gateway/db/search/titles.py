"""One title of the union catalogue by its number."""

from __future__ import annotations

from dataclasses import fields

from sqlalchemy import Connection, bindparam, select

from hkall_gateway.db.tables import TITLES
from hkall_gateway.rules.vocabulary import Title


def title(connection: Connection, bib_id: str) -> Title | None:
    """Return a title; None if there is none, or if it is not yet filled in (`loads/catalogue.py`)."""
    found = connection.execute(_TITLE, {"bib_id": bib_id}).mappings().first()
    return Title(**{**found, "isbns": tuple(found["isbns"].split())}) if found else None


_TITLE = select(*(TITLES.c[field.name] for field in fields(Title))).where(TITLES.c.bib_id == bindparam("bib_id"))
