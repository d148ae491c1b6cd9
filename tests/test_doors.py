"""No face opens a unit of work beside `circulation`, except the files named here, each with the lock that it takes.

Import contracts see modules. A command stands in the module of its handler, so this test looks at the names that a face uses.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Final

import pytest
from sqlalchemy import Engine

from hkall_gateway.circulation.command import Context
from hkall_gateway.db.database import Database, Immediate, Store
from hkall_gateway.db.engine.locks import LockSet, unlocked
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.web.bridge import Bridge, CirculationBridge
from tests.face_imports import PACKAGE, imported_names, parse, used_objects

FACES: Final = ("web", "cli", "sip2", "ncip", "peers", "delivery")

EXCEPTIONS: Final = {
    "cli/admin/backup.py": "the time of a backup, under the lock of the document `backup`; a restore, while no gateway works",
    "cli/admin/load.py": "loads: batches of rows, under the lock of the document `load`",
    "cli/admin/privacy.py": "purge and erasure: the claim of the round, then batches; an erasure locks the person's cards",
    "cli/doctor/ils.py": "an empty database in memory, which no other process sees",
    "cli/doctor/own_backups.py": "the times of backups and loads: a connection that only reads",
    "cli/doctor/own_gateway.py": "the time of a proxy's fault: a connection that only reads",
    "cli/doctor/own_records.py": "the comparison of tables that must agree: a snapshot",
    "cli/doctor/own_secrets.py": "the last uses of secrets: a connection that only reads",
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

STORES: Final = (Store, Database, Immediate, Bridge, CirculationBridge)
"""The classes that run units of work."""
DOORS: Final = {
    name
    for kind in STORES
    for name, method in vars(kind).items()
    if isinstance(method, FunctionType) and not name.startswith("_") and "UnitOfWork" in str(inspect.signature(method))
}
"""Their methods that take a function of a unit."""
CONNECTIONS: Final = {"connect", "begin", "raw_connection"}
"""Methods of an engine that open a connection."""
STORE_TYPES: Final = {kind.__name__ for kind in STORES}
UNIT_NAMES: Final = {f"{one.__module__}.{one.__name__}" for one in (UnitOfWork, Context, LockSet, unlocked)}
"""Names that a module imports to write a function of a unit, or to run one under locks."""


class Names:
    """The names of variables, attributes and functions whose type is one of `types`, by their annotations and assignments."""

    def __init__(self, types: set[str], known: Iterable[str] = ()) -> None:
        self._types, self.names = types, set(known)

    def read(self, tree: ast.Module) -> None:
        """Add the names that a module annotates or assigns."""
        before = -1
        while before != len(self.names):  # an assignment may stand before the annotation of what it assigns
            before = len(self.names)
            for node in ast.walk(tree):
                self.names |= {name for name, value in _bindings(node) if value is not None and self._has_type(value)}

    def holds(self, node: ast.expr) -> bool:
        """Whether an expression has one of the types."""
        if isinstance(node, ast.Call):
            if any(self.holds(argument) for argument in node.args) and _last_name(node.func) in {"closing", "cast"}:
                return True
            return self.holds(node.func) or _last_name(node.func) in self._types
        return _last_name(node) in self.names

    def _has_type(self, value: ast.expr) -> bool:
        if isinstance(value, ast.Constant):  # a quoted annotation
            return bool(self._types & set(re.findall(r"\w+", str(value.value))))
        if isinstance(value, ast.BinOp):
            return self._has_type(value.left) or self._has_type(value.right)
        return _last_name(value) in self._types or self.holds(value)


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _bindings(node: ast.AST) -> Iterator[tuple[str, ast.expr | None]]:
    """Yield (name, annotation or value) of what a node annotates or assigns."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        yield node.name, node.returns
    elif isinstance(node, ast.arg):
        yield node.arg, node.annotation
    elif isinstance(node, ast.AnnAssign):
        yield _last_name(node.target), node.annotation
        yield _last_name(node.target), node.value
    elif isinstance(node, ast.NamedExpr):
        yield node.target.id, node.value
    elif isinstance(node, ast.withitem) and node.optional_vars is not None:
        yield _last_name(node.optional_vars), node.context_expr
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                yield from ((_last_name(one), value) for one, value in zip(target.elts, node.value.elts, strict=False))
            else:
                yield _last_name(target), node.value


