"""Scenario lines are parsed by a table only."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from hkall_gateway.simulator.scenario.runner import VERBS
from hkall_gateway.simulator.scenario.scripted_partner import duration
from hkall_gateway.simulator.scenario.steps import GRAMMAR, RAW, BadLine, read_scenario

LINES = {
    "world": "world two-libraries.toml",
    "time": "time 2017-03-01T10:00+08:00",
    "wait": "wait 2d4h",
    "round": "round midnight",
    "crash": "crash 2",
    "restart": "restart",
    "sip2": "sip2 counter-1 > 9900802.00",
    "ncip": "ncip CUHK > ItemShipped item=C1",
    "cli": "cli requests show R1",
    "<": "< ok due=2017-03-16",
    "partner": "partner CUHK answers 503 x3",
    "ils": "ils reader UG1 blocked=yes",
    "expect": "expect ncip CUHK ItemCheckedOut due=2017-03-16",
    "outbox": "outbox nothing",
    "mail": "mail UG1 contains Dune",
    "state": "state R1 ON_LOAN due=2017-03-16",
}


def lines_of(path: Path, *rows: str) -> list[tuple[str, dict[str, str]]]:
    path.write_text("\n".join(["world w.toml", *rows]), "utf-8")
    return [(line.verb, dict(line.parts)) for line in read_scenario(path)[1:]]


def test_every_verb_of_the_grammar_is_parsed() -> None:
    assert GRAMMAR.keys() == VERBS.keys() == LINES.keys()
    assert GRAMMAR.keys() >= RAW


@pytest.mark.parametrize("verb", GRAMMAR)
def test_line_type_is_determined_by_its_first_word(tmp_path: Path, verb: str) -> None:
    assert [found for found, _ in lines_of(tmp_path / "x.txt", LINES[verb])] == [verb]


@pytest.mark.parametrize("verb", sorted(GRAMMAR.keys() - {"<", "cli"}))
def test_wrong_number_of_words_is_refused(tmp_path: Path, verb: str) -> None:
    with pytest.raises(BadLine, match=r"x.txt:2: cannot read"):
        lines_of(tmp_path / "x.txt", f"{verb} is not said like this")


def test_line_is_split_into_its_parts(tmp_path: Path) -> None:
    said = lines_of(tmp_path / "x.txt", "expect  ncip CUHK  ItemCheckedOut item=C1 due=2017-03-16")[0][1]

    assert said == {"agency": "CUHK", "service": "ItemCheckedOut", "words": " item=C1 due=2017-03-16"}


def test_blanks_in_a_terminal_message_are_kept(tmp_path: Path) -> None:
    said = lines_of(tmp_path / "x.txt", "sip2 counter-1 < 120NNN20170301    100000AO #1|")[0][1]

    assert said["said"] == "120NNN20170301    100000AO #1|"


def test_comment_may_follow_a_line(tmp_path: Path) -> None:
    assert lines_of(tmp_path / "x.txt", "crash 2   # the courier's", "", "# nothing") == [("crash", {"commits": "2"})]


@pytest.mark.parametrize(
    ("text", "length"),
    [("90s", timedelta(seconds=90)), ("2d4h", timedelta(days=2, hours=4)), ("30m", timedelta(minutes=30))],
)
def test_duration_is_the_sum_of_its_parts(text: str, length: timedelta) -> None:
    assert duration(text) == length
