"""`make audit` reports success only if the vulnerability data were complete."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

AUDIT = Path(__file__).parents[1] / "packaging" / "audit.py"

OURS = {"name": "hkall-gateway", "skip_reason": "distribution marked as editable"}
BY_SBOM = {"name": "hkall-gateway", "skip_reason": "Dependency not found on PyPI and could not be audited: hkall-gateway (0)"}
SOUND = {"name": "click", "version": "8.5.1", "vulns": []}
UNKNOWN = {"name": "lxml", "skip_reason": "Dependency not found on PyPI and could not be audited: lxml (6.1.3)"}
FAULTY = {"name": "jinja2", "version": "3.1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3.1.6"]}]}


# fmt: off
VERDICTS = (
    ([OURS, SOUND],    0, "libraries audited: 1, known vulnerabilities: 0\n"),
    ([SOUND, FAULTY],  1, "jinja2 3.1.0: PYSEC-1, fixed in 3.1.6\nlibraries audited: 2, known vulnerabilities: 1\n"),
    ([SOUND, BY_SBOM], 0, "libraries audited: 1, known vulnerabilities: 0\n"),
    ([FAULTY, UNKNOWN], 1, "jinja2 3.1.0: PYSEC-1, fixed in 3.1.6\nlibraries audited: 1, known vulnerabilities: 1\nNOT"),
    ([OURS, UNKNOWN],  3, "libraries audited: 0, known vulnerabilities: 0\nNOT AUDITED: no data about 1 of them, such as lxml"),
    ([SOUND, UNKNOWN], 3, "libraries audited: 1, known vulnerabilities: 0\nNOT AUDITED: no data about 1 of them, such as lxml"),
    ([OURS],           3, "libraries audited: 0, known vulnerabilities: 0\n"),
)
# fmt: on


@pytest.mark.parametrize(("libraries", "code", "said"), VERDICTS)
def test_audit_of_an_unreadable_vulnerability_database_reports_no_success(
    libraries: list[dict[str, Any]], code: int, said: str
) -> None:
    report = json.dumps({"dependencies": libraries, "fixes": []})
    ended, shown = audited("print(sys.argv[1])", report)
    assert (ended, shown.startswith(said)) == (code, True), shown


def test_audit_without_the_vulnerability_database_fails_in_one_line() -> None:
    assert audited("sys.exit('Traceback …\\nConnectionError: pypi.org')") == (
        3,
        "NOT AUDITED: no data about any library: ConnectionError: pypi.org\n",
    )


def audited(script: str, *words: str) -> tuple[int, str]:
    """Return the exit code and output of the audit with a script in place of pip-audit."""
    command = [sys.executable, str(AUDIT), sys.executable, "-c", f"import sys; {script}", *words]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return ended.returncode, ended.stdout
