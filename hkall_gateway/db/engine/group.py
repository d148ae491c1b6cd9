"""Runs a group: all queued units in one durable commit, and what remains of the group when that fails.

A unit fails alone, wherever it fails: in taking its locks, in its work, at COMMIT. The units of a group
run without savepoints, because they seldom raise (a refusal is a return value) and a savepoint costs as much as a query. If the
group fails, it is rolled back and divided, and its parts run one after the other in transactions of their own, until the unit
at fault is alone. Its neighbours are answered as if it had never been there.

A unit in conflict with another gateway is retried a few times, alone. If the connection broke before COMMIT was sent, no change
was made: the group is retried once. If it broke during COMMIT, the database is asked on a new connection what became of it
(`commit_fate`): a unit that is committed is answered as such and one that is not is retried. If nobody knows, repeatable units
are retried, and the callers of the others get no answer: neither "done" nor "try again" would be true for certain.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from hkall_gateway.db.engine.commit_fate import NUMBER, XACT, Fate, Transaction, fate_of, this_transaction
from hkall_gateway.db.engine.compiled import CompiledStatement, discard, in_transaction
from hkall_gateway.db.engine.db_errors import (
    DbErrorClass,
    certainly_undone,
    classify,
    error_for_caller,
    is_file_locked,
    unavailable,
)
from hkall_gateway.db.engine.deadline import Expired, Undecided
from hkall_gateway.db.engine.locks import SNAPSHOT
from hkall_gateway.db.engine.worker import GroupResult, Job, ReplyCallback
from hkall_gateway.rules.vocabulary import LostRace

MakeUnit = Callable[[Connection], Any]

_BEGIN = {"sqlite": CompiledStatement(text("BEGIN IMMEDIATE")), "postgresql": CompiledStatement(text("BEGIN"))}
_ASK = {
    "sqlite": CompiledStatement(text("BEGIN")),
    "postgresql": CompiledStatement(text("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")),
}
_COMMIT, _ROLLBACK = CompiledStatement(text("COMMIT")), CompiledStatement(text("ROLLBACK"))
_BRIEFLY = CompiledStatement(text("SET LOCAL lock_timeout = '50ms'"))

TRIES = 4
FIRST_PAUSE_S = 0.005


class _UnitFailed(Exception):
    """`error` ended the unit at `place` of its group; it may come from a row that an earlier unit appended."""

    def __init__(self, place: int, error: Exception) -> None:
        super().__init__(place)
        self.place, self.error = place, error


class _Uncommitted(Exception):
    """The commit itself failed. If it was `sent`, it may have succeeded although its reply was lost."""

    def __init__(self, error: Exception, *, sent: bool, transaction: Transaction | None = None) -> None:
        super().__init__(error, sent)
        self.error, self.sent, self.transaction = error, sent, transaction


class BrokenOff(Exception):
    """The transaction ended inside a unit that raised no exception."""


def no_hook() -> None:
    """The default hook before a commit; does no work."""


def constant_pause() -> float:
    """The default `draw`: pauses without randomness."""
    return 1.0


def run_group(
    connection: Connection,
    make_unit: MakeUnit,
    jobs: Sequence[Job[Any]],
    before_commit: Callable[[], None] = no_hook,
    draw: Callable[[], float] = constant_pause,
) -> GroupResult[Job[Any]]:
    """Run all `jobs` in one durable commit, or in several if one of them fails the others.

    Args:
        before_commit: Called before each COMMIT; an exception of it is a failed commit.
        draw: Returns a random number in [0, 1), for the pause before jobs in conflict are retried.
    """
    return _in_parts(_Transaction(connection, make_unit, _BEGIN, partial(_commit, connection, before_commit)), jobs, draw)


def read_group(connection: Connection, make_unit: MakeUnit, jobs: Sequence[Job[Any]]) -> GroupResult[Job[Any]]:
    """Run queries in one snapshot for all. Lines of the journal are discarded; other writes are refused or rolled back."""

    def end() -> None:
        discard(connection)
        # PostgreSQL's driver forgets its prepared statements at a ROLLBACK; its transaction is read-only.
        (_ROLLBACK if connection.dialect.name == "sqlite" else _COMMIT).change(connection)

    return _in_parts(_Transaction(connection, make_unit, _ASK, end), jobs, constant_pause)


def refuse(job: Job[Any], error: BaseException) -> ReplyCallback:
    """Return the answer "try again" for a job; every caller gets its own exception object."""
    return partial(job.settle, None, unavailable(error))


def expired(job: Job[Any]) -> ReplyCallback:
    """Return the answer for a job whose deadline has passed, or whose caller is gone."""
    return partial(job.settle, None, Expired("the command did not begin before its deadline"))


@dataclass(frozen=True, slots=True)
class _Transaction:
    """How a group runs: `begin` opens its transaction and `end` closes it."""

    connection: Connection
    make_unit: MakeUnit
    begin: Mapping[str, CompiledStatement]
    end: Callable[[], object]

    def run(self, jobs: Sequence[Job[Any]], *, briefly: bool = False) -> list[ReplyCallback]:
        """Run units without savepoints: any exception undoes all. Return their answers for after the end.

        A unit whose deadline has passed does not run.

        Args:
            briefly: Whether to wait only briefly for what another gateway has locked.
        """
        units, there_s = self._open(jobs, briefly=briefly)
        answers: list[ReplyCallback] = []
        for place, (job, unit) in enumerate(zip(jobs, units, strict=True)):
            if not job.begin(there_s):
                answers.append(expired(job))
                continue
            try:
                result = job.context.run(job.work, unit)
            except Exception as error:
                raise _UnitFailed(place, error) from error
            if not in_transaction(self.connection):
                raise _UnitFailed(place, BrokenOff())
            answers.append(partial(_settle, job, None if self.begin is _ASK else unit, result))
        return answers

    def _open(self, jobs: Sequence[Job[Any]], *, briefly: bool) -> tuple[Sequence[Any], float | None]:
        """Begin the transaction, take the locks and read ahead; return the units. UnitOfWork share one unit.

        Return also the time by the database's clock once the locks are held, if a deadline depends on it.
        """
        wanted = [job.locks for job in jobs]
        self.begin[self.connection.dialect.name].write(self.connection)
        if briefly and self.connection.dialect.name == "postgresql":
            _BRIEFLY.write(self.connection)
        self.connection.info[SNAPSHOT] = self.begin is _ASK
        first = self.make_unit(self.connection)
        if self.begin is _ASK:
            first.patrons.look_ahead({one.patron for one in wanted if one.patron})
            return [first] * len(wanted), None
        units = [first, *(self.make_unit(self.connection) for _ in wanted[1:])]
        first.lock(wanted)
        clock = next((job.clock for job in jobs if job.deadline is not None), None)
        there_s = None
        if self.connection.dialect.name == "postgresql":
            (self.connection.info[XACT],) = NUMBER.cells(self.connection)
            if clock is not None:
                there_s = self.connection.info[XACT][0]
                clock.measured(there_s)
        first.read_ahead(wanted, units)
        return units, there_s


def _in_parts(transaction: _Transaction, jobs: Sequence[Job[Any]], draw: Callable[[], float]) -> GroupResult[Job[Any]]:
    """Run a group. If it fails, run its parts one after the other, each in a transaction of its own."""
    connection = transaction.connection
    answers: list[ReplyCallback] = []
    again: list[Job[Any]] = []
    refused: Exception | None = None
    parts = deque([jobs])
    while parts:
        part, answered = parts.popleft(), list[ReplyCallback]()
        try:
            answered = transaction.run(part, briefly=len(part) < len(jobs))
            transaction.end()
        except Exception as raised:  # noqa: BLE001  # any error goes to the callers
            error = _cause(raised)
            fault = classify(connection, error)
            if not _left(connection) or fault is DbErrorClass.LOST:
                lost = _lost(connection, part, raised, answered)
                return replace(lost, answers=[*answers, *lost.answers], again=[*again, *lost.again, *chain(*parts)])
            if len(part) > 1 and not is_file_locked(error):
                parts.extendleft(reversed(_divided(part, raised.place if isinstance(raised, _UnitFailed) else None)))
            else:
                refused = error if fault is DbErrorClass.BUSY else refused
                for job in part:
                    _fail(job, error, fault, answers, again)
        else:
            answers += answered
    return GroupResult(answers, again, _pause_s(again, draw), refused=refused)


def _divided(jobs: Sequence[Job[Any]], place: int | None) -> list[Sequence[Job[Any]]]:
    """Return the parts of a group that failed: the unit at `place` alone, or two halves if nobody knows which unit it was."""
    if place is None:
        half = len(jobs) // 2
        return [jobs[:half], jobs[half:]]
    return [part for part in (jobs[:place], jobs[place : place + 1], jobs[place + 1 :]) if part]


def _commit(connection: Connection, before: Callable[[], None]) -> None:
    """Commit durably, together with the appended rows. Raises the error of such a row, else _Uncommitted."""
    try:
        before()
    except Exception as error:
        raise _Uncommitted(error, sent=False) from error
    transaction = this_transaction(connection)
    try:
        _COMMIT.change(connection)
    except Exception as error:
        if isinstance(error, LostRace) or (isinstance(error, DBAPIError) and error.statement != "COMMIT"):
            raise  # a row that was sent before COMMIT was refused: COMMIT did not run
        raise _Uncommitted(error, sent=not certainly_undone(error), transaction=transaction) from error


def _settle(job: Job[Any], unit: Any, result: Any) -> None:
    """After the end: notify the listeners, if it was a commit, then give the caller its result."""
    try:
        if unit is not None:
            job.context.run(unit.committed)
    finally:  # a listener's bug goes to the log; the caller still gets the committed result
        job.settle(result, None)


def _cause(raised: Exception) -> Exception:
    return raised.error if isinstance(raised, _UnitFailed | _Uncommitted) else raised


def _fail(
    job: Job[Any], error: BaseException, fault: DbErrorClass, answers: list[ReplyCallback], again: list[Job[Any]]
) -> None:
    """Add a unit that failed alone to those that run again, or its answer to the answers."""
    if fault is DbErrorClass.CONFLICT:
        job.tries += 1
        if job.tries < TRIES:
            again.append(job)
            return
        error = error_for_caller(error)
    answers.append(refuse(job, error) if fault is DbErrorClass.BUSY else partial(job.settle, None, error))


def _lost(
    connection: Connection, jobs: Sequence[Job[Any]], raised: Exception, answers: Sequence[ReplyCallback]
) -> GroupResult[Job[Any]]:
    """Return the outcome for units whose connection broke; `answers` are theirs if the COMMIT succeeded."""
    if not connection.invalidated:
        connection.invalidate()
    connection.rollback()  # SQLAlchemy connects again only after this
    if isinstance(raised, _Uncommitted) and raised.sent:
        return GroupResult((), lost=raised.error, in_doubt=partial(_decided, jobs, raised, answers))
    return replace(_once_more(jobs, _cause(raised)), lost=_cause(raised))


def _once_more(jobs: Sequence[Job[Any]], error: Exception) -> GroupResult[Job[Any]]:
    """Return the outcome for units that had no effect: each is retried once."""
    again = [job for job in jobs if not job.tries]
    refused = [refuse(job, error) for job in jobs if job.tries]
    for job in again:
        job.tries += 1
        job.undo()
    return GroupResult(refused, again)


def _decided(
    jobs: Sequence[Job[Any]], failed: _Uncommitted, answers: Sequence[ReplyCallback], connection: Connection | None
) -> GroupResult[Job[Any]]:
    """Ask what became of a COMMIT, on a new connection; return the outcome for its units."""
    fate = fate_of(connection, failed.transaction) if connection is not None and failed.transaction else Fate.UNKNOWN
    import structlog  # here: commands import this module and seldom log

    structlog.get_logger().warning("database.commit_asked", fate=fate.value, units=len(jobs))
    if fate is Fate.COMMITTED:
        return GroupResult(answers)
    if fate is Fate.ABORTED:
        return _once_more(jobs, failed.error)
    repeated = _once_more([job for job in jobs if job.repeatable], failed.error)
    unanswered = [
        partial(job.settle, None, Undecided("nobody knows whether it was committed")) for job in jobs if not job.repeatable
    ]
    return replace(repeated, answers=[*repeated.answers, *unanswered])


def _left(connection: Connection) -> bool:
    """Roll back the open transaction, if any; False if the connection is no longer usable."""
    try:
        discard(connection)
        _ROLLBACK.change(connection)
    except Exception:  # noqa: BLE001  # any error means that the connection is unusable
        return connection.dialect.name == "sqlite"  # no open transaction: BEGIN failed, or SQLite has rolled back by itself
    return True


def _pause_s(again: Sequence[Job[Any]], draw: Callable[[], float]) -> float:
    """Return the pause before a retry: longer with every try, and random so that two gateways do not collide again."""
    most = max((job.tries for job in again), default=0)
    return FIRST_PAUSE_S * float(2**most) * draw() if most else 0.0
