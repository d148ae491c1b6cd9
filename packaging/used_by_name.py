"""Print vulture's whitelist: the names in the project that a framework, a template or a table uses by name.

`make check` generates it each time, so that no name stays on it after its last use. A name counts as used if

* one of our classes overrides or implements it for a library's class or interface,
* a template reads it,
* a string in the code or in a data file spells it, as in a table of fields or in the options of a command.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import keyword
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from zope.interface import implementedBy

ROOT = Path(__file__).parents[1]
OURS = ("hkall_gateway", "bench", "demo", "docs.generate")
TEMPLATES = ("hkall_gateway/web/templates", "hkall_gateway/delivery/templates")


def foreign_names(folder: str) -> Iterator[str]:
    """Yield the attributes of our classes that a library's base class or interface has too."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        if path.name in {"__main__.py", "env.py"} or "versions" in path.parts:
            continue  # programs, and migrations that alembic runs
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
        for kind in vars(module).values():
            if inspect.isclass(kind) and kind.__module__ == module.__name__:
                bases = [base for base in kind.__mro__ if not base.__module__.startswith(OURS)]
                known = {name for base in bases for name in dir(base)}
                known |= {name for interface in implementedBy(kind) for name in interface.names(all=True)}
                yield from known & vars(kind).keys()


def template_names() -> Iterator[str]:
    """Yield the words between braces in the templates."""
    for folder in TEMPLATES:
        for path in sorted((ROOT / folder).rglob("*.*")):
            for code in re.findall(r"\{[{%](.*?)[%}]\}", path.read_text(encoding="utf-8"), re.DOTALL):
                yield from re.findall(r"[A-Za-z_]\w*", code)


def spelled_names(folder: str) -> Iterator[str]:
    """Yield the strings in the code that are identifiers, also with dashes as in options of the command line."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from node.value.replace("-", "_").split(".")


def data_names(folder: str) -> Iterator[str]:
    """Yield the keys and the strings in the data files."""

    def words(value: object) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            yield from words([*value, *value.values()])
        elif isinstance(value, list):
            for one in value:
                yield from words(one)

    for path in sorted((ROOT / folder).rglob("*.toml")):
        yield from words(tomllib.loads(path.read_text(encoding="utf-8")))


def main() -> None:
    """Print the whitelist for the folders in the arguments."""
    names = set(template_names())
    for folder in sys.argv[1:]:
        names |= {*foreign_names(folder), *spelled_names(folder), *data_names(folder)}
    sys.stdout.writelines(f"_.{name}\n" for name in sorted(names) if name.isidentifier() and not keyword.iskeyword(name))


if __name__ == "__main__":
    main()
