"""The pages are followed literally on empty machines: Debian 12 and 13, SQLite and PostgreSQL, up to the first lent book.

By hand and before each release: `make docs-test`. Transcripts with times are in var/walk.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.walk.blocks import PAGES, Block, blocks
from tests.walk.machine import KEPT, SOURCE, SUITES, Machine, machine, why_not

pytestmark = [pytest.mark.chroot, pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")]

HIGHEST_EXPOSURE = 2.0
"""Of the service, as `systemd-analyze security` counts it: 0 is safest, 10 is worst."""
READY = "http://127.0.0.1:8081/readyz"


class Walk:
    """A reader at a machine. `database` is the one that they choose; `transcript` gets each block with its output and time."""

    def __init__(self, machine: Machine, database: str, transcript: Path) -> None:
        self.machine, self.database, self.transcript = machine, database, transcript
        self.seconds = 0.0
        transcript.write_text("", encoding="utf-8")

    def follow(self, block: Block) -> None:
        """Does what one block asks for."""
        if block.file:
            self.machine.save(block.file, block.text)
        if block.language != "sh" or block.mark == "elsewhere" or block.mark not in {"", "pid1", "background", self.database}:
            return
        if block.mark == "background":
            self.machine.background(block.text, "background")
            self.wait_for("background", "is simulated")
        elif block.mark == "pid1":
            self.by_hand(block)
        else:
            self.type(block.text, block.place)

    def type(self, text: str, place: str) -> str:
        """Runs lines in the shell and returns their output; they must succeed."""
        ended = self.machine.type(text)
        self.seconds += ended.seconds
        self.note(f"---- {place}, {ended.seconds:.1f} s\n{text}\n{ended.output}\n")
        assert ended.code == 0, f"{place}: exit code {ended.code}\n{text}\n{ended.output}\n{self.logs()}"
        return ended.output

    def by_hand(self, block: Block) -> None:
        """Types the lines of a block one by one; those for systemd are carried out without it."""
        self.note(f"---- {block.place}, without systemd\n{block.text}\n")
        for line in block.text.splitlines():
            words = line.partition("#")[0].split()
            if words[:1] == ["systemctl"]:
                self.machine.systemctl(words[1], next((word for word in words[2:] if word[0] != "-"), ""))
            elif words:
                journal = re.sub(r"journalctl -u (\S+) -o cat", r"cat /var/log/\1.log", line)
                self.type(journal, block.place)

    def wait_for(self, log: str, words: str) -> None:
        self.type(f"for _ in $(seq 60); do ! grep -q '{words}' /var/log/{log}.log || exit 0; sleep 0.5; done; exit 1", "waits")

    def note(self, text: str) -> None:
        with self.transcript.open("a", encoding="utf-8") as file:
            file.write(text)

    def logs(self) -> str:
        return "\n".join(f"== {name}\n{self.machine.log(name)[-3000:]}" for name in self.machine.services)


@pytest.fixture(params=[(suite, database) for suite in SUITES for database in ("sqlite", "postgresql")], ids="-".join)
def walk(request: pytest.FixtureRequest) -> Iterator[Walk]:
    """A reader who has followed every page."""
    suite, database = request.param
    with machine(suite) as empty:
        reader = Walk(empty, database, KEPT / f"transcript-{suite}-{database}.txt")
        yield reader


def test_the_pages_lead_to_the_first_lent_book(walk: Walk) -> None:
    for page in PAGES:
        for block in blocks(page):
            if "hkall-gateway restore" in block.text and page == PAGES[0]:
                _the_book_is_lent(walk)
            walk.follow(block)
        if page == PAGES[0]:
            assert json.loads(walk.type("hkall-gateway requests list --json", "no book of the rehearsal")) == []
            _the_units_are_right(walk)
    print(f"\n{walk.transcript.name}: {walk.seconds:.0f} s in blocks")  # noqa: T201


def test_the_wheel_is_installed_as_its_page_says() -> None:
    (install,) = (block for block in blocks("packages.md") if ".whl" in block.text)
    (command,) = (block for block in blocks(PAGES[0]) if "> /usr/local/bin/hkall-gateway" in block.text)
    with machine("bookworm") as empty:
        walk = Walk(empty, "sqlite", KEPT / "transcript-wheel.txt")
        source = empty.root / SOURCE
        build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(source / "dist"), str(source)]
        subprocess.run(build, check=True, capture_output=True)
        walk.type(f"apt-get update && apt-get install --yes python3-venv curl && cd /{SOURCE}", "what the page presumes")
        walk.by_hand(install)
        walk.type(f"{command.text}\nhkall-gateway check-config\nhkall-gateway db upgrade", "the command")
        empty.systemctl("start", "hkall-gateway")
        walk.type(f"curl --silent --show-error --fail --retry 20 --retry-delay 1 --retry-connrefused {READY}", "ready")


def _the_book_is_lent(walk: Walk) -> None:
    (request,) = json.loads(walk.type("hkall-gateway requests list --json", "the book"))
    assert (request["position"], request["patron"]) == ("ON_LOAN", "20001234")
    assert "mail < tmchan@example.edu.hk" in walk.machine.log("background")
    if walk.database == "sqlite":
        assert set(walk.type("stat -c %U /var/lib/hkall/hkall.db*", "owners").split()) == {"hkall"}


def _the_units_are_right(walk: Walk) -> None:
    """Systemd's own tools accept the units of the page."""
    for unit in sorted(path.name for path in (walk.machine.root / "etc/systemd/system").glob("*.service")):
        path = f"/etc/systemd/system/{unit}"
        said = walk.type(f"systemd-analyze verify --man=no {path}", "units")  # `man` does not look into /opt
        assert unit not in said, said
        shown = walk.type(f"systemd-analyze security --offline=yes --no-pager {path} | tail -n 1", "units")
        exposure = float(re.findall(r"(\d+\.\d+)", shown)[-1])
        assert exposure <= HIGHEST_EXPOSURE, shown
