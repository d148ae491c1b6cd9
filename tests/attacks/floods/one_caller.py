"""One caller who always waits for many pages: `python -m tests.attacks.floods.one_caller PORT SECONDS CONNECTIONS CALLER`.

CALLER is a JSON object: the address `source`, and `method`, `path`, `headers` and `body` of the request, which each connection
repeats without pause. In each header `{number}` is replaced by the number of the request. Prints how often each status came.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from http.client import HTTPConnection, HTTPException
from threading import Thread
from typing import Any, Final

PATIENCE_S: Final = 30.0
CUT: Final = "-1"
"""Counts a request whose connection was refused or cut."""


def ask(port: int, end_s: float, caller: dict[str, Any], found: Counter[str]) -> None:
    """Repeat the request on one connection, which is reopened when it was cut."""
    line = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S, source_address=(caller["source"], 0))
    while time.monotonic() < end_s:
        number = format(found.total(), "x")
        headers = {name: value.replace("{number}", number) for name, value in caller.get("headers", {}).items()}
        try:
            line.request(caller.get("method", "GET"), caller["path"], caller.get("body"), headers)
            reply = line.getresponse()
            reply.read()
            found[str(reply.status)] += 1
        except (OSError, HTTPException):
            found[CUT] += 1
            line.close()
    line.close()


def main(port: int, seconds: float, connections: int, caller: dict[str, Any]) -> None:
    """Ask on this many connections for this many seconds."""
    os.nice(19)  # a real caller would not use this machine's CPU
    end_s, found = time.monotonic() + seconds, Counter[str]()
    asking = [Thread(target=ask, args=(port, end_s, caller, found)) for _ in range(connections)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    print(json.dumps(found))  # noqa: T201  # the process's answer


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4]))
