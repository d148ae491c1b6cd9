"""Shows a report: on the terminal, as JSON, as JUnit XML and as one page. Reports come redacted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from lxml import etree
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from circprobe import __version__
from circprobe.redaction import as_text
from circprobe.results import Exchange, Outcome, Report, Result

COLOURS = {
    Outcome.PASSED: "green",
    Outcome.FAILED: "red",
    Outcome.NOT_OFFERED: "blue",
    Outcome.NOT_TRIED: "dim",
    Outcome.UNCLEAR: "yellow",
}
MOST_SHOWN = 4000
"""Characters of one message in a report."""


def show_bytes(content: bytes) -> str:
    """Write bytes for people, with control characters named."""
    text = as_text(content)
    shown = text.replace("\r", "<CR>").replace("\n", "<LF>").replace("\t", "<TAB>")
    if text.lstrip().startswith("<"):
        # A document is easier to read in its own lines.
        shown = text.replace("\r", "")
    shown = "".join(c if c.isprintable() or c == "\n" else f"<{ord(c):02X}>" for c in shown)
    if len(shown) > MOST_SHOWN:
        return shown[:MOST_SHOWN] + " (shortened)"
    return shown


def print_progress(console: Console, result: Result) -> None:
    """Print one line for a clause that was judged."""
    colour = COLOURS[result.outcome]
    clause = result.clause
    line = f"[{colour}]{result.outcome:<12}[/] {clause.number}  {escape(clause.title)}"
    console.print(line, highlight=False)


def print_summary(console: Console, report: Report) -> None:
    """Print the failures with their bytes, then a table by area."""
    shown = [r for r in report.results if r.outcome in {Outcome.FAILED, Outcome.UNCLEAR}]
    for result in shown:
        _print_failure(console, result)

    table = Table(title=f"{report.role} at {report.peer}")
    table.add_column("area")
    for outcome in Outcome:
        table.add_column(outcome.value, justify="right")
    for area, counts in report.by_area().items():
        table.add_row(area, *(str(counts[outcome] or "") for outcome in Outcome))
    table.add_section()
    table.add_row("all", *(str(report.count(outcome)) for outcome in Outcome))
    console.print(table)
    for remark in report.remarks:
        console.print(f"[bold red]{escape(remark)}[/]", highlight=False)
    console.print(_verdict(report), highlight=False)


def _verdict(report: Report) -> str:
    failed = len(report.failed_musts)
    if failed:
        return f"[bold red]{failed} of the clauses that say must failed.[/]"
    return "[bold green]No clause that says must failed.[/]"


def _print_failure(console: Console, result: Result) -> None:
    clause = result.clause
    console.print()
    heading = f"{clause.number} ({clause.weight}) {escape(clause.title)}"
    console.print(f"[bold]{heading}[/]", highlight=False)
    console.print(f"  {result.outcome}: {escape(result.detail)}", highlight=False)
    console.print(f"  source: {escape(clause.source)}", highlight=False)
    for exchange in result.exchanges[-4:]:
        if exchange.sent:
            console.print(f"  sent     {escape(show_bytes(exchange.sent))}", highlight=False)
        answer = show_bytes(exchange.received) or exchange.note
        console.print(f"  received {escape(answer)}", highlight=False)
    console.print(f"  [italic]{escape(clause.advice)}[/]", highlight=False)


def as_json(report: Report) -> str:
    """Write a report as JSON. docs/results.md describes the fields."""
    document = {
        "circprobe": __version__,
        "role": report.role,
        "peer": report.peer,
        "started": report.started,
        "summary": {outcome.value: report.count(outcome) for outcome in Outcome},
        "failed_musts": [result.clause.number for result in report.failed_musts],
        "remarks": report.remarks,
        "results": [_result_as_json(result) for result in report.results],
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def _result_as_json(result: Result) -> dict[str, Any]:
    clause = result.clause
    return {
        "number": clause.number,
        "title": clause.title,
        "area": clause.area,
        "weight": clause.weight,
        "source": clause.source,
        "outcome": result.outcome.value,
        "detail": result.detail,
        "advice": clause.advice,
        "exchanges": [_exchange_as_json(exchange) for exchange in result.exchanges],
    }


def _exchange_as_json(exchange: Exchange) -> dict[str, Any]:
    return {
        "sent": as_text(exchange.sent),
        "received": as_text(exchange.received),
        "seconds": round(exchange.seconds, 3),
        "note": exchange.note,
    }


def as_junit(report: Report) -> bytes:
    """Write a report as JUnit XML, for CI: only a failed must is a failure."""
    suite = etree.Element("testsuite", name=f"circprobe {report.role}")
    suite.set("tests", str(len(report.results)))
    suite.set("failures", str(len(report.failed_musts)))
    skipped = [r for r in report.results if not r.is_failed_must and not _is_passed(r)]
    suite.set("skipped", str(len(skipped)))
    for result in report.results:
        clause = result.clause
        case = etree.SubElement(suite, "testcase", name=f"{clause.number} {clause.title}")
        case.set("classname", f"{report.role}.{clause.area}".replace(" ", "_"))
        if _is_passed(result):
            continue
        kind = "failure" if result.is_failed_must else "skipped"
        message = _printable(f"{result.outcome}: {result.detail}")
        element = etree.SubElement(case, kind, message=message)
        element.text = _printable("\n".join(_lines(result)))
    return bytes(etree.tostring(suite, xml_declaration=True, encoding="utf-8", pretty_print=True))


def _is_passed(result: Result) -> bool:
    return result.outcome is Outcome.PASSED


def _printable(text: str) -> str:
    return "".join(c for c in text if c.isprintable() or c == "\n")


def _lines(result: Result) -> list[str]:
    lines = [result.clause.advice]
    for exchange in result.exchanges:
        lines.append("> " + show_bytes(exchange.sent))
        lines.append("< " + (show_bytes(exchange.received) or exchange.note))
    return lines


def as_html(report: Report) -> str:
    """Write a report as one page without scripts, for librarians and vendors."""
    source = resources.files("circprobe").joinpath("report.html.j2").read_text("utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["bytes"] = show_bytes
    template = environment.from_string(source)
    return template.render(report=report, outcomes=list(Outcome), version=__version__)


def write(report: Report, paths: Sequence[tuple[str, Path | None]]) -> None:
    """Write a report into files.

    Args:
        report: a redacted report.
        paths: pairs of a form ("json", "junit", "html") and the path, or None for no such file.
    """
    for form, path in paths:
        if path is None:
            continue
        match form:
            case "json":
                path.write_text(as_json(report), "utf-8")
            case "junit":
                path.write_bytes(as_junit(report))
            case "html":
                path.write_text(as_html(report), "utf-8")
