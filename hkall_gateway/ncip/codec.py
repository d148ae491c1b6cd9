"""NCIP documents to messages and back: read what peers really write, write what the schema asks for.

Reading follows no prefix, no order and no schema: each liberty taken here is one that a real peer needed, and is noted on
the message where it hides something.
Writing is schema-valid 2.02, or the older 2.x of the document that is answered.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lxml import etree

from hkall_gateway.ncip.dialects import Dialect, minor
from hkall_gateway.ncip.elements import ELEMENTS, Child, Element
from hkall_gateway.ncip.messages import SHAPES, BadMessage, Coded, Fields, Header, Message, Value, many

__all__ = ["BadMessage", "Coded", "Fields", "Message", "decode", "encode"]

NISO = "http://www.niso.org/2008/ncip"
DEPTH, ELEMENT_COUNT, STRING_LENGTH, NOTES = 64, 20_000, 65_536, 32
SYNTAX = "Invalid Message Syntax Error"


def decode(body: bytes, charset: str | None = None) -> Message:
    """The message that a document holds; `charset` is the one named by HTTP and goes before the document's own.

    Raises BadMessage for what is not well-formed, is too large, brings its own entities, is not NCIP 2, or lacks what its
    service cannot do without. Nothing is ever fetched.
    """
    notes = _Notes()
    root = _parsed(_unwrapped(body, charset, notes))
    _measure(root)
    return _envelope(root, notes)


def encode(message: Message, dialect: Dialect) -> bytes:
    """The document that says `message`, children in schema order whatever the order of the fields.

    The version is the message's own when it names a known 2.x (a reply speaks as it was spoken to), else the dialect's;
    places that are younger than that version are left out. "", False and an empty list are not written.
    Raises ValueError, naming the path, for what the model does not know, and for a dialect of NCIP 1.
    """
    version = message.version if minor(message.version) is not None else dialect.version
    level = minor(version)
    if level is None:
        raise ValueError(f"dialect {dialect.name!r} writes {version!r}, for which there is no table of elements")
    writer = _Writer(f"{{{NISO}}}" if dialect.namespaced else "", level)
    root = etree.Element(f"{writer.space}NCIPMessage", nsmap={dialect.prefix: NISO} if dialect.namespaced else None)
    root.set(f"{writer.space}version", version)
    writer.service(etree.SubElement(root, f"{writer.space}Ext") if message.extension else root, message)
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


# Reading: bytes to text. Codecs that Python knows and no peer needs (idna, punycode, unicode_escape) stay outside.
CHARSETS = frozenset(
    {"ascii", "utf-8", "utf-16", "utf-16-le", "utf-16-be", "iso8859-1", "iso8859-15", "cp1252"}
    | {"big5", "big5hkscs", "cp950", "gb2312", "gbk", "gb18030", "shift_jis", "euc_jp", "euc_kr"}
)
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_BARE_UTF16 = {b"<\0": "utf-16-le", b"\0<": "utf-16-be"}
_DECLARED = re.compile(rb"""\s*<\?xml[^>]{0,200}?\sencoding\s*=\s*["']([\w.-]{1,40})""")
# Possessive throughout: a peer's prologue must not be able to make this backtrack.
_SUBSET = re.compile(r"""(?>\s++|<\?(?>.*?\?>)|<!--(?>.*?-->))*+<!DOCTYPE(?>[^\[>"']++|"[^"]*+"|'[^']*+')*+\[""", re.DOTALL)
_PARSER = etree.XMLParser(
    encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True
)  # huge_tree stays off: libxml2's own bounds on depth and amplification hold


class _Notes(dict[str, None]):
    """Tolerances used, in order, each once; a document full of rubbish does not fill the log."""

    def add(self, note: str) -> None:
        if len(self) < NOTES:
            self[note[:200]] = None


def _unwrapped(body: bytes, charset: str | None, notes: _Notes) -> str:
    # libxml2 refuses a blank before the XML declaration and a ^D or NUL behind the end; both arrive from real peers.
    try:
        text = body.decode(_charset(body, charset)).strip("\ufeff\0\x04 \t\r\n")
    except UnicodeDecodeError as error:
        raise BadMessage(SYNTAX, f"byte {error.start} is not {error.encoding}") from error
    if "\x04" in text:
        notes.add("^D removed")
        text = text.replace("\x04", "")
    return text


