"""The modules that `make wheel-compiled` compiles by mypyc, and those beside them that stay Python, each with its reason.

A room is named by its folder, with everything below it. `setup.py` reads this table when HKALL_COMPILED is set.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir
from pathlib import Path
from typing import Any, Final

from setuptools.command.build_ext import build_ext

ROOT: Final = Path(__file__).parents[1]
BUILD: Final = ROOT / "build"

COMPILED: Final = (
    "edge/after_reply.py",
    "edge/limits/fair_reads.py",
    "edge/limits/time_budget.py",
    "edge/log_context.py",
    "logs.py",
    "rules",
    "sip2/activity.py",
    "sip2/codec",
    "sip2/handlers",
    "sip2/dispatch.py",
    "sip2/exchange.py",
    "ncip/codec",
    "desk",
    "store/engine",
    "store/changed_fields.py",
    "store/inbox.py",
    "store/journal_entry.py",
    "store/notices.py",
    "store/outbox.py",
    "store/partner_circuit.py",
    "store/partners.py",
    "store/patron_numbers.py",
    "store/patrons.py",
    "store/prefetch.py",
    "store/queries/queries.py",
    "store/request_rows.py",
    "store/terminal_activity.py",
    "store/unit.py",
)
"""Rooms and modules below `hkall_gateway`: the pure rooms, and what a checkout or a patron's record uses of the others."""

_SUBCLASS: Final = "has a subclass of str with attributes; mypyc has none of built-in types"
_TABLE: Final = "a table that is read once: no gain, and its C takes the compiler seconds"
_NO_ROW: Final = "waits for partners or staff: no row of the benchmark pays for it"

# fmt: off
PURE: Final = {
    "ncip/codec/dialects.py":         _SUBCLASS,
    "ncip/codec/messages.py":         _SUBCLASS,
    "ncip/codec/elements.py":         _TABLE,
    "ncip/codec/elements_v1.py":      _TABLE,
    "rules/lifecycle.py":             _TABLE,
    "rules/marc_fields.py":           _TABLE,
    "rules/messages/letters.py":      _TABLE,
    "rules/published_rules.py":       _TABLE,
    "rules/rule_index.py":            _TABLE,
    "rules/settings.py":              _TABLE,
    "rules/vendor_words":             _TABLE,
    "desk/common/context.py":         "imports the class of a field for the type checker only, which crashes the compiled code",
    "desk/desk.py":                   "tests put others in the place of Desk, which a compiled field refuses",
    "desk/partner_desk.py":           _NO_ROW,
    "desk/partners":                  _NO_ROW,
    "desk/rounds.py":                 "hands its coroutine to Twisted, which takes Python's own only",
    "desk/scan_station.py":           _NO_ROW,
    "desk/staff":                     _NO_ROW,
    "desk/staff_desk.py":             _NO_ROW,
    "store/engine/immediate.py":      "a store for tests and commands: no row of the benchmark pays for it",
    "store/engine/job.py":            "Job is a generic dataclass with slots, which mypyc cannot make",
    "store/engine/pipeline.py":       "keeps a module (the driver's errors) in an attribute, which mypyc leaves out",
}
# fmt: on
"""Modules and folders of these rooms that stay Python: path below `hkall_gateway` -> why."""


def modules() -> list[str]:
    """Return the files to compile, relative to the checkout, in order."""
    package = ROOT / "hkall_gateway"
    found = {path for name in COMPILED for path in _files(package / name)}
    kept = {path for name in PURE for path in _files(package / name)}
    return sorted(str(path.relative_to(ROOT)) for path in found - kept)


class BuildInParallel(build_ext):
    """Runs as many C compilers as there are processors."""

    def build_extensions(self) -> None:
        one_by_one = self.compiler.compile
        with ThreadPoolExecutor(os.cpu_count()) as pool:

            def compile_all(sources: Sequence[str], **how: Any) -> list[str]:
                first = one_by_one([sources[0]], **how)  # makes the folders, alone
                return [*first, *(made for (made,) in pool.map(lambda source: one_by_one([source], **how), sources[1:]))]

            self.compiler.compile = compile_all
            super().build_extensions()


def extensions() -> list[Any]:
    """Return the extension modules for setuptools. Needs mypy, the gateway's dependencies (for their types), gcc, Python.h."""
    from mypyc.build import mypycify

    options = ["--config-file=", "--explicit-package-bases", "--ignore-missing-imports"]
    level = os.environ.get("MYPYC_OPT_LEVEL", "2")  # 0 compiles in half the time
    how = {"opt_level": level, "debug_level": "0", "target_dir": str(BUILD)}
    with chdir(_sources()):
        return mypycify([*options, *modules()], multi_file=True, group_name="hkall_gateway", **how)


def _sources() -> Path:
    """Copy the package into build/sources and write the constructors of its dataclasses. Return that folder."""
    from constructors import with_constructors

    sources = BUILD / "sources"
    shutil.rmtree(sources, ignore_errors=True)
    shutil.copytree(ROOT / "hkall_gateway", sources / "hkall_gateway", ignore=shutil.ignore_patterns("__pycache__"))
    for module in modules():
        (sources / module).write_text(with_constructors((ROOT / module).read_text(encoding="utf-8")), encoding="utf-8")
    return sources


def _files(path: Path) -> list[Path]:
    """Return the modules of a room, without `__init__.py`, which holds no code."""
    return [path] if path.is_file() else [found for found in path.rglob("*.py") if found.name != "__init__.py"]
