"""One page at a time: threads of the pages share the processor with the reactor, and must not stand in its way together.

Each thread of the pages wants the interpreter's lock, and so does the reactor, several times for one line of a terminal. Beside
four threads the reactor comes fifth; beside one it comes next. So a thread draws its page only while it has the turn, and gives
the turn away while it waits for something else: the database, the desk, a password's hash, the identity provider.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Engine, event

SWITCH_S: Final = 0.0001
"""While a page is drawn, its thread lets the reactor run after so many seconds; Python's own default is 0.005."""


class Turn:
    """The turn of one process's pages: `with turn:` draws, `with turn.waiting():` inside it lets another page draw.

    Never wait for the turn, that is, ask the database or the desk, while holding a lock that another page may want.
    """

    def __init__(self) -> None:
        self._lock, self._mine = threading.Lock(), threading.local()
        self._usual_switch_s = sys.getswitchinterval()

    def __enter__(self) -> None:
        self._take()

    def __exit__(self, *_error: object) -> None:
        self.give()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Give the turn to another page until the block ends. Without effect in a thread that has no turn."""
        if not self.held:
            yield
            return
        self.give()
        try:
            yield
        finally:
            self._take()

    @property
    def held(self) -> bool:
        """Whether this thread has the turn."""
        return getattr(self._mine, "held", False)

    def give(self) -> None:
        """Give the turn away; without effect in a thread that has none."""
        if self.held:
            self._mine.held = False
            sys.setswitchinterval(self._usual_switch_s)
            self._lock.release()

    def _take(self) -> None:
        self._lock.acquire()
        self._mine.held = True
        sys.setswitchinterval(SWITCH_S)

    def engine(self, engine: Engine) -> Engine:
        """Return an engine on the same pool; its statements run while another page may draw."""
        own = engine.execution_options()

        def begin(*_args: Any) -> None:
            self._mine.asked = self.held
            self.give()

        def end(*_args: Any) -> None:
            if getattr(self._mine, "asked", False):
                self._mine.asked = False
                self._take()

        event.listen(own, "before_cursor_execute", begin)
        event.listen(own, "after_cursor_execute", end)
        event.listen(own, "handle_error", end)
        return own
