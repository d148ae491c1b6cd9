"""The records as Markdown: the measured rows for the screen, the short tables and the full ones for the two pages of docs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench import aims, capacity
from bench.report import Records
from bench.rows import FELT, KEYS, ROWS

BEGIN: Final = "<!-- measured: written by `make bench ARGS=--write` -->"
BEGIN_FULL: Final = "<!-- measured in full: written by `make bench ARGS=--write` -->"
END: Final = "<!-- end of what was measured -->"
BUSY: Final = "**The machine was busy with other work: these figures show that the rows run, not how fast anything is.**"
SHORT_HEAD: Final = ("row", "demand", "plain Python", "lowest to highest", "compiled", "", "what")
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


_DESCRIBED: Final = {row.key: (str(row.demand), row.measure.how) for row in ROWS}
"""The demand and the description of each row."""
_SHORT: Final = {row.key for row in ROWS if row.demanded} | FELT


def screen(records: Records) -> str:
    """The machine, every cell, and the chosen rows."""
    keys = dict.fromkeys([*records["ratios"], *records["not_measured"], *records["failed"]])
    known = [row.key for row in ROWS if row.key in keys]
    cells = _table(CELL_HEAD, map(_cell, records["cells"]))
    rows = _table(ROW_HEAD, (_row(key, records) for key in (*known, *(key for key in keys if key not in KEYS))))
    return "\n".join([_machine(records), "", *cells, "", *rows])


def has_place(file: Path) -> bool:
    """Whether a page has a begin mark and the end mark."""
    return _around(file) is not None


def write(records: Records, file: Path) -> None:
    """Writes the tables between the two marks of a page: the begin mark selects them. ValueError if it has no such place."""
    if (around := _around(file)) is None:
        raise ValueError(f"{file} has no place for tables")
    before, begin, after = around
    file.write_text(f"{before}{begin}\n\n{TABLES[begin](records)}\n\n{END}{after}", encoding="utf-8")


def _around(file: Path) -> tuple[str, str, str] | None:
    """Returns the text before the place, its begin mark and the text after; None if the file has no such place."""
    text = file.read_text(encoding="utf-8")
    for begin in TABLES:
        before, begun, rest = text.partition(begin)
        _, ended, after = rest.partition(END)
        if begun and ended:
            return before, begin, after
    return None


def summary(records: Records) -> str:
    """The machine, the table of capacity, the rows with a demand or that users feel, and the aims."""
    rows = _table(SHORT_HEAD, (_short_row(key, records) for key in _DESCRIBED if key in _SHORT))
    parts = {
        "What libraries need": _table(capacity.HEAD, capacity.capacity(records)),
        "Ratios and figures": rows,
        "Aims": _table(aims.HEAD, aims.aims(records)),
    }
    sections = ("\n".join([f"## {title}", "", *lines]) for title, lines in parts.items())
    return "\n\n".join([_machine(records), capacity.carried(records), *sections])


def full(records: Records) -> str:
    """The machine, every row, measured or not, and the works over their connections."""
    keys = [row.key for row in ROWS if row.demanded or row.key in records["ratios"]]
    rows = _table(ROW_HEAD, (_row(key, records) for key in (*keys, *(key for key in records["ratios"] if key not in KEYS))))
    told = "Answers a second, and p50 / p99 in milliseconds, by the number of connections:"
    return "\n".join([_machine(records), "", *rows, "", told, "", *_works(records["cells"])])


TABLES: Final[Mapping[str, Callable[[Records], str]]] = {BEGIN: summary, BEGIN_FULL: full}
"""The tables of a page by the mark at which they begin."""


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *lines):
        yield f"| {' | '.join(cells)} |"


def _machine(records: Records) -> str:
    on, how = records["machine"], records["plan"]
    size = how["size"]
    world = f"{size['patrons']:,} patrons, {size['holdings']:,} copies elsewhere, {size['open']:,} books on the hold shelf"
    ran = f"{how['rounds']} rounds of {how['seconds']:g} s, {world}; {size['closed']:,} closed requests in the rows of growth"
    busy = f" {BUSY}" if on["load"] > on["cores"] else ""
    return f"{on['cpu']}, {on['cores']} cores, CPython {on['python']}, load {on['load']:.1f} before it began. {ran}.{busy}"


def _row(key: str, records: Records) -> Sequence[str]:
    found = records["ratios"].get(key)
    if found is None:
        why = records["failed"].get(key) or records["not_measured"].get(key, "")
        demand, how = _DESCRIBED.get(key, ("", ""))
        return f"`{key}`", demand, "not measured", "", "", why.replace("\n", " ")[:120], how
    spread = f"{found['lowest']:.3g} to {found['highest']:.3g}"
    cpu = "" if found["by_cpu"] is None else f"{found['by_cpu']:.2g}"
    short = "" if found["met"] else "**short**"
    return f"`{key}`", found["demand"], f"{found['median']:.3g}", spread, cpu, short, found["how"]


def _short_row(key: str, records: Records) -> Sequence[str]:
    ours, fast = records["ratios"].get(key), records["ratios"].get(f"{key}@compiled")
    demand, how = _DESCRIBED[key]
    spread = f"{ours['lowest']:.3g} to {ours['highest']:.3g}" if ours else ""
    figures = [f"{found['median']:.3g}" if found else "not measured" for found in (ours, fast)]
    short = "**short**" if any(found and not found["met"] for found in (ours, fast)) else ""
    return f"`{key}`", demand, figures[0], spread, figures[1] if fast else "", short, how


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
