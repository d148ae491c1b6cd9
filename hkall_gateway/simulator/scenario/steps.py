"""The grammar of scenario files, and the steps that set up a world, move the time, send messages and script replies.

A file is refused if a line does not match the grammar.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from sqlalchemy import Engine

from hkall_gateway.circulation.jobs.rounds import ROUNDS
from hkall_gateway.db.outbox import OutboxRow
from hkall_gateway.ncip.codec import documents
from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.ncip.shorthand import split_pair
from hkall_gateway.rules.vocabulary import ItemKey, Request
from hkall_gateway.simulator.scenario.scripted_partner import duration, manner
from hkall_gateway.simulator.scenario.world import World

_WORDS = r"(?P<words>(\s+\S+=.*)?)"
_EXPECTED = rf"ncip\s+(?P<agency>\S+)\s+(?P<service>\S+){_WORDS}"
_ANSWERS = r"answers\s+(?P<document>\S+\.xml)"
_LENDS = r"lends\s+(?P<barcode>\S+)\s+(?P<to>\S+)"
_ILS = rf"is\s+(?P<state>\S+)|loses\s+(?P<code>\d\d)|{_ANSWERS}|reader\s+(?P<card>\S+){_WORDS}|{_LENDS}|hears\s+(?P<heard>\S.*)"

# fmt: off
GRAMMAR: Final[Mapping[str, str]] = {
    "world":   r"(?P<file>\S+)",
    "time":    r"(?P<at>\S+)",
    "wait":    r"(?P<long>([0-9]+[smhd])+)",
    "round":   r"(?P<name>\S+)",
    "crash":   r"(?P<commits>[1-9][0-9]*)?",
    "restart": r"",
    "sip2":    r"(?P<terminal>\S+)\s+(?P<way>[<>]) (?P<said>.*)",
    "ncip":    r"(?P<agency>\S+)\s+(?P<way>[<>])\s+(?P<said>\S.*)",
    "cli":     r"(?P<said>\S.*)",
    "<":       r"(?P<said>.*)",
    "partner": r"(?P<agency>\S+)\s+(answers\s+(?P<manner>\S.*)|has\s+(?P<barcode>\S+)\s+(?P<status>\S.*))",
    "ils":     _ILS,
    "expect":  _EXPECTED,
    "outbox":  rf"nothing|(?P<count>[0-9]+)|{_EXPECTED}",
    "mail":    r"nothing|server\s+is\s+(?P<state>away|here)|(?P<patron>\S+)\s+contains\s+(?P<text>\S.*)",
    "state":   rf"(?P<request>\S+)\s+(?P<position>\S+){_WORDS}",
}
"""Patterns for the rest of a line, by verb. The less obvious lines are:

`crash 2`: the gateway dies at the second commit from now. `state R2 none`: no such request exists. `partner LU has L1 On Loan`:
the status in LU's own system, whatever the catalogue says. `partner LU answers FILE.xml`: LU's next reply. `mail server is
away`: letters wait until the server `is here`. `ils is away|silent|mute|refusing|here`: the state of the library's own system.
`ils loses 11`: the system executes the next 11, but the reply is lost. `ils reader UG1 blocked=yes loans=14`: a patron's data.
`ils answers FILE.xml`: the system's next reply. `ils lends AB77 UG1`: a loan at the system's own desk. `ils hears 11*AB77*`:
the oldest message that the system received and no line has checked, or `nothing`.
"""
# fmt: on

RAW: Final = frozenset({"sip2", "<"})
"""Verbs whose lines may contain ` #` that does not begin a comment."""


class BadLine(Exception):
    """A line is invalid or cannot be performed. The message begins with file:line."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioLine:
    """One line of a scenario. `text` is the line without comment, and `parts` are the named groups of the grammar."""

    file: str
    number: int
    text: str
    verb: str
    parts: Mapping[str, str]

    @property
    def where(self) -> str:
        """Return the position of the line as file:line."""
        return f"{self.file}:{self.number}"

    def get(self, name: str) -> str:
        """Return the part with this name, or "" if the line has no such part."""
        return self.parts.get(name, "")


def read_scenario(path: Path) -> tuple[ScenarioLine, ...]:
    """Read the lines of a scenario, without comments and blank lines. Raise BadLine for the first malformed line."""
    rows = enumerate(path.read_text("utf-8").splitlines(), start=1)
    lines = tuple(
        _parse_line(str(path), number, row) for number, row in rows if row.strip() and not row.lstrip().startswith("#")
    )
    if not lines or lines[0].verb != "world":
        raise BadLine(f"{path}:1", "a scenario begins with a world")
    return lines


def _parse_line(file: str, number: int, row: str) -> ScenarioLine:
    verb, _, rest = row.strip().partition(" ")
    text = row.strip() if verb in RAW else re.sub(r"\s+#.*$", "", row.strip())
    where = f"{file}:{number}"
    if verb not in GRAMMAR:
        raise BadLine(where, f"unknown line {row.strip()!r}; a line begins with {', '.join(GRAMMAR)}")
    rest = text[len(verb) :].strip() if verb not in RAW else rest.lstrip() if verb == "sip2" else rest
    found = re.fullmatch(GRAMMAR[verb], rest)
    if found is None:
        raise BadLine(where, f"cannot read {text!r}")
    return ScenarioLine(
        file=file,
        number=number,
        text=text,
        verb=verb,
        parts={name: value for name, value in found.groupdict().items() if value},
    )


