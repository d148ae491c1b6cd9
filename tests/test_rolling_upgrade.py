"""Rolling upgrade from 0.1.0 to this version, one gateway after the other, on a database of 0.1.0, without disruption.

The old gateways are the released program, taken from the history of the repository.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import tarfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo import demo_setup
from hkall_gateway.db import schema
from hkall_gateway.rules.vocabulary import Position
from tests import postgres_server
from tests.company import Gateway, stamp, until
from tests.db.releases import on_postgresql

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[1]
RELEASED, COMMIT = "0.1.0", "0ff17ca"
LATER_KEYS = re.compile(r"^(name_order|name_zh|offline|takes_money) = .*\n", re.MULTILINE)
"""Keys of the demo's configuration that 0.1.0 does not know."""
READER, TITLE = "P0030", "b0025"
COPIES = {"CUHK": "C00025", "HKUST": "H00025", "LU": "L00025"}
SETTINGS = ("listen_addresses=", "max_connections=40")


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The released program."""
    folder = tmp_path_factory.mktemp("released")
    packed = subprocess.run(
        ["git", "archive", COMMIT, "hkall_gateway", "pyproject.toml"], cwd=ROOT, capture_output=True, check=False
    )
    if packed.returncode:
        pytest.skip(f"this checkout has no commit {COMMIT}, which is {RELEASED}: a shallow clone, or not a clone")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    _describe(folder)
    return folder


def _describe(folder: Path) -> None:
    """Write the metadata of an installation, by which the release finds its own connectors."""
    described = folder / f"hkall_gateway-{RELEASED}.dist-info"
    described.mkdir()
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: hkall_gateway\nVersion: {RELEASED}\n", encoding="utf-8")
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = (
        "\n".join([f"[{group}]", *(f"{name} = {place}" for name, place in rows.items())])
        for group, rows in project["entry-points"].items()
    )
    (described / "entry_points.txt").write_text("\n\n".join(groups) + "\n", encoding="utf-8")


class Pair:
    """Two gateways with one database; each runs the old program until upgraded."""

    def __init__(self, reactor: Any, folder: Path, scratch: str, url: str, released: Path) -> None:
        self.first = Gateway(reactor, folder / "one", database=scratch)  # `scratch` gets the tables of the current version
        self.second = Gateway(reactor, folder / "two", beside=self.first, number=2)
        self.both = (self.first, self.second)
        self.ours = os.environ.get("PYTHONPATH", "")
        for gateway in self.both:
            text = LATER_KEYS.sub("", gateway.path.read_text(encoding="utf-8")).replace(scratch, url)
            gateway.path.write_text(text, encoding="utf-8")
            gateway.environ["PYTHONPATH"] = str(released)
        self.first.do(self.first.party.start)

    def renew(self, gateway: Gateway) -> None:
        """Stop a gateway as systemd would, and start the new program in its place."""
        assert gateway.stop() == 0
        gateway.environ["PYTHONPATH"] = self.ours
        gateway.start()

    def request(self) -> dict[str, Any]:
        """Return the patron's request, as shown by the command line of the second gateway."""
        (found,) = (row for row in json.loads(self.second.command("requests", "list", "--json")) if row["patron"] == READER)
        return dict(found)


@pytest.fixture
def pair(reactor: Any, tmp_path: Path, postgres_programs: Path, released: Path) -> Iterator[Pair]:
    with (
        postgres_server.server(postgres_programs, SETTINGS) as server,
        on_postgresql(server.url(), postgres_programs, RELEASED) as engine,
    ):
        made = Pair(reactor, tmp_path, server.url(), engine.url.render_as_string(hide_password=False), released)
        engine.dispose()
        for gateway in made.both:
            gateway.start()
        yield made
        for gateway in made.both:
            gateway.end()


def test_gateways_of_previous_and_current_version_complete_one_loan_together(pair: Pair) -> None:
    first, second = pair.both
    _upgrade_the_database(pair)

    words = (f"user={READER}", f"bib={TITLE}", "request=d-900", f"pickup={demo_setup.LOCATION}")
    assert not first.do(lambda: first.party.discovery.say("RequestItem", *words)).has("Problem")

    pair.renew(second)
    copy = _shipped(pair)
    assert second.ask(second.counter(), f"09N{stamp()}{stamp()}AP|AOHKU|AB{copy}|AC|")[:3] == "101"
    assert first.ask(first.counter(), f"11NN{stamp()}{stamp()}AOHKU|AA{READER}|AB{copy}|AC|")[:3] == "121"
    assert second.position(copy) == Position.ON_LOAN

    pair.renew(first)
    assert first.ask(first.counter(), f"09N{stamp()}{stamp()}AP|AOHKU|AB{copy}|AC|")[:3] == "101"
    assert second.position(copy) == Position.RETURN_TRANSIT
    assert [gateway.stop() for gateway in pair.both] == [0, 0]
    assert "Traceback" not in first.log() + second.log()


def _upgrade_the_database(pair: Pair) -> None:
    """Upgrade with the new program while both old gateways run."""
    second = pair.second
    old, second.environ["PYTHONPATH"] = second.environ["PYTHONPATH"], pair.ours
    planned = second.command("db", "upgrade", "--plan")
    assert planned.splitlines()[-1].startswith("revision 0001 -> "), planned
    assert second.command("db", "upgrade").strip() == f"revision 0001 -> {schema.head()}"
    second.environ["PYTHONPATH"] = old


def _shipped(pair: Pair) -> str:
    """Let the lender ship its item and notify the first gateway; return the barcode."""
    request = pair.request()
    lender = pair.first.party.partners[request["partner"]]
    until(lambda: any(m.text("RequestId/RequestIdentifierValue") == request["wire_id"] for m in lender.seen), "it is asked")
    answer = pair.first.do(lambda: lender.ship(request["wire_id"], COPIES[lender.agency]))
    assert not answer.has("Problem"), answer
    return COPIES[lender.agency]
