"""The code blocks of a page that a reader types or saves, in order, with marks that tell the walk how to run them.

A mark is a comment in the line before a block, such as `<!-- walk: wheel -->`; readers do not see it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DOCS: Final = Path(__file__).parents[2] / "docs"
PAGES: Final = (
    "first-site.md",
    "loading.md",
    "gateways.md",
    "upgrade.md",
    "backup.md",
    "operations.md",
    "terminals.md",
    "privacy.md",
    "ils.md",
    "packages.md",
    "monitoring.md",  # last: it moves the log from the journal to a file
)
"""The pages that are walked, one after the other on one machine."""

RECOVERY: Final = "point-in-time.md"
LOST: Final = "lost-machine.md"
ALONE: Final = (RECOVERY, LOST)
"""The pages that have a walk of their own, on machines of their own."""

MARKS: Final = {
    "": "typed as it is",
    "background": "stays in the foreground of a shell of its own until the end",
    "package": "only where the Debian package is installed",
    "wheel": "only where the wheel is installed",
    "postgresql": "only on the machine whose database is PostgreSQL",
    "example": "shows what a command looks like; nothing of it is typed",
    "elsewhere": "concerns other machines, which the walk does not have: its syntax is checked",
}

_MARK = re.compile(r"<!-- walk: (?P<mark>[a-z0-9]+) -->")
_FENCE = re.compile(r"```(?P<language>\w*)")
_FILE = re.compile(r"# (?P<path>/\S+)$")


@dataclass(frozen=True, slots=True)
class Block:
    """One block: its page and first line, the language of its fence, its text and its mark."""

    page: str
    line: int
    language: str
    text: str
    mark: str = ""

    @property
    def place(self) -> str:
        """PAGE:LINE."""
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str:
        """The path in the first line of a block to be saved as a file; otherwise ""."""
        found = _FILE.match(self.text.partition("\n")[0])
        return found["path"] if found and self.language != "sh" else ""


def blocks(page: str) -> Iterator[Block]:
    """Yield the blocks of a page of docs/. Raises ValueError for an unknown mark."""
    lines = iter(enumerate((DOCS / page).read_text(encoding="utf-8").splitlines(), 1))
    mark = ""
    for number, line in lines:
        if fence := _FENCE.match(line):
            text = []
            for _, inner in lines:
                if inner.startswith("```"):
                    break
                text.append(inner)
            yield Block(page, number, fence["language"], "\n".join(text) + "\n", mark)
        found = _MARK.fullmatch(line)
        mark = found["mark"] if found else ""
        if mark not in MARKS:
            raise ValueError(f"{page}:{number}: {mark!r} is no mark; there are {', '.join(filter(None, MARKS))}")
