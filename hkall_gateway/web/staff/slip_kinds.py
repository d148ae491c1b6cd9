"""Which list prints which slip."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from hkall_gateway.db.queries.work_lists import ListName


class SlipKind(StrEnum):
    """Slips: for fetching our copy, for the hold shelf, for the way to the lender."""

    PULL = "pull"
    HOLD = "hold"
    TRANSIT = "transit"


KINDS: Final[Mapping[ListName, SlipKind]] = MappingProxyType(
    {
        ListName.PULL: SlipKind.PULL,
        ListName.SHELF: SlipKind.HOLD,
        ListName.TO_RETURN: SlipKind.TRANSIT,
    }
)
"""The slip of each list that has one."""
