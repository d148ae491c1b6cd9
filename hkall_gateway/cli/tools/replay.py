"""replay: runs scenario files in process or against a running gateway; their `cli` lines run these very commands there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hkall_gateway.cli.options import CliError, NcipAgreements, Site, config_option
from hkall_gateway.cli.show import echo
from hkall_gateway.cli.tools.sip2 import password_of
from hkall_gateway.ils.adapter import find_adapter

if TYPE_CHECKING:
    from hkall_gateway.simulator.scenario.runner import Played
    from hkall_gateway.simulator.scenario.steps import CommandLine, ScenarioTarget
    from hkall_gateway.simulator.scenario.world import World


@click.command()
@click.argument("scenarios", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--live", is_flag=True, help="Run the files against the gateway that runs with this configuration.")
@click.option("--sip2", "terminals_at", metavar="HOST:PORT", help="--live: address of the SIP2 port.", default="127.0.0.1:6001")
@click.option(
    "--ncip", "partners_at", metavar="URL", help="--live: URL of the NCIP port.", default="http://127.0.0.1:8080/ncip"
)
@click.option("--password-env", help="--live: environment variable with the terminals' password; the default is to ask for it.")
@click.option(
    "--timeout", "timeout_s", type=float, default=10.0, show_default=True, help="--live: seconds to wait for a reply."
)
@config_option
def replay(scenarios: tuple[Path, ...], live: bool, **options: Any) -> None:
    """Run scenario files, each in a gateway of its own inside this process; or all against one that runs.

    A running gateway keeps its own time and partners: such files may send (sip2, ncip, cli) and check (<, state, outbox), and
    their effects stay.

    \b
    Example: hkall-gateway replay fixtures/scenarios/the-story.txt
    Example: hkall-gateway replay --live --config var/demo/gateway.toml fixtures/live/the-demo-answers.txt
    """

    from hkall_gateway.simulator.scenario.runner import replay as run_files

    main = click.get_current_context().find_root().command
    played = _live(main, scenarios, **options) if live else tuple(run_files(scenarios, command_line=command_line(main)))
    failures = [one.failure for one in played if one.failure]
    for failure in failures:
        echo(failure, err=True)
    echo(f"{len(scenarios) - len(failures)} of {len(scenarios)} scenarios hold")
    if failures:
        raise CliError(f"{len(failures)} failed")


def command_line(main: click.Command) -> CommandLine:
    """Return the function of a `cli` line: it runs a command of `main` in the scenario's world and returns all output."""

    from hkall_gateway.simulator.scenario.world import World

    def run(told: ScenarioTarget, words: list[str]) -> str:
        assert isinstance(told, World)
        return _printed(main, words, _site(told))

    return run


def _printed(main: click.Command, words: list[str], site: Site) -> str:
    printed = StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        try:
            main.main(words, "hkall-gateway", standalone_mode=False, obj=site)
        except click.ClickException as ending:
            ending.show()
    return printed.getvalue()


def _site(world: World) -> Site:
    from hkall_gateway.db.engine.immediate import finished
    from hkall_gateway.simulator.scenario.world import LETTER_KEY

    partners = tuple(world.start.partners)
    agreed = NcipAgreements({partner.agency: world.secret(partner.agency) for partner in partners})
    live = find_adapter(world.start.ils.connector).is_live
    asked = (lambda card, bib: finished(world.circulation.ils.known(card, bib))) if live else None
    library, now = world.circulation.library, lambda: world.now
    return Site(library, world.store.now, now, partners, lambda: agreed, world.post, local=asked, bounce_key=LETTER_KEY)


def _live(
    main: click.Command, scenarios: Sequence[Path], config: Path, password_env: str | None, **lines: Any
) -> tuple[Played, ...]:
    from hkall_gateway.cli.work.live import way_to
    from hkall_gateway.cli.work.opening import open_site
    from hkall_gateway.simulator.scenario.live_gateway import play_live

    site = open_site(config)
    way = way_to(config, site, password_of(password_env), **lines)
    return tuple(play_live(path, way, lambda _told, words: _printed(main, words, site)) for path in scenarios)
