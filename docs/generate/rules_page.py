"""docs/rules.md: every published rule with its functions, policy keys and tests, and every choice that the page leaves open."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from docs.generate.policy_keys import choices, names_of
from hkall_gateway.rules.published_rules import PUBLISHED

PACKAGE = Path(__file__).parents[2] / "hkall_gateway"
TESTS = PACKAGE.parent / "tests"
SCENARIOS = PACKAGE.parent / "fixtures" / "scenarios"

_RULE = re.compile(r"\bR(\d+a?)\b(?:\s+to\s+R(\d+))?")
_ROW = re.compile(r"R\d+a? \w")
_MOST_SHOWN = 4
LETTERS = "notices."


def rules_page() -> str:
    """Return the page. It needs a source checkout, since tests are not installed."""
    functions, tests = _by_rule(_functions()), _by_rule(_tests())
    rows = [_row(number, said, functions, tests) for number, said in PUBLISHED.items()]
    head = "| rule | statement | functions | policy keys | tests |\n| --- | --- | --- | --- | --- |"
    top = ["# The rules", "", "<!-- written by `make docs`; change the code instead -->", ""]
    return "\n".join([*top, head, *rows, "", *_readings()]) + "\n"


def _readings() -> Iterator[str]:
    """Yield the choices that the published page leaves open: the key of each, its default, and its other values."""
    yield from ("## Choices that the page leaves open", "")
    yield "The default is the reading of the published page. [policy.md](policy.md) lists the keys of the letters."
    yield from ("", "| key | rule | default | or | meaning |", "| --- | --- | --- | --- | --- |")
    for one in choices():
        if not one.key.startswith(LETTERS):
            yield f"| `{one.key}` | {one.rule} | {one.default} | {', '.join(one.others)} | {one.doc} |"


def _row(number: str, said: str, functions: Mapping[str, list[str]], tests: Mapping[str, list[str]]) -> str:
    keys = ", ".join(f"`{key}`" for key in names_of([number]))
    return f"| {number} | {said} | {_shown(functions.get(number, []))} | {keys} | {_shown(tests.get(number, []))} |"


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    return ", ".join(f"`{name}`" for name in names[:_MOST_SHOWN]) + more


def _by_rule(found: Iterator[tuple[str, str]]) -> dict[str, list[str]]:
    """Invert (name, text) pairs: return the names, each once, by the rules that their texts cite."""
    cited: dict[str, list[str]] = {}
    for name, text in found:
        for number in sorted(set(_numbers(text))):
            cited.setdefault(number, []).append(name)
    return cited


def _numbers(text: str) -> Iterator[str]:
    for first, last in _RULE.findall(text):
        yield f"R{first}"
        if last:
            yield from (f"R{n}" for n in range(int(first.rstrip("a")) + 1, int(last) + 1))


def _functions() -> Iterator[tuple[str, str]]:
    """Yield the public functions of the rules and the service layer, with their docstrings."""
    for room in ("rules", "circulation"):
        for path in sorted((PACKAGE / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
                    yield f"{path.stem}.{node.name}", ast.get_docstring(node) or ""


def _tests() -> Iterator[tuple[str, str]]:
    """Yield (name, text) of each test file and scenario. The text excludes code, where R1 is usually a request number.

    Tests that follow the published page come first, because librarians read them.
    """
    for path in sorted((TESTS / "published").glob("test_*.py")):
        yield path.name, "\n".join(_statements(ast.parse(path.read_text(encoding="utf-8"))))
    for room in ("rules", "circulation", "sip2", "ncip", "delivery"):
        for path in sorted((TESTS / room).rglob("test_*.py")):
            yield path.name, "\n".join(_sentences(ast.parse(path.read_text(encoding="utf-8"))))
    for path in sorted(SCENARIOS.glob("*.txt")):
        lines = path.read_text(encoding="utf-8").splitlines()
        yield path.name, "\n".join(line for line in lines if line.startswith("#"))


def _statements(chapter: ast.AST) -> Iterator[str]:
    """Yield the rule numbers that begin each test's statement of the published page: `R14, R15. …`."""
    for node in ast.walk(chapter):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield (ast.get_docstring(node) or "").partition(".")[0]


def _sentences(test: ast.AST) -> Iterator[str]:
    """Yield the names of tests, which write a rule as `_r29_`, and the names of table rows: `R29 …`."""
    for node in ast.walk(test):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield re.sub(r"_r(\d+a?)(?=_)", r" R\1 ", node.name)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _ROW.match(node.value):
            yield node.value
