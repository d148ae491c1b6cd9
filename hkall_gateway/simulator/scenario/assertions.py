"""Assertions in scenarios: replies, documents that reached a partner, letters, positions of requests."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.ncip.shorthand import find_differences, matches_pattern, split_pair
from hkall_gateway.simulator.scenario.steps import BadLine, ScenarioLine, ScenarioRun


class Difference(Exception):
    """The gateway does not behave as the scenario says. The message has the place, the expected and the actual value."""

    def __init__(self, where: str, text: str, expected: str, got: str) -> None:
        super().__init__(f"{where}: {text}\n  expected  {expected}\n  got       {got}")
        self.where, self.expected, self.got = where, expected, got


def check_reply(stage: ScenarioRun, line: ScenarioLine) -> None:
    """Check the last reply to the sender named in this line or, for a bare `<`, the last reply to the last sender."""
    named = line.get("terminal") or line.get("agency")
    speaker = f"{line.verb} {named}" if named else stage.speaker
    reply = stage.replies.get(speaker, "")
    if isinstance(reply, NcipMessage):
        # The line has `ok key=value …` or `Problem TYPE`, optionally with a text that the detail must contain.
        problem = reply.text("Problem/ProblemType")
        kind, _, rest = line.get("said").partition(" ")
        if kind == "Problem":
            wanted, _, detail = rest.partition(" / ")
            if (
                not problem
                or not matches_pattern(problem, wanted)
                or not matches_pattern(reply.text("Problem/ProblemDetail"), f"*{detail}*")
            ):
                raise _difference(line, line.get("said"), _summarise_reply(reply))
            return
        if kind != "ok":
            raise BadLine(line.where, f"a reply is `ok …` or `Problem …`, not {kind!r}")
        if problem or (others := find_differences(reply, shlex.split(rest))):
            raise _difference(line, line.get("said"), _summarise_reply(reply) if problem else f"ok {' '.join(others)}")
    elif not matches_pattern(reply, f"*{line.get('said')}*" if speaker == "cli" else line.get("said")):
        raise _difference(line, line.get("said"), reply or "no reply")


def _summarise_reply(reply: NcipMessage) -> str:
    problem = reply.text("Problem/ProblemType")
    return f"Problem {problem} / {reply.text('Problem/ProblemDetail')}" if problem else f"ok ({reply.service})"


def check_document(stage: ScenarioRun, line: ScenarioLine) -> None:
    """Check the oldest unchecked document that reached a partner."""
    world, agency, service = stage.world(line), line.get("agency"), line.get("service")
    message = world.peers.arrived(agency)
    if message is None:
        raise _difference(line, f"{agency} {service}", f"nothing for {agency}")
    if message.service != service:
        raise _difference(line, f"{agency} {service}", f"{agency} {message.service}")
    if others := find_differences(message, shlex.split(line.get("words"))):
        raise _difference(line, line.get("words").strip(), " ".join(others))


def check_ils_message(stage: ScenarioRun, line: ScenarioLine) -> None:
    """Check the oldest unchecked message that reached the local system."""
    heard, wanted = stage.world(line).ils.heard, line.get("heard")
    got = heard.pop(0) if heard and wanted != "nothing" else (heard or ["nothing"])[0]
    if not matches_pattern(got, wanted):
        raise _difference(line, wanted, got)


def check_outbox(stage: ScenarioRun, line: ScenarioLine) -> None:
    """Check the number of unsent messages, or a document that reached a partner."""
    if line.get("service"):
        check_document(stage, line)
        return
    rows = stage.gateway(line).outbox()
    if len(rows) != int(line.get("count") or 0):
        listed = "; ".join(f"{row.recipient} {row.send} ({row.state}: {row.last_error})" for row in rows)
        raise _difference(line, line.get("count") or "nothing", f"{len(rows)}: {listed}")


def check_mail(stage: ScenarioRun, line: ScenarioLine) -> None:
    """Check a patron's letters, or switch the mail server off or on."""
    letters, patron = stage.world(line).letters, line.get("patron")
    if line.get("state"):
        stage.world(line).mail_away = line.get("state") == "away"
        return
    if not patron:
        if letters:
            raise _difference(line, "nothing", "; ".join(f"{one.patron}: {one.subject}" for one in letters))
        return
    letter = next((one for one in letters if one.patron == patron), None)
    if letter is None:
        raise _difference(line, f"a letter to {patron}", "no letter")
    letters.remove(letter)
    whole = " ".join(f"{letter.subject} {letter.text}".split())
    if not matches_pattern(whole, f"*{line.get('text')}*"):
        raise _difference(line, line.get("text"), whole)


def check_state(stage: ScenarioRun, line: ScenarioLine) -> None:
    """Check the position and other fields of a request."""
    try:
        request = stage.gateway(line).request(line.get("request"))
    except KeyError:
        if line.get("position") != "none":
            raise _difference(line, line.get("position"), "no such request") from None
        return
    wanted = [("position", line.get("position")), *map(split_pair, shlex.split(line.get("words")))]
    got = [(name, _scenario_value(getattr(request, name, "no such fact"))) for name, _ in wanted]
    if any(value != found for (_, value), (_, found) in zip(wanted, got, strict=True)):
        raise _difference(line, _join_facts(wanted), _join_facts(got))


def _scenario_value(value: object) -> str:
    """Format a value for a scenario: dates in ISO form, booleans as yes and no, missing values as none."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None or value == "" else str(value)


def _join_facts(facts: Iterable[tuple[str, str]]) -> str:
    return " ".join(value if name == "position" else f"{name}={value}" for name, value in facts)


def _difference(line: ScenarioLine, expected: str, got: str) -> Difference:
    return Difference(line.where, line.text, expected, got)