def _charset(body: bytes, charset: str | None) -> str:
    marked = next((name for mark, name in _MARKS.items() if body.startswith(mark)), None)
    named = marked or (charset or "").strip("\"' ") or _BARE_UTF16.get(body[:2]) or _declared(body)
    try:
        known = codecs.lookup(named).name
    except (LookupError, ValueError):
        known = ""
    if known not in CHARSETS:
        raise BadMessage(SYNTAX, f"character set {named[:40]!r} is not read here")
    return known


def _declared(body: bytes) -> str:
    declared = _DECLARED.match(body)
    return declared[1].decode("ascii", "replace") if declared else "utf-8"


def _parsed(text: str) -> etree._Element:
    if text.count("<") > 3 * ELEMENT_COUNT:  # refused before it costs a tree
        raise BadMessage(SYNTAX, f"more than {ELEMENT_COUNT} elements")
    if _SUBSET.match(text):
        raise BadMessage(SYNTAX, "a DOCTYPE with declarations of its own is refused")
    try:
        return etree.fromstring(text.encode(), _PARSER)
    except etree.XMLSyntaxError as error:
        raise BadMessage(SYNTAX, str(error)[:200]) from error


def _measure(root: etree._Element) -> None:
    level, depth, count = [root], 0, 0
    while level:
        depth, count = depth + 1, count + len(level)
        if depth > DEPTH or count > ELEMENT_COUNT:
            raise BadMessage(SYNTAX, f"deeper than {DEPTH} or more than {ELEMENT_COUNT} elements", header=_header(root))
        for node in level:
            _check(node, root)
        level = [child for node in level for child in node]


def _check(node: etree._Element, root: etree._Element) -> None:
    if isinstance(node, etree._Entity):  # left unresolved by the parser; read on, and its text would be lost in silence
        raise BadMessage(SYNTAX, "entities are refused", header=_header(root))
    if max(len(text) for text in (node.text or "", node.tail or "", *map(str, node.attrib.values()))) > STRING_LENGTH:
        raise BadMessage(SYNTAX, f"a text longer than {STRING_LENGTH} characters", header=_header(root))


# Reading: tree to message.
_SERVICES = ELEMENTS["NCIPMessage"].children.keys() - {"Ext"}
_PROBLEMS = Element("NCIPMessage", "complex", {"Problem": ELEMENTS["NCIPMessage"].children["Problem"]})


def _model(service: str) -> Element:
    return _PROBLEMS if service == "Problem" else ELEMENTS[service]


def _envelope(root: etree._Element, notes: _Notes) -> Message:
    # mod-ncip's last resort is a bare <Problem> without NCIPMessage around it.
    inside = [root] if _local(root.tag) == "Problem" else list(root)
    if _local(root.tag) not in ("NCIPMessage", "Problem"):
        raise BadMessage(SYNTAX, f"{_local(root.tag)[:80]} is not NCIPMessage", header=_header(root))
    if _is_version_1(root):
        raise BadMessage("Protocol Error", "NCIP 1 is not spoken here; NCIP 2 is", header=_header(root))
    extension = bool(inside) and all(_local(node.tag) not in _SERVICES for node in inside)
    if extension and (wraps := [node for node in inside if _local(node.tag) == "Ext"]):
        notes.add("service inside Ext")
        inside = [node for wrap in wraps for node in wrap]
    service = _service(inside, root)
    nodes = [node for node in inside if _local(node.tag) == service]
    fields = _fields(nodes if service == "Problem" else nodes[0], _model(service), service, notes)
    if service in SHAPES and (missing := SHAPES[service].missing(fields)):
        raise BadMessage("Needed Data Missing", f"{service} lacks {', '.join(missing)}", service, _header(root))
    namespaced = str(root.tag).startswith(f"{{{NISO}}}")
    return Message(service, fields, _attribute(root, "version"), namespaced, extension, tuple(notes))


def _service(inside: list[etree._Element], root: etree._Element) -> str:
    names = [_local(node.tag) for node in inside]
    known = [name for name in names if name in _SERVICES]
    if not names:
        raise BadMessage(SYNTAX, "NCIPMessage holds no service", header=_header(root))
    if not known:
        raise BadMessage("Unknown Service", f"{names[0][:80]} is no service", names[0][:80], _header(root))
    if len(known) > 1 and set(known) != {"Problem"}:
        raise BadMessage(SYNTAX, "more than one message in a document", header=_header(root))
    return known[0]


