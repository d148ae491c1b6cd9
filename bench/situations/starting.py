"""How long a daemon takes from its start to its first answer: on an empty database, and on one with years of history."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench.gateways import VARIANTS, GatewayProcess
from bench.plan import Plan
from bench.processes import TIMEOUT_S, Broken, listens
from bench.resources import Benchmark
from bench.situations.crowds import logged_in
from bench.situations.growth import SQLITE, aged
from bench.world import BenchWorld, copy_file, fill
from hkall_gateway.store.engine.connect import open_engine

LOOK_S: Final = 0.002


def starting(ground: Benchmark, plan: Plan) -> Mapping[str, Sequence[float]]:
    """Seconds from the start of the command to the answer to a terminal's login, by database, in turns."""
    urls = {"empty_s": _empty(ground), "aged_s": aged(ground, plan.size.closed)}
    found: dict[str, list[float]] = {name: [] for name in urls}
    for _ in range(plan.rounds):
        for name, url in urls.items():
            found[name].append(_took_s(ground, url))
    return found


def _empty(ground: Benchmark) -> str:
    """Make a database without patrons, copies and requests; return its URL."""
    url = f"{SQLITE}{ground.fresh('empty') / 'hkall.db'}"
    engine = open_engine(url)
    fill(engine, BenchWorld(replace(ground.world.size, patrons=0, holdings=0, open=0), ground.means.now()))
    engine.dispose()
    return url


def _took_s(ground: Benchmark, url: str) -> float:
    """Start a daemon on a copy of this database."""
    folder = ground.fresh("starting")
    copy = folder / "hkall.db"
    copy_file(Path(url.removeprefix(SQLITE)), copy)
    daemon = GatewayProcess(ground, folder / "1", f"{SQLITE}{copy}", VARIANTS["gateway"])
    try:
        _wait(ground, daemon)
        with closing(logged_in(daemon.ports.sip2)):
            took_s = ground.means.seconds() - daemon.begun_s
        daemon.until_it_listens()
        daemon.stop()
    finally:
        daemon.kill()
        copy.unlink()
    return took_s


def _wait(ground: Benchmark, daemon: GatewayProcess) -> None:
    """Wait until the terminals' port listens."""
    while not listens(daemon.ports.sip2):
        if ground.means.seconds() > daemon.begun_s + TIMEOUT_S:
            raise Broken(f"no terminal was answered within {TIMEOUT_S:.0f} s: {daemon.process.said()}")
        time.sleep(LOOK_S)
