"""policy check: every error of a policy file at once."""

from __future__ import annotations

from pathlib import Path

import click

from hkall_gateway.cli.options import WRONG, CliError
from hkall_gateway.cli.show import echo


@click.group()
def policy() -> None:
    """Check a policy file: the rules of the consortium as data.

    Example: hkall-gateway policy check policy.toml
    """


@policy.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def check(file: Path) -> None:
    """Name every error of a policy file; print one line if there is none.

    Example: hkall-gateway policy check policy.toml
    """

    from hkall_gateway.config import policy as policy_file
    from hkall_gateway.config.loading import ConfigErrors

    try:
        found = policy_file.load(file)
    except ConfigErrors as error:
        raise CliError(str(error), WRONG) from None
    echo(f"{file}: no errors; {len(found.categories)} categories")
