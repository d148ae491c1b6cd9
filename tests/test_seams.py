"""The type checker finds each of the mistakes planted by `tests/planted/seams.txt`, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PLANTED = HERE / "planted" / "seams.txt"


def test_type_checker_detects_each_planted_error(tmp_path: Path) -> None:
    module = tmp_path / "seams.py"
    module.write_text(PLANTED.read_text())
    lines = PLANTED.read_text().splitlines()
    planted = {number for number, line in enumerate(lines, 1) if line.endswith("# planted")}
    assert len(planted) >= 10
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-pretty", str(module)],
        cwd=HERE.parent,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    found = {int(number) for number in re.findall(rf"{module.name}:(\d+): error", checked.stdout)}
    assert found == planted, checked.stdout + checked.stderr
