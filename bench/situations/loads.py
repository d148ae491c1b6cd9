"""The speed of `load holdings` into an empty database: rows of CSV per second, and MARC records against pymarc's own loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from bench.catalogue import write_csv, write_marc
from bench.plan import Plan
from bench.resources import Benchmark
from demo.demo_setup import Ports, environment, write_config

ROWS: Final = 20_000
ROUNDS: Final = 3
"""Maximum number of rounds: each takes some 20 seconds."""


def loads(ground: Benchmark, plan: Plan) -> Mapping[str, Sequence[float]]:
    """Measure loads of holdings: rows of CSV per second, and MARC21 and MARCXML against pymarc reading the same file.

    CSV is loaded without and with titles and their search index.
    """
    folder = ground.fresh("files")
    csv, marc21, marcxml = (folder / f"holdings.{suffix}" for suffix in ("csv", "mrc", "xml"))
    write_csv(csv, range(ROWS))
    write_marc(marc21, range(ROWS))
    write_marc(marcxml, range(ROWS))
    found: dict[str, list[float]] = {"csv_bare": [], "csv": [], "marc21": [], "marcxml": []}
    for _ in range(min(ROUNDS, plan.rounds)):
        with patch("hkall_gateway.db.loads.catalogue.installed", return_value=False):  # as without the extra `web`
            found["csv_bare"].append(ROWS / _load_s(ground, csv))
        found["csv"].append(ROWS / _load_s(ground, csv))
        found["marc21"].append(_bare_s(ground, marc21) / _load_s(ground, marc21))
        found["marcxml"].append(_bare_s(ground, marcxml) / _load_s(ground, marcxml))
    return found


def _load_s(ground: Benchmark, file: Path) -> float:
    """Return the seconds of the whole command on an empty database."""
    config = write_config(ground.fresh("load"), Ports())
    ground.means.command(["db", "upgrade", "--config", str(config)], environment(Ports()))
    begun = ground.means.seconds()
    ground.means.command(["load", "holdings", str(file), "--config", str(config)], environment(Ports()))
    return ground.means.seconds() - begun


def _bare_s(ground: Benchmark, file: Path) -> float:
    """Return the seconds that pymarc takes to read all records of a file."""
    from pymarc import MARCReader, map_xml

    read = list[bool]()

    def note(_record: Any) -> None:
        read.append(True)

    begun = ground.means.seconds()
    if file.suffix == ".xml":
        map_xml(note, str(file))  # type: ignore[no-untyped-call]
    else:
        with file.open("rb") as records:
            for record in MARCReader(records):
                note(record)
    took = ground.means.seconds() - begun
    assert len(read) == ROWS, "pymarc left out records"
    return took
