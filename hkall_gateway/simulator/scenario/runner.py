"""Runs scenario files: each line is a step or an assertion, and the first difference is reported.

GRAMMAR in steps.py defines the lines, and ncip/shorthand.py the shorthand for documents. After every step the courier delivers
the due messages. A message to a partner or a patron that no line has checked is a difference at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from hkall_gateway.simulator.scenario import assertions, steps
from hkall_gateway.simulator.scenario.assertions import Difference
from hkall_gateway.simulator.scenario.steps import BadLine, CommandLine, ScenarioLine, ScenarioRun, read_scenario
from hkall_gateway.simulator.scenario.world import Died, World
from hkall_gateway.simulator.scenario.world_file import WorldError


@dataclass(frozen=True, slots=True)
class Played:
    """The result of one scenario file. `failure` is "" if the gateway behaved as the file says."""

    path: Path
    failure: str


def perform(stage: ScenarioRun, line: ScenarioLine) -> None:
    """Perform one line. Raise Difference for a failed assertion, and BadLine for a line that cannot be performed."""
    is_assertion = line.verb == "<" or line.get("way") == "<"
    action = assertions.check_ils_message if line.get("heard") else assertions.check_reply if is_assertion else VERBS[line.verb]
    try:
        action(stage, line)
    except (WorldError, ValueError, OSError) as error:
        raise BadLine(line.where, str(error)) from error


def play(path: Path, engine: Engine | None = None, command_line: CommandLine | None = None) -> World:
    """Run a scenario file in memory or in the empty database of `engine`, and return the world in its final state."""
    stage = ScenarioRun(path.parent, engine, command_line)
    try:
        lines = read_scenario(path)
        for line in lines:
            is_assertion = line.verb == "<" or line.get("way") == "<" or bool(line.get("heard"))
            if stage.dead and not is_assertion and line.verb != "restart":
                raise BadLine(line.where, "the gateway is down; `restart` it first")
            try:
                perform(stage, line)
                if line.verb in _STIRRING and not is_assertion:
                    stage.world(line).pump()
            except Died:
                stage.dead = True
        world = stage.world(lines[-1])
        leftovers = [*world.peers.unasked(), *(f"mail {letter.patron}" for letter in world.letters), *world.peers.unplayed()]
        if leftovers or stage.dead:
            got = "the gateway is down" if stage.dead else "; ".join(leftovers)
            raise Difference(f"{path}:end", "nothing else was sent", "nothing", got)
        return world
    except (Difference, BadLine):
        if isinstance(stage.made, World):
            stage.made.close()  # also needed if the gateway died in the middle of a commit
        raise


def replay(paths: Iterable[Path], command_line: CommandLine | None = None) -> Iterator[Played]:
    """Run scenario files one after another, each in its own world and database, and yield the results."""
    for path in paths:
        try:
            play(path, command_line=command_line).close()
        except (Difference, BadLine) as failure:
            yield Played(path, str(failure))
        else:
            yield Played(path, "")


# fmt: off
VERBS: Final[Mapping[str, Callable[[ScenarioRun, ScenarioLine], None]]] = {
    "world":   steps.set_up,
    "time":    steps.move_time,
    "wait":    steps.wait,
    "round":   steps.do_round,
    "crash":   steps.crash,
    "restart": steps.restart,
    "sip2":    steps.speak_sip2,
    "ncip":    steps.speak_ncip,
    "cli":     steps.command,
    "<":       assertions.check_reply,
    "partner": steps.instruct,
    "ils":     steps.change_ils,
    "expect":  assertions.check_document,
    "outbox":  assertions.check_outbox,
    "mail":    assertions.check_mail,
    "state":   assertions.check_state,
}
# fmt: on

_STIRRING: Final = frozenset({"sip2", "ncip", "cli", "wait", "time", "round", "restart"})
"""Verbs after which the courier delivers messages."""
