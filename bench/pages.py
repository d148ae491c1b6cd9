"""The records as Markdown: the measured rows for the screen, every row for docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench.report import Records
from bench.rows import ROWS, Row

BEGIN: Final = "<!-- measured: written by `make bench ARGS=--write` -->"
END: Final = "<!-- end of what was measured -->"
BUSY: Final = "**The machine was busy with other work: these figures show that the rows run, not how fast anything is.**"
ROW_HEAD: Final = ("row", "demand", "median", "lowest to highest", "by CPU", "", "what")
CELL_HEAD: Final = (
    "work",
    "connections",
    "subject",
    "a second",
    "p50 ms",
    "p99 ms",
    "CPU µs",
    "database µs",
    "batch",
    "generator",
)


def screen(records: Records) -> str:
    """The machine, every cell, and the chosen rows."""
    keys = {*records["ratios"], *records["not_measured"], *records["failed"]}
    cells = _table(CELL_HEAD, map(_cell, records["cells"]))
    rows = _table(ROW_HEAD, (_row(row, records) for row in ROWS if row.key in keys))
    return "\n".join([_machine(records), "", *cells, "", *rows])


def has_place(file: Path) -> bool:
    """Whether a page has the two marks."""
    return _around(file) is not None


def write(records: Records, file: Path) -> None:
    """Writes the tables between the two marks of a page. ValueError if it has no such place."""
    if (around := _around(file)) is None:
        raise ValueError(f"{file} has no place for tables")
    file.write_text(f"{around[0]}{BEGIN}\n\n{page(records)}\n\n{END}{around[1]}", encoding="utf-8")


def _around(file: Path) -> tuple[str, str] | None:
    """Returns the text before and after the place; None if the file has no such place."""
    before, begun, rest = file.read_text(encoding="utf-8").partition(BEGIN)
    _, ended, after = rest.partition(END)
    return (before, after) if begun and ended else None


def page(records: Records) -> str:
    """The machine, every row, measured or not, and the four works over their connections."""
    rows = _table(ROW_HEAD, (_row(row, records) for row in ROWS if row.demanded or row.key in records["ratios"]))
    told = "Answers a second, and p50 / p99 in milliseconds, by the number of connections:"
    return "\n".join([_machine(records), "", *rows, "", told, "", *_works(records["cells"])])


def _table(head: Sequence[str], lines: Iterator[Sequence[str]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *lines):
        yield f"| {' | '.join(cells)} |"


def _machine(records: Records) -> str:
    on, how = records["machine"], records["plan"]
    size = how["size"]
    world = f"{size['patrons']:,} patrons, {size['holdings']:,} copies elsewhere, {size['open']:,} books on the hold shelf"
    ran = f"{how['rounds']} rounds of {how['seconds']:g} s, {world}; {size['closed']:,} closed requests in the rows of growth"
    busy = f" {BUSY}" if on["load"] > on["cores"] else ""
    return f"{on['cpu']}, {on['cores']} cores, CPython {on['python']}, load {on['load']:.1f} before it began. {ran}.{busy}"


def _row(row: Row, records: Records) -> Sequence[str]:
    key = f"`{row.key}`"
    found = records["ratios"].get(row.key)
    if found is None:
        why = records["failed"].get(row.key) or records["not_measured"].get(row.key, "")
        return key, str(row.demand), "not measured", "", "", why.replace("\n", " ")[:120], row.measure.how
    spread = f"{found['lowest']:.3g} to {found['highest']:.3g}"
    cpu = "" if found["by_cpu"] is None else f"{found['by_cpu']:.2g}"
    return key, str(row.demand), f"{found['median']:.3g}", spread, cpu, "" if found["met"] else "**short**", row.measure.how


def _cell(cell: Mapping[str, Any]) -> Sequence[str]:
    rate = f"{cell['rate']:,.0f}", f"{cell['p50_ms']:.2f}", f"{cell['p99_ms']:.2f}"
    cpu = f"{cell['cpu_us']:,.0f}", f"{cell['database_us']:,.0f}", f"{cell['batch']:.1f}", f"{cell['generator']:.0%}"
    return cell["work"], str(cell["connections"]), cell["subject"], *rate, *cpu


def _works(cells: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each work and subject, a column for each number of connections."""
    over = sorted({cell["connections"] for cell in cells})
    by_pair: dict[tuple[str, str], dict[int, str]] = {}
    for cell in cells:
        said = f"{cell['rate']:,.0f} ({cell['p50_ms']:.1f} / {cell['p99_ms']:.1f})"
        by_pair.setdefault((cell["work"], cell["subject"]), {})[cell["connections"]] = said
    lines = ((*pair, *(found.get(connections, "") for connections in over)) for pair, found in sorted(by_pair.items()))
    return _table(("work", "subject", *map(str, over)), lines)
