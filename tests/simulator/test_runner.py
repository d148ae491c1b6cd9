"""The scenario runner reports every difference with its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.tables import create_all
from hkall_gateway.rules.vocabulary import Position
from hkall_gateway.simulator.scenario.assertions import Difference
from hkall_gateway.simulator.scenario.runner import Played, play, replay
from hkall_gateway.simulator.scenario.steps import BadLine, ScenarioTarget
from hkall_gateway.simulator.scenario.world import World

WORLDS = Path(__file__).parent.parent.parent / "fixtures" / "worlds"

CHECK_IN = "sip2 counter-1 > 09N20170306    10000020170306    100000APHKU-MAIN-LENDING|AOHKU|ABC1|AC|"
CHECK_OUT = "sip2 counter-1 > 11NN20170306    100000                  AOHKU|AAUG1|ABC1|AC|"
CHECKED_OUT = "sip2 counter-1 < 121NUY20170306    100000AOHKU|AAUG1|ABC1|AJDune|AH20170321    235959|*"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a scenario with a world in line 1 and these lines from line 2."""

    def written(*lines: str, world: str = "on-the-shelf", name: str = "x") -> Path:
        file = tmp_path / f"{name}.txt"
        file.write_text("\n".join([f"world {WORLDS}/{world}.toml", *lines]), "utf-8")
        return file

    return written


def position_of_r1(world: World) -> Position | None:
    request = world.store.now(lambda unit: unit.requests.find("R1"))
    return request.position if request else None


def difference(file: Path) -> Difference:
    with pytest.raises(Difference) as caught:
        play(file)
    return caught.value


def test_matching_scenario_passes(write: Write) -> None:
    file = write(CHECK_OUT, CHECKED_OUT, "expect ncip CUHK ItemCheckedOut due=2017-03-21", "state R1 ON_LOAN", "mail nothing")

    world = play(file)

    assert position_of_r1(world) is Position.ON_LOAN
    world.close()


def test_wrong_reply_is_shown_with_the_expected_reply(write: Write) -> None:
    found = difference(write(CHECK_OUT, "sip2 counter-1 < 120NU*"))

    assert found.where.endswith("x.txt:3")
    assert found.expected == "120NU*"
    assert found.got.startswith("121NUY20170306    100000AOHKU|AAUG1|")


def test_blanks_in_fixed_width_fields_are_significant(write: Write) -> None:
    found = difference(write(CHECK_OUT, "sip2 counter-1 < 121NUY20170306 100000*"))

    assert found.where.endswith("x.txt:3")


def test_unexpected_document_is_a_difference(write: Write) -> None:
    found = difference(write(CHECK_OUT, "state R1 ON_LOAN"))

    assert found.where.endswith("x.txt:end")
    assert found.got == "CUHK ItemCheckedOut"


def test_unexpected_letter_is_a_difference(write: Write) -> None:
    found = difference(write(CHECK_IN, "expect ncip CUHK ItemReceived", world="on-its-way"))

    assert found.got == "mail UG1"


def test_missing_letter_is_a_difference(write: Write) -> None:
    found = difference(write(CHECK_OUT, "expect ncip CUHK ItemCheckedOut", "mail UG1 contains Dune"))

    assert (found.expected, found.got) == ("a letter to UG1", "no letter")


def test_different_letter_text_is_a_difference(write: Write) -> None:
    found = difference(write(CHECK_IN, "mail UG1 contains Ready for you: Emma", world="on-its-way"))

    assert "Ready for you: Dune" in found.got


def test_letter_is_a_difference_when_none_is_expected(write: Write) -> None:
    found = difference(write(CHECK_IN, "mail nothing", world="on-its-way"))

    assert found.got == "UG1: Ready for you: Dune"


@pytest.mark.parametrize(
    ("line", "got"),
    [
        ("state R1 ON_LOAN", "RECEIVED"),
        ("state R1 RECEIVED pickup_last=2017-03-12", "RECEIVED pickup_last=2017-03-11"),
        ("state R1 RECEIVED unwanted=yes due=none", "RECEIVED unwanted=no due=none"),
        ("state R1 RECEIVED colour=blue", "RECEIVED colour=no such fact"),
        ("state R2 RECEIVED", "no such request"),
        ("state R1 none", "RECEIVED"),
    ],
)
def test_different_request_position_is_a_difference(write: Write, line: str, got: str) -> None:
    assert difference(write(line)).got == got


@pytest.mark.parametrize(
    ("line", "got"),
    [
        ("expect ncip CUHK ItemReceived", "CUHK ItemCheckedOut"),
        ("expect ncip HKUST ItemCheckedOut", "nothing for HKUST"),
        ("expect ncip CUHK ItemCheckedOut due=2017-03-22 item=C1", "due=2017-03-21"),
        ("expect ncip CUHK ItemCheckedOut item=HKUST:C1", "item=CUHK:C1"),
        ("outbox ncip CUHK ItemReceived", "CUHK ItemCheckedOut"),
    ],
)
def test_different_document_is_a_difference(write: Write, line: str, got: str) -> None:
    assert difference(write(CHECK_OUT, line)).got == got


def test_nonempty_outbox_is_a_difference(write: Write) -> None:
    found = difference(write("partner CUHK answers away", CHECK_OUT, "outbox nothing"))

    assert found.got.startswith("1: CUHK tell_lender_on_loan (waiting: unreachable")


