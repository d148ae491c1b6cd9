"""Report known vulnerabilities of the libraries in an environment, and libraries for which there is no data.

`python packaging/audit.py pip-audit --local` runs that command and reads its JSON. pip-audit itself exits with 0 and "No known
vulnerabilities found" if its database has no data about any of the libraries.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

OURS = "distribution marked as editable"
"""Reason that pip-audit gives for skipping the gateway itself, as `make .venv` installs it."""
OUR_NAMES = frozenset({"hkall-gateway", "circprobe"})
"""The gateway itself and its conformance kit, as `make sbom` installs them."""
VULNERABLE, NO_DATA = 1, 3
"""Exit codes: a library has a known vulnerability, or the database has no data about a library."""


def findings(report: dict[str, Any]) -> list[str]:
    """Return one line for each known vulnerability in a report of pip-audit."""
    return [
        f"{library['name']} {library['version']}: {known['id']}, fixed in {', '.join(known['fix_versions']) or 'no version'}"
        for library in report["dependencies"]
        for known in library.get("vulns", ())
    ]


def unknown(report: dict[str, Any]) -> list[str]:
    """Return the libraries about which the database had no data."""
    skipped = [found for found in report["dependencies"] if found.get("skip_reason", OURS) != OURS]
    return [found["name"] for found in skipped if found["name"] not in OUR_NAMES]


def judged(report: dict[str, Any]) -> tuple[list[str], int]:
    """Return lines for people, and the exit code: 0 if each library is known to have no vulnerability."""
    bad, missing = findings(report), unknown(report)
    audited = sum("vulns" in library for library in report["dependencies"])
    lines = [*bad, f"libraries audited: {audited}, known vulnerabilities: {len(bad)}"]
    if missing:
        some = ", ".join(missing[:3])
        lines.append(f"NOT AUDITED: no data about {len(missing)} of them, such as {some}: is PyPI's own server reachable?")
    if bad:
        return lines, VULNERABLE
    return lines, NO_DATA if missing or not audited else 0


def main(command: list[str]) -> int:
    """Print the findings, and return the exit code."""
    words = [*command, "--format", "json", "--progress-spinner", "off"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    try:
        lines, code = judged(json.loads(ended.stdout))
    except ValueError:
        why = (ended.stderr.strip() or "pip-audit printed no report").splitlines()[-1]
        lines, code = [f"NOT AUDITED: no data about any library: {why}"], NO_DATA
    print(*lines, sep="\n")  # noqa: T201  # a command
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