@cache
def names_of_package(*types: str) -> frozenset[str]:
    """Return the attributes and functions of the package with one of these types, which any of its modules may use."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        names = Names(set(types))
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.ClassDef):
                names.read(ast.Module(body=node.body, type_ignores=[]))
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None:
                names.read(ast.Module(body=[ast.AnnAssign(ast.Name(node.name), node.returns, simple=1)], type_ignores=[]))
        found |= names.names
    return frozenset(found - {""})


def takes_unit(one: object) -> bool:
    """Whether an object is a function of a unit of work or of a context, thus a handler or a part of one."""
    if not isinstance(one, FunctionType):
        return False
    first = next(iter(inspect.signature(one).parameters.values()), None)
    return first is not None and str(first.annotation) in {"UnitOfWork", "Context"}


def opens_unit(path: Path) -> bool:
    """Whether a module uses a unit of work, a function of one, a method of a store that runs one, or a connection."""
    tree = parse(path)
    if UNIT_NAMES & set(imported_names(tree, path).values()):
        return True
    if any(takes_unit(one) for one in used_objects(tree, tree, path)):
        return True
    stores = Names(STORE_TYPES, names_of_package(*sorted(STORE_TYPES)))
    engines = Names({Engine.__name__}, names_of_package(Engine.__name__))
    stores.read(tree)
    engines.read(tree)
    used = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return any(
        (node.attr in DOORS and stores.holds(node.value)) or (node.attr in CONNECTIONS and engines.holds(node.value))
        for node in used
    )


def openers(package: Path) -> set[str]:
    """The files of faces that open a unit of work."""
    paths = [path for face in FACES for path in (package / face).rglob("*.py")]
    return {path.relative_to(package).as_posix() for path in paths if opens_unit(path)}


def test_only_the_named_files_of_faces_open_units_of_work() -> None:
    assert openers(PACKAGE) == set(EXCEPTIONS)


def test_stores_have_the_doors_that_this_test_looks_for() -> None:
    assert {"read", "write", "read_now", "write_now", "trial"} <= DOORS
    assert "run" not in DOORS


PLANTED: Final = {
    "attribute of a site": """
        def pay(site):
            return site.store.write_now(work, locks)
    """,
    "attribute of the own class": """
        async def look(self):
            return await self._store.read(find)
    """,
    "annotation": """
        from hkall_gateway.db.unit_of_work import UnitOfWork
        def work(unit: UnitOfWork): ...
    """,
    "another name by an assignment": """
        def pay(site):
            db = site.store
            money = db
            return money.write_now(lambda unit: unit.charges.pay(), ())
    """,
    "another name by an annotation": """
        def look(rows: Immediate):
            return rows.read_now(lambda unit: unit.requests.find("R1"))
    """,
    "method that is passed on": """
        def look(house: "Store | None"):
            return house.read
    """,
    "with": """
        def look(engine, unit):
            with closing(Immediate(engine, unit)) as anything:
                return anything.read_now(lambda unit: 1)
    """,
    "connection": """
        def look(config):
            way = open_database(config)
            with way.connect() as connection:
                return connection.execute("SELECT 1")
    """,
    "handler": """
        from hkall_gateway.circulation import fines as money
        take = money.pay
    """,
    "part of a handler, imported late": """
        def look(site):
            from hkall_gateway.circulation.borrowers import patron_blocks as blocks
            return blocks
    """,
    "row of a table": """
        def look(site):
            from hkall_gateway.db.fines import charge_numbered
            return site.ask(charge_numbered)
    """,
}
"""Ways around `execute`, each in a module of a face."""


def plant(folder: Path, text: str) -> set[str]:
    """Return the files that open a unit if a face has this module."""
    for face in FACES:
        (folder / face).mkdir()
    lines = (line.removeprefix(" " * 8) for line in text.splitlines())
    (folder / "cli" / "new.py").write_text("\n".join(lines).strip() + "\n", encoding="utf-8")
    return openers(folder)


@pytest.mark.parametrize("way", PLANTED)
def test_planted_way_to_the_database_is_found(tmp_path: Path, way: str) -> None:
    assert plant(tmp_path, PLANTED[way]) == {"cli/new.py"}


HARMLESS: Final = """
        from pathlib import Path
        from hkall_gateway.circulation import queries
        from hkall_gateway.circulation.fines import Pay, dollars

        def pay(site, file):
            text = file.read()
            Path("a").open().write(text)
            site.execute(queries.find_partner("HKU"))
            return site.execute(Pay(by=None, card=dollars(1), cents=1))
    """


def test_command_question_and_file_are_no_way_to_the_database(tmp_path: Path) -> None:
    assert plant(tmp_path, HARMLESS) == set()