def _fields(nodes: Iterable[etree._Element], element: Element, path: str, notes: _Notes) -> Fields:
    single: dict[str, Value] = {}
    several: dict[str, list[Value]] = {}
    for node in nodes:
        name = _local(node.tag)
        place = _place(element, name)
        if place is None:
            notes.add(f"unknown element {path}/{name}")
        elif (value := _value(node, ELEMENTS[name], f"{path}/{name}", notes)) == "":
            continue  # empty means absent
        elif place.repeats:
            several.setdefault(name, []).append(value)
        elif single.setdefault(name, value) is not value:
            notes.add(f"repeated element {path}/{name}")
    return {**single, **several}


def _place(element: Element, name: str) -> Child | None:
    if element.kind == "any" and name in ELEMENTS:
        return Child(name, required=False, repeats=True)
    return element.children.get(name)


def _value(node: etree._Element, element: Element, path: str, notes: _Notes) -> Value:
    match element.kind:
        case "complex" | "any":
            return _fields(node, element, path, notes)
        case "empty":
            return True
        case "scheme":
            return _coded(node, path, notes)
        case _:
            return (node.text or "").strip()


def _coded(node: etree._Element, path: str, notes: _Notes) -> Coded:
    pair = {_local(child.tag): child.text or "" for child in node}
    if "Value" in pair:
        notes.add(f"Scheme and Value as elements in {path}")
    value = pair.get("Value") or node.text or ""
    scheme = pair.get("Scheme") or _attribute(node, "Scheme")
    return Coded(" ".join(value.split()), scheme.strip() or None)


def _is_version_1(root: etree._Element) -> bool:
    # The namespace decides; without one, the version, the DOCTYPE, or a name that only 1.0 has.
    if str(root.tag).startswith("{"):
        return False
    named = root.getroottree().docinfo
    said = (_attribute(root, "version"), named.public_id or "", named.system_url or "")
    return any(re.search(r"v1_|NCIP DTD Version 1", text) for text in said) or root.find(".//UniqueAgencyId") is not None


def _header(root: etree._Element) -> Header:
    return Header(_agency(root, "FromAgencyId"), _agency(root, "ToAgencyId"))


def _agency(root: etree._Element, side: str) -> str:
    texts = (
        (node.text or "").strip()
        for wrap in root.iter(f"{{*}}{side}")
        for node in wrap.iter("{*}AgencyId", "{*}Value")  # NCIP 1: UniqueAgencyId with Scheme and Value
    )
    return next((text[:200] for text in texts if text), "")


def _attribute(node: etree._Element, name: str) -> str:
    return next((str(value) for key, value in node.attrib.items() if _local(key) == name), "")


def _local(name: object) -> str:
    return str(name).rpartition("}")[2]


# Writing.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class _Writer:
    space: str
    level: int

    def service(self, parent: etree._Element, message: Message) -> None:
        if message.service not in _SERVICES:
            raise ValueError(f"{message.service} is no NCIP service")
        if message.service == "Problem" and not message.has("Problem"):
            raise ValueError("Problem holds no Problem")
        if message.service != "Problem":
            parent = etree.SubElement(parent, self.space + message.service)
        self.fill(parent, _model(message.service), message.fields, message.service)

    def fill(self, parent: etree._Element, element: Element, fields: Fields, path: str) -> None:
        unknown = [name for name in fields if _place(element, name) is None]
        if unknown:
            raise ValueError(f"{path}/{unknown[0]} is not in the content model")
        for name in fields if element.kind == "any" else element.children:
            place = _place(element, name)
            if name in fields and place is not None and place.since <= self.level:
                self.put(parent, place, fields[name], f"{path}/{name}")

    def put(self, parent: etree._Element, place: Child, value: Value, path: str) -> None:
        values = many(value)
        if len(values) > 1 and not place.repeats:
            raise ValueError(f"{path} may stand only once")
        for one in values:
            if one not in ("", False):
                self.one(etree.SubElement(parent, self.space + place.name), ELEMENTS[place.name], one, path)

    def one(self, node: etree._Element, element: Element, value: Value, path: str) -> None:
        match element.kind, value:
            case (("complex" | "any"), Mapping()):
                self.fill(node, element, value, path)
            case "empty", True:
                pass
            case (("text" | "scheme" | "dateTime" | "integer" | "count" | "ordinal"), str()):
                node.text = _FORBIDDEN.sub(" ", value)
                if isinstance(value, Coded) and value.scheme and element.kind == "scheme":
                    node.set(self.space + "Scheme", _FORBIDDEN.sub(" ", value.scheme))
            case _:
                raise ValueError(f"{path} is {element.kind} and cannot hold {type(value).__name__}")
