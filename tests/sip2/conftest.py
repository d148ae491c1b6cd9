"""The fixture lines and the schema, handed to whichever SIP2 test asks for them by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hkall_gateway.sip2.dialects import DIALECTS, Dialect

FOLDER = Path(__file__).parents[2] / "fixtures" / "sip2"
SCHEMA = Path("/work/shared/sip2/schema.json")


def _lines() -> dict[str, bytes]:
    """Every fixture line by file and number; the `#` lines say what follows and are no SIP2."""
    return {
        f"{path.stem}:{number}": line
        for path in sorted(FOLDER.glob("*.txt"))
        for number, line in enumerate(path.read_bytes().split(b"\n"), start=1)
        if line and not line.startswith(b"#")
    }


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "line" in metafunc.fixturenames:
        lines = _lines()
        metafunc.parametrize("line", list(lines.values()), ids=list(lines))


@pytest.fixture
def lines() -> dict[str, bytes]:
    return _lines()


@pytest.fixture
def standard() -> Dialect:
    return DIALECTS["standard"]


@pytest.fixture
def schema() -> dict[str, Any]:
    if not SCHEMA.exists():
        pytest.skip(f"{SCHEMA} is not on this machine; it restates the SIP2 document and is not part of the product")
    found: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return found
