"""replay: runs scenario files in process; their `cli` lines run these very commands in the scenario's own world."""

from __future__ import annotations

from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import click

from hkall_gateway.cli.site import Ending, Site
from hkall_gateway.lab.deeds import CommandLine
from hkall_gateway.lab.scenario import replay as run_files
from hkall_gateway.lab.world import World


@click.command()
@click.argument("scenarios", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.pass_context
def replay(context: click.Context, scenarios: tuple[Path, ...]) -> None:
    """Run scenario files, each in a gateway of its own inside this process.

    Example: hkall-gateway replay fixtures/scenarios/story.txt
    """
    commands = command_line(context.find_root().command)
    failures = [played.failure for played in run_files(scenarios, command_line=commands) if played.failure]
    for failure in failures:
        click.echo(failure, err=True)
    click.echo(f"{len(scenarios) - len(failures)} of {len(scenarios)} scenarios hold")
    if failures:
        raise Ending(f"{len(failures)} failed")


def command_line(main: click.Command) -> CommandLine:
    """What a `cli` line does: a command of `main` in the scenario's world, and all that it prints, an ending included."""

    def run(world: World, words: list[str]) -> str:
        printed = StringIO()
        with redirect_stdout(printed), redirect_stderr(printed):
            try:
                main.main(words, "hkall-gateway", standalone_mode=False, obj=_site(world))
            except click.ClickException as ending:
                ending.show()
        return printed.getvalue()

    return run


def _site(world: World) -> Site:
    partners = tuple(world.start.partners)
    secrets = {partner.agency: world.secret(partner.agency) for partner in partners}
    return Site(world.desk.house, world.store.now, lambda: world.now, partners, secrets, world.post)
