"""`make bench` as a user runs it: it starts a real gateway, measures it and reports the results."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bench.__main__ import bench as command
from bench.plan import Plan
from bench.report import Records, machine, records_of

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
TINY = ("--rounds", "1", "--seconds", "0.1", "--patrons", "20", "--holdings", "40", "--open", "20")


def bench(*words: str) -> Result:
    return CliRunner().invoke(command, list(words))


def figures(done: Result) -> Any:
    """Return the JSON of a run. The gateway of an earlier test may write a log line before it."""
    return json.loads(done.stdout[done.stdout.index("{\n") :])


def test_row_is_measured_with_a_real_gateway_and_a_real_echo_server() -> None:
    done = bench("--quick", "--only", "sip2_63_vs_echo", "--json", *TINY)
    assert done.exit_code == 0, done.output
    said = figures(done)
    (ratio,) = said["ratios"].values()
    assert 0 < ratio["lowest"] == ratio["median"] == ratio["highest"]
    rates = {cell["subject"]: cell["rate"] for cell in said["cells"]}
    assert ratio["median"] == pytest.approx(rates["gateway"] / rates["echo"])
    batches = {cell["subject"]: cell["batch"] for cell in said["cells"]}
    assert (batches["gateway"] >= 1, batches["echo"]) == (True, 0)
    assert ratio["demand"] == "reported"
    assert said["machine"]["cores"] >= 1


def test_each_checkout_is_measured_in_the_same_rounds_with_its_own_package(tmp_path: Path) -> None:
    for name in ("bench", "demo", "fixtures", "hkall_gateway", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    done = bench("--only", "sip2_63_vs_echo", "--build", f"old={tmp_path}", "--json", *TINY)
    assert done.exit_code == 0, done.output
    said, told = figures(done), done.stderr
    assert f"old: {tmp_path / 'hkall_gateway'}" in told
    rates = {cell["subject"]: cell["rate"] for cell in said["cells"]}
    ratios = {key: ratio["median"] for key, ratio in said["ratios"].items()}
    assert ratios["sip2_63_vs_echo@old"] == pytest.approx(rates["gateway@old"] / rates["echo"])
    assert ratios["sip2_63_64_gateway_vs_old"] == pytest.approx(rates["gateway"] / rates["gateway@old"])


def test_workload_of_fifty_per_second_is_measured_with_a_real_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FEWEST_S", "WARM_S"):
        monkeypatch.setattr(f"bench.situations.steady.{name}", 0.2)
    done = bench("--only", "steady", "--json", *TINY, "--holdings", "400")
    assert done.exit_code == 0, done.output
    found = {key: ratio["median"] for key, ratio in figures(done)["ratios"].items()}
    works = ("63", "11", "lookup_user", "request_item")
    assert found.keys() == {f"steady_{work}_p99_ms" for work in works}
    assert all(value > 0 for value in found.values())


def test_load_is_measured_beside_terminals_with_a_real_gateway() -> None:
    done = bench("--only", "loading", "--loaded", "50", "--json", *TINY)
    assert done.exit_code == 0, done.output
    found = {key: ratio["median"] for key, ratio in figures(done)["ratios"].items()}
    assert found.keys() == {"loading_p99", "loading_p99_ms", "loading_rate"}
    assert all(value > 0 for value in found.values())


def test_checkout_whose_benchmark_does_not_run_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "__init__.py").touch()  # else the benchmark of another folder that this interpreter reads is used
    done = bench("--only", "growth_63", "--build", f"old={tmp_path}")
    assert (done.exit_code, "its benchmark does not run" in done.output) == (2, True)


@pytest.mark.parametrize("text", ["old", "=/", "a b=/", "old=/nowhere"])
def test_build_without_a_name_or_an_interpreter_is_a_usage_error(text: str) -> None:
    done = bench("--only", "growth_63", "--build", text)
    assert (done.exit_code, "Invalid value for '--build'" in done.output) == (2, True)


def test_terminated_benchmark_leaves_no_server() -> None:
    words = ("-m", "bench", "--quick", "--only", "sip2_63_vs_echo", *TINY, "--seconds", "60")
    with subprocess.Popen([sys.executable, *words], stderr=subprocess.DEVNULL) as running:
        while not (started := _children(running.pid)) and running.poll() is None:
            time.sleep(0.05)
        time.sleep(0.2)  # a child is seen before the bench, which makes it, has it in its hands
        running.terminate()
        assert running.wait(60) == 1  # as click ends what Ctrl-C ended
    assert started
    assert not any(Path(f"/proc/{child}").exists() for child in started)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def test_row_missing_its_target_is_reported_with_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    _measures(monkeypatch, {"ratios": {"growth_63": {**RATIO, "met": False}}})
    assert bench("--only", "growth_63").exit_code == 0
    done = bench("--only", "growth_63", "--check")
    assert (done.exit_code, "miss their demand: growth_63" in done.output) == (1, True)


def test_failed_part_is_reported_with_exit_code_3(monkeypatch: pytest.MonkeyPatch) -> None:
    _measures(monkeypatch, {"failed": {"growth_63": "a loan too many"}})
    done = bench("--only", "growth_63")
    assert (done.exit_code, "failed at: growth_63" in done.output) == (3, True)


RATIO = {"median": 0.5, "lowest": 0.5, "highest": 0.5, "by_cpu": None, "demand": "≥ 0.8", "how": "so"}


def _measures(monkeypatch: pytest.MonkeyPatch, found: Mapping[str, Any]) -> None:
    """Patch the command so that it gets these results without measuring."""

    def measured(_rows: object, how: Plan, _means: object) -> Records:
        return {"machine": machine(), **records_of(how, {}, {}, {}, {}), **found}

    monkeypatch.setattr("bench.__main__.measure", measured)


def test_unknown_row_is_a_usage_error() -> None:
    done = bench("--only", "nonsense")
    assert (done.exit_code, "sip2_63_vs_echo" in done.output) == (2, True)
