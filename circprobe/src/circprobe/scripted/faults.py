"""Planted faults, as the catalogue writes them beside each clause.

A fault either changes the messages with one command, or switches a behaviour of the peer by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from circprobe.sip2 import codec, messages


@dataclass(frozen=True)
class Fault:
    """One planted fault; without arguments, none.

    Attributes:
        message: the command of the messages that are changed.
        asked: a pattern in the request, without which the message stays as it is.
        drop: the tag of a field that is left out.
        put: values of fields, or an addition if the field is not there.
        fixed: values of the fixed part.
        replace: a pattern in the whole message, and what stands for it.
        does: the name of a behaviour.
    """

    message: str = ""
    asked: str = ""
    drop: str = ""
    put: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, str] = field(default_factory=dict)
    replace: tuple[str, ...] = ()
    does: str = ""

    def has(self, behaviour: str) -> bool:
        """Say whether this fault is that behaviour."""
        return self.does == behaviour

    def change(self, text: str, asked: str) -> str:
        """Change a message that is about to be sent.

        Args:
            text: the message without error detection.
            asked: the request that it answers.
        """
        if not text.startswith(self.message or "no message") or not re.search(self.asked, asked):
            return text
        message = codec.read(text.encode())
        head = text[: messages.fixed_length(message.code)]
        fields = [f for f in message.fields if f[0] != self.drop]
        for tag, value in self.put.items():
            fields = _put(fields, tag, value)
        for name, value in self.fixed.items():
            head = _put_fixed(head, message.code, name, value)
        changed = head + "".join(f"{tag}{value}|" for tag, value in fields)
        if self.replace:
            pattern, replacement = self.replace
            changed = re.sub(pattern, replacement, changed, count=1)
        return changed


def make(row: Mapping[str, Any]) -> Fault:
    """Make a fault of the row of a clause."""
    arguments = dict(row)
    if "replace" in arguments:
        arguments["replace"] = tuple(arguments["replace"])
    return Fault(**arguments)


def _put(fields: list[tuple[str, str]], tag: str, value: str) -> list[tuple[str, str]]:
    if all(field_tag != tag for field_tag, _ in fields):
        return [*fields, (tag, value)]
    return [(t, value if t == tag else v) for t, v in fields]


def _put_fixed(head: str, code: str, name: str, value: str) -> str:
    position = 2
    for field_name, width in messages.MESSAGES[code].fixed:
        if field_name == name:
            return head[:position] + value + head[position + width :]
        position += width
    raise ValueError(f"{code} has no {name}")
