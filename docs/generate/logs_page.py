"""docs/logs.md: how to read the log, with every event and field."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from docs.generate.log_events import CONTEXTS, EVENTS, EVERY_LINE, FIELDS
from hkall_gateway.observability.log_context import VERSION

INTRODUCTION: Final = f"""\
# The log

<!-- written by `make docs`; change the table in the code instead -->

One JSON object a line, on standard output or in `[logs] file`. `daemon.started` names the version of this contract
(`log_version`), now {VERSION}: it rises when an event or a field is renamed, removed or gets another meaning. New events and
fields leave it, so a reader must ignore those that it does not know.

Patrons appear as `patron_ref`, a keyed hash; PINs, passwords, names and addresses are never logged.

This is the log of `serve`. Other commands write such lines to standard error, warnings and errors only, whatever `[logs]` says;
their `patron_ref` has another key in each run.

## Reading it

On a terminal each event is drawn as one line for people; in a pipe, a file or a journal it is JSON
(`serve --log-format` chooses). `hkall-gateway tail` draws JSON lines, times in Hong Kong's:

<!-- walk: example -->
```sh
hkall-gateway tail                                                   # the file of [logs]
hkall-gateway tail var/gateway.log --level warning --since 09:00
hkall-gateway tail --patron P0001                                    # needs the key: [logs] patron_key_env
journalctl -u hkall-gateway -o cat | hkall-gateway tail - --request R-2026-000017
hkall-gateway tail --follow --terminal counter-1                     # new lines, also after a rotation
```

- `--request`, `--terminal`, `--partner` and `--patron` choose conversations: also the lines with the same `corr_id` are drawn,
  together, such as the decision with its rule and the delivery that followed. All given must match one line of it.
  With `--follow` each line is drawn as it comes; a pipe without end, such as `journalctl --follow`, needs it too.
- `--level` and `--since` leave out lines. `--since` is an hour (the last one before now), a day, or both (`2026-11-27T09:00`).
- A traceback is drawn as its last line; the JSON line has all of it.
- A line that is not JSON is drawn as it is, unless a conversation was chosen that it does not mention.
- Lines of a conversation that came more than 20,000 lines before the first match are not found.

## OpenTelemetry

Field names stay; a collector maps them by the last column of the table of fields. `Timestamp`, `SeverityText`, `EventName`,
`Body`, `TraceId` and `InstrumentationScope` are parts of the log record, the others attributes. Severity numbers: debug 5,
info 9, warning 13, error 17, critical 21.

Every document that we post carries a W3C `traceparent`. Its trace-id is computed from `corr_id`, so that all deliveries of one
conversation have the same; delivery lines have it as `trace_id`. If a partner sends a `traceparent`, the lines about its
document show it; an invalid one is ignored.
"""


def logs_page() -> str:
    """Return the page in Markdown."""
    fields = ((f"`{row.name}`", row.about, f"`{row.otel_name}`") for row in FIELDS)
    events = ((f"`{row.name}`", ", ".join(row.levels.split()), row.about, _named(row.fields.split())) for row in EVENTS)
    contexts = ((work, _named(names.split())) for work, names in CONTEXTS.items())
    return "\n".join(
        (
            INTRODUCTION,
            "## Fields of a context\n",
            f"Every line has {_named(EVERY_LINE)}. Lines written during such work have the fields of its context too:\n",
            *_table(("work", "fields"), contexts),
            "\n## Events\n",
            *_table(("event", "level", "meaning", "fields"), events),
            "\n## Fields\n",
            *_table(("field", "meaning", "in OpenTelemetry"), fields),
            "",
        )
    )


def _named(names: Iterable[str]) -> str:
    return " ".join(f"`{name}`" for name in names)


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in (heads, tuple("---" for _ in heads), *rows)]
