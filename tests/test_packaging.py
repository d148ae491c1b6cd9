"""What the installed package brings with it: templates, rules and migrations, not only the checkout's own copy of them."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hkall_gateway"


def test_every_file_that_is_not_python_is_named_as_package_data() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]
    named = {path for pattern in settings["hkall_gateway"] for path in PACKAGE.glob(pattern)}
    there = {path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}}

    assert there <= named
    assert all(any(PACKAGE.glob(pattern)) for pattern in settings["hkall_gateway"])
