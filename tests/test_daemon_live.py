"""A scenario file played against a running gateway from the command line."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from demo import demo_setup
from tests.company import COMMAND, PATIENCE_S, Gateway

pytestmark = pytest.mark.long

DEMO = Path(__file__).parents[1] / "fixtures/live/the-demo-answers.txt"

Replay = Callable[[Path], subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def gateway(reactor: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway shared by all tests of this file."""
    made = Gateway(reactor, tmp_path_factory.mktemp("live"))
    made.start()
    yield made
    made.end()


@pytest.fixture
def replay(gateway: Gateway) -> Replay:
    """Runs `replay --live FILE` against the gateway."""
    where = ["--sip2", f"127.0.0.1:{gateway.ports.sip2}", "--ncip", f"http://127.0.0.1:{gateway.ports.ncip}/ncip"]
    environ = {**gateway.environ, "PASSWORD": demo_setup.PASSWORD}

    def run(file: Path) -> subprocess.CompletedProcess[str]:
        options: list[str | Path] = [*where, "--password-env", "PASSWORD", "--config", gateway.path]
        words = [COMMAND, "replay", "--live", *options, file]
        return subprocess.run(words, env=environ, capture_output=True, text=True, timeout=3 * PATIENCE_S, check=False)

    return run


def written(folder: Path, *lines: str) -> Path:
    path = folder / "some.txt"
    path.write_text("\n".join(["world the-demo", *lines]) + "\n", encoding="utf-8")
    return path


def test_running_gateway_behaves_as_the_scenario_says(replay: Replay) -> None:
    done = replay(DEMO)
    assert (done.stderr, done.stdout) == ("", "1 of 1 scenarios hold\n")


def test_replay_waits_until_an_expected_message_is_in_the_database(replay: Replay, tmp_path: Path) -> None:
    done = replay(
        written(
            tmp_path,
            "ncip HKU-DISCOVERY > RequestItem user=P0001 bib=b9001 request=d-live pickup=HKU-MAIN-LENDING",
            "< ok request=HKU-DISCOVERY:d-live user=HKU:P0001",
            "cli requests list",
            "< REQUESTED",
            "outbox 1",  # no partner is listening, so the message stays
        )
    )
    assert (done.stderr, done.returncode) == ("", 0)


def test_first_difference_is_shown_and_the_command_fails(replay: Replay, tmp_path: Path) -> None:
    done = replay(written(tmp_path, "sip2 counter-1 > 9900802.00", "sip2 counter-1 < 98NNNN*"))
    assert done.returncode == 1
    assert "some.txt:3: sip2 counter-1 < 98NNNN*\n  expected  98NNNN*\n  got       98Y" in done.stderr


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            ("sip2 counter-1 > 9900802.00", "crash", "mail nothing"),
            "a gateway that runs cannot be told or asked this: lines 3 (crash), 4 (mail)",
        ),
        (("sip2 kiosk-9 > 9900802.00",), "some.txt:2: there is no terminal 'kiosk-9'"),
        (("state R1 REQUESTED",), "expected  REQUESTED\n  got       no such request"),
    ],
)
def test_unplayable_line_is_refused_with_its_number(replay: Replay, tmp_path: Path, lines: tuple[str, ...], said: str) -> None:
    done = replay(written(tmp_path, *lines))
    assert done.returncode == 1
    assert said in done.stderr