def test_reply_without_an_expected_problem_is_a_difference(write: Write) -> None:
    renewal = "ncip HKU-DISCOVERY > RenewItem user=UG1 item=CUHK:C1"

    assert difference(write(renewal, "< ok")).got.startswith("Problem Item Not Checked Out")
    assert difference(write(renewal, "< Problem Unknown Item")).where.endswith("x.txt:3")


def test_unused_script_is_a_difference(write: Write) -> None:
    assert difference(write("partner CUHK answers 503 x2")).got == "CUHK answers 503; CUHK answers 503"


def test_gateway_still_down_at_the_end_is_a_difference(write: Write) -> None:
    assert difference(write("crash", CHECK_OUT)).got == "the gateway is down"


def test_reply_of_a_crashed_gateway_is_lost(write: Write) -> None:
    found = difference(write("crash", CHECK_OUT, "sip2 counter-1 < 121*"))

    assert found.got == "no reply"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("wave hello", "unknown line 'wave hello'"),
        ("time tomorrow", "Invalid isoformat string"),
        ("time 2017-03-01T10:00+08:00", "time does not run backwards"),
        ("wait 3 weeks", "cannot read 'wait 3 weeks'"),
        ("state R1", "cannot read 'state R1'"),
        ("round midnight", "there is no round 'midnight'; there are: inbox_cleanup"),
        ("cli status", "there is no command line here"),
        ("sip2 kiosk-9 > 9900802.00", "there is no terminal 'kiosk-9'"),
        ("partner CUHK answers maybe", "not 'maybe'"),
        ("ncip CUHK > ItemSold item=C1", "ItemSold is no NCIP service"),
        ("ncip CUHK > ItemShipped item", "'item' is not key=value"),
        ("ncip CUHK > ItemShipped pickup=HKU", "ItemShipped has no pickup"),
        ("ncip CUHK > not-there.xml", "not-there.xml"),
        (f"world {WORLDS}/on-loan.toml", "there is a world already"),
    ],
)
def test_unplayable_line_is_refused_with_file_and_line_number(write: Write, line: str, what: str) -> None:
    with pytest.raises(BadLine) as caught:
        play(write("", line))

    assert "x.txt:3: " in str(caught.value)
    assert what in str(caught.value)


def test_every_line_is_parsed_before_the_first_is_played(write: Write) -> None:
    with pytest.raises(BadLine, match="unknown line"):
        play(write("state R1 ON_LOAN", "wave hello"))


def test_gateway_that_is_down_does_not_answer(write: Write) -> None:
    with pytest.raises(BadLine, match=r"x.txt:4: the gateway is down"):
        play(write("crash", CHECK_OUT, "state R1 RECEIVED"))


def test_scenario_must_begin_with_a_world(tmp_path: Path) -> None:
    file = tmp_path / "x.txt"
    file.write_text("state R1 ON_LOAN\n", "utf-8")

    with pytest.raises(BadLine, match="begins with a world"):
        play(file)


def test_missing_world_file_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "x.txt"
    file.write_text("world atlantis.toml\n", "utf-8")

    with pytest.raises(BadLine, match=r"x.txt:1: atlantis.toml"):
        play(file)


def test_comments_are_ignored(write: Write) -> None:
    world = play(write("# crash", "", "state R1 RECEIVED   # state R1 ON_LOAN"))

    assert position_of_r1(world) is Position.RECEIVED
    world.close()


def test_round_is_run_by_name(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(World, "round", lambda _world, name: seen.append(name))

    play(write("round overdue")).close()

    assert seen == ["overdue"]


def test_command_line_and_its_output_are_compared(write: Write) -> None:
    asked: list[list[str]] = []

    def command_line(told: ScenarioTarget, words: list[str]) -> str:
        asked.append(words)
        return f"{told.request(words[-1]).position} and {len(words)} words"

    play(write("cli requests show R1", "< RECEIVED and 3"), command_line=command_line).close()

    assert asked == [["requests", "show", "R1"]]
    with pytest.raises(Difference):
        play(write("cli requests show R1", "< ON_LOAN and 3"), command_line=command_line)


def test_crashed_commit_is_rolled_back(write: Write) -> None:
    world = play(write("crash", CHECK_OUT, "restart", "state R1 RECEIVED due=none", "outbox nothing"))

    assert position_of_r1(world) is Position.RECEIVED
    assert world.store.now(lambda unit: unit.outbox.rows()) == ()
    world.close()


def test_gateway_of_a_failed_scenario_releases_its_resources(write: Write, tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/hkall.db")
    create_all(engine)
    with pytest.raises(Difference) as caught:
        play(write("crash", CHECK_OUT, "sip2 counter-1 < 121*"), engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=0")
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # this would fail if the database were still locked
    assert caught.value.got == "no reply"


def test_replay_continues_after_a_failure(write: Write) -> None:
    files = [write("state R1 ON_LOAN", name="a"), write("wave", name="b"), write("state R1 RECEIVED", name="c")]

    played = list(replay(files))

    assert [p.path for p in played] == files
    assert "a.txt:2: state R1 ON_LOAN\n  expected  ON_LOAN\n  got       RECEIVED" in played[0].failure
    assert "b.txt:2: unknown line" in played[1].failure
    assert played[2] == Played(files[2], "")
