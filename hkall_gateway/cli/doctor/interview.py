"""The interview of the library's own system by `circprobe`, and the keys that its answers suggest.

circprobe is a program of its own, which shares no code with the gateway: a process runs it, and
leaves a report in JSON. It only looks up. The rows of `checks.toml` that name clauses say what is
read from its results.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from hkall_gateway.cli.doctor.findings import CHECKS, ExaminationTools, Interview, Sheet
from hkall_gateway.config import mapping as config_mapping
from hkall_gateway.config.gateway import GatewayConfig
from hkall_gateway.rules.vocabulary import Sensitive
from hkall_gateway.sip2.codec.messages import BX

INTERVIEW_S: Final = 30.0
"""Time limit of one interview, in seconds, beside that of the other checks."""
IDLE_S: Final = 3
CHECK: Final = "interview"
OF_SIP2: Final = ("habit.checksum", "habit.card", "habit.pin", "habit.lists", "habit.encoding", "habit.idle")
OF_RELAY: Final = ("habit.messages",)
OF_NCIP: Final = ("habit.stranger", "habit.proof", "habit.loans", "habit.shelf")

NOT_INSTALLED: Final = (
    "circprobe is not installed; the Debian package and the image have it, and beside the sources `pip install ./circprobe`"
    " installs it"
)
PASSWORD, PIN, ADDRESS = "CIRCPROBE_PASSWORD", "CIRCPROBE_PIN", "CIRCPROBE_URL"
"""Variables by which the process gets secrets, which other users could read on its command line."""
NEVER_RELAYED: Final = frozenset({"93", "96", "97", "99"})
_BX_OF_98: Final = re.compile(r"(?:^|\|)BX([YN]+)")
_FIXED_98: Final = 36
"""Length of 98 up to its first field."""

Result = Mapping[str, Any]
"""The result of one clause in circprobe's report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What circprobe is asked to do: the words of its command line, and the secrets in its environment."""

    checks: tuple[str, ...]
    words: tuple[str, ...]
    secrets: Mapping[str, Sensitive] = field(default_factory=dict)


def plan(*, asks_sip2: bool, relays: bool, asks_ncip: bool) -> tuple[str, ...]:
    """Return the names of the checks of an interview, in order."""
    checks: tuple[str, ...] = ()
    if asks_sip2:
        checks += OF_SIP2
    if relays:
        checks += OF_RELAY
    if asks_ncip:
        checks += OF_NCIP
    return (CHECK, *checks) if checks else ()


def find_program() -> str:
    """Return the path of `circprobe` beside our own program or on the PATH, or "" if it is not installed."""
    beside = Path(sys.executable).with_name("circprobe")
    if beside.exists():
        return str(beside)
    return shutil.which("circprobe") or ""


def sip2_assignment(config: GatewayConfig, password: Sensitive, interview: Interview) -> Assignment:
    """Return the questions to the SIP2 server of [ils], put as the gateway would put them."""
    ils, dialect = config.ils, config_mapping.framing_of_ils(config)
    institution = ils.institution or config.library.agency
    words = ["sip2", "server", f"{ils.host}:{ils.port}", "--institution", institution]
    words += ["--encoding", dialect.encoding, "--timeout", f"{ils.timeout_s:g}", "--idle", str(IDLE_S)]
    if ils.tls:
        words.append("--check-certificate")
    if not dialect.error_detection:
        words.append("--no-error-detection")
    if ils.login:
        words += ["--login", ils.login, "--password-env", PASSWORD, "--location", ils.location]
    words += _test_reader("--patron", interview)
    if interview.copy:
        words += ["--item", interview.copy]
    checks = (*OF_SIP2, *OF_RELAY) if ils.relay else OF_SIP2
    return Assignment(checks=checks, words=tuple(words), secrets={PASSWORD: password, PIN: interview.pin})


def ncip_assignment(config: GatewayConfig, secret: Sensitive, interview: Interview) -> Assignment:
    """Return the questions to the NCIP responder of [ils], in our agency's name."""
    ils, agency = config.ils, config.library.agency
    words = ["ncip", "responder", "--url-env", ADDRESS, "--from", agency, "--to", ils.agency or agency]
    words += ["--timeout", f"{ils.timeout_s:g}"]
    if secret:
        words += ["--secret-env", PASSWORD]
    words += _test_reader("--user", interview)
    if interview.copy:
        words += ["--item", interview.copy]
    # The address may hold a key, as that of FOLIO does.
    address = Sensitive(ils.url or "")
    return Assignment(
        checks=OF_NCIP,
        words=tuple(words),
        secrets={PASSWORD: secret, PIN: interview.pin, ADDRESS: address},
    )


def _test_reader(option: str, interview: Interview) -> list[str]:
    if not interview.card:
        return []
    with_pin = ["--pin-env", PIN] if interview.pin else []
    return [option, interview.card, *with_pin]


