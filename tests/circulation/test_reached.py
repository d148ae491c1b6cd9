"""Who reaches a command: the faces that its row of the registry names, and no other."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from hkall_gateway.circulation.command import Face
from hkall_gateway.circulation.registry import HANDLERS
from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.web.api.access import ROLES, Audience
from tests.face_imports import PACKAGE, module_of, parse, used_objects

# fmt: off
FACES: Final[Mapping[str, Face]] = {
    "sip2/":                  Face.TERMINALS,
    "ncip/":                  Face.PARTNERS,
    "peers/":                 Face.PARTNERS,
    "web/patron/":            Face.PATRON_PAGES,
    "web/staff/":             Face.STAFF_PAGES,
    "web/api/patron.py":      Face.PATRON_API,
    "web/api/console.py":     Face.STAFF_API,
    "cli/":                   Face.COMMAND_LINE,
    "delivery/":              Face.COURIER,
}
"""Files of the package -> the face that they are."""
SLIP_PROTOCOL: Final = PACKAGE.parent / "tests" / "slip_protocol"
"""A protocol of another distribution, whose partners decide apart from their reply. Those of NCIP never do."""
# fmt: on
NO_FACE: Final = ("circulation/", "web/api/access.py", "simulator/consortium/")
"""Where commands are defined, where roles are derived from them, and the simulated staff, who stand for two faces."""
SIMULATED: Final = Face.STAFF_PAGES | Face.COMMAND_LINE
STAFF_FACES: Final = Face.STAFF_PAGES | Face.STAFF_API
OF_OTHER_PROTOCOLS: Final = {"RequestAccepted", "RenewalRefused"}
"""Commands for messages that NCIP lacks. Only the protocols of other distributions execute them."""
VIEWS: Final = {"get", "post", "delete"}
"""Methods of a blueprint that register a view."""


def procedures() -> dict[object, set[type[object]]]:
    """Return the procedures of the pages, each with the commands that its module executes.

    A procedure is an async function of a Circulation.
    """
    found: dict[object, set[type[object]]] = {}
    for path in (PACKAGE / "web").rglob("*.py"):
        tree = parse(path)
        functions = [node for node in tree.body if isinstance(node, ast.AsyncFunctionDef)]
        executing = [node for node in functions if takes_circulation(node)]
        commands = {one for node in executing for one in commands_in(tree, node, path, {})}
        module = module_of(path)
        found |= {getattr(module, node.name): commands for node in executing}
    return found


def takes_circulation(node: ast.AsyncFunctionDef) -> bool:
    """Whether an argument of a function is the service."""
    annotations = [argument.annotation for argument in node.args.args if argument.annotation]
    return "Circulation" in {ast.unparse(one) for one in annotations}


def commands_in(
    tree: ast.Module, node: ast.AST, path: Path, executed_by: Mapping[object, set[type[object]]]
) -> set[type[object]]:
    """Return the commands and queries that a part of a module names, or that a procedure executes which it names."""
    commands: set[type[object]] = set()
    for one in used_objects(tree, node, path):
        if isinstance(one, type) and one in HANDLERS:
            commands.add(one)
        elif callable(one):
            commands |= executed_by.get(one, set())
    return commands


def reached(package: Path) -> dict[str, set[type[object]]]:
    """Return the commands and queries that each file of a package reaches, for the files that reach one."""
    executed_by, found = procedures(), dict[str, set[type[object]]]()
    for path in sorted(package.rglob("*.py")):
        tree = parse(path)
        if commands := commands_in(tree, tree, path, executed_by):
            found[path.relative_to(package).as_posix()] = commands
    return found


def faces_of(files: Mapping[str, set[type[object]]]) -> dict[type[object], Face]:
    """Return the faces whose files reach each command."""
    found = {command: Face.PARTNERS if command.__name__ in OF_OTHER_PROTOCOLS else Face(0) for command in HANDLERS}
    for file, commands in files.items():
        face = next((face for start, face in FACES.items() if file.startswith(start)), None)
        if face is None:
            assert file.startswith(NO_FACE), f"{file} is no face"
            continue
        for command in commands:
            found[command] |= face
    return found


def differences(files: Mapping[str, set[type[object]]]) -> dict[str, tuple[Face, Face]]:
    """Return the commands whose row differs from what reaches them: (the row's faces, those that reach it)."""
    faces = faces_of(files)
    return {command.__name__: (row.faces, faces[command]) for command, row in HANDLERS.items() if row.faces != faces[command]}


@pytest.fixture(scope="module")
def files() -> dict[str, set[type[object]]]:
    protocol = {f"peers/{file}": commands for file, commands in reached(SLIP_PROTOCOL).items()}
    return {**reached(PACKAGE), **protocol}


def test_each_command_is_reached_by_the_faces_that_its_row_names_and_by_no_other(files: dict[str, set[type[object]]]) -> None:
    assert differences(files) == {}
    assert all(row.faces for row in HANDLERS.values())


def test_simulated_staff_execute_what_staff_may(files: dict[str, set[type[object]]]) -> None:
    simulated = {one for file, commands in files.items() if file.startswith("simulator/") for one in commands}
    assert simulated
    assert all(HANDLERS[one].faces & SIMULATED for one in simulated)


def test_row_names_a_role_exactly_if_staff_reach_the_command_by_pages_or_api() -> None:
    assert all((row.staff is not None) == bool(row.faces & STAFF_FACES) for row in HANDLERS.values())


PLANTED: Final = {
    "cli/staff/new.py": """
def close(site):
    from hkall_gateway.circulation.staff.closure_changes import CloseDay
    site.execute(CloseDay())
""",
    "sip2/handlers/new.py": """
from hkall_gateway.circulation import fines as money
refund = money.Refund
""",
    "web/patron/new.py": """
from hkall_gateway.web.staff import scan_station
run(scan_station.scan(services(), text))
""",
    "web/api/console.py": """
import hkall_gateway.circulation.fines
make = partial(hkall_gateway.circulation.fines.Waive, by=1)
""",
}
"""File of a face -> a module that executes a command by it, in each of the ways to import one."""


@pytest.mark.parametrize(
    ("file", "command", "face"),
    [
        ("cli/staff/new.py", "CloseDay", Face.COMMAND_LINE),
        ("sip2/handlers/new.py", "Refund", Face.TERMINALS),
        ("web/patron/new.py", "CheckIn", Face.PATRON_PAGES),
        ("web/api/console.py", "Waive", Face.STAFF_API),
    ],
)
def test_planted_face_is_found(
    files: dict[str, set[type[object]]], tmp_path: Path, file: str, command: str, face: Face
) -> None:
    place = tmp_path / file
    place.parent.mkdir(parents=True)
    place.write_text(PLANTED[file], encoding="utf-8")
    row, by = differences(files | {f"{file} ": commands for commands in reached(tmp_path).values()})[command]
    assert by == row | face


@pytest.mark.parametrize("file", ["cli/staff/reconcile.py", "delivery/courier.py", "cli/staff/fines.py", "sip2/relay.py"])
def test_forgotten_face_is_found(files: dict[str, set[type[object]]], file: str) -> None:
    """A file of a face that executes nothing any more leaves a row that names the face without need."""
    assert differences({name: commands for name, commands in files.items() if name != file})


def test_annotation_or_type_check_reaches_nothing(tmp_path: Path) -> None:
    text = """
        from hkall_gateway.circulation.fines import Pay
        def show(command: Pay) -> Pay | None:
            paid: Pay = command
            match command:
                case Pay():
                    return None
            return isinstance(command, Pay)
    """
    (tmp_path / "new.py").write_text("\n".join(line[8:] for line in text.splitlines()), encoding="utf-8")
    assert reached(tmp_path) == {}


def views(path: Path) -> Iterator[tuple[ast.FunctionDef, ast.Module]]:
    """Yield the functions of a module that a route names."""
    tree = parse(path)
    for node in tree.body:
        calls = [one for one in getattr(node, "decorator_list", ()) if isinstance(one, ast.Call)]
        if isinstance(node, ast.FunctionDef) and any(getattr(one.func, "attr", "") in VIEWS for one in calls):
            yield node, tree


def executed_by_view(view: ast.FunctionDef, tree: ast.Module, path: Path) -> set[type[object]]:
    """Return the commands that a view executes, itself or by functions of its module. Decorators execute nothing."""
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    executed_by, commands = procedures(), set[type[object]]()
    waiting, seen = [view.name], set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in functions:
            continue
        seen.add(name)
        for part in functions[name].body:
            commands |= commands_in(tree, part, path, executed_by)
            waiting += [one.id for one in ast.walk(part) if isinstance(one, ast.Name)]
    return commands


def needed(view: ast.FunctionDef, tree: ast.Module, path: Path) -> tuple[StaffRole, bool]:
    """Return the role that a page of staff needs, and whether the page has it from a command."""
    (wanted,) = (
        one.args[0] for one in view.decorator_list if isinstance(one, ast.Call) and getattr(one.func, "id", "") == "needs"
    )
    if isinstance(wanted, ast.Attribute) and wanted.attr in StaffRole.__members__:
        return StaffRole[wanted.attr], False
    command = next(one for one in used_objects(tree, ast.Expr(wanted), path) if isinstance(one, type))
    role = HANDLERS[command].staff
    assert role is not None
    return role, True


def test_page_that_executes_a_command_needs_the_role_of_its_row() -> None:
    found = 0
    for path in (PACKAGE / "web" / "staff").glob("*.py"):
        for view, tree in views(path):
            commands = executed_by_view(view, tree, path)
            if not commands:
                continue
            found += 1
            role, by_command = needed(view, tree, path)
            posts = any(isinstance(one, ast.Call) and getattr(one.func, "attr", "") == "post" for one in view.decorator_list)
            changes = any(not HANDLERS[one].reads_only for one in commands)
            roles = [HANDLERS[one].staff or StaffRole.SYSADMIN for one in commands]
            assert role >= max(roles), (path.name, view.name)
            assert by_command or not (posts and changes), (path.name, view.name)
    assert found > 10


def test_api_operation_that_changes_data_needs_the_role_of_its_row() -> None:
    found = 0
    for name in ("console", "patron"):
        path = PACKAGE / "web" / "api" / f"{name}.py"
        blueprints = vars(module_of(path))
        for view, tree in views(path):
            (route,) = (one for one in view.decorator_list if isinstance(one, ast.Call))
            assert isinstance(route.func, ast.Attribute)
            endpoint = f"{blueprints[ast.unparse(route.func.value)].name}.{view.name}"
            for command in executed_by_view(view, tree, path):
                found += 1
                role = ROLES[endpoint]
                if role is Audience.PATRON:
                    assert HANDLERS[command].faces & Face.PATRON_API
                else:
                    assert isinstance(role, StaffRole)
                    assert role == HANDLERS[command].staff
    assert found >= 8
