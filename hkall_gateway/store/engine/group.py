"""Runs a group: all queued units in one durable commit, and the retries when that fails.

A unit that raises is rolled back alone: the group starts again with a savepoint around each unit. The first run has no
savepoints, because units seldom raise (a refusal is a return value) and a savepoint costs as much as a query. A unit in
conflict with another gateway is retried a few times, alone. If the connection broke before COMMIT was sent, no change was made:
the group is retried once. If it broke during COMMIT, the outcome is unknown: only repeatable units are retried.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from hkall_gateway.rules.vocabulary import LostRace
from hkall_gateway.store.engine.compiled import CompiledStatement, discard, flush, in_transaction
from hkall_gateway.store.engine.db_errors import DbErrorClass, certainly_undone, classify, error_for_caller, unavailable
from hkall_gateway.store.engine.job import GroupResult, Job, ReplyCallback

MakeUnit = Callable[[Connection], Any]
MakeAnswer = Callable[[Job[Any], Any, Any], ReplyCallback]
End = Callable[[], GroupResult[Job[Any]]]
"""The rest of a group after its units have run: commits it and returns the result."""

_BEGIN = {"sqlite": CompiledStatement(text("BEGIN IMMEDIATE")), "postgresql": CompiledStatement(text("BEGIN"))}
_ASK = {
    "sqlite": CompiledStatement(text("BEGIN")),
    "postgresql": CompiledStatement(text("BEGIN ISOLATION LEVEL REPEATABLE READ")),
}
_COMMIT, _ROLLBACK = CompiledStatement(text("COMMIT")), CompiledStatement(text("ROLLBACK"))
_SAVEPOINT, _RELEASE = CompiledStatement(text("SAVEPOINT unit")), CompiledStatement(text("RELEASE SAVEPOINT unit"))
_BACK = CompiledStatement(text("ROLLBACK TO SAVEPOINT unit"))

TRIES = 4
FIRST_PAUSE_S = 0.005


class _Uncommitted(Exception):
    """The commit itself failed. If it was `sent`, it may have succeeded although its reply was lost."""

    def __init__(self, error: Exception, *, sent: bool) -> None:
        super().__init__(error, sent)
        self.error, self.sent = error, sent


class _UnitFailed(Exception):
    """`error` ended the unit at `place` of its group."""

    def __init__(self, place: int, error: Exception) -> None:
        super().__init__(place)
        self.place, self.error = place, error


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
    """Run all `jobs` in one durable commit. If BEGIN or COMMIT fails, no job is reported as successful.

    `draw` returns a random number in [0, 1), for the pause before jobs in conflict are retried.
    """
    try:
        answers = _all(connection, make_unit, jobs, _BEGIN, _written, partial(_commit, connection, before_commit))
    except _Uncommitted as failed:
        return _undone(connection, jobs, failed.error, failed.sent and not certainly_undone(failed.error), draw)
    except Exception as error:  # noqa: BLE001  # any error goes to the callers
        return _undone(connection, jobs, error, False, draw)
    return _result(jobs, answers, draw)


def begin_group(
    connection: Connection, make_unit: MakeUnit, jobs: Sequence[Job[Any]], draw: Callable[[], float] = constant_pause
) -> End | None:
    """Run a group except for its commit, on SQLite; the function returned commits it, in any thread.

    Returns None, with no change made, if another process has the file locked.
    """
    try:
        answers = _all(connection, make_unit, jobs, _BEGIN, _written, partial(flush, connection))
    except Exception as error:  # noqa: BLE001  # any error goes to the callers
        if classify(connection, error) is DbErrorClass.BUSY and _left(connection):
            return None
        result = _undone(connection, jobs, error, False, draw)
        return lambda: result
    return partial(_ended, connection, jobs, answers, draw)


def _ended(
    connection: Connection, jobs: Sequence[Job[Any]], answers: Sequence[ReplyCallback | None], draw: Callable[[], float]
) -> GroupResult[Job[Any]]:
    try:
        _commit(connection, no_hook)
    except _Uncommitted as failed:
        return _undone(connection, jobs, failed.error, not certainly_undone(failed.error), draw)
    return _result(jobs, answers, draw)


def read_group(connection: Connection, make_unit: MakeUnit, jobs: Sequence[Job[Any]]) -> GroupResult[Job[Any]]:
    """Run queries in one snapshot for all, and roll back any writes."""
    unit = make_unit(connection)  # all jobs share one snapshot, so one unit serves all
    try:
        answers = _all(connection, lambda _: unit, jobs, _ASK, _read, partial(_ROLLBACK.change, connection))
    except Exception as error:  # noqa: BLE001  # any error goes to the callers
        return _undone(connection, jobs, error, False, constant_pause)
    return _result(jobs, answers, constant_pause)


def refuse(job: Job[Any], error: BaseException) -> ReplyCallback:
    """Return the answer "try again" for a job; every caller gets its own exception object."""
    return _failing(job, unavailable(error))


# ---- the units


def _all(
    connection: Connection,
    make_unit: MakeUnit,
    jobs: Sequence[Job[Any]],
    begin: Mapping[str, CompiledStatement],
    answer: MakeAnswer,
    end: Callable[[], object],
) -> list[ReplyCallback | None]:
    """Run all units and the end of the transaction; return an answer for each, None if the unit is to be retried."""
    units = _open(connection, make_unit, jobs, begin)
    try:
        answers = _together(connection, units, jobs, answer)
        end()
        return answers
    except _Uncommitted:
        raise
    except _UnitFailed as raised:
        again = _failed_in(connection, jobs, raised.error, raised.place)
    except Exception as error:  # noqa: BLE001  # of a buffered write, which may be any unit's
        again = _failed_in(connection, jobs, error)
    _open(connection, make_unit, jobs, begin)
    answers = [again[place] if place in again else _alone(connection, make_unit, job, answer) for place, job in enumerate(jobs)]
    end()
    return answers


def _failed_in(
    connection: Connection, jobs: Sequence[Job[Any]], error: Exception, place: int | None = None
) -> dict[int, ReplyCallback | None]:
    """Return what becomes of the unit that met another gateway, by its place: it does not run again at once.

    Of all other errors the second run finds the unit at fault. Raises the error if there is no connection for that.
    """
    fault = classify(connection, error)
    if fault is DbErrorClass.LOST or not _left(connection):
        raise error
    waits = place is not None and fault in {DbErrorClass.CONFLICT, DbErrorClass.BUSY}
    return {place: _failed(jobs[place], error, fault)} if place is not None and waits else {}


def _commit(connection: Connection, before: Callable[[], None]) -> None:
    """Commit durably, together with the buffered writes. Raises the error of such a write, else _Uncommitted."""
    try:
        before()
    except Exception as error:
        raise _Uncommitted(error, sent=False) from error
    try:
        _COMMIT.change(connection)
    except Exception as error:
        if _refused_before(error):
            raise
        raise _Uncommitted(error, sent=True) from error


def _refused_before(error: Exception) -> bool:
    """Return whether the database refused a write sent together with COMMIT, and therefore did not run COMMIT."""
    return isinstance(error, LostRace) or (isinstance(error, DBAPIError) and error.statement != "COMMIT")


def _open(
    connection: Connection, make_unit: MakeUnit, jobs: Sequence[Job[Any]], begin: Mapping[str, CompiledStatement]
) -> list[Any]:
    """Begin the transaction, take the locks and read ahead; return the units."""
    begin[connection.dialect.name].write(connection)
    units, wanted = [make_unit(connection) for _ in jobs], [job.locks for job in jobs]
    if begin is _BEGIN:
        units[0].lock(wanted)
        units[0].read_ahead(wanted, units)
    else:
        units[0].look_ahead({one.patron for one in wanted if one.patron})
    return units


def _together(
    connection: Connection, units: Sequence[Any], jobs: Sequence[Job[Any]], answer: MakeAnswer
) -> list[ReplyCallback | None]:
    """Run all units without savepoints: any exception undoes the group."""
    answers: list[ReplyCallback | None] = []
    for place, (job, unit) in enumerate(zip(jobs, units, strict=True)):
        try:
            answers.append(answer(job, unit, job.context.run(job.work, unit, *job.args)))
        except Exception as error:
            raise _UnitFailed(place, error) from error
        if not in_transaction(connection):
            raise BrokenOff
    return answers


def _alone(connection: Connection, make_unit: MakeUnit, job: Job[Any], answer: MakeAnswer) -> ReplyCallback | None:
    """Run one unit inside its savepoint; return the answer for after the commit, None if it is to be retried."""
    _SAVEPOINT.change(connection)
    try:
        unit = make_unit(connection)
        result = job.context.run(job.work, unit, *job.args)
        flush(connection)
        _RELEASE.change(connection)  # PostgreSQL refuses after an error that the unit swallowed
    except Exception as error:
        fault = classify(connection, error)
        if fault is DbErrorClass.LOST:
            raise
        discard(connection)
        _BACK.change(connection)
        _RELEASE.change(connection)
        return _failed(job, error, fault)
    return answer(job, unit, result)


def _written(job: Job[Any], unit: Any, result: Any) -> ReplyCallback:
    return lambda: _settle(job, unit, result)


def _read(job: Job[Any], _unit: Any, result: Any) -> ReplyCallback:
    return lambda: job.settle(result, None)


def _settle(job: Job[Any], unit: Any, result: Any) -> None:
    """After the commit: notify the listeners, then give the caller its result."""
    try:
        job.context.run(unit.committed)
    finally:  # a listener's bug goes to the log; the caller still gets the committed result
        job.settle(result, None)


def _failing(job: Job[Any], error: BaseException) -> ReplyCallback:
    return lambda: job.settle(None, error)


# ---- failures


def _failed(job: Job[Any], error: BaseException, fault: DbErrorClass) -> ReplyCallback | None:
    """Return the answer for a failed job; None if it is to be retried."""
    if fault is DbErrorClass.BUSY:
        return refuse(job, error)
    if fault is not DbErrorClass.CONFLICT:
        return _failing(job, error)
    job.tries += 1
    return None if job.tries < TRIES else _failing(job, error_for_caller(error))


def _undone(
    connection: Connection, jobs: Sequence[Job[Any]], error: BaseException, committing: bool, draw: Callable[[], float]
) -> GroupResult[Job[Any]]:
    """Handle the failure of a whole group: leave its transaction, and decide for each job whether it is retried."""
    fault = classify(connection, error)
    if not _left(connection):
        fault = DbErrorClass.LOST
    if fault is DbErrorClass.LOST:
        return _lost(connection, jobs, error, committing)
    return _result(jobs, [_failed(job, error, fault) for job in jobs], draw)


def _lost(connection: Connection, jobs: Sequence[Job[Any]], error: BaseException, committing: bool) -> GroupResult[Job[Any]]:
    if not connection.invalidated:
        connection.invalidate()
    connection.rollback()  # SQLAlchemy connects again only after this
    again = [job for job in jobs if not job.tries and (job.repeatable or not committing)]
    refused = [refuse(job, error) for job in jobs if job not in again]
    for job in again:
        job.tries += 1
    return GroupResult(refused, again, lost=error)


def _left(connection: Connection) -> bool:
    """Roll back the open transaction, if any; False if the connection is no longer usable."""
    try:
        discard(connection)
        _ROLLBACK.change(connection)
    except Exception:  # noqa: BLE001  # any error means that the connection is unusable
        return connection.dialect.name == "sqlite"  # no open transaction: BEGIN failed, or SQLite has rolled back by itself
    return True


def _result(
    jobs: Sequence[Job[Any]], answers: Sequence[ReplyCallback | None], draw: Callable[[], float]
) -> GroupResult[Job[Any]]:
    """Return the group's result; jobs without an answer are retried."""
    again = [job for job, answer in zip(jobs, answers, strict=True) if answer is None]
    return GroupResult([answer for answer in answers if answer is not None], again, _pause_s(again, draw))


def _pause_s(again: Sequence[Job[Any]], draw: Callable[[], float]) -> float:
    """Return the pause before a retry: longer with every try, and random so that two gateways do not collide again."""
    most = max((job.tries for job in again), default=0)
    return FIRST_PAUSE_S * float(2**most) * draw() if most else 0.0
