"""What of an NCIP document's XML is the same in all versions: the namespace, the agencies, and foreign elements."""

from __future__ import annotations

import copy
from typing import Final

from lxml import etree

from hkall_gateway.ncip.codec.messages import Header
from hkall_gateway.xml.reader import local_name

NISO: Final = "http://www.niso.org/2008/ncip"
SYNTAX: Final = "Invalid Message Syntax Error"
"""ProblemType for a document that cannot be read."""


def read_header(root: etree._Element) -> Header:
    """Read the sender and the addressee of a document of any version. A missing agency is ""."""
    return Header(from_agency=_find_agency(root, "FromAgencyId"), to_agency=_find_agency(root, "ToAgencyId"))


def serialize_foreign(node: etree._Element) -> str:
    """Serialize a foreign element with all namespaces that it uses, so that the text can be embedded in another document."""
    alone = copy.deepcopy(node)
    ours = etree.Element(f"{{{NISO}}}Ext", nsmap={"ns1": NISO})
    ours.append(alone)  # gives the NISO namespace the prefix that our encoder writes
    ours.remove(alone)
    etree.cleanup_namespaces(alone, keep_ns_prefixes=["xsi", "xs", "xsd"])  # values may use these prefixes
    return etree.tostring(alone, encoding="unicode", with_tail=False)


def _find_agency(root: etree._Element, side: str) -> str:
    """Find the first agency inside an element named `side`. Visit each node once, even if such elements are nested."""
    waiting: list[tuple[etree._Element, bool]] = [(root, False)]
    while waiting:
        node, inside = waiting.pop()
        name = local_name(node.tag)
        # In NCIP 1, the agency is the Value in a UniqueAgencyId.
        if inside and name in ("AgencyId", "Value") and (text := (node.text or "").strip()):
            return text[:200]
        waiting.extend((child, inside or name == side) for child in reversed(node))
    return ""
