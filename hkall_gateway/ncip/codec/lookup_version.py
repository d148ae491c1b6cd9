"""LookupVersion: the one service outside NCIPMessage, by which two systems find a version that both support.

It has a schema of its own, the same for all versions, in the names of NCIP 1. Source: ncip_version.xsd.
"""

from __future__ import annotations

from typing import Final

from lxml import etree

from hkall_gateway.ncip.codec.messages import BadDocument, Coded, Fields, NcipMessage, Value, many
from hkall_gateway.ncip.codec.xml import SYNTAX, Notes, attribute, clean, header, local

ROOT: Final = "NCIPVersionMessage"
SERVICES: Final = frozenset({"LookupVersion", "LookupVersionResponse"})
SCHEMA: Final = "http://www.niso.org/ncip/v1_0/imp1/xsd/ncip_version.xsd"
LISTS: Final = ("VersionSupported", "ServiceSupported")
_NO_SCHEME: Final = "NCIP Unique Agency Id"


def asked(root: etree._Element) -> bool:
    """Whether a document is one of these. Koha and Evergreen put the service into an NCIPMessage."""
    return local(root.tag) == ROOT or (local(root.tag) == "NCIPMessage" and any(local(node.tag) in SERVICES for node in root))


def message(root: etree._Element, notes: Notes) -> NcipMessage:
    """The message in such a document, its agencies in an InitiationHeader or ResponseHeader like those of all others."""
    if local(root.tag) != ROOT:
        notes.add("LookupVersion inside NCIPMessage")
    found = [node for node in root if local(node.tag) in SERVICES]
    if len(found) != 1:
        raise BadDocument(SYNTAX, f"{ROOT} holds {len(found)} services", header=header(root))
    service = local(found[0].tag)
    sides = {name: side for name in ("FromAgencyId", "ToAgencyId") if (side := _side(found[0], name))}
    lists = {name: texts for name in LISTS if (texts := _texts(found[0], name))}
    fields: Fields = {**({_head(service): sides} if sides else {}), **lists}
    return NcipMessage(service, fields, attribute(root, "version"), namespaced=False, notes=tuple(notes))


def written(said: NcipMessage) -> bytes:
    """Encode a LookupVersion or its response."""
    root = etree.Element(ROOT, version=SCHEMA)
    node = etree.SubElement(root, said.service)
    for name in ("FromAgencyId", "ToAgencyId"):
        _put_side(etree.SubElement(node, name), said, f"{_head(said.service)}/{name}/AgencyId")
    for name in LISTS:
        for text in many(said.fields.get(name, ())):
            etree.SubElement(node, name).text = clean(str(text))
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


def _head(service: str) -> str:
    return "ResponseHeader" if service.endswith("Response") else "InitiationHeader"


def _side(service: etree._Element, name: str) -> Fields:
    agency = next(service.iter(f"{{*}}{name}"), None)
    if agency is None:
        return {}
    value = _first(agency, "Value") or _first(agency, "AgencyId")
    return {"AgencyId": Coded(value, _first(agency, "Scheme") or None)} if value else {}


def _first(node: etree._Element, name: str) -> str:
    return next(((found.text or "").strip() for found in node.iter(f"{{*}}{name}")), "")


def _texts(service: etree._Element, name: str) -> list[Value]:
    texts = ((node.text or "").strip() for node in service.iter(f"{{*}}{name}"))
    return [text for text in texts if text]


def _put_side(side: etree._Element, said: NcipMessage, path: str) -> None:
    value = next(iter(said.texts(path)), "")
    agency = etree.SubElement(side, "UniqueAgencyId")
    scheme = value.scheme if isinstance(value, Coded) else None
    etree.SubElement(agency, "Scheme").text = clean(scheme or _NO_SCHEME)
    etree.SubElement(agency, "Value").text = clean(value)
