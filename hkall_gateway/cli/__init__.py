"""The command `hkall-gateway`: the subcommands of `commands.toml`, each imported when it is run."""

from __future__ import annotations

import gc
import os
import re
import tomllib
from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

import click

from hkall_gateway import __version__
from hkall_gateway.cli import command_log
from hkall_gateway.cli.lazy import Entry, LazyGroup

YOUNG: Final = (50_000, 10, 10)
"""Garbage collector thresholds. They save a tenth of a command's time, since it creates many objects but little garbage."""

CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"
"""Environment variable with the folder of the secret files that systemd passes (`LoadCredential=`).

Source: systemd.exec(5), "Credentials"; https://systemd.io/CREDENTIALS
"""
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_SECTIONS: Final[dict[str, dict[str, dict[str, str]]]] = tomllib.loads(
    Path(__file__).with_name("commands.toml").read_text(encoding="utf-8")
)
ENTRIES: Final = tuple(
    Entry(section=section, name=name, **row) for section, rows in _SECTIONS.items() for name, row in rows.items()
)


def add_credentials(environ: MutableMapping[str, str]) -> None:
    """Add each credential file to `environ` under its file name, unless that variable is already set.

    A final newline is removed. Raise OSError or UnicodeDecodeError if a file cannot be read.
    """
    folder = environ.get(CREDENTIALS)
    for file in sorted(Path(folder).iterdir()) if folder else ():
        if _VARIABLE.fullmatch(file.name):
            environ.setdefault(file.name, file.read_text(encoding="utf-8").removesuffix("\n"))


@click.group(cls=LazyGroup, entries=ENTRIES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hkall-gateway")
@click.option("--config", type=click.Path(dir_okay=False), help="The configuration file of the command, as after its name.")
@click.pass_context
def main(context: click.Context, config: str | None) -> None:
    """Run a gateway between partner libraries (NCIP), terminals (SIP2) and the library's own system.

    Example: hkall-gateway serve --config gateway.toml
    """
    gc.set_threshold(*YOUNG)
    if config is not None:
        os.environ["HKALL_CONFIG"] = config  # each command reads it where its own `--config` is absent
    command_log.prepare()
    if context.invoked_subcommand != "reload":  # reload needs no secret, and systemd 252 (Debian 12) passes it none
        add_credentials(os.environ)
