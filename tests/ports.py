"""Ports of this machine for tests: each process of a suite has its own range and returns no port twice."""

from __future__ import annotations

import os
import random
import socket
from itertools import count, islice
from typing import Final

WORKERS: Final = 8
EACH: Final = 1500
FIRST: Final = 20_000
"""All ports from here on are below the kernel's ephemeral port range."""
_WORKER: Final = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_BEGIN: Final = random.Random().randrange(EACH)  # a concurrent suite begins elsewhere
_ALL: Final = (FIRST + _WORKER % WORKERS * EACH + number % EACH for number in count(_BEGIN))


def free_ports(number: int) -> list[int]:
    """Return this many unused ports."""
    return list(islice(filter(is_free, _ALL), number))


def is_free(port: int) -> bool:
    """Return whether a listener on loopback could be opened on this port now."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the gateway's ports also set this option
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
