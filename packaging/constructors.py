"""Writes the constructors of dataclasses into their source, so that mypyc compiles them.

The constructor that `dataclass` makes at import stays Python in a compiled module, and a frozen one sets each field by
`object.__setattr__`: of six fields it takes 540 ns, a compiled one 50 (bench row `sip2_63_vs_pysip2`).
"""

from __future__ import annotations

import ast
from typing import Final, TypeGuard

_UNUSUAL: Final = ("__init__", "__post_init__", "init=", "ClassVar", "InitVar", "KW_ONLY")
"""In the text of a class whose constructor has another argument than each field, or does more than to set them."""


def with_constructors(source: str) -> str:
    """Return the text of a module in which its dataclasses have constructors.

    Each is one line, in place of the empty line after its class: other lines keep their numbers. Left alone are classes with a
    base, with a further decorator (mypyc makes a class of Python's own of them), with an unusual constructor, and without an
    empty line after them.
    """
    lines = source.splitlines()
    for found in ast.walk(ast.parse(source)):
        if isinstance(found, ast.ClassDef) and (options := _options(found)) is not None and _is_usual(found):
            lines += [""]  # after a class that ends the file
            if not lines[found.end_lineno or 0]:
                lines[found.end_lineno or 0] = " " * (found.col_offset + 4) + _constructor(found, kw_only="kw_only" in options)
    return "\n".join(lines).rstrip("\n") + "\n"


def _options(found: ast.ClassDef) -> set[str] | None:
    """Return the arguments of `@dataclass(...)` by name; None if that is not the only decorator."""
    match found.decorator_list:
        case [ast.Call(func=ast.Name("dataclass"), keywords=given)]:
            return {argument.arg or "" for argument in given}
    return None


def _is_usual(found: ast.ClassDef) -> bool:
    text = ast.unparse(found)
    made = (ast.unparse(field.annotation) for field in _fields(found) if _factory(field))
    # A written constructor calls the factory of a default for None.
    return not found.bases and not any(word in text for word in _UNUSUAL) and not any(kind.endswith("None") for kind in made)


def _fields(found: ast.ClassDef) -> list[ast.AnnAssign]:
    return [one for one in found.body if isinstance(one, ast.AnnAssign)]


def _constructor(found: ast.ClassDef, *, kw_only: bool) -> str:
    fields = _fields(found)
    given = ", ".join(["self", *(["*"] if kw_only else []), *map(_parameter, fields)])
    # mypy reports the assignments to fields of a frozen class.
    return f"def __init__({given}) -> None: {'; '.join(map(_assignment, fields))}  # type: ignore"


def _parameter(field: ast.AnnAssign) -> str:
    name, kind = ast.unparse(field.target), ast.unparse(field.annotation)
    if _factory(field):
        return f"{name}: {kind} | None = None"
    default = _argument(field, "default") if _is_field(field.value) else field.value and ast.unparse(field.value)
    return f"{name}: {kind} = {default}" if default else f"{name}: {kind}"


def _assignment(field: ast.AnnAssign) -> str:
    name = ast.unparse(field.target)
    if factory := _factory(field):
        return f"self.{name} = ({factory})() if {name} is None else {name}"
    return f"self.{name} = {name}"


def _factory(field: ast.AnnAssign) -> str:
    return _argument(field, "default_factory")


def _argument(field: ast.AnnAssign, name: str) -> str:
    """Return an argument of a `field(...)`; "" if there is none."""
    if not _is_field(field.value):
        return ""
    return next((ast.unparse(argument.value) for argument in field.value.keywords if argument.arg == name), "")


def _is_field(value: ast.expr | None) -> TypeGuard[ast.Call]:
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "field"
