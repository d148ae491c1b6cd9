"""Planted faults of NCIP peers, as the catalogue writes them beside each clause."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lxml import etree


@dataclass(frozen=True)
class NcipFault:
    """One planted fault; without arguments, none.

    Attributes:
        message: a pattern of the element under NCIPMessage in messages that are changed.
        asked: a pattern in the request, without which the message stays as it is.
        drop: an XPath of elements that are left out.
        put: new texts of elements, by XPath.
        add: pairs of XPath and a fragment that is put first into the elements that it finds.
        replace: a pattern in the finished text, and what stands for it.
        http: another status of HTTP.
        content_type: another Content-Type.
        does: the name of a behaviour.
    """

    message: str = ""
    asked: str = ""
    drop: str = ""
    put: Mapping[str, str] = field(default_factory=dict)
    add: Mapping[str, str] = field(default_factory=dict)
    replace: tuple[str, ...] = ()
    http: int = 0
    content_type: str = ""
    does: str = ""

    def has(self, behaviour: str) -> bool:
        """Say whether this fault is that behaviour."""
        return self.does == behaviour

    def concerns(self, service: str, asked: str) -> bool:
        """Say whether a message is changed."""
        if not self.message or not re.fullmatch(self.message, service):
            return False
        return bool(re.search(self.asked, asked))

    def change_fragment(self, fragment: str, asked: str) -> str:
        """Change the element of a service before it is put into its message."""
        root = etree.fromstring(fragment)
        if not self.concerns(str(root.tag), asked):
            return fragment
        if self.drop:
            for element in _find(root, self.drop):
                parent = element.getparent()
                if parent is not None:
                    parent.remove(element)
        for path, text in self.put.items():
            for element in _find(root, path):
                element.text = text
        for path, addition in self.add.items():
            for element in _find(root, path):
                element.insert(0, etree.fromstring(addition))
        return etree.tostring(root, encoding="unicode")

    def change_text(self, text: str, service: str, asked: str) -> str:
        """Change a finished message."""
        if not self.replace or not self.concerns(service, asked):
            return text
        pattern, replacement = self.replace
        return re.sub(pattern, replacement, text)


def _find(root: etree._Element, path: str) -> list[etree._Element]:
    found = root.xpath(path)
    assert isinstance(found, list)
    return [element for element in found if isinstance(element, etree._Element)]


def make(row: Mapping[str, Any]) -> NcipFault:
    """Make a fault of the row of a clause."""
    arguments = dict(row)
    if "replace" in arguments:
        arguments["replace"] = tuple(arguments["replace"])
    return NcipFault(**arguments)
