"""Find every log event in the source of the package, with its levels and fields."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).parents[1] / "hkall_gateway"
LEVELS: Final = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}
RENAMED: Final = {"card": "patron_ref", "patron": "patron_ref", "borrower": "patron_ref", "exc_info": "exception"}
"""Arguments that appear in the log under another name."""
LOGGERS: Final = {"LOG", "structlog.get_logger()"}
"""A module's logger, and the lazy logger of modules that must not import structlog before they log."""
_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Event:
    """One event as the source logs it: its levels, its fields, and the modules that log it."""

    levels: set[str] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)


def events(folder: Path = PACKAGE) -> dict[str, Event]:
    """Return every event by its name; "" for a call whose name is not a constant."""
    found: dict[str, Event] = defaultdict(Event)
    for path in sorted(folder.rglob("*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        functions = {node.name: node for node in ast.walk(module) if isinstance(node, _FUNCTIONS)}
        for inside in (node for node in ast.walk(module) if isinstance(node, _FUNCTIONS)):
            for call, levels in _calls(inside):
                for name in _names(call.args[0]) if call.args else [""]:
                    event = found[name]
                    event.levels |= levels
                    event.modules.add(path.relative_to(folder).as_posix())
                    event.fields |= {RENAMED.get(one, one) for one in _fields(call, inside, functions)}
                    if _is_exception(call):
                        event.fields.add("exception")
    return dict(found)


def context_fields(folder: Path = PACKAGE) -> set[str]:
    """Return the fields that `log_context` adds to every line inside it."""
    found: set[str] = set()
    for path in sorted(folder.rglob("*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        functions = {node.name: node for node in ast.walk(module) if isinstance(node, _FUNCTIONS)}
        for inside in (node for node in ast.walk(module) if isinstance(node, _FUNCTIONS)):
            for node in ast.walk(inside):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "log_context":
                    found |= {RENAMED.get(one, one) for one in _fields(node, inside, functions)}
    return found


def _calls(inside: ast.AST) -> Iterator[tuple[ast.Call, set[str]]]:
    """Yield the calls of a logger's methods, also through a variable."""
    held = {
        target.id: levels
        for node in ast.walk(inside)
        if isinstance(node, ast.Assign) and (levels := _methods(node.value))
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(inside):
        if isinstance(node, ast.Call):
            levels = held.get(node.func.id, set()) if isinstance(node.func, ast.Name) else _methods(node.func)
            if levels:
                yield node, levels


def _methods(node: ast.AST) -> set[str]:
    if isinstance(node, ast.IfExp):
        return _methods(node.body) | _methods(node.orelse)
    if isinstance(node, ast.Attribute) and ast.unparse(node.value) in LOGGERS:
        return {LEVELS[node.attr]}
    return set()


def _is_exception(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr == "exception"


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.IfExp):
        return _names(node.body) + _names(node.orelse)
    return [str(node.value) if isinstance(node, ast.Constant) else ""]


def _fields(call: ast.Call, inside: ast.AST, functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef]) -> set[str]:
    """Return the names of keyword arguments; for `**`, those of the dictionaries behind its expression or variable."""
    found: set[str] = set()
    for keyword in call.keywords:
        found |= {keyword.arg} if keyword.arg else _keys(keyword.value, inside, functions)
    return found


def _keys(node: ast.AST, inside: ast.AST, functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef]) -> set[str]:
    if isinstance(node, ast.Name):
        return {key for value in _values(node.id, inside) for key in _keys(value, inside, functions)}
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in functions:
        callee = functions[node.func.id]
        returned = [one.value for one in ast.walk(callee) if isinstance(one, ast.Return) and one.value is not None]
        return {key for value in returned for key in _keys(value, callee, functions)}
    dicts = [one for one in ast.walk(node) if isinstance(one, ast.Dict)]
    return {str(key.value) for one in dicts for key in one.keys if isinstance(key, ast.Constant)}


def _values(name: str, inside: ast.AST) -> Iterator[ast.AST]:
    """Yield the expressions assigned to a variable; an assigned key counts as a dictionary with that key."""
    for node in ast.walk(inside):
        if isinstance(node, ast.AugAssign | ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
            yield from [node.value] if node.value else []
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            if isinstance(target, ast.Name) and target.id == name:
                yield node.value
            if isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name) and target.value.id == name:
                yield ast.Dict([target.slice], [node.value])
