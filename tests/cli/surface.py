"""Prints what programs and shells may rely on, a line for each name: commands, options, completion, and the API.

It imports nothing of the tests, so that it also describes an earlier release:

    cd / && PYTHONPATH=TREE python tests/cli/surface.py > fixtures/surface/RELEASE.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

import click
from click.shell_completion import ShellComplete

from hkall_gateway.cli import main
from hkall_gateway.web.api.app import make_api
from hkall_gateway.web.api.description import describe

WORDS: Final = {"description", "title", "example", "examples", "properties", "required"}
"""Keys of a schema that people read, or that stand in lines of their own."""
NO_DEFAULT: Final = (None, (), False)
PROGRAM: Final = "hkall-gateway"


def surface() -> dict[str, str]:
    """Return what each name is: `command …`, `command … --option`, `api VERB /path …`, `api record NAME.field`."""
    services: Any = None  # no operation runs
    return {**dict(_commands(main, ())), **dict(_api(describe(make_api(services))))}


def _commands(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    name = " ".join(("command", *path)) if path else f"command {PROGRAM}"
    context = click.Context(command, info_name=PROGRAM)
    yield name, _completed(path[-1], path[:-1]) if path else ""
    for one in command.params:
        yield f"{name} {_parameter_name(one)}", _parameter(one, context, path)
    if isinstance(command, click.Group):
        for word in command.list_commands(context):
            found = command.get_command(context, word)
            assert found is not None
            yield from _commands(found, (*path, word))


def _parameter_name(one: click.Parameter) -> str:
    if isinstance(one, click.Argument):
        return str(one.name).upper()
    return " ".join([*one.opts, *one.secondary_opts])


def _parameter(one: click.Parameter, context: click.Context, path: tuple[str, ...]) -> str:
    limits = {name: value for name, value in vars(one.type).items() if isinstance(value, bool | int | str)}
    limits = {name: value for name, value in limits.items() if name != "name" and value is not False}
    parts = [one.type.name, *(f"{name}={value}" for name, value in sorted(limits.items()))]
    if isinstance(one.type, click.Choice):
        parts.append("|".join(map(str, one.type.choices)))
    parts += [name for name in ("required", "multiple", "is_flag") if getattr(one, name, False)]
    parts += [f"nargs={one.nargs}"] if one.nargs != 1 else []
    parts += [f"variable={one.envvar}"] if one.envvar else []
    default = one.get_default(context, call=False)
    if callable(default):
        parts.append("default=computed")
    elif default not in NO_DEFAULT and "UNSET" not in str(default):
        parts.append(f"default={default}")
    values = [f"{item.type}:{item.value}".rstrip(":") for item in one.shell_complete(context, "")]
    parts += [f"values={' '.join(values)}"] if values else []
    if isinstance(one, click.Option):
        parts += [_completed(name, path) for name in one.opts if name.startswith("--")]
    return ", ".join(filter(None, parts))


def _completed(word: str, path: tuple[str, ...]) -> str:
    """Return "completed" if a shell offers this word after a command."""
    shell = ShellComplete(main, {}, PROGRAM, "_HKALL_COMPLETE")
    return "completed" if any(item.value == word for item in shell.get_completions(list(path), word)) else ""


def _api(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for path, operations in document["paths"].items():
        for verb, operation in operations.items():
            name = f"api {verb.upper()} {path}"
            yield name, f"operation {operation['operationId']}, security {_short(operation.get('security', []))}"
            for one in operation.get("parameters", ()):
                facts = {"in": one["in"], "required": one.get("required", False), **_schema(one["schema"])}
                yield f"{name} {one['name']}", _short(facts)
            if "requestBody" in operation:
                yield f"{name} body", _short(_contents(operation["requestBody"]))
            for status, response in operation["responses"].items():
                yield f"{name} answers {status}", _short(_contents(response))
    for record, schema in document["components"]["schemas"].items():
        yield f"api record {record}", _short(_schema(schema))
        for field, kind in schema.get("properties", {}).items():
            yield f"api record {record}.{field}", _short({"required": field in schema.get("required", ()), **_schema(kind)})


def _contents(part: Mapping[str, Any]) -> dict[str, Any]:
    return {kind: _schema(content["schema"]) for kind, content in part.get("content", {}).items()}


def _schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name not in WORDS}


def _short(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(surface(), ensure_ascii=False, indent=1, sort_keys=True) + "\n")
