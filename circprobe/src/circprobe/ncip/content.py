"""The content of each element, read from tables, and a validator of its own over them."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

from lxml import etree

from circprobe.ncip.documents import NAMESPACE, Document

_DATE_TIME = r"-?\d{4,}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?"
LEAVES = {
    "dateTime": _DATE_TIME,
    "integer": r"[+-]?\d+",
    "nonNegativeInteger": r"\+?\d+|-0+",
    "positiveInteger": r"\+?0*[1-9]\d*",
    "scheme": r"[\s\S]*",
    "string": r"[\s\S]*",
    "token": r"[\s\S]*",
    "EMPTY": r"\s*",
}
"""What the text of a leaf of version 2 may be, by its type."""


@cache
def _table(name: str) -> dict[str, str]:
    text = resources.files("circprobe.ncip").joinpath(f"{name}.txt").read_text("utf-8")
    rows = [line.partition(": ") for line in text.splitlines() if line and line[0] != "#"]
    return {name: model for name, _, model in rows}


@cache
def _pattern(model: str) -> re.Pattern[str]:
    """Make a pattern of a content model, over the names of children with a blank behind each."""
    pattern = re.sub(r"[A-Za-z][\w.-]*", lambda name: f"(?:{name[0]} )", model)
    pattern = pattern.replace(", ", "").replace(",", "").replace(" | ", "|")
    pattern = pattern.replace("(?:ANY )", r"(?:\w+ )").replace("(?:EMPTY )", "")
    return re.compile(pattern)


def faults_of(document: Document) -> list[str]:
    """List where a document breaks the schema of 2.02, or the DTD of 1.0 if it is of version 1."""
    if document.is_version_1:
        return _check_version_1(document.root)
    return _check(document.root)


def _check(element: etree._Element) -> list[str]:
    table = _table("content_2_02")
    name = etree.QName(element).localname
    if etree.QName(element).namespace != NAMESPACE:
        return [f"{name} is not in the namespace of NCIP"]
    model = table.get(name)
    if model is None:
        return [f"there is no element {name}"]
    faults = _check_attributes(element, name, model)
    children = [child for child in element if isinstance(child.tag, str)]
    if model in LEAVES:
        text = element.text or ""
        if children or not re.fullmatch(LEAVES[model], text.strip()):
            faults.append(f"{name} is {text!r}, no {model}")
        return faults
    names = "".join(f"{etree.QName(child).localname} " for child in children)
    if not _pattern(model).fullmatch(names):
        faults.append(f"{name} contains {names.strip() or 'nothing'}; allowed is {model}")
    if name == "Ext":
        # What stands in an Ext may be of any namespace.
        children = [child for child in children if etree.QName(child).namespace == NAMESPACE]
    for child in children:
        faults.extend(_check(child))
    return faults


def _check_attributes(element: etree._Element, name: str, model: str) -> list[str]:
    allowed = set()
    if name == "NCIPMessage":
        allowed.add(f"{{{NAMESPACE}}}version")
    if model == "scheme":
        allowed.add(f"{{{NAMESPACE}}}Scheme")
    foreign = [str(key) for key in element.attrib if str(key) not in allowed]
    # The instance namespace of XML Schema is allowed everywhere.
    foreign = [key for key in foreign if "XMLSchema-instance" not in key]
    return [f"{name} has an attribute {key}" for key in foreign]


def _check_version_1(element: etree._Element) -> list[str]:
    table = _table("content_1_0")
    name = etree.QName(element).localname
    model = table.get(name)
    if model is None:
        return [f"version 1 has no element {name}"]
    if "#PCDATA" in model:
        return []
    children = [child for child in element if isinstance(child.tag, str)]
    names = "".join(f"{etree.QName(child).localname} " for child in children)
    faults = []
    if not _pattern(model).fullmatch(names):
        faults.append(f"{name} contains {names.strip() or 'nothing'}; allowed is {model}")
    for child in children:
        faults.extend(_check_version_1(child))
    return faults
