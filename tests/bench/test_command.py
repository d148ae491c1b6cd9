"""`make bench` as its user meets it: it starts a real gateway, asks it, and says what came out."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.__main__ import bench as command
from bench.pages import BEGIN, END

ROOT = Path(__file__).parents[2]
TINY = ("--rounds", "1", "--seconds", "0.1", "--patrons", "20", "--holdings", "40", "--open", "20")


def bench(*words: str) -> Result:
    return CliRunner().invoke(command, list(words))


def test_one_row_is_measured_at_a_real_gateway_beside_a_real_echo() -> None:
    done = bench("--quick", "--only", "sip2_63_vs_echo", "--json", *TINY)
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    (ratio,) = said["ratios"].values()
    assert 0 < ratio["lowest"] == ratio["median"] == ratio["highest"]
    rates = {cell["subject"]: cell["rate"] for cell in said["cells"]}
    assert ratio["median"] == pytest.approx(rates["gateway"] / rates["echo"])
    batches = {cell["subject"]: cell["batch"] for cell in said["cells"]}
    assert (batches["gateway"] >= 1, batches["echo"]) == (True, 0)
    assert ratio["demand"] == "≥ 0.15"
    assert said["machine"]["cores"] >= 1


def test_a_row_is_measured_at_another_checkout_in_the_same_rounds_and_each_has_its_own_package(tmp_path: Path) -> None:
    for name in ("bench", "fixtures", "hkall_gateway"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    done = bench("--only", "sip2_63_vs_echo", "--only", "codec", "--build", f"old={tmp_path}", "--json", *TINY)
    assert done.exit_code == 0, done.output
    said, told = json.loads(done.stdout), done.stderr
    assert f"old: {tmp_path / 'hkall_gateway'}" in told
    rates = {cell["subject"]: cell["rate"] for cell in said["cells"]}
    ratios = {key: ratio["median"] for key, ratio in said["ratios"].items()}
    assert ratios["sip2_63_vs_echo@old"] == pytest.approx(rates["gateway@old"] / rates["echo"])
    assert ratios["sip2_63_64_gateway_vs_old"] == pytest.approx(rates["gateway"] / rates["gateway@old"])
    assert ratios["codec_vs_pysip2@old"] > 0


def test_a_load_a_start_and_the_memory_of_terminals_are_measured_at_a_real_gateway() -> None:
    rows = ("--only", "loading", "--only", "start", "--only", "memory_of")
    done = bench(*rows, "--closed", "30", "--loaded", "50", "--json", *TINY)
    assert done.exit_code == 0, done.output
    found = {key: ratio["median"] for key, ratio in json.loads(done.stdout)["ratios"].items()}
    assert found.keys() == {"loading_p99", "loading_p99_ms", "loading_rate", "start_s", "start_aged_s", "memory_of_100_kib"}
    assert all(value > 0 for value in found.values())


def test_visits_are_measured_beside_pysip2() -> None:
    pytest.importorskip("pysip2", reason="a peer only where the extra `bench` is installed")
    done = bench("--only", "sip2_visit", "--json", *TINY)
    assert done.exit_code == 0, done.output
    assert {cell["subject"] for cell in json.loads(done.stdout)["cells"]} == {"gateway", "pysip2"}


def test_a_checkout_whose_benchmark_does_not_run_is_a_wrong_use(tmp_path: Path) -> None:
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "__init__.py").touch()  # else the benchmark of another folder that this interpreter reads is used
    done = bench("--only", "codec", "--build", f"old={tmp_path}")
    assert (done.exit_code, "its benchmark does not run" in done.output) == (2, True)


@pytest.mark.parametrize("text", ["old", "=/", "a b=/", "old=/nowhere"])
def test_a_build_that_has_no_name_or_no_interpreter_is_a_wrong_use(text: str) -> None:
    done = bench("--only", "codec", "--build", text)
    assert (done.exit_code, "Invalid value for '--build'" in done.output) == (2, True)


def test_one_that_is_told_to_end_leaves_no_server_behind() -> None:
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


def test_what_was_measured_before_is_judged_and_written_without_measuring_again(tmp_path: Path) -> None:
    records, page = tmp_path / "bench.json", tmp_path / "page.md"
    records.write_text(bench("--quick", "--only", "codec_vs_pysip2", "--json", *TINY).stdout, encoding="utf-8")
    page.write_text(f"{BEGIN}\n{END}\n", encoding="utf-8")
    said = json.loads(records.read_text(encoding="utf-8"))
    said["ratios"]["codec_vs_pysip2"] |= {"median": 1.5, "met": False}
    records.write_text(json.dumps(said), encoding="utf-8")
    done = bench("--from", str(records), "--check", "--write", str(page))
    assert (done.exit_code, "miss their demand: codec_vs_pysip2" in done.output) == (1, True)
    assert "| `codec_vs_pysip2` | ≥ 4 | 1.5 |" in page.read_text(encoding="utf-8")
    assert bench("--from", str(records)).exit_code == 0


def test_a_part_that_failed_is_named_and_ends_with_three(tmp_path: Path) -> None:
    records = tmp_path / "bench.json"
    said = json.loads(bench("--quick", "--only", "codec_vs_pysip2", "--json", *TINY).stdout)
    records.write_text(json.dumps({**said, "failed": {"midnight": "a letter too many"}}), encoding="utf-8")
    done = bench("--from", str(records))
    assert (done.exit_code, "failed at: midnight" in done.output) == (3, True)


@pytest.mark.parametrize("text", ["no", "7", "[]", "{}", '{"ratios": {}}'])
def test_a_file_that_is_no_record_is_a_wrong_use(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    done = bench("--from", str(tmp_path / "x.json"))
    assert (done.exit_code, "not what --json printed" in done.output) == (2, True)


def test_a_page_without_a_place_is_a_wrong_use_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("only words", encoding="utf-8")
    done = bench("--quick", "--only", "codec_vs_pysip2", "--write", str(tmp_path / "page.md"), *TINY)
    assert (done.exit_code, "no place" in done.output, "codec_vs" in done.output) == (2, True, False)


def test_a_row_that_is_not_there_is_a_wrong_use() -> None:
    done = bench("--only", "nonsense")
    assert (done.exit_code, "sip2_63_vs_echo" in done.output) == (2, True)
