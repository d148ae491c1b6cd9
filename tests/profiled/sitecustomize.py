"""Record which functions of the package a process calls, for `tests/test_walks.py`, which puts this folder into PYTHONPATH.

SIGRTMIN+1 starts a recording, SIGRTMIN+2 ends it and writes it to the file HKALL_PROFILE: a JSON object with the `functions`
(`module.py:qualified name`) in the order of their first call and the number of SQL `statements`. SIGRTMIN+3 makes the courier
pause for PAUSE_S after its next poll of the outbox, which comes within a second.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

PACKAGE = f"{os.sep}hkall_gateway{os.sep}"
STATEMENTS = {"execute", "executemany"}
PAUSE_S = 600.0


class Recording:
    """The recorded calls of all threads."""

    def __init__(self, target: Path) -> None:
        self._target, self._runs, self._statements = target, False, 0
        self._functions: dict[CodeType, None] = {}

    def note(self, frame: FrameType, event: str, called: Any) -> None:
        """Handle a profile event; the profile function of every thread."""
        if not self._runs:
            return
        if event == "call":
            if PACKAGE in frame.f_code.co_filename and not frame.f_code.co_name.startswith("<"):
                self._functions.setdefault(frame.f_code)
        elif event == "c_call" and called.__name__ in STATEMENTS and type(called.__self__).__module__ == "sqlite3":
            self._statements += 1

    def begin(self, *_signal: object) -> None:
        """Start a new recording."""
        self._functions, self._statements, self._runs = {}, 0, True

    def end(self, *_signal: object) -> None:
        """Write the calls recorded since the beginning."""
        self._runs = False
        names = [f"{code.co_filename.partition(PACKAGE)[2]}:{code.co_qualname}" for code in self._functions]
        draft = self._target.with_suffix(".draft")
        draft.write_text(json.dumps({"functions": names, "statements": self._statements}))
        draft.replace(self._target)


def pause_courier(*_signal: object) -> None:
    """Lengthen the pauses between two polls of the outbox."""
    courier = sys.modules["hkall_gateway.delivery.courier"]
    for name in ("POLL_S", "APART_S"):
        assert hasattr(courier, name), name
        setattr(courier, name, PAUSE_S)


if "HKALL_PROFILE" in os.environ:
    RECORDING = Recording(Path(os.environ["HKALL_PROFILE"]))
    signal.signal(signal.SIGRTMIN + 1, RECORDING.begin)
    signal.signal(signal.SIGRTMIN + 2, RECORDING.end)
    signal.signal(signal.SIGRTMIN + 3, pause_courier)
    threading.setprofile(RECORDING.note)
    sys.setprofile(RECORDING.note)