class ScenarioTarget(Protocol):
    """The gateway that a scenario uses: a World, or a running gateway with the same methods."""

    def sip2(self, terminal: str, line: str) -> str:
        """Return the reply to a terminal's message."""

    def ncip(self, agency: str, document: bytes) -> bytes:
        """Return the reply to a document."""

    def tell(self, agency: str, text: str) -> NcipMessage:
        """Send a document in shorthand to the gateway, and return the reply."""

    def request(self, number: str) -> Request:
        """Return a request. Raise KeyError for an unknown number."""

    def outbox(self) -> Sequence[OutboxRow]:
        """Return the unsent messages."""


FILES = (".csv", ".xml")
"""Suffixes by which a word in a `cli` line names a file beside the scenario, or in the folder files/."""

CommandLine = Callable[[ScenarioTarget, list[str]], str]


@dataclass(slots=True)
class ScenarioRun:
    """A running scenario. `replies` has the last reply to each sender, and `speaker` is the last sender."""

    folder: Path
    engine: Engine | None
    command_line: CommandLine | None
    made: ScenarioTarget | None = None
    replies: dict[str, str | NcipMessage] = field(default_factory=dict)
    speaker: str = ""
    dead: bool = False

    def gateway(self, line: ScenarioLine) -> ScenarioTarget:
        """Return the gateway that a line uses."""
        if self.made is None:
            raise BadLine(line.where, "there is no world yet")
        return self.made

    def world(self, line: ScenarioLine) -> World:
        """Return the world in which a line is performed. Raise BadLine for a running gateway."""
        found = self.gateway(line)
        if not isinstance(found, World):
            raise BadLine(line.where, f"`{line.verb}` needs a gateway in a world of its own")
        return found


def set_up(stage: ScenarioRun, line: ScenarioLine) -> None:
    """Open the world named in the scenario."""
    if stage.made is not None:
        raise BadLine(line.where, "there is a world already")
    stage.made = World.open(_find_file(stage, line.get("file"), "worlds"), stage.engine)


def _find_file(stage: ScenarioRun, name: str, room: str) -> Path:
    """Find a file beside the scenario, or in the folder `room` next to the scenario's folder."""
    beside = stage.folder / name
    return beside if beside.exists() else stage.folder.parent / room / name


def move_time(stage: ScenarioRun, line: ScenarioLine) -> None:
    """Set the clock forward to a given time."""
    stage.world(line).go_to(datetime.fromisoformat(line.get("at")))


def wait(stage: ScenarioRun, line: ScenarioLine) -> None:
    """Set the clock forward by a given duration."""
    stage.world(line).wait(duration(line.get("long")))


def do_round(stage: ScenarioRun, line: ScenarioLine) -> None:
    """Run a scheduled job by its name."""
    name = line.get("name")
    if name not in ROUNDS:
        raise BadLine(line.where, f"there is no round {name!r}; there are: {', '.join(sorted(ROUNDS))}")
    stage.world(line).round(name)


def crash(stage: ScenarioRun, line: ScenarioLine) -> None:
    """Crash the process at the nth commit from now."""
    stage.world(line).crash(int(line.get("commits") or 1))


def restart(stage: ScenarioRun, line: ScenarioLine) -> None:
    """Start the gateway again."""
    stage.dead = False
    stage.world(line).restart()


def instruct(stage: ScenarioRun, line: ScenarioLine) -> None:
    """Set a partner's next replies, or the status of a copy on its shelf."""
    if line.get("barcode"):
        stage.world(line).peers.shelves[ItemKey(line.get("agency"), line.get("barcode"))] = line.get("status")
        return
    how, times = manner(line.get("manner"), stage.folder.parent / "ncip")
    stage.world(line).peers.script(line.get("agency"), how, times)


def change_ils(stage: ScenarioRun, line: ScenarioLine) -> None:
    """Change the library's own system directly: its state, next reply, a loan, or a patron's data."""
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
        system.learn(line.get("card"), dict(map(split_pair, shlex.split(line.get("words")))))


def speak_sip2(stage: ScenarioRun, line: ScenarioLine) -> None:
    """Send a terminal's message and store the reply."""
    stage.speaker = f"sip2 {line.get('terminal')}"
    stage.replies.pop(stage.speaker, None)
    stage.replies[stage.speaker] = stage.gateway(line).sip2(line.get("terminal"), line.get("said"))


def speak_ncip(stage: ScenarioRun, line: ScenarioLine) -> None:
    """Send a document, in shorthand or from a file, and store the reply."""
    agency, text = line.get("agency"), line.get("said")
    stage.speaker = f"ncip {agency}"
    stage.replies.pop(stage.speaker, None)
    world = stage.gateway(line)
    if text.endswith(".xml"):
        document = (stage.folder.parent / "ncip" / text).read_bytes()
        stage.replies[stage.speaker] = documents.decode(world.ncip(agency, document))
    else:
        stage.replies[stage.speaker] = world.tell(agency, text)


def command(stage: ScenarioRun, line: ScenarioLine) -> None:
    """Run a CLI command and store its output."""
    if stage.command_line is None:
        raise BadLine(line.where, "there is no command line here")
    stage.speaker = "cli"
    words = [str(_find_file(stage, word, "files")) if word.endswith(FILES) else word for word in shlex.split(line.get("said"))]
    stage.replies[stage.speaker] = stage.command_line(stage.gateway(line), words)
