"""A seeded sample of single mutations of `circulation/`, and whether its tests and the scenarios detect them.

`make mutate` tries every mutation of the rules; for `circulation/` that would take hours. `make mutate-circulation` draws
some by a seed, so that the same ones can be repeated. Everything happens in a copy of the checkout.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
MUTMUT = Path(sys.executable).with_name("mutmut")
MUTATED = '["hkall_gateway/circulation/*.py", "hkall_gateway/circulation/*/*.py"]'
TESTS = '["tests/circulation", "tests/test_scenarios.py", "-k", "not postgresql"]'
ANY_ONE = "hkall_gateway.circulation.find_request.*_1"
"""A few mutations that are tried first: mutmut finds the names of all mutations while doing so."""
LIVED, NOT_REACHED = 0, 33
"""Exit codes of mutmut for one mutation; any other (failed test, timeout, crash) counts as detected."""


def main(size: int = 300, seed: int = 1) -> None:
    """Print how many mutations were detected, and the survivors as diffs. Exit with 1 if one could not be tried."""
    with tempfile.TemporaryDirectory(prefix="hkall-mutants-") as folder:
        copy = Path(folder) / "checkout"
        copied(copy)
        mutmut(copy, "run", ANY_ONE)
        names = sorted(exit_codes(copy))
        sample = random.Random(seed).sample(names, size)
        mutmut(copy, "run", "--max-children", "2", *sample)
        codes = {name: code for name, code in exit_codes(copy).items() if name in sample}
        lived = sorted(name for name, code in codes.items() if code in (LIVED, NOT_REACHED))
        untried = sum(code is None for code in codes.values())
        told = [
            f"{'no test reaches it' if codes[name] == NOT_REACHED else 'it lives'}: {mutmut(copy, 'show', name)}"
            for name in lived
        ]
    count = f"{len(names)} changes, {size} drawn with seed {seed}: {len(lived)} not noticed, {untried} not tried"
    sys.stdout.write("\n".join([*told, count, ""]))
    sys.exit(1 if untried else 0)


def copied(copy: Path) -> None:
    """A copy of the package and its tests, configured to mutate `circulation/` instead of the rules."""
    for name in ("hkall_gateway", "tests", "demo", "docs", "fixtures"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    text, rooms = re.subn(r"(?m)^only_mutate = .*$", f"only_mutate = {MUTATED}", text)
    text, tests = re.subn(
        r"(?ms)^pytest_add_cli_args_test_selection = \[.*?\]", f"pytest_add_cli_args_test_selection = {TESTS}", text
    )
    assert rooms == tests == 1, "pyproject.toml configures mutmut in other words"
    (copy / "pyproject.toml").write_text(text, encoding="utf-8")


def mutmut(copy: Path, *words: str) -> str:
    """Return the output of mutmut; surviving mutations also give an exit code, so only a missing result is an error."""
    return subprocess.run([MUTMUT, *words], cwd=copy, capture_output=True, text=True, check=False).stdout


def exit_codes(copy: Path) -> dict[str, int | None]:
    """Return the exit code of each mutation by name; None if not tried."""
    found: dict[str, int | None] = {}
    for file in sorted((copy / "mutants").rglob("circulation/**/*.meta")):
        found |= json.loads(file.read_text(encoding="utf-8"))["exit_code_by_key"]
    return found


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
