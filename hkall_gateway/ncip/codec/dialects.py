"""How each kind of peer writes NCIP: one row per flow profile, by the name that the configuration uses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class NcipDialect:
    """The way we write NCIP to one kind of peer.

    `version` goes into NCIPMessage/@version. `prefix` stands for the NISO namespace, "" makes it the default one. `namespaced`
    is False for peers that take elements and attributes bare, `mirrors` is True for those that are answered as they wrote:
    bare if they wrote bare. `apart`: NCIPMessage's tags stand on lines of their own. `flow` names which events become
    documents and which documents they become.
    """

    name: str
    version: str
    flow: str
    prefix: str = "ns1"
    namespaced: bool = True
    mirrors: bool = False
    apart: bool = False

    @property
    def minor(self) -> int | None:
        """0, 1 or 2 for NCIP 2.0, 2.01 and 2.02. None for NCIP 1."""
        return minor(self.version)


NCIP_2_02 = "http://www.niso.org/schemas/ncip/v2_02/ncip_v2_02.xsd"
NCIP_1_01 = "http://www.niso.org/ncip/v1_01/imp1/dtd/ncip_v1_01.dtd"
NCIP_1_0 = "http://www.niso.org/ncip/v1_0/imp1/dtd/ncip_v1_0.dtd"

SUPPORTED = (
    NCIP_1_0,
    NCIP_1_01,
    "http://www.niso.org/schemas/ncip/v2_0/imp1/xsd/ncip_v2_0.xsd",
    "http://www.niso.org/schemas/ncip/v2_01/imp1/xsd/ncip_v2_01.xsd",
    NCIP_2_02,
)
"""The versions in a LookupVersionResponse: the schemas that are supported here."""

# The prefix is ns1 where a peer does not mind: the NNCIPP clients tell failure by the very text "ns1:Problem", and XC and
# VuFind write it. Koha's ncip-server looks for the name `NCIPMessage` as it stands, and its predecessor NCIPServer for the
# service in the second node below it, which must be white space before it (both run 2026-11-27).
# crosslink knows one version string and its paths differ from NISO's own; INN-Reach speaks 1.0 without a namespace. A broker
# writes to a local system in that system's habit (ReShare to Koha: no namespace) and reads replies in the same.
DIALECTS: Mapping[str, NcipDialect] = MappingProxyType(
    {
        row.name: row
        for row in (
            NcipDialect("direct",   NCIP_2_02,                                                "direct"),
            NcipDialect("broker",   "http://www.niso.org/ncip/v2_02/imp1/xsd/ncip_v2_02.xsd", "broker", mirrors=True),
            NcipDialect("innreach", NCIP_1_0,                                                 "innreach", namespaced=False),
            NcipDialect("koha",     NCIP_2_02,                                                "broker", prefix="", apart=True),
            NcipDialect("openrs",   NCIP_2_02,                                                "openrs"),
        )
    }
)  # fmt: skip

_MINORS = {"0": 0, "01": 1, "02": 2}


@lru_cache(maxsize=256)
def minor(version: str) -> int | None:
    """Return the minor version (0, 1, 2) of the 2.x schema that a version string names.

    None for NCIP 1, "" and unknown versions.

    The file's name decides, not the folder: `…/v2_0/imp1/xsd/ncip_v2_01.xsd` (ten documents seen) is 2.01.
    """
    named = re.search(r"ncip_v2_(0[12]?)\.xsd$", version)
    return _MINORS[named[1]] if named else None


class Dtd(str):
    """The version string of a peer's NCIP 1, with the DOCTYPE that belongs to it.

    `system` and `public` are the identifiers of the DTD. `public` is "" for a DOCTYPE without one. `asked` is the peer's name
    for the service if NCIP 2 has another one (AuthenticateUser), so that the reply can use the same name.
    """

    __slots__ = ("asked", "public", "system")
    system: str
    public: str
    asked: str

    def __new__(cls, version: str, system: str, public: str, asked: str = "") -> Dtd:
        """Make the text of the version, with the identifiers as attributes."""
        dtd = super().__new__(cls, version)
        dtd.system, dtd.public, dtd.asked = system, public, asked
        return dtd

    @property
    def late(self) -> bool:
        """Whether it is 1.01."""
        return _is_late(f"{self} {self.system} {self.public}")


def version_1(version: str) -> Dtd | None:
    """Return the NCIP 1 that a version string names. None for NCIP 2, "" and unknown versions."""
    if isinstance(version, Dtd):
        return version
    return Dtd(version, version, public(version)) if "v1_" in version else None


def public(system: str) -> str:
    """Return the public identifier that goes with a DTD of NCIP 1."""
    return f"-//NISO//NCIP DTD Version {'1.01' if _is_late(system) else '1.0'}//EN"


def _is_late(named: str) -> bool:
    return re.search(r"v1_01\b|Version 1\.01", named) is not None
