"""The manual page of the command, generated from its help, and the shells' completion scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
from click.shell_completion import get_completion_class

from hkall_gateway import __version__
from hkall_gateway.cli import ENTRIES, main

NAME = "hkall-gateway"

HEAD = f""".\\" written by `make docs`
.TH HKALL\\-GATEWAY 1 "" "hkall\\-gateway {__version__}" "User Commands"
.SH NAME
hkall\\-gateway \\- gateway between NCIP partners, SIP2 terminals and a library system
.SH SYNOPSIS
.B hkall\\-gateway
.I COMMAND
[\\fIOPTION\\fR]... [\\fIARGUMENT\\fR]...
.SH DESCRIPTION"""

TAIL = """.SH EXIT STATUS
.TP
.B 0
done
.TP
.B 1
refused by a rule, not found, or a failure of the network, a disk or a database
.TP
.B 2
wrong usage or configuration
.SH ENVIRONMENT
.TP
.B HKALL_CONFIG
The configuration file, as \\-\\-config names it.
.TP
.B HKALL_INSTANCE
The number of this gateway on the machine; the default is 1.
.TP
.B HKALL_TRUST_CLOCK
If set, `serve` starts although the last sign of another gateway is later than this machine's clock.
.SH FILES
.TP
.I gateway.toml
The configuration, in the working directory unless \\-\\-config or HKALL_CONFIG names another."""


def man_page() -> str:
    """Return the manual page: each command with its subcommands, arguments, options and example."""
    context = click.Context(main, info_name=NAME)
    lines = [HEAD, *_text((main.help or "").partition("\n\n")[0])]
    for section in dict.fromkeys(entry.section for entry in ENTRIES):
        lines.append(f".SH {section.upper()}")
        for entry in (entry for entry in ENTRIES if entry.section == section):
            command = main.get_command(context, entry.name)
            assert command is not None
            lines += _command(click.Context(command, info_name=entry.name, parent=context))
    return "\n".join([*lines, TAIL]) + "\n"


def _command(context: click.Context) -> Iterator[str]:
    """Yield the lines about a command, then those about its subcommands."""
    command = context.command
    usage = " ".join(command.collect_usage_pieces(context))
    yield f'.SS "{_escaped(context.command_path)} {_escaped(usage)}"'
    yield from _text(command.help or "")
    for parameter in command.params:  # without --help, which every command has
        record = parameter.get_help_record(context)
        if record:
            yield from (".TP", f".B {_escaped(record[0])}", *_text(record[1], new=False))
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from _command(click.Context(below, info_name=name, parent=context))


def _text(text: str, *, new: bool = True) -> Iterator[str]:
    """Yield the paragraphs of a text. A paragraph that click does not rewrap (`\\b`) keeps its lines."""
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        kept = paragraph.strip().startswith("\b")
        lines = [line.strip() for line in paragraph.replace("\b", "").strip().splitlines()]
        yield from [".PP"] if new else []
        yield from [".nf", *map(_escaped, lines), ".fi"] if kept else [_escaped(" ".join(lines))]


def _escaped(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def completion(shell: str) -> str:
    """Return click's completion script for bash, zsh or fish."""
    made = get_completion_class(shell)
    assert made is not None
    script = made(main, {}, NAME, "_HKALL_GATEWAY_COMPLETE")
    return script.source_template % script.source_vars()
