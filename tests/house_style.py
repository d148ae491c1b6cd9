"""Counts docstrings that speak in riddles: of who, whoever, nobody and what, where a noun or a verb would do.

`make check` runs it: more of them than ALLOWED fail. `python -m tests.house_style store desk` lists those of two rooms.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).parent.parent / "hkall_gateway"
ALLOWED: Final = 0.05
"""Share of all docstrings: a few of these words are the plain ones where they stand."""
RIDDLE: Final = re.compile(
    r"\b(who|whom|whose|whoever|nobody|somebody|anybody|everybody|whatever|nothing|anything)\b"
    r"|\bwhat (is|was|it|we|they|a|an|the|came|leaves|every|others|there|people|staff)\b"
    r"|^What\b",
    re.IGNORECASE,
)
_DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Docstring:
    """The docstring of a module, a class or a function, and its place."""

    path: Path
    line: int
    text: str

    @property
    def riddles(self) -> bool:
        """Whether it speaks of who, nobody or what."""
        return RIDDLE.search(self.text) is not None


def docstrings(folder: Path) -> Iterator[Docstring]:
    """Every docstring below a folder, in the order of the files."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, _DOCUMENTED) and (text := ast.get_docstring(node)):
                yield Docstring(path, getattr(node, "lineno", 1), text)


def main(*rooms: str) -> int:
    """Print the share, and the riddles of the rooms named. Exit code 1 above ALLOWED."""
    found = list(docstrings(PACKAGE))
    riddles = [one for one in found if one.riddles]
    for one in riddles:
        if one.path.relative_to(PACKAGE).parts[0].removesuffix(".py") in rooms:
            sys.stdout.write(f"{one.path}:{one.line}: {one.text.splitlines()[0]}\n")
    share = len(riddles) / len(found)
    sys.stdout.write(f"{len(riddles)} of {len(found)} docstrings riddle: {share:.1%}, at most {ALLOWED:.0%}\n")
    return int(share > ALLOWED)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
