"""tail: JSON log lines, filtered, put together by conversation, and drawn for people."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hkall_gateway.cli.options import WRONG, CliError, config_option, json_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from hkall_gateway.cli.work.log_lines import Choice
    from hkall_gateway.config.gateway import GatewayConfig

LEVELS: Final = click.Choice(["debug", "info", "warning", "error", "critical"])
PAUSE_S: Final = 0.2
REFERENCE: Final = re.compile(r"[0-9a-f]{12}")
FIELDS: Final = {"request": ("request_id",), "terminal": ("terminal", "login"), "partner": ("partner", "peer", "claimed")}
"""The fields in which a line names a request, a terminal or a partner."""


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False, allow_dash=True, exists=True))
@click.option("--follow", is_flag=True, help="Go on with new lines, also after a rotation; old ones only with --since.")
@click.option("--request", metavar="R-…", help="Conversations about this request.")
@click.option("--terminal", metavar="LOGIN", help="Conversations of this terminal.")
@click.option("--partner", metavar="AGENCY", help="Conversations with this partner.")
@click.option("--patron", metavar="CARD", help="Conversations about this patron: a card, or a patron_ref.")
@click.option("--level", type=LEVELS, default="debug", help="The lowest level to show.")
@click.option("--since", metavar="TIME", help="Lines from then on: 09:00, 2026-11-27 or 2026-11-27T09:00.")
@json_option
@config_option
def tail(
    file: Path | None, follow: bool, level: str, since: str | None, patron: str | None, as_json: bool, config: Path, **who: str
) -> None:
    """Show the log, one line an event, in the time of Hong Kong.

    FILE has JSON lines; - is standard input, such as `journalctl -o cat`. Without FILE it is `file` of [logs]. Lines with the
    same corr_id as a chosen one are shown with it, unless --follow shows each line as it comes.

    \b
    Example: hkall-gateway tail var/gateway.log --level warning --since 09:00
    Example: journalctl -u hkall-gateway -o cat | hkall-gateway tail - --patron P0001
    """
    from hkall_gateway.cli.work.log_lines import LogFilter, conversations, instant_of
    from hkall_gateway.clock import now

    choices = [*_choices(who), *([_patron(patron, config)] if patron else [])]
    try:
        start = instant_of(since, now()) if since else None
    except ValueError:
        raise CliError(f"--since: {since!r} is no time such as 09:00, 2026-11-27 or 2026-11-27T09:00", WRONG) from None
    lines = _lines(file or _log_file(config), follow, from_end=start is None)
    found, draw = LogFilter(choices, level, start).find(lines), _drawing(as_json)
    if follow or not choices:
        _print(draw(one.line) for one in found)
    else:
        _print(_joined(conversations(found), draw, as_json))


def _choices(who: dict[str, str]) -> Iterator[Choice]:
    from hkall_gateway.cli.work.log_lines import Choice

    return (Choice(FIELDS[name], (value,)) for name, value in who.items() if value)


def _patron(card: str, config: Path) -> Choice:
    """Returns the choice of a card's patron_ref, or of a patron_ref, which needs neither a key nor a configuration."""
    from hkall_gateway.app.logs import patron_ref
    from hkall_gateway.cli.work.log_lines import Choice

    references = {card} if REFERENCE.fullmatch(card) else set()
    try:
        references.add(patron_ref(card, _key(config)))
    except CliError:
        if not references:
            raise
    return Choice(("patron_ref",), tuple(references))


def _key(config: Path) -> bytes:
    """Returns the key of patron_ref. CliError (exit 2) if the configuration names none."""
    variable = _config(config).logs.patron_key_env  # which is set, or the configuration has an error
    if variable is None:
        raise CliError("--patron: [logs] has no patron_key_env; without a key give the patron_ref of a line", WRONG)
    return os.environ[variable].encode()


def _config(path: Path) -> GatewayConfig:
    from hkall_gateway.cli.work.opening import load_config

    return load_config(path)[0]


def _log_file(config: Path) -> Path:
    file = _config(config).logs.file
    if file is None:
        raise CliError(f"{config}: [logs] has no file: name one, or pipe the log into `hkall-gateway tail -`", WRONG)
    return file


def _lines(file: Path, follow: bool, *, from_end: bool) -> Iterable[bytes]:
    from hkall_gateway.cli.work.log_lines import followed, lines_of

    if str(file) == "-":
        return lines_of(sys.stdin.buffer)
    return followed(file, partial(time.sleep, PAUSE_S), from_end=from_end) if follow else lines_of(file.open("rb"))


def _drawing(as_json: bool) -> Callable[[bytes], str]:
    """Returns a function that draws a line: as it is if asked for; a damaged one too, but for control characters."""
    from hkall_gateway.cli.work.log_lines import event_of
    from hkall_gateway.observability.log_console import drawing
    from hkall_gateway.rules.plain_text import printable

    draw = drawing(colours=sys.stdout.isatty() and not os.environ.get("NO_COLOR"))

    def drawn(line: bytes) -> str:
        event = event_of(line)
        if event is None:
            return printable(line.decode("utf-8", "backslashreplace"))
        return line.decode("utf-8", "backslashreplace") if as_json else draw(event)

    return drawn


def _joined(groups: Iterable[list[bytes]], draw: Callable[[bytes], str], as_json: bool) -> Iterator[str]:
    """Yields the lines of each conversation with a bracket in front, which JSON has not."""
    for group in groups:
        last = len(group) - 1
        for number, line in enumerate(group):
            bracket = " " if not last else "┌" if not number else "└" if number == last else "│"
            yield draw(line) if as_json else f"{bracket} {draw(line)}"


def _print(lines: Iterable[str]) -> None:
    try:
        for line in lines:
            click.echo(line)
    except KeyboardInterrupt:  # the usual end of --follow
        raise click.exceptions.Exit(130) from None
