"""Counts docstrings that riddle, class names with two meanings, and identifiers with a retired word.

`make check` runs it and fails above the shares that it allows. `python -m tests.house_style store desk` lists what it found in
two rooms; without a room it lists the names only.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
FOLDERS: Final = tuple(folder for folder in (ROOT / "hkall_gateway", ROOT / "bench") if folder.is_dir())
ALLOWED: Final = 0.05
"""Share of all docstrings, and of all class names: a few of the words are the plain ones where they stand, a few names too."""
ALLOWED_RETIRED: Final = 0.005
RIDDLE: Final = re.compile(
    r"\b(who|whom|whose|whoever|nobody|somebody|anybody|everybody|whatever|nothing|anything)\b"
    r"|\bwhat (is|was|it|we|they|a|an|the|came|leaves|every|others|there|people|staff)\b"
    r"|^What\b",
    re.IGNORECASE,
)
RETIRED: Final = re.compile(
    r"beyond|crew|deeds?|doors?|errands?|furnish|glance|grafted|house|knocks?|lanes?|monsters?|news|nobodys|nook|overtaken|party"
    r"|patience|presence|slips?|standing|tandem|teller|telling|tidings|trips|turns|vouch|waves?|whims|whose|wires|wish|wishes"
)
"""Words that once named several things, or said nothing; each has a standard term instead."""
WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
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

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text.splitlines()[0]}"


@dataclass(frozen=True, slots=True)
class Identifier:
    """The name of a module, a class, a function, a parameter or a variable, where it is defined."""

    path: Path
    line: int
    text: str

    @property
    def retired(self) -> bool:
        """Whether one of its words is retired. The printed pull slip keeps its name."""
        words = [word.lower() for word in WORD.findall(self.text)]
        return any(RETIRED.fullmatch(word) and not (word.startswith("slip") and "pull" in words) for word in words)

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


@dataclass(frozen=True)
class Style:
    """The style of all modules below some folders."""

    trees: Mapping[Path, ast.Module]

    @cached_property
    def docstrings(self) -> list[Docstring]:
        """Every docstring, in the order of the files."""
        return [
            Docstring(path, getattr(node, "lineno", 1), text)
            for path, node in self._nodes()
            if isinstance(node, _DOCUMENTED) and (text := ast.get_docstring(node))
        ]

    @cached_property
    def classes(self) -> dict[str, list[Path]]:
        """The modules that define a public class, by its name."""
        found: dict[str, set[Path]] = defaultdict(set)
        for path, node in self._nodes():
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].add(path)
        return {name: sorted(paths) for name, paths in found.items()}

    @cached_property
    def ambiguous(self) -> dict[str, list[Path]]:
        """The class names that two modules define, with these modules."""
        return {name: paths for name, paths in sorted(self.classes.items()) if len(paths) > 1}

    @cached_property
    def identifiers(self) -> list[Identifier]:
        """Every name of a module, a class, a function, a parameter or a variable, where it is defined."""
        modules = [Identifier(path, 1, path.stem) for path in self.trees]
        return modules + [
            Identifier(path, getattr(node, "lineno", 1), name) for path, node in self._nodes() if (name := _defined(node))
        ]

    def _nodes(self) -> Iterator[tuple[Path, ast.AST]]:
        for path, tree in self.trees.items():
            for node in ast.walk(tree):
                yield path, node


@dataclass(frozen=True, slots=True)
class Count:
    """What was found of all that was looked at, and the share that is allowed."""

    fault: str
    found: int
    all: int
    most: float

    @property
    def allowed(self) -> bool:
        """Whether the share is within its limit."""
        return self.found <= self.most * self.all

    def __str__(self) -> str:
        return f"{self.found} of {self.all} {self.fault}: {self.found / max(1, self.all):.1%}, at most {self.most:.1%}"


def read(folders: Iterable[Path]) -> Style:
    """Parse all modules below the folders."""
    paths = (path for folder in folders for path in sorted(folder.rglob("*.py")))
    return Style({path: ast.parse(path.read_text(encoding="utf-8")) for path in paths})


def counts(style: Style) -> tuple[Count, ...]:
    """Return what is counted, with the most that is allowed."""
    riddles, retired = (
        sum(flags) for flags in ([one.riddles for one in style.docstrings], [one.retired for one in style.identifiers])
    )
    return (
        Count("docstrings riddle", riddles, len(style.docstrings), ALLOWED),
        Count("class names have two meanings", len(style.ambiguous), len(style.classes), ALLOWED),
        Count("identifiers have a retired word", retired, len(style.identifiers), ALLOWED_RETIRED),
    )


def _defined(node: ast.AST) -> str:
    """Return the name that a node defines; "" if it defines none."""
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.arg(arg=name):
            return name
        case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
            return name
        case _:
            return ""


def main(*rooms: str) -> int:
    """Print what was found: riddles of the rooms named alone, names of all. Exit code 1 if more than allowed was found."""
    style = read(FOLDERS)
    found = [str(one) for one in style.docstrings if one.riddles and _room(one.path) in rooms]
    found += [f"{name}: {', '.join(_place(path) for path in paths)}" for name, paths in style.ambiguous.items()]
    found += [str(one) for one in style.identifiers if one.retired]
    sys.stdout.writelines(f"{line}\n" for line in (*found, *counts(style)))
    return int(any(not count.allowed for count in counts(style)))


def _room(path: Path) -> str:
    return path.relative_to(ROOT).parts[1].removesuffix(".py")


def _place(path: Path) -> str:
    return str(path.relative_to(ROOT))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
