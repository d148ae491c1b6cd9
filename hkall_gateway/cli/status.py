"""status: the night's work, the lines to partners, what waits and since when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import click

from hkall_gateway.cli.show import show
from hkall_gateway.cli.site import Site, json_option, with_site
from hkall_gateway.store import lists, rounds
from hkall_gateway.store.unit import Unit


@click.command()
@with_site
@json_option
def status(site: Site, as_json: bool) -> None:
    """What is open, what waits to be sent, which partners are configured or were ever told anything.

    Example: hkall-gateway status --json
    """
    show(site.run(lines, [p.agency for p in site.partners]), as_json, ("what", "which", "state", "count", "oldest"))


def lines(unit: Unit, configured: Sequence[str]) -> list[dict[str, Any]]:
    """What the command prints; `configured` are the partners of the configuration file."""
    open_now = [_line("requests", side, position, count, oldest) for side, position, count, oldest in unit.open_by_position()]
    waiting = [_line("outbox", who, state, count, oldest) for who, state, count, oldest in unit.outbox.depths()]
    known = [_line("partner", p.agency, p.dialect, 1, None) for p in unit.partners([*configured, *unit.links.used()]).values()]
    ran = [
        _line("job", job["name"], "running" if job["cursor"] and job["lease_until"] else "", job["count"], job["last_run"])
        for job in lists.jobs(unit)
    ]
    return open_now + waiting + known + ran + _aside(unit)


def _aside(unit: Unit) -> list[dict[str, Any]]:
    """How many requests each round could not do; `stuck` names them."""
    found = rounds.all_aside(unit)
    counted = Counter(one.round for one in found)
    return [_line("set aside", name, "", count, min(a.at for a in found if a.round == name)) for name, count in counted.items()]


def _line(what: str, which: str, state: str, count: int, oldest: Any) -> dict[str, Any]:
    return {"what": what, "which": which, "state": state, "count": count, "oldest": oldest}
