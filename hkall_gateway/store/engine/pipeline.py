"""Several statements in one trip to PostgreSQL, by libpq's pipeline mode; each is prepared once for a connection.

A trip by the driver's cursor costs three times as much as one by its connection to libpq, and statements that go together
cost less still.
"""

from __future__ import annotations

import select
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

READ: Final = select.POLLIN
WRITE: Final = select.POLLOUT


class Said(NamedTuple):
    """A statement with the marks `$1`, `$2` …, and its values as the database writes them; None is NULL."""

    text: bytes
    values: Sequence[Any]


class Refused(Exception):
    """The place of the statement that the database refused, and the driver's error. What was sent after it was not done."""

    def __init__(self, place: int, error: Exception) -> None:
        super().__init__(place, error)
        self.place, self.error = place, error


class Pipeline:
    """A connection of the driver, used between two of its own statements."""

    def __init__(self, driver: Any) -> None:
        from psycopg import errors, pq  # they come with the extra `postgres`

        self._libpq, self._errors = driver.pgconn, errors
        self._alive, self._refused, self._end = pq.ConnStatus.OK, pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.PIPELINE_SYNC
        self._open = pq.TransactionStatus.INTRANS
        self._names: dict[bytes, bytes] = {}
        self._socket = select.poll()
        self._socket.register(self._libpq.socket, READ)

    def exchange(self, statements: Sequence[Said]) -> list[Any]:
        """Send these, and wait for libpq's result of each. Raises Refused, or the driver's error where the connection broke."""
        try:
            fresh, results = self._exchange(statements)
        except BaseException:  # whatever it was, nobody knows what is still to come: the connection is of no use any more
            self._libpq.finish()
            raise
        self._raise_refusal(results, fresh)
        return [result for place, result in enumerate(results) if place not in fresh]

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open and takes statements. Asks the driver alone."""
        return bool(self._libpq.transaction_status == self._open)

    def _exchange(self, statements: Sequence[Said]) -> tuple[dict[int, bytes], list[Any]]:
        self._libpq.enter_pipeline_mode()
        fresh = self._send(statements)
        results = self._hear()
        if self._libpq.status == self._alive:
            self._libpq.exit_pipeline_mode()
        return fresh, results

    def _send(self, statements: Sequence[Said]) -> dict[int, bytes]:
        """The places among the results where a statement was prepared for the first time, and its text."""
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
        """All of it leaves; answers are taken in meanwhile, so that neither side waits for the other to read."""
        while self._libpq.flush():
            self._socket.modify(self._libpq.socket, READ | WRITE)
            if any(what & READ for _, what in self._socket.poll()):
                self._libpq.consume_input()
            self._socket.modify(self._libpq.socket, READ)

    def _hear(self) -> list[Any]:
        """The results up to the last. Where the connection breaks and the server said before why, up to that."""
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
                self._socket.poll()
                self._libpq.consume_input()
            if (result := self._libpq.get_result()) is not None:
                return result

    def _raise_refusal(self, results: Sequence[Any], fresh: Mapping[int, bytes]) -> None:
        refused = next((place for place, result in enumerate(results) if result.status == self._refused), None)
        if refused is None:
            return
        for place, text in fresh.items():
            if place >= refused:  # the server has not come to prepare it
                del self._names[text]
        before = sum(place < refused for place in fresh)
        raise Refused(refused - before, self._errors.error_from_result(results[refused]))
