"""Kills a gateway before and after each commit and each document that it sends, at each of these points once.

A test copies this file as `sitecustomize.py` into a folder of PYTHONPATH, and names in HKALL_CRASHES the folder in which the
test writes the current step, and the gateway the points at which it died. Points are found by counting, not listed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

STEP, SEEN = "step", "seen"
DEPTH = 6
ARGUMENTS = {"Context", "Gathered", "Handler", "InboxKey", "Library"}
"""What stands beside a command in the closure of its unit of work."""


def die_once(folder: Path, moment: str, names: set[str]) -> None:
    """Kill this process unless it has died before, or after, all of this.

    What belongs to a book dies again in each step, and what belongs to the process only once.
    """
    step = (folder / STEP).read_text(encoding="utf-8")
    points = {f"{step}: {moment} {name}" if name[0].isupper() else f"{moment} {name}" for name in names}
    seen = folder / SEEN
    fresh = points - {*seen.read_text(encoding="utf-8").splitlines()}
    if not fresh:
        return
    with seen.open("a", encoding="utf-8") as file:
        file.write("".join(f"{point}\n" for point in sorted(fresh)))
        file.flush()
        os.fsync(file.fileno())
    os.kill(os.getpid(), signal.SIGKILL)


def describe(work: object, depth: int = DEPTH) -> Iterator[str]:
    """Yield the commands and functions in the closures of a unit of work."""
    if depth == 0:
        return
    if isinstance(work, partial):
        parts: tuple[object, ...] = (work.func, *work.args)
    elif isinstance(work, tuple):
        parts = work
    else:
        parts = tuple(cell.cell_contents for cell in getattr(work, "__closure__", None) or ())
    for part in parts:
        yield from describe(part, depth - 1)
    name = getattr(work, "__qualname__", "")
    if name and "<" not in name:
        yield name
    kind = type(work)
    if is_dataclass(work) and kind.__module__.startswith("hkall_gateway.circulation") and kind.__name__ not in ARGUMENTS:
        row = getattr(work, "row", None)
        yield " ".join(filter(None, [kind.__name__, str(getattr(row, "send", ""))]))


def arm(folder: Path) -> None:
    """Replace the writer's commit and the client's post by ones at which the process may die."""
    from hkall_gateway.db.engine import group
    from hkall_gateway.net import http_post

    run_units, close, send = group._run_units, group._Transaction.close, http_post.AgentPost._post_document
    running: dict[int, set[str]] = {}

    def run_units_named(transaction: Any, jobs: Any, *, briefly: bool) -> Any:
        running[id(transaction)] = {name for job in jobs for name in describe(job.work)}
        return run_units(transaction, jobs, briefly=briefly)

    def close_or_die(transaction: Any) -> None:
        names = running[id(transaction)]
        die_once(folder, "before", names)
        close(transaction)
        die_once(folder, "after", names)

    async def send_or_die(post: Any, url: str, body: bytes, timeout_s: float, headers: Any) -> Any:
        names = {f"POST {json.loads(body)['say']}"}
        die_once(folder, "before", names)
        reply = await send(post, url, body, timeout_s, headers)
        die_once(folder, "after", names)
        return reply

    group._run_units = run_units_named
    group._Transaction.close = close_or_die  # type: ignore[method-assign, assignment]
    http_post.AgentPost._post_document = send_or_die  # type: ignore[method-assign, assignment]


if __name__ == "sitecustomize" and "HKALL_CRASHES" in os.environ and "serve" in sys.orig_argv:
    arm(Path(os.environ["HKALL_CRASHES"]))
