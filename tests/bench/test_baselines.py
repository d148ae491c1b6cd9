"""The designs to which the gateway is compared: they run, as processes of their own, and lend what they say."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.baselines.table import Design
from bench.plan import Size
from bench.resources import Benchmark, BenchServices
from bench.tasks import Task
from hkall_gateway.clock import now

BOOKS = 12


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Benchmark]:
    """A small library."""
    with ExitStack() as closing:
        services = BenchServices(now, time.perf_counter, lambda _text: None, lambda _words, _environ: None)
        yield Benchmark(tmp_path, Size(patrons=20, holdings=40, open=BOOKS, closed=0), services, closing)


@pytest.mark.parametrize("kind", ["orm", "core"])
def test_a_naive_design_lends_each_book_and_its_database_has_the_loans(ground: Benchmark, kind: str) -> None:
    design = Design(ground, kind, kind, "sqlite")
    done = design.run(Task("sip2_11", 4, 5.0, BOOKS))
    assert done.answered == BOOKS
    design.close()
