"""Sends several statements in one round trip to PostgreSQL, by libpq's pipeline mode; each is prepared once per connection.

A round trip by the driver's cursor costs three times as much as one by its libpq connection, and statements sent together cost
less still.
"""

from __future__ import annotations

import select
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any, Final, NamedTuple

READ: Final = select.POLLIN
WRITE: Final = select.POLLOUT


class BoundStatement(NamedTuple):
    """A statement with the marks `$1`, `$2` …, and its values in PostgreSQL's text format; None is NULL."""

    text: bytes
    values: Sequence[Any]


class StatementRefused(Exception):
    """The place of the statement that the database refused, and the driver's error. Later statements did not run."""

    def __init__(self, place: int, error: Exception) -> None:
        super().__init__(place, error)
        self.place, self.error = place, error


class Pipeline:
    """A connection of the driver, used between two of the driver's own statements."""

    def __init__(self, driver: Any) -> None:
        from psycopg import errors, pq  # installed with the extra `postgres`

        self._libpq, self._errors = driver.pgconn, errors
        self._alive, self._refused, self._end = pq.ConnStatus.OK, pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.PIPELINE_SYNC
        self._open = pq.TransactionStatus.INTRANS
        self._names: dict[bytes, bytes] = {}
        self._socket = select.poll()
        self._socket.register(self._libpq.socket, READ)
        self._until_s: float | None = None

    def ping(self, within_s: float) -> None:
        """Wait at most so many seconds for the answer to a message without a statement.

        Raises the driver's error: ConnectionTimeout for silence.
        """
        self._until_s = monotonic() + within_s
        try:
            self.exchange(())
        except StatementRefused as refused:
            raise refused.error from None
        finally:
            self._until_s = None

    def exchange(self, statements: Sequence[BoundStatement]) -> list[Any]:
        """Send statements and return libpq's result of each. Raises StatementRefused, or the driver's error."""
        try:
            fresh, results = self._exchange(statements)
        except BaseException:  # after any error the remaining results are unknown: the connection is unusable
            self._libpq.finish()
            raise
        self._raise_refusal(results, fresh)
        return [result for place, result in enumerate(results) if place not in fresh]

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open and takes statements. Asks the driver only."""
        return bool(self._libpq.transaction_status == self._open)

    def _exchange(self, statements: Sequence[BoundStatement]) -> tuple[dict[int, bytes], list[Any]]:
        self._libpq.enter_pipeline_mode()
        fresh = self._send(statements)
        results = self._hear()
        if self._libpq.status == self._alive:
            self._libpq.exit_pipeline_mode()
        return fresh, results

    def _send(self, statements: Sequence[BoundStatement]) -> dict[int, bytes]:
        """Send the statements; return the places among the results of those prepared for the first time, with their texts."""
        fresh: dict[int, bytes] = {}
        for place, (text, values) in enumerate(statements):
            if text not in self._names:
                self._names[text] = b"hkall%d" % len(self._names)
                self._libpq.send_prepare(self._names[text], text)
                fresh[place + len(fresh)] = text
            self._libpq.send_query_prepared(self._names[text], values)
        self._libpq.pipeline_sync()
        self._flush()
        return fresh

    def _flush(self) -> None:
        """Send all output, and read input meanwhile, so that neither side blocks on the other."""
        while self._libpq.flush():
            self._socket.modify(self._libpq.socket, READ | WRITE)
            if any(what & READ for _, what in self._poll()):
                self._libpq.consume_input()
            self._socket.modify(self._libpq.socket, READ)

    def _hear(self) -> list[Any]:
        """Read the results up to the last. If the connection breaks after the server has sent an error, up to that error."""
        results: list[Any] = []
        try:
            while (result := self._next()).status != self._end:
                results.append(result)
        except self._errors.OperationalError:
            if not any(result.status == self._refused for result in results):
                raise
        return results

    def _next(self) -> Any:
        while True:
            while self._libpq.is_busy():
                self._poll()
                self._libpq.consume_input()
            if (result := self._libpq.get_result()) is not None:
                return result

    def _poll(self) -> list[tuple[int, int]]:
        """Wait for the socket; for an answer to `ping` until its limit."""
        if self._until_s is None:
            return self._socket.poll()
        ready = self._socket.poll(max(0.0, self._until_s - monotonic()) * 1000)
        if not ready:
            raise self._errors.ConnectionTimeout("the server does not answer")
        return ready

    def _raise_refusal(self, results: Sequence[Any], fresh: Mapping[int, bytes]) -> None:
        refused = next((place for place, result in enumerate(results) if result.status == self._refused), None)
        if refused is None:
            return
        for place, text in fresh.items():
            if place >= refused:  # the server has not prepared it
                del self._names[text]
        before = sum(place < refused for place in fresh)
        raise StatementRefused(refused - before, self._errors.error_from_result(results[refused]))
