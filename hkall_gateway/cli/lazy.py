"""A click group that imports the module of a command only when the command runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from hkall_gateway.rules.plain_text import fault_of_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One command. `place` is `module:attribute` in this package; the attribute is a command, or maps names to commands."""

    section: str
    name: str
    place: str
    help: str


class LazyGroup(click.Group):
    """A group of commands from a table. An environment error (disk, network, database) ends a command with one line."""

    def __init__(self, *args: Any, entries: Iterable[Entry], **options: Any) -> None:
        super().__init__(*args, **options)
        self.entries = {entry.name: entry for entry in entries}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return [*self.entries, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command, or return None if there is no such command."""
        entry = self.entries.get(cmd_name)
        if entry is None:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = entry.place.partition(":")
        found: click.Command | Mapping[str, click.Command] = getattr(import_module(f"{__package__}.{module}"), attribute)
        return found[cmd_name] if isinstance(found, Mapping) else found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # click's signature
        """Write the sections of the table without importing a command."""
        width = max(len(name) for name in self.entries)
        for section in dict.fromkeys(entry.section for entry in self.entries.values()):
            found = [(e.name.ljust(width), e.help) for e in self.entries.values() if e.section == section]
            with formatter.section(section):
                formatter.write_dl(found)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse the command line if an argument has characters that are not allowed in any input."""
        for word in args:
            _require_open_folders(word)
            if fault := fault_of_text(word, lines=True):
                from hkall_gateway.cli.options import WRONG, CliError

                raise CliError(f"{word[:40]!r}: {fault}", WRONG)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command. Convert an environment error into a CliError."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            from hkall_gateway.cli.endings import ending_of

            ending = ending_of(error)
            if ending is None:
                raise
            raise ending from None


def _require_open_folders(word: str) -> None:
    """Refuse a path in a folder that this process may not enter. Click would say that it does not exist.

    The packaged command becomes the user of the gateway, who may not enter the home of root.
    """
    path = word.partition("=")[2] if word.startswith("--") else word
    if not path.startswith("/"):
        return
    from hkall_gateway.net.closed_folder import cannot_enter, closed_folder

    closed = closed_folder(Path(path))
    if closed is not None:
        from hkall_gateway.cli.options import WRONG, CliError

        raise CliError(f"{path}: {cannot_enter(closed)}", WRONG)
