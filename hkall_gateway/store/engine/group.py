"""A group: all that waits in one durable commit; and what follows when that fails.

A unit that raises is rolled back alone: the group is then begun again with a savepoint around each. Before that there is
none, for hardly any unit raises (a refusal is an answer), and a savepoint costs as much as a question. Where another gateway
was in a unit's way it is tried again, a few times and by itself.
A connection that broke before COMMIT was sent has done nothing: the group is tried again once. One that broke during COMMIT
has done everything or nothing, and nobody can tell: only what may be asked twice is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from hkall_gateway.rules.vocabulary import LostRace
from hkall_gateway.store.engine.coalescer import Raised, run_wave, waves
from hkall_gateway.store.engine.compiled import CompiledStatement
from hkall_gateway.store.engine.db_errors import Fault, certainly_undone, fault_of, told, unavailable
from hkall_gateway.store.engine.job import Job
from hkall_gateway.store.engine.pipelined import forget, settle
from hkall_gateway.store.engine.worker import Answer, Turn

MakeUnit = Callable[[Connection], Any]
MakeAnswer = Callable[[Job[Any], Any, Any], Answer]
End = Callable[[], Turn[Job[Any]]]
"""What a group still needs when its units are done: its commit, and what became of it."""

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
    """The commit failed by itself; once it was `sent`, it may also have succeeded and the answer been lost."""

    def __init__(self, error: Exception, *, sent: bool) -> None:
        super().__init__(error, sent)
        self.error, self.sent = error, sent


def at_ease() -> None:
    """Nothing happens before a commit."""


def steady() -> float:
    """No chance in the pauses."""
    return 1.0


def run_group(
    connection: Connection,
    make_unit: MakeUnit,
    jobs: Sequence[Job[Any]],
    before_commit: Callable[[], None] = at_ease,
    draw: Callable[[], float] = steady,
) -> Turn[Job[Any]]:
    """All `jobs` in one durable commit. If BEGIN or COMMIT fails nothing was promised, and no waiter is told of a success.

    `draw` is a random number in [0, 1), for the pause before what was in conflict is tried again.
    """
    try:
        answers = _all(connection, make_unit, jobs, _BEGIN, _written, partial(_commit, connection, before_commit))
    except _Uncommitted as failed:
        return _undone(connection, jobs, failed.error, failed.sent and not certainly_undone(failed.error), draw)
    except Exception as error:  # noqa: BLE001  # whatever it was, it goes to the waiters
        return _undone(connection, jobs, error, False, draw)
    return _turn(jobs, answers, draw)


def begin_group(
    connection: Connection, make_unit: MakeUnit, jobs: Sequence[Job[Any]], draw: Callable[[], float] = steady
) -> End | None:
    """The same but for the commit, on a database in this process: what is left to do, in whichever thread.

    None where another process has the file, and nothing is done yet.
    """
    try:
        answers = _all(connection, make_unit, jobs, _BEGIN, _written, at_ease)
    except Exception as error:  # noqa: BLE001  # whatever it was, it goes to the waiters
        if fault_of(connection, error) is Fault.BUSY and _left(connection):
            return None
        turn = _undone(connection, jobs, error, False, draw)
        return lambda: turn
    return partial(_ended, connection, jobs, answers, draw)


def _ended(
    connection: Connection, jobs: Sequence[Job[Any]], answers: Sequence[Answer | None], draw: Callable[[], float]
) -> Turn[Job[Any]]:
    try:
        _commit(connection, at_ease)
    except _Uncommitted as failed:
        return _undone(connection, jobs, failed.error, not certainly_undone(failed.error), draw)
    return _turn(jobs, answers, draw)


def read_group(connection: Connection, make_unit: MakeUnit, jobs: Sequence[Job[Any]]) -> Turn[Job[Any]]:
    """Questions that decide nothing: one snapshot for all, and what one of them wrote all the same is not kept."""
    unit = make_unit(connection)  # one view of the one snapshot
    try:
        answers = _all(connection, lambda _: unit, jobs, _ASK, _read, partial(_ROLLBACK.change, connection))
    except Exception as error:  # noqa: BLE001  # whatever it was, it goes to the waiters
        return _undone(connection, jobs, error, False, steady)
    return _turn(jobs, answers, steady)


def refuse(job: Job[Any], error: BaseException) -> Answer:
    """Its waiter hears "try again"; every waiter gets an exception of its own."""
    return _failing(job, unavailable(error))


# ---- the units


def _all(
    connection: Connection,
    make_unit: MakeUnit,
    jobs: Sequence[Job[Any]],
    begin: Mapping[str, CompiledStatement],
    answer: MakeAnswer,
    end: Callable[[], object],
) -> list[Answer | None]:
    """What each unit's waiter will hear, after a whole transaction; None = it is to be tried again."""
    in_waves = _open(connection, make_unit, jobs, begin)
    try:
        answers = _together(connection, make_unit, jobs, in_waves, answer)
        end()
        return answers
    except _Uncommitted:
        raise
    except Raised as raised:
        culprit, error = raised.place, raised.error
    except Exception as refused:  # noqa: BLE001  # asked for several: it is found out whose fault it was
        culprit, error = -1, refused
    fault = fault_of(connection, error)
    if fault is Fault.LOST or not _left(connection):
        raise error
    _open(connection, make_unit, jobs, begin)
    answers = [
        _failed(job, error, fault) if place == culprit else _alone(connection, make_unit, job, answer)
        for place, job in enumerate(jobs)
    ]
    end()
    return answers


