"""The pages that are written by the tables themselves: `make docs`. A test says when they are out of date."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hkall_gateway.config.docs import describe
from hkall_gateway.ncip import handlers as ncip_handlers
from hkall_gateway.ncip.messages import SHAPES as SERVICES
from hkall_gateway.rules.lifecycle import TABLE, diagram, side_of
from hkall_gateway.rules.vocabulary import Side
from hkall_gateway.sip2 import handlers as sip2_handlers
from hkall_gateway.sip2.fields import TAGS
from hkall_gateway.sip2.messages import SHAPES as MESSAGES

WRITTEN = "<!-- written by `make docs`; change the table in the code instead -->"


def lifecycle() -> str:
    """docs/lifecycle.md: the diagrams and every row of the table."""
    rows = [(s.source, s.event, s.target, ", ".join(s.sends), side_of(s.event)) for s in TABLE]
    tables = [
        f"### Rows: {side.name.lower()}\n\n" + _table(("from", "when", "to", "tells"), [r[:4] for r in rows if r[4] is side])
        for side in Side
    ]
    return "\n\n".join(["# Where a request can go", WRITTEN, diagram().strip(), *tables]) + "\n"


def profile() -> str:
    """docs/profile.md: which messages of both protocols are answered."""
    sip2 = [(s.code, s.name, _has(s.code in sip2_handlers.HANDLERS), s.reply or "") for s in MESSAGES.values()]
    hidden = {t.tag: "hidden in logs" if t.secret or t.personal else "" for t in TAGS.values()}
    tags = [(t.tag, t.name, "extension" if t.extension else "", hidden[t.tag]) for t in TAGS.values()]
    ncip = [(name, s.kind, _has(name in ncip_handlers.HANDLERS)) for name, s in SERVICES.items()]
    parts = [
        "# What is supported",
        WRITTEN,
        "## SIP2 2.00 messages",
        _table(("code", "message", "answered", "reply"), sip2),
        "A request that is not answered gets its own negative reply; 98 says so in BX. Replies are written, never answered.",
        "## SIP2 fields",
        _table(("tag", "field", "", ""), tags),
        "## NCIP 2.02 services, as responder",
        _table(("service", "class", "answered"), ncip),
        'A service that is not answered gets its own response with the Problem "Unsupported Service": agencies and users are'
        " made in the library's own system, not by partners.",
    ]
    return "\n\n".join(parts) + "\n"


PAGES: Mapping[str, Callable[[], str]] = {"config.md": describe, "lifecycle.md": lifecycle, "profile.md": profile}


def _has(answered: bool) -> str:
    return "yes" if answered else "no"


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def main(folder: Path) -> None:
    """Write every page into `folder`."""
    folder.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
