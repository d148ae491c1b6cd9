"""`hkall-gateway bench` as its user meets it: it starts a real gateway, asks it, and says what came out."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from hkall_gateway.cli import main

TINY = ("--rounds", "1", "--seconds", "0.1", "--patrons", "20", "--holdings", "40", "--open", "20")


def bench(*words: str) -> Result:
    return CliRunner().invoke(main, ["bench", *words])


def test_one_row_is_measured_at_a_real_gateway_beside_a_real_echo() -> None:
    done = bench("--quick", "--only", "sip2_63_vs_echo", "--json", *TINY)
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    (ratio,) = said["ratios"].values()
    assert 0 < ratio["lowest"] == ratio["median"] == ratio["highest"]
    rates = {cell["subject"]: cell["rate"] for cell in said["cells"]}
    assert ratio["median"] == pytest.approx(rates["gateway"] / rates["echo"])
    assert ratio["demand"] == "≥ 0.15"
    assert said["machine"]["cores"] >= 1


def test_a_row_that_is_not_there_is_a_wrong_use() -> None:
    done = bench("--only", "nonsense")
    assert (done.exit_code, "sip2_63_vs_echo" in done.output) == (2, True)
