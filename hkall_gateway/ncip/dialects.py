"""How each kind of peer writes NCIP: one row per flow profile, by the name that the configuration uses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Dialect:
    """What we write towards one kind of peer.

    `version` goes into NCIPMessage/@version. `prefix` stands for the NISO namespace; `namespaced` is False for peers that
    take elements and attributes bare. `flow` names which events become documents and which documents they become.
    """

    name: str
    version: str
    flow: str
    prefix: str = "ns1"
    namespaced: bool = True

    @property
    def minor(self) -> int | None:
        """0, 1 or 2 for NCIP 2.0, 2.01 and 2.02; None for NCIP 1."""
        return minor(self.version)


NCIP_2_02 = "http://www.niso.org/schemas/ncip/v2_02/ncip_v2_02.xsd"
NCIP_1_0 = "http://www.niso.org/ncip/v1_0/imp1/dtd/ncip_v1_0.dtd"

# The prefix is ns1 for all: the NNCIPP clients tell failure by the very text "ns1:Problem", and XC and VuFind write it.
# crosslink knows one version string and its paths differ from NISO's own; INN-Reach speaks 1.0 without a namespace.
DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        row.name: row
        for row in (
            Dialect("direct",   NCIP_2_02,                                                "direct"),
            Dialect("broker",   "http://www.niso.org/ncip/v2_02/imp1/xsd/ncip_v2_02.xsd", "broker"),
            Dialect("innreach", NCIP_1_0,                                                 "innreach", namespaced=False),
        )
    }
)  # fmt: skip

_MINORS = {"0": 0, "01": 1, "02": 2}


def minor(version: str) -> int | None:
    """Which 2.x schema a version string names: 0, 1, 2; None for NCIP 1, for nothing and for what nobody knows.

    The file's name decides, not the folder: `…/v2_0/imp1/xsd/ncip_v2_01.xsd` (ten documents seen) is 2.01.
    """
    named = re.search(r"ncip_v2_(0[12]?)\.xsd$", version)
    return _MINORS[named[1]] if named else None
