"""docs/point-in-time.md on a server of the tests, in folders of its own: PostgreSQL's archive restores one second.

`tests/walk` types the page with its own folders and users on booted machines.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo import demo_setup
from tests.company import COMMAND, gateway_ports
from tests.walk.blocks import blocks

pytestmark = pytest.mark.long

PORTS = gateway_ports()
PATIENCE_S = 180
MACHINE = """
set -euo pipefail
as_postgres() { if [ "$(id -u)" = 0 ]; then command runuser -u postgres -- "$@"; else "$@"; fi; }
server() { as_postgres pg_ctl -D "$DATA" -l "$ROOT/server.log" -w -t 60 -o "-k $ROOT -c listen_addresses=" "$1" > /dev/null; }
systemctl() { if [ "$2" = postgresql ]; then server "$1"; else echo "$*" >> "$ROOT/services"; fi; }
runuser() { shift 3; as_postgres "$@"; }
install() {
  if [ "$(id -u)" = 0 ]; then other=hkall; else other='[a-z]*'; fi  # no user `hkall` is on this machine
  command install $(echo "$@" | sed "s/-[og] $other//g")
}
"""
"""A machine without systemd: operations of the page on the service `postgresql` are done on a test server."""


class Machine:
    """A folder with a Debian PostgreSQL cluster, a site on it, and a shell that runs the page."""

    def __init__(self, root: Path, programs: Path) -> None:
        self.root, self.data, self.archive = root, root / "data", root / "archive"
        self.config = demo_setup.write_config(
            root / "site", PORTS, keys={"database": {"url": f"postgresql+psycopg://postgres@/hkall?host={root}"}}
        )
        self.environ = {
            **os.environ,
            **demo_setup.environment(PORTS),
            "PATH": f"{COMMAND.parent}{os.pathsep}{programs}{os.pathsep}{os.environ['PATH']}",
            "HKALL_CONFIG": str(self.config),
            "ROOT": str(root),
            "DATA": str(self.data),
            "ARCHIVE": str(self.archive),
            "PGHOST": str(root),
            "PGUSER": "postgres",
        }

    def type(self, text: str) -> str:
        """Run a text in a shell; return its output."""
        done = subprocess.run(
            ["bash", "-c", MACHINE + text],
            env=self.environ,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout

    def doctor(self) -> list[dict[str, str]]:
        """Return what doctor finds at the gateway."""
        found: list[dict[str, str]] = json.loads(self.type("hkall-gateway doctor gateway --json"))
        return found

    def ask(self, statement: str) -> str:
        return self.type(f'psql --no-psqlrc -qtA hkall -c "{statement}"').strip()


@pytest.fixture
def machine(postgres_programs: Path) -> Iterator[Machine]:
    root = Path(tempfile.mkdtemp(prefix="hkall-pitr-", dir="/tmp"))  # another user must be able to enter this folder
    if os.geteuid() == 0:
        shutil.chown(root, "postgres")
    root.chmod(0o755)
    made = Machine(root, postgres_programs)
    made.type("as_postgres initdb -D $DATA -U postgres -A trust -E UTF8 --no-locale -N > /dev/null; server start")
    yield made
    made.type("server stop || true")
    shutil.rmtree(root)


def page() -> dict[str, list[str]]:
    """Return the shell blocks by section."""
    found: dict[str, list[str]] = {}
    text = (Path(__file__).parents[1] / "docs" / "point-in-time.md").read_text(encoding="utf-8").splitlines()
    for block in blocks("point-in-time.md"):
        if block.language == "sh":
            heads = [line for line in text[: block.line] if line.startswith("## ")]
            found.setdefault(heads[-1] if heads else "", []).append(block.text)
    return found


def test_documented_point_in_time_recovery_restores_the_chosen_second_without_erased_patrons(machine: Machine) -> None:
    sections = page()
    assert [*sections] == ["", "## Archive", "## Recover"]
    # The first block names the folders; this machine has others.
    machine.type("createuser hkall; createdb hkall; hkall-gateway db upgrade")
    patrons = machine.root / "patrons.csv"
    patrons.write_text("barcode,name,category\nBEFORE,Early Reader,undergraduates\nERASED,Gone Reader,undergraduates\n")
    machine.type(f"hkall-gateway load patrons {patrons}")

    for block in sections["## Archive"]:
        machine.type(block)
    (archive,) = [row for row in machine.doctor() if row["check"] == "archive"]
    assert archive["status"] == "ok", archive

    patrons.write_text("barcode,name,category\nUNTIL,Late Reader,undergraduates\n")
    machine.type(f"hkall-gateway load patrons {patrons}")
    time.sleep(1.5)
    until = machine.ask("SELECT now()")
    time.sleep(1.5)
    patrons.write_text("barcode,name,category\nAFTER,Lost Reader,undergraduates\n")
    machine.type(f"hkall-gateway load patrons {patrons}; hkall-gateway patron erase ERASED --reason asked --yes")
    assert machine.ask("SELECT string_agg(barcode, ' ' ORDER BY barcode) FROM patrons") == "AFTER BEFORE UNTIL"

    recover = [re.sub(r"UNTIL='[^']*'", f"UNTIL='{until}'", block) for block in sections["## Recover"]]
    assert recover != sections["## Recover"]
    *before, mark_again, base_again = recover
    for block in before:
        machine.type(block)
    assert machine.ask("SELECT string_agg(barcode, ' ' ORDER BY barcode) FROM patrons") == "BEFORE ERASED UNTIL"
    machine.type(mark_again.replace("/var/backups/hkall", str(machine.root / "backups")))
    machine.type(base_again)

    assert machine.ask("SELECT string_agg(barcode, ' ' ORDER BY barcode) FROM patrons") == "BEFORE UNTIL"
    assert (machine.root / "services").read_text().splitlines() == ["stop hkall-gateway", "start hkall-gateway"]
    assert machine.ask("SELECT count(*) FROM pg_file_settings WHERE name ~ '^(recovery_target|restore_command)'") == "0"
