"""What the modules of a face use of other modules: the objects that their expressions name, found without running them."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

PACKAGE: Final = Path(__file__).parent.parent / "hkall_gateway"
ROOT: Final = PACKAGE.name


def module_of(path: Path) -> ModuleType:
    """Import the module of the package that a file is."""
    return importlib.import_module(_dotted_module(path))


def _dotted_module(path: Path) -> str:
    return ".".join((ROOT, *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def imported_names(tree: ast.Module, path: Path) -> dict[str, str]:
    """Return the dotted names of what a module binds by an import anywhere, or by a class or function at its top."""
    names: dict[str, str] = {}
    if path.is_relative_to(PACKAGE):
        module = _dotted_module(path)
        kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        names |= {node.name: f"{module}.{node.name}" for node in tree.body if isinstance(node, kinds)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.asname or alias.name.partition(".")[0]
                names[bound] = alias.name if alias.asname else bound
    return names


def dotted_name(node: ast.expr, imported: dict[str, str]) -> str:
    """Return the dotted name of an expression such as `fines.Pay`, or "" if it does not begin with an imported name."""
    if isinstance(node, ast.Name):
        return imported.get(node.id, "")
    if isinstance(node, ast.Attribute):
        base = dotted_name(node.value, imported)
        return f"{base}.{node.attr}" if base else ""
    return ""


def find_object(dotted: str) -> object | None:
    """Return what a dotted name of the package means, or None if it is no such name."""
    parts = dotted.split(".")
    if parts[0] != ROOT:
        return None
    for length in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for name in parts[length:]:
            found = getattr(found, name, None)
        return found
    return None


def expressions(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the expressions that a module evaluates to use their value, thus neither annotations nor tests of a type."""
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "type_params"}:
            continue
        if isinstance(node, ast.MatchClass) and name == "cls":
            continue
        parts = value if isinstance(value, list) else [value]
        if isinstance(node, ast.Call) and name == "args" and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
            parts = parts[:1]
        for part in parts:
            if isinstance(part, ast.expr):
                yield part
            if isinstance(part, ast.AST):
                yield from expressions(part)


def used_objects(tree: ast.Module, node: ast.AST, path: Path) -> list[object]:
    """Return the objects of the package that the expressions of a part of a module name."""
    imported = imported_names(tree, path)
    dotted = {dotted_name(one, imported) for one in expressions(node)}
    return [found for found in map(find_object, sorted(filter(None, dotted))) if found is not None]


def parse(path: Path) -> ast.Module:
    """Parse a module."""
    return ast.parse(path.read_text(encoding="utf-8"))
