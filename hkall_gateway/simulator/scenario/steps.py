"""Steps of a scenario: set up the world, move the time, send messages to the gateway, control the partners' replies."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from sqlalchemy import Engine

from hkall_gateway.db.outbox import OutboxRow
from hkall_gateway.ncip.codec import documents
from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.ncip.shorthand import pair
from hkall_gateway.rules.vocabulary import ItemKey, Request
from hkall_gateway.simulator.scenario.scenario_lines import BadLine, ScenarioLine, duration
from hkall_gateway.simulator.scenario.scripted_partner import manner
from hkall_gateway.simulator.scenario.world import World


class ScenarioTarget(Protocol):
    """A gateway that a scenario's lines use: one in a world of its own, or a running one. The methods are World's."""

    def sip2(self, terminal: str, line: str) -> str: ...

    def ncip(self, agency: str, document: bytes) -> bytes: ...

    def tell(self, agency: str, said: str) -> NcipMessage: ...

    def request(self, number: str) -> Request: ...

    def outbox(self) -> Sequence[OutboxRow]: ...


FILES = (".csv", ".xml")
"""Endings of the words of a `cli` line that name a file beside the scenario, or in the folder files/."""

Round = Callable[[World], None]
CommandLine = Callable[[ScenarioTarget, list[str]], str]


@dataclass(slots=True)
class ScenarioRun:
    """A running scenario. `replies` holds the last reply to each speaker; `speaker` is the last one."""

    folder: Path
    engine: Engine | None
    rounds: Mapping[str, Round]
    command_line: CommandLine | None
    made: ScenarioTarget | None = None
    replies: dict[str, str | NcipMessage] = field(default_factory=dict)
    speaker: str = ""
    dead: bool = False

    def gateway(self, line: ScenarioLine) -> ScenarioTarget:
        """The gateway that a line uses."""
        if self.made is None:
            raise BadLine(line.where, "there is no world yet")
        return self.made

    def world(self, line: ScenarioLine) -> World:
        """The world in which a line is played, with its time, its partners and its notices."""
        found = self.gateway(line)
        if not isinstance(found, World):
            raise BadLine(line.where, f"`{line.verb}` needs a gateway in a world of its own")
        return found


def set_up(stage: ScenarioRun, line: ScenarioLine) -> None:
    if stage.made is not None:
        raise BadLine(line.where, "there is a world already")
    stage.made = World.open(_near(stage, line.get("file"), "worlds"), stage.engine)


def _near(stage: ScenarioRun, name: str, room: str) -> Path:
    """A file beside the scenario, or in the folder of that name beside its own."""
    beside = stage.folder / name
    return beside if beside.exists() else stage.folder.parent / room / name


def move_time(stage: ScenarioRun, line: ScenarioLine) -> None:
    stage.world(line).go_to(datetime.fromisoformat(line.get("at")))


def wait(stage: ScenarioRun, line: ScenarioLine) -> None:
    stage.world(line).wait(duration(line.get("long")))


def do_round(stage: ScenarioRun, line: ScenarioLine) -> None:
    name = line.get("name")
    if name not in stage.rounds:
        raise BadLine(line.where, f"there is no round {name!r}; there are: {', '.join(sorted(stage.rounds))}")
    stage.rounds[name](stage.world(line))


def crash(stage: ScenarioRun, line: ScenarioLine) -> None:
    stage.world(line).crash(int(line.get("commits") or 1))


def restart(stage: ScenarioRun, line: ScenarioLine) -> None:
    stage.dead = False
    stage.world(line).restart()


def instruct(stage: ScenarioRun, line: ScenarioLine) -> None:
    if line.get("barcode"):
        stage.world(line).peers.shelves[ItemKey(line.get("agency"), line.get("barcode"))] = line.get("status")
        return
    how, times = manner(line.get("manner"), stage.folder.parent / "ncip")
    stage.world(line).peers.script(line.get("agency"), how, times)


def change_ils(stage: ScenarioRun, line: ScenarioLine) -> None:
    """Changes the library's own system, unseen by the gateway: its state, next reply, a loan, or its facts of a reader."""
    system = stage.world(line).ils
    if line.get("code"):
        system.loses.append(line.get("code"))
        return
    if line.get("state"):
        system.become(line.get("state"))
    elif line.get("document"):
        system.documents.append((stage.folder.parent / "ncip" / line.get("document")).read_bytes())
    elif line.get("barcode"):
        system.books[line.get("barcode")].reader = line.get("to")
    else:
        system.learn(line.get("card"), dict(map(pair, shlex.split(line.get("words")))))


def speak_sip2(stage: ScenarioRun, line: ScenarioLine) -> None:
    stage.speaker = f"sip2 {line.get('terminal')}"
    stage.replies.pop(stage.speaker, None)
    stage.replies[stage.speaker] = stage.gateway(line).sip2(line.get("terminal"), line.get("said"))


def speak_ncip(stage: ScenarioRun, line: ScenarioLine) -> None:
    agency, said = line.get("agency"), line.get("said")
    stage.speaker = f"ncip {agency}"
    stage.replies.pop(stage.speaker, None)
    world = stage.gateway(line)
    if said.endswith(".xml"):
        document = (stage.folder.parent / "ncip" / said).read_bytes()
        stage.replies[stage.speaker] = documents.decode(world.ncip(agency, document))
    else:
        stage.replies[stage.speaker] = world.tell(agency, said)


def command(stage: ScenarioRun, line: ScenarioLine) -> None:
    if stage.command_line is None:
        raise BadLine(line.where, "there is no command line here")
    stage.speaker = "cli"
    words = [str(_near(stage, word, "files")) if word.endswith(FILES) else word for word in shlex.split(line.get("said"))]
    stage.replies[stage.speaker] = stage.command_line(stage.gateway(line), words)
