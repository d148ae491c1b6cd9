"""One page at a time: threads of the pages share the processor with the reactor, and must not stand in its way together.

Each thread of the pages wants the interpreter's lock, and so does the reactor, several times for one line of a terminal. Beside
four threads the reactor comes fifth; beside one it comes next. So a thread draws its page only while it has the turn, and gives
the turn away while it waits for something else: the desk, a password's hash, the identity provider, a long statement.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Engine, event

from hkall_gateway.web.precedence import Precedence

LONG_S: Final = 0.03
"""A statement of SQLite that takes longer loses the turn. To give it away for each would bring the threads' rivalry back."""


class Turn:
    """The turn of one process's pages: `with turn:` draws, `with turn.waiting():` inside it lets another page draw.

    `seconds` is a monotonic clock. Never wait for the turn, that is, ask the database or the desk, while holding a lock that
    another page may want.
    """

    def __init__(self, seconds: Callable[[], float], reactor: Precedence) -> None:
        self._seconds, self._reactor, self._lock = seconds, reactor, threading.Lock()
        self._owner, self._asking_since = 0, -1.0
        self._waiting = deque[threading.Condition]()

    def __enter__(self) -> None:
        self._take()

    def __exit__(self, *_error: object) -> None:
        self._give()

    @property
    def held(self) -> bool:
        """Whether this thread has the turn."""
        return self._owner == threading.get_ident()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Give the turn to another page until the block ends. Without effect in a thread that has no turn."""
        if not self.held:
            yield
            return
        self._give()
        self._reactor.leave_processor()
        try:
            yield
        finally:
            self._take()

    def engine(self, engine: Engine) -> Engine:
        """Return an engine on the same pool. Another page draws during each statement of PostgreSQL.

        During a statement of SQLite it waits for LONG_S before. A CompiledStatement is short and keeps the turn.
        """
        own, in_this_process = engine.execution_options(), engine.dialect.name == "sqlite"

        def begin(connection: Any, _cursor: Any, _statement: str, _values: Any, context: Any, _many: bool) -> None:
            if context is None or not self.held:  # None: a CompiledStatement, whose end nobody hears
                return
            connection.info["turn"] = True
            if in_this_process:
                self._asking_since = self._seconds()
                self._reactor.leave_processor()
            else:
                self._give()

        def end(connection: Any, *_args: Any) -> None:
            if connection.info.pop("turn", None):
                self._take()

        event.listen(own, "before_cursor_execute", begin)
        event.listen(own, "after_cursor_execute", end)
        event.listen(own, "handle_error", lambda failed: end(failed.connection) if failed.connection else None)
        return own

    def _give(self) -> None:
        with self._lock:
            if self.held:
                self._owner, self._asking_since = 0, -1.0
                if self._waiting:
                    self._waiting[0].notify()  # the others would wake in vain

    def _take(self) -> None:
        """Take the turn, or keep it after a statement during which nobody else took it."""
        with self._lock:
            if not self.held:
                self._wait_in_line()
            self._owner, self._asking_since = threading.get_ident(), -1.0
        self._reactor.share_processor()

    def _wait_in_line(self) -> None:
        """Wait until the turn is free, or until its owner's statement has taken longer than LONG_S. Called with the lock."""
        mine = threading.Condition(self._lock)
        self._waiting.append(mine)
        try:
            while self._waiting[0] is not mine or (self._owner and not self._asks_long()):
                mine.wait(LONG_S)
        finally:
            self._waiting.remove(mine)

    def _asks_long(self) -> bool:
        return 0 <= self._asking_since <= self._seconds() - LONG_S