def _commit(connection: Connection, before: Callable[[], None]) -> None:
    """One durable commit, and what was last written with it. Raises what was refused of that, else _Uncommitted."""
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
    """Whether the database refused something that went with COMMIT, and therefore has not looked at COMMIT."""
    return isinstance(error, LostRace) or (isinstance(error, DBAPIError) and error.statement != "COMMIT")


def _open(
    connection: Connection, make_unit: MakeUnit, jobs: Sequence[Job[Any]], begin: Mapping[str, CompiledStatement]
) -> list[list[int]]:
    """Begin, and lock what is decided about: the jobs' places, in waves of such as may take turns."""
    begin[connection.dialect.name].write(connection)
    if begin is _BEGIN:
        return waves(make_unit(connection).lock([job.locks for job in jobs]))
    make_unit(connection).look_ahead({job.locks.patron for job in jobs if job.locks.patron})
    alone = connection.dialect.name == "sqlite"
    return [[place] for place in range(len(jobs))] if alone else [list(range(len(jobs)))]


def _together(
    connection: Connection, make_unit: MakeUnit, jobs: Sequence[Job[Any]], in_waves: Sequence[Sequence[int]], answer: MakeAnswer
) -> list[Answer | None]:
    """Run all units with nothing around them: whatever one raises undoes the group."""
    units = [make_unit(connection) for _ in jobs]
    works = [partial(job.context.run, job.work, unit, *job.args) for job, unit in zip(jobs, units, strict=True)]
    results: list[Any] = [None] * len(jobs)
    for wave in in_waves:
        run_wave(connection, wave, works, results)
    return [answer(job, unit, result) for job, unit, result in zip(jobs, units, results, strict=True)]


def _alone(connection: Connection, make_unit: MakeUnit, job: Job[Any], answer: MakeAnswer) -> Answer | None:
    """Run one unit inside its savepoint: the answer once the group has been committed, None = it is to be tried again."""
    _SAVEPOINT.change(connection)
    try:
        unit = make_unit(connection)
        result = job.context.run(job.work, unit, *job.args)
        settle(connection)
        _RELEASE.change(connection)  # PostgreSQL refuses after an error that the unit swallowed
    except Exception as error:
        fault = fault_of(connection, error)
        if fault is Fault.LOST:
            raise
        forget(connection)
        _BACK.change(connection)
        _RELEASE.change(connection)
        return _failed(job, error, fault)
    return answer(job, unit, result)


def _written(job: Job[Any], unit: Any, result: Any) -> Answer:
    return lambda: _settle(job, unit, result)


def _read(job: Job[Any], _unit: Any, result: Any) -> Answer:
    return lambda: job.settle(result, None)


def _settle(job: Job[Any], unit: Any, result: Any) -> None:
    """After the commit: those who listen hear what happened, then the waiter gets its answer."""
    try:
        job.context.run(unit.committed)
    finally:  # a listener's bug goes to the log; what was committed is answered all the same
        job.settle(result, None)


def _failing(job: Job[Any], error: BaseException) -> Answer:
    return lambda: job.settle(None, error)


# ---- what failed


def _failed(job: Job[Any], error: BaseException, fault: Fault) -> Answer | None:
    """What its waiter hears; None = nothing yet, it is to be tried again."""
    if fault is Fault.BUSY:
        return refuse(job, error)
    if fault is not Fault.CONFLICT:
        return _failing(job, error)
    job.tries += 1
    return None if job.tries < TRIES else _failing(job, told(error))


def _undone(
    connection: Connection, jobs: Sequence[Job[Any]], error: BaseException, committing: bool, draw: Callable[[], float]
) -> Turn[Job[Any]]:
    """The group has failed as a whole: leave its transaction, and say for each job whether it is tried again."""
    fault = fault_of(connection, error)
    if not _left(connection):
        fault = Fault.LOST
    if fault is Fault.LOST:
        return _lost(connection, jobs, error, committing)
    return _turn(jobs, [_failed(job, error, fault) for job in jobs], draw)


def _lost(connection: Connection, jobs: Sequence[Job[Any]], error: BaseException, committing: bool) -> Turn[Job[Any]]:
    if not connection.invalidated:
        connection.invalidate()
    connection.rollback()  # SQLAlchemy connects again only after this
    again = [job for job in jobs if not job.tries and (job.repeatable or not committing)]
    refused = [refuse(job, error) for job in jobs if job not in again]
    for job in again:
        job.tries += 1
    return Turn(refused, again, lost=error)


def _left(connection: Connection) -> bool:
    """Leave whatever transaction is open; False if the connection is of no use any more."""
    try:
        forget(connection)
        _ROLLBACK.change(connection)
    except Exception:  # noqa: BLE001  # whatever the reason
        return connection.dialect.name == "sqlite"  # nothing is open there: BEGIN failed, or it has rolled back by itself
    return True


def _turn(jobs: Sequence[Job[Any]], answers: Sequence[Answer | None], draw: Callable[[], float]) -> Turn[Job[Any]]:
    """What the waiters hear; those for whom there is no answer are tried again."""
    again = [job for job, answer in zip(jobs, answers, strict=True) if answer is None]
    return Turn([answer for answer in answers if answer is not None], again, _pause_s(again, draw))


def _pause_s(again: Sequence[Job[Any]], draw: Callable[[], float]) -> float:
    """Longer with every try, and never the same for two gateways that met."""
    most = max((job.tries for job in again), default=0)
    return FIRST_PAUSE_S * float(2**most) * draw() if most else 0.0
