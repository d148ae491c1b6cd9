"""An adapter from another distribution: found by its entry point, configured, checked and used."""

from __future__ import annotations

import ast
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import hkall_gateway
from demo import demo_setup
from hkall_gateway.circulation.ports import Verb
from hkall_gateway.clock import now
from hkall_gateway.config import gateway as config
from hkall_gateway.config.ils import IlsConfig
from hkall_gateway.config.loading import ConfigErrors
from hkall_gateway.config.notes import notes
from hkall_gateway.config.policy import load as load_policy
from hkall_gateway.config.reloading import keep_until_restart
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.ils.installed import find_adapter
from hkall_gateway.ils.tools import ConnectorTools
from hkall_gateway.rules.dates import civil
from hkall_gateway.rules.vocabulary import Actor, Position, Request, Side
from tests.company import COMMAND, PATIENCE_S, Gateway, stamp

CARD, COPY = "R0001", "C77"
TOKEN = "t0ken"
SOURCE = Path(__file__).parent.parent / "rest_adapter" / "library_rest.py"
FORMER = """
from hkall_gateway.ils.snapshot import Snapshot
def make(tools):
    assert tools.settings["connector"] == "old" and tools.abroad
    return Snapshot(tools)
"""


@dataclass
class Library:
    """A fake library system with a REST interface."""

    version: object = 2
    patrons: dict[str, dict[str, object]] = field(
        default_factory=lambda: {CARD: {"name": "Lam", "category": "undergraduates", "loans": 1, "blocked": False}}
    )
    asked: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0

    def page(self, path: str) -> object:
        return {"version": self.version} if path == "/about" else self.patrons.get(path.removeprefix("/patrons/"))


class Page(BaseHTTPRequestHandler):
    def __init__(self, library: Library, *more: Any) -> None:
        self._library = library
        super().__init__(*more)

    def do_GET(self) -> None:
        proof = self.headers.get("Authorization", "")
        self._library.asked.append((self.path, proof))
        found = self._library.page(self.path)
        self.send_response(401 if proof != f"Token {TOKEN}" else 200 if found is not None else 404)
        self.end_headers()
        self.wfile.write(json.dumps(found).encode())

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def library() -> Iterator[Library]:
    found = Library()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Page, found))
    found.port = server.server_address[1]
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


def install(folder: Path, name: str, module: str, source: str, group: str, where: str) -> None:
    """Write a module and its distribution metadata."""
    (folder / f"{module}.py").write_text(source, encoding="utf-8")
    about = folder / f"{module}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}:{where}\n", encoding="utf-8")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed distributions, visible to this process and its children."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    install(folder, "rest", "library_rest", SOURCE.read_text(encoding="utf-8"), "hkall_gateway.ils", "ADAPTER")
    install(folder, "old", "library_old", FORMER, "hkall_gateway.connectors", "make")
    install(folder, "broken", "library_broken", "import not_there\n", "hkall_gateway.ils", "ADAPTER")
    install(folder, "strange", "library_strange", "ADAPTER = 7\n", "hkall_gateway.ils", "ADAPTER")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    find_adapter.cache_clear()
    yield folder
    find_adapter.cache_clear()


def configured(path: Path, ils: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert '[ils]\nconnector = "snapshot"\n' in text
    path.write_text(text.replace('connector = "snapshot"\n', ils), encoding="utf-8")


def rest(library: Library, more: str = "") -> str:
    keys = f'base_url = "http://127.0.0.1:{library.port}"\ntoken_scheme = "Token"\npassword_env = "REST_TOKEN"\n'
    return f'connector = "rest"\n{keys}timeout_s = 2.0\n{more}'


@pytest.fixture
def site(tmp_path: Path, installed: Path) -> Path:
    return demo_setup.write_config(tmp_path, demo_setup.Ports())


def read(path: Path) -> config.GatewayConfig:
    return config.load(path, {**demo_setup.environment(demo_setup.Ports()), "REST_TOKEN": TOKEN})


def faults(path: Path) -> dict[str, str]:
    with pytest.raises(ConfigErrors) as found:
        read(path)
    return dict(found.value.errors)


def test_keys_of_an_installed_adapter_are_validated_strictly(site: Path, library: Library) -> None:
    configured(site, rest(library))
    ils = read(site).ils
    assert isinstance(ils, IlsConfig)
    assert ils.model_dump()["token_scheme"] == "Token"
    assert ils.is_living
    configured_again = site.read_text(encoding="utf-8")
    site.write_text(configured_again.replace("token_scheme", "token_schem"), encoding="utf-8")
    assert faults(site) == {"ils.token_schem": "is not a known key (did you mean `token_scheme`?)"}
    site.write_text(configured_again.replace('token_scheme = "Token"', "token_scheme = 7"), encoding="utf-8")
    assert faults(site) == {"ils.token_scheme": "must be text, in quotation marks"}


def test_missing_key_of_an_installed_adapter_is_reported(site: Path) -> None:
    configured(site, 'connector = "rest"\n')
    assert faults(site) == {"ils.base_url": "is missing"}


def test_keys_of_an_installed_adapter_are_refused_with_another_adapter(site: Path) -> None:
    configured(site, 'connector = "snapshot"\nbase_url = "http://127.0.0.1"\n')
    assert faults(site) == {"ils.base_url": "is not a known key"}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "broken",
            "library_broken:ADAPTER (entry point 'broken' of hkall_gateway.ils) cannot be loaded: Mod",
        ),
        ("strange", "library_strange:ADAPTER (entry point 'strange' of hkall_gateway.ils) is no Adapter"),
        ("rets", "must be broken, manual, ncip, old, rest, sip2, snapshot or strange (did you mean `rest`?)"),
    ],
)
def test_unusable_adapter_is_a_configuration_error(site: Path, name: str, told: str) -> None:
    configured(site, f'connector = "{name}"\n')
    assert faults(site)["ils.connector"].startswith(told)


