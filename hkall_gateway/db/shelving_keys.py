"""The stored sort keys of call numbers: computed for each copy that is written, and filled in where they are missing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select, tuple_, update

from hkall_gateway.db.tables import HOLDINGS
from hkall_gateway.rules.shelving import shelving_key

H = HOLDINGS.c
Place = tuple[str, str]
CHUNK: Final = 2_000
START: Final[Place] = ("", "")


def with_keys(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows of `holdings` with their sort keys."""
    return [{**row, "shelving_key": shelving_key(row["call_number"])} for row in rows]


def fill(connection: Connection, after: Place = START, limit: int = CHUNK) -> Place | None:
    """Write missing keys of at most `limit` copies after (agency, barcode); return the last one, None at the end.

    Copies have no key if a gateway of an earlier release wrote them.
    """
    found = connection.execute(_MISSING, {"agency": after[0], "barcode": after[1], "most": limit}).all()
    if not found:
        return None
    rows = [{"of": agency, "numbered": barcode, "key": shelving_key(number)} for agency, barcode, number in found]
    connection.execute(_FILL, rows)
    return found[-1][0], found[-1][1]


_MISSING = (
    select(H.agency, H.barcode, H.call_number)
    .where(tuple_(H.agency, H.barcode) > tuple_(bindparam("agency"), bindparam("barcode")))
    .where(H.shelving_key == "", H.call_number != "")
    .order_by(H.agency, H.barcode)
    .limit(bindparam("most"))
)
_FILL = (
    update(HOLDINGS)
    .where(H.agency == bindparam("of"), H.barcode == bindparam("numbered"))
    .values(shelving_key=bindparam("key"))
)
