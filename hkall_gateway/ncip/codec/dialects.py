"""The NCIP dialects, which define how to write NCIP for each kind of peer, by the dialect's name in the configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class NcipDialect:
    """The way we write NCIP for one kind of peer.

    Attributes:
        version: Value of NCIPMessage/@version.
        flow: Key in `FLOWS`, whose table maps each notification to the document that is sent.
        prefix: Prefix for the NISO namespace, or "" to make it the default namespace.
        namespaced: False to write elements and attributes without a namespace.
        mirrors: True to omit the namespace in replies to documents without a namespace.
        apart: True to put the tags of NCIPMessage on separate lines.
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
        """The minor version, 0, 1 or 2 for NCIP 2.0, 2.01 or 2.02, or None for NCIP 1."""
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
"""Schema versions that a LookupVersionResponse lists."""

# ns1 is the default prefix because NNCIPP clients detect failures by the literal text "ns1:Problem", and because XC and
# VuFind write ns1 too. Koha's ncip-server requires an `NCIPMessage` tag without a prefix. NCIPServer, its predecessor, expects
# the service in the second node below NCIPMessage, so white space must precede the service element (both run 2026-11-27).
# crosslink accepts a single version string, whose path differs from NISO's. INN-Reach uses 1.0 without a namespace. A broker
# writes in the style of the local system behind it (ReShare to Koha: without a namespace), and expects replies in that style.
DIALECTS: Mapping[str, NcipDialect] = MappingProxyType(
    {
        row.name: row
        for row in (
            NcipDialect(name="direct", version=NCIP_2_02, flow="direct"),
            NcipDialect(
                name="broker", version="http://www.niso.org/ncip/v2_02/imp1/xsd/ncip_v2_02.xsd", flow="broker", mirrors=True
            ),
            NcipDialect(name="innreach", version=NCIP_1_0, flow="innreach", namespaced=False),
            NcipDialect(name="koha", version=NCIP_2_02, flow="broker", prefix="", apart=True),
            NcipDialect(name="openrs", version=NCIP_2_02, flow="openrs"),
        )
    }
)

_MINORS = {"0": 0, "01": 1, "02": 2}


@lru_cache(maxsize=256)
def minor(version: str) -> int | None:
    """Return the minor version (0, 1, 2) of the 2.x schema in a version string, or None for NCIP 1 and unknown versions.

    The file name determines the version, not the folder: `…/v2_0/imp1/xsd/ncip_v2_01.xsd` (ten documents seen) is 2.01.
    """
    named = re.search(r"ncip_v2_(0[12]?)\.xsd$", version)
    return _MINORS[named[1]] if named else None


class Dtd(str):
    """The version string of an NCIP 1 document, with the data of its DOCTYPE.

    Attributes:
        system: System identifier of the DTD.
        public: Public identifier of the DTD, or "".
        asked: NCIP 1 name of the requested service if NCIP 2 renamed the service (AuthenticateUser), for use in the reply.
    """

    __slots__ = ("asked", "public", "system")
    system: str
    public: str
    asked: str

    def __new__(cls, version: str, system: str, public: str, asked: str = "") -> Dtd:
        """Create a version string with the identifiers as attributes."""
        dtd = super().__new__(cls, version)
        dtd.system, dtd.public, dtd.asked = system, public, asked
        return dtd

    @property
    def late(self) -> bool:
        """Whether the version is 1.01 rather than 1.0."""
        return _is_late(f"{self} {self.system} {self.public}")


def version_1(version: str) -> Dtd | None:
    """Return the NCIP 1 version in a version string, or None for NCIP 2 and unknown versions."""
    if isinstance(version, Dtd):
        return version
    return Dtd(version, version, public(version)) if "v1_" in version else None


def public(system: str) -> str:
    """Return the public identifier of the NCIP 1 DTD with the system identifier `system`."""
    return f"-//NISO//NCIP DTD Version {'1.01' if _is_late(system) else '1.0'}//EN"


def _is_late(named: str) -> bool:
    return re.search(r"v1_01\b|Version 1\.01", named) is not None