def test_key_of_an_installed_adapter_needs_a_restart(site: Path, library: Library) -> None:
    configured(site, rest(library))
    before = read(site)
    text = site.read_text(encoding="utf-8")
    site.write_text(
        text.replace('"Token"', '"Bearer"').replace("timeout_s = 2.0", "timeout_s = 2.0\nkeep_s = 7.0"), encoding="utf-8"
    )
    after, kept = keep_until_restart(before, read(site))
    assert kept == ("ils.token_scheme",)
    assert (after.ils.model_dump()["token_scheme"], after.ils.keep_s) == ("Token", 7.0)
    site.write_text(text.replace(rest(library), 'connector = "snapshot"\n'), encoding="utf-8")
    after, kept = keep_until_restart(before, read(site))
    assert "ils.connector" in kept
    assert after.ils == before.ils


def test_adapter_in_the_former_entry_point_group_works_with_a_note(site: Path) -> None:
    configured(site, 'connector = "old"\n')
    found = read(site)
    told = dict(notes(found, load_policy(found.policy.file)))
    assert "is an entry point of the group hkall_gateway.connectors" in told["ils.connector"]
    nothing: Any = None  # this adapter uses none of the services
    tools = ConnectorTools(store=nothing, agency="HKU", verify=nothing, settings=found.ils)
    assert Verb.LOADED in find_adapter("old").build(tools).supports


def test_modules_outside_ils_do_not_depend_on_adapter_names() -> None:
    root = Path(hkall_gateway.__file__).parent
    found = [
        f"{path.relative_to(root)}:{node.lineno}"
        for path in root.rglob("*.py")
        if path.relative_to(root).parts[0] != "ils"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Compare)
        and any(isinstance(part, ast.Attribute) and part.attr == "connector" for part in (node.left, *node.comparators))
    ]
    assert found == []


# ---- real processes


def command(path: Path, environ: dict[str, str], *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [COMMAND, *words, "--config", path], env=environ, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.long
def test_item_is_lent_to_a_patron_known_only_to_an_installed_adapter(
    reactor: Any, tmp_path: Path, installed: Path, library: Library
) -> None:
    gateway = Gateway(reactor, tmp_path, demo_setup.decided_policy())
    assert str(installed) in gateway.environ["PYTHONPATH"]
    configured(gateway.path, rest(library))
    gateway.environ["REST_TOKEN"] = TOKEN
    code, said = command(gateway.path, gateway.environ, "check-config", "--keys")
    assert (code, "no errors" in said) == (0, True), said
    assert '| `token_scheme` | text | `"Bearer"` | restart | rest: the word before our token' in said
    code, said = command(gateway.path, gateway.environ, "doctor", "ils")
    assert (code, "rest.version" in said, "version 2" in said, "an unknown card is unknown" in said) == (0, True, True, True), (
        said
    )
    gateway.plant(_arrived)
    gateway.start()
    try:
        terminal = gateway.counter()
        line = f"11NN{stamp()}{' ' * 18}AOHKU|AA{CARD}|AB{COPY}|AC|"
        assert gateway.ask(terminal, line).startswith("121"), gateway.log()
        gateway.hang_up(terminal)
    finally:
        gateway.end()
    assert (f"/patrons/{CARD}", f"Token {TOKEN}") in library.asked
    assert TOKEN not in gateway.log()


def _arrived(unit: UnitOfWork) -> None:
    """A partner item on the hold shelf for a patron who is not in any loaded file."""
    at, today = now(), civil(now())
    held = Request(
        id="R-1",
        side=Side.BORROWING,
        position=Position.RECEIVED,
        title="Dune",
        bib_id="b1",
        partner="CUHK",
        patron=CARD,
        item_agency="CUHK",
        item_barcode=COPY,
        wire_agency="HKU",
        wire_id="w-1",
        pickup_location=demo_setup.LOCATION,
        placed_at=at,
        moved_at=at,
        received_on=today,
        notified_on=today,
        pickup_last=today + timedelta(days=5),
    )
    unit.open(held, at, Actor(who="test", channel="world"))


@pytest.mark.long
@pytest.mark.parametrize(("version", "told"), [(1, "version 1"), ("new", "TypeError")])
def test_doctor_shows_the_advice_of_an_installed_adapter(site: Path, library: Library, version: object, told: str) -> None:
    library.version = version
    configured(site, rest(library))
    environ = {**os.environ, **demo_setup.environment(demo_setup.Ports()), "REST_TOKEN": TOKEN}
    code, said = command(site, environ, "doctor", "ils")
    assert code != 0
    assert told in said
    assert "Ask the vendor for version 2 of the interface." in said
