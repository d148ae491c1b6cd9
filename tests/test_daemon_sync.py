"""A reply is sent only after its effect is on disk: the daemon's system calls, in their order.

kill -9 cannot show this, since written data survive the process in the kernel's memory.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo import demo_setup
from tests.company import CARD, PIN, Gateway, stamp, until

CALLS = "fdatasync,fsync,sendto,recvfrom"
# strace splits a call while another thread makes one, and shows the result of a read in the second part.
KINDS = {
    "asked": re.compile(r'(recvfrom\(\d+, |<\.\.\. recvfrom resumed>)"(POST /ncip|01N|25)'),
    "synced": re.compile(r"(fdatasync|fsync)\(\d+\) += 0|<\.\.\. (fdatasync|fsync) resumed>\) += 0"),
    "answered": re.compile(r'sendto\(\d+, "(HTTP/1.1 200|24|26)'),
}
TIMES = 3


def traceable() -> bool:
    """Return whether strace is installed and may trace a process."""
    strace = shutil.which("strace")
    return strace is not None and subprocess.run([strace, "-o", os.devnull, "true"], check=False).returncode == 0


pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not traceable(), reason="no strace, or it may not trace: the order of system calls was not looked at"),
]


@pytest.fixture
def gateway(reactor: Any, tmp_path: Path) -> Iterator[Gateway]:
    strace = ("strace", "-D", "-f", "-qq", "-e", f"trace={CALLS}", "-o", str(tmp_path / "calls"))
    made = Gateway(reactor, tmp_path, database="sqlite:///hkall.db", under=strace)
    yield made
    made.end()


def order(path: Path) -> str:
    """Return the events, one letter per call: (a)sked, (s)ynced, a(n)swered."""
    found = ((kind, line) for line in path.read_text().splitlines() for kind, said in KINDS.items() if said.search(line))
    return "".join({"asked": "a", "synced": "s", "answered": "n"}[kind] for kind, _ in found)


def ask(gateway: Gateway, number: int) -> bool:
    """Return whether a request was granted; a refusal is stored too."""
    words = (f"user={CARD}", f"bib=b{number:04}", f"request=d-{number}", f"pickup={demo_setup.LOCATION}")
    return not gateway.do(lambda: gateway.party.discovery.say("RequestItem", *words)).has("Problem")


def test_reply_is_sent_after_its_effect_is_synced_to_disk(gateway: Gateway, tmp_path: Path) -> None:
    gateway.do(gateway.party.start)
    gateway.start()
    counter = gateway.counter()
    granted = [ask(gateway, number) for number in range(1, TIMES + 1)]
    assert any(granted)
    for _ in range(TIMES):
        assert gateway.ask(counter, f"01N{stamp()}AOHKU|ALleft behind|AA{CARD}|AC|").startswith("24")
        assert gateway.ask(counter, f"25{stamp()}AOHKU|AA{CARD}|AC|AD{PIN}|").startswith("26")
    until(lambda: order(tmp_path / "calls").count("n") == 3 * TIMES, "all is answered")
    happened = order(tmp_path / "calls")
    assert len(re.findall("as+n", happened)) == 3 * TIMES, happened
    assert gateway.stop() == 0
