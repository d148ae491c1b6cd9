"""No face opens a unit of work beside `circulation`, except the files named here, each with the lock that it takes."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

import pytest

PACKAGE: Final = Path(__file__).parent.parent / "hkall_gateway"
FACES: Final = ("web", "cli", "sip2", "ncip", "delivery")

EXCEPTIONS: Final = {
    "cli/admin/backup.py": "backup and restore: one upsert, or a database that no gateway uses yet; without a lock",
    "cli/admin/load.py": "loads: batches of rows, under the lock of the document `load`",
    "cli/admin/privacy.py": "purge and erasure: the claim of the round, then batches; an erasure locks the person's cards",
    "cli/doctor/examination.py": "the time and result of this run of doctor: one upsert without a lock",
    "cli/doctor/ils.py": "an empty database in memory, which no other process sees",
    "cli/doctor/own_records.py": "the comparison of tables that must agree: a snapshot",
    "cli/options.py": "questions and explanations of the command line: a snapshot, or a unit that is rolled back",
    "delivery/courier.py": "claims of outbox rows: each tries the lock of its channel",
    "delivery/live_status.py": "a partner's directory row: a snapshot",
    "delivery/smtp.py": "the rows of a letter: a snapshot",
    "web/bridge.py": "the doors of pages: a question's snapshot, an explanation, and the writes of visits and erasures",
    "web/callers.py": "the session or token of a request before it has a thread: a snapshot",
    "web/services.py": "questions and explanations of pages: a snapshot, or a unit that is rolled back",
    "web/staff/patrons.py": "erasure, which locks the person's cards, and export: a snapshot",
    "web/visits.py": "sessions, tokens and scans: one row by its random key, or the lock of the document or card",
}
"""File of a face that opens units of work -> why, and under which lock."""

DOORS: Final = {"read", "write", "read_now", "write_now", "trial"}
STORES: Final = {"store", "_store", "bridge", "_bridge"}


def opens_unit(node: ast.AST) -> bool:
    """Whether the expression names a unit of work, or a method of a store that runs one."""
    if isinstance(node, ast.Name):
        return node.id in {"UnitOfWork", "unlocked", "LockSet"}
    if not isinstance(node, ast.Attribute) or node.attr not in DOORS:
        return False
    store = node.value
    name = store.attr if isinstance(store, ast.Attribute) else getattr(store, "id", "")
    return name in STORES


def openers(package: Path) -> set[str]:
    """The files of faces that open a unit of work."""
    return {
        path.relative_to(package).as_posix()
        for face in FACES
        for path in (package / face).rglob("*.py")
        if any(opens_unit(node) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    }


def test_only_the_named_files_of_faces_open_units_of_work() -> None:
    assert openers(PACKAGE) == set(EXCEPTIONS)


@pytest.mark.parametrize(
    "planted",
    [
        "def pay(site):\n    return site.store.write_now(work, locks)\n",
        "async def look(self):\n    return await self._store.read(find)\n",
        "from hkall_gateway.db.unit_of_work import UnitOfWork\ndef work(unit: UnitOfWork): ...\n",
    ],
)
def test_planted_way_to_the_database_is_found(tmp_path: Path, planted: str) -> None:
    for face in FACES:
        (tmp_path / face).mkdir()
    (tmp_path / "cli" / "new.py").write_text(planted, encoding="utf-8")
    assert openers(tmp_path) == {"cli/new.py"}
