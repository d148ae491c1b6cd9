"""replay: runs scenario files in process, or against a live gateway."""

from __future__ import annotations

from pathlib import Path

import click

from hkall_gateway.cli.site import Ending
from hkall_gateway.lab.scenario import replay as run_files


@click.command()
@click.argument("scenarios", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
def replay(scenarios: tuple[Path, ...]) -> None:
    """Run scenario files, each in a gateway of its own inside this process.

    Example: hkall-gateway replay fixtures/scenarios/story.txt
    """
    failures = [played.failure for played in run_files(scenarios) if played.failure]
    for failure in failures:
        click.echo(failure, err=True)
    click.echo(f"{len(scenarios) - len(failures)} of {len(scenarios)} scenarios hold")
    if failures:
        raise Ending(f"{len(failures)} failed")
