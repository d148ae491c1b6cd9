"""circprobe is a distribution of its own: it shares no code with the gateway that it judges."""

import ast
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
KIT = REPOSITORY / "circprobe" / "src" / "circprobe"
ALLOWED = {"circprobe", "click", "jinja2", "lxml", "rich"}

BLOCKED = """
import importlib, pkgutil, sys
for name in ("hkall_gateway", "tests", "demo", "bench", "twisted", "pydantic"):
    sys.modules[name] = None
import circprobe
for module in pkgutil.walk_packages(circprobe.__path__, "circprobe."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
        print(module.name)
"""


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names.add((node.module or "").split(".")[0])
    return names


def test_kit_imports_its_four_libraries_and_the_standard_library_only() -> None:
    foreign = {path.name: names for path in KIT.rglob("*.py") if (names := imported(path) - ALLOWED - sys.stdlib_module_names)}

    assert foreign == {}


def test_kit_runs_where_the_gateway_cannot_be_imported() -> None:
    loaded = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, check=True, cwd="/")

    assert "circprobe.sip2.server" in loaded.stdout.split()
    assert len(loaded.stdout.split()) >= 15