async def hold_interview(sheet: Sheet, tools: ExaminationTools, assignment: Assignment) -> None:
    """Run circprobe, and add the findings that follow from its report."""
    interview = tools.interview
    if interview is None:
        return
    if not interview.program:
        for check in (CHECK, *assignment.checks):
            sheet.skip(check, NOT_INSTALLED)
        return

    why = ""
    try:
        report = await tools.in_thread(partial(run, interview.program, assignment))
    except subprocess.TimeoutExpired:
        why = f"circprobe has not finished within {INTERVIEW_S:.0f} s"
    except (OSError, ValueError, KeyError) as error:
        why = f"circprobe has left no report: {error}"
    if why:
        sheet.warn(CHECK, why)
        return

    judge_interview(sheet, tools.means.config(), assignment.checks, report)


def run(program: str, assignment: Assignment) -> Mapping[str, Any]:
    """Run circprobe in a process, and return its report.

    Raises:
        subprocess.TimeoutExpired: if it takes too long.
        OSError, ValueError: if it leaves no report.
    """
    numbers = dict.fromkeys(number for check in assignment.checks for number in CHECKS[check].clauses)
    only = [word for number in ("SS-101", *numbers) for word in ("--only", number)]
    secrets = {name: secret.reveal() for name, secret in assignment.secrets.items()}
    with TemporaryDirectory(prefix="hkall-interview-") as folder:
        path = Path(folder) / "report.json"
        command = [program, *assignment.words, *only, "--quiet", "--json", str(path)]
        done = subprocess.run(  # the words are ours, and no shell reads them
            command,
            env={**os.environ, **secrets},
            capture_output=True,
            text=True,
            timeout=INTERVIEW_S,
            check=False,
        )
        if not path.exists():
            last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise ValueError(last[0])
        report: Mapping[str, Any] = json.loads(path.read_text("utf-8"))
    return report


def judge_interview(sheet: Sheet, config: GatewayConfig, checks: Iterable[str], report: Mapping[str, Any]) -> None:
    """Add the findings about each habit. `checks` are names of rows of `checks.toml` with clauses."""
    results: dict[str, Result] = {result["number"]: result for result in report["results"]}
    tried = [result for result in results.values() if result["outcome"] != "not tried"]
    passed = [result for result in tried if result["outcome"] == "passed"]
    sheet.ok(CHECK, f"circprobe {report['circprobe']}: {len(passed)} of {len(tried)} clauses passed")

    for check in checks:
        about = [results[number] for number in CHECKS[check].clauses if number in results]
        if check not in OF_RELAY:
            judge_habit(sheet, check, about)
            continue
        unsupported = unsupported_messages(results) - withheld_messages(config)
        if unsupported:
            sheet.warn(check, f"98: BX says that {', '.join(sorted(unsupported))} are not supported")
        else:
            # What BX denies is withheld from every terminal.
            judge_habit(sheet, check, [result for result in about if result["outcome"] != "not offered"])


def judge_habit(sheet: Sheet, check: str, results: Sequence[Result]) -> None:
    """Add the finding that follows from the results of some clauses: the first that is not met, else that all are."""
    not_met = [result for result in results if result["outcome"] in {"failed", "not offered", "unclear"}]
    if not_met:
        first = not_met[0]
        sheet.warn(check, f"{first['title']}: {first['detail']} ({first['number']})")
        return

    not_tried = [result for result in results if result["outcome"] == "not tried"]
    if len(not_tried) == len(results):
        sheet.skip(check, not_tried[0]["detail"] if not_tried else "circprobe has no such clause")
        return

    detail = CHECKS[check].fine
    if not_tried:
        numbers = ", ".join(result["number"] for result in not_tried)
        detail += f"; not tried: {numbers} ({not_tried[0]['detail']})"
    sheet.ok(check, detail)


def withheld_messages(config: GatewayConfig) -> frozenset[str]:
    """Return the messages that no terminal is offered."""
    dialects = config_mapping.makes_of_terminals(config.sip2)
    by_terminal = [dialects[row.dialect].withheld for row in config.sip2.terminals]
    if not by_terminal:
        return frozenset()
    return frozenset.intersection(*by_terminal)


def unsupported_messages(results: Mapping[str, Result]) -> frozenset[str]:
    """Return the messages for which BX of 98 has an N, without those that a relay never passes on."""
    status = results.get("SS-101")
    if status is None or not status["exchanges"]:
        return frozenset()
    found = _BX_OF_98.search(status["exchanges"][0]["received"][_FIXED_98:])
    if found is None:
        return frozenset()
    codes = frozenset(code for code, flag in zip(BX, found[1], strict=False) if flag == "N")
    return codes - NEVER_RELAYED
