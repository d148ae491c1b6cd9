"""Run a group of units of work: all in one durable commit, or in parts if the group fails.

A unit that fails while locking, in its work or at COMMIT does not affect the other units. A group runs without savepoints,
because its units seldom raise (a refusal is a return value) and a savepoint costs as much as a query. If the group fails, it is
rolled back and divided, and its parts run one after the other in separate transactions, until the failing unit is alone.

A unit in conflict with another gateway is retried alone a few times. If the connection broke before COMMIT was sent, no change
was made, and the group is retried once. If it broke during COMMIT, a new connection queries the outcome (`commit_fate`):
committed units get their results, and uncommitted units are retried. If the outcome stays unknown, repeatable units are
retried, and the callers of all other units get no reply, because both "done" and "try again" might be wrong.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from hkall_gateway.db.engine.commit_fate import NUMBER, XACT, Fate, Transaction, fate_of, this_transaction
from hkall_gateway.db.engine.compiled import CompiledStatement, discard, in_transaction
from hkall_gateway.db.engine.db_errors import DbErrorClass, certainly_undone, classify, error_for_caller, is_file_locked
from hkall_gateway.db.engine.expiry import DatabaseClock
from hkall_gateway.db.engine.locks import SNAPSHOT
from hkall_gateway.db.engine.worker import GroupResult, Job, ReplyCallback, Unit
from hkall_gateway.deadline import Undecided
from hkall_gateway.rules.vocabulary import LostRace

MakeUnit = Callable[[Connection], Unit]

_BEGIN = {"sqlite": CompiledStatement(text("BEGIN IMMEDIATE")), "postgresql": CompiledStatement(text("BEGIN"))}
_BEGIN_READ = {
    "sqlite": CompiledStatement(text("BEGIN")),
    "postgresql": CompiledStatement(text("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")),
}
_COMMIT, _ROLLBACK = CompiledStatement(text("COMMIT")), CompiledStatement(text("ROLLBACK"))
_BRIEFLY = CompiledStatement(text("SET LOCAL lock_timeout = '50ms'"))

TRIES = 4
FIRST_PAUSE_S = 0.005


class _UnitFailed(Exception):
    """The unit at index `place` of its group raised `error`, possibly for a row that an earlier unit appended."""

    def __init__(self, place: int, error: Exception) -> None:
        super().__init__(place)
        self.place, self.error = place, error


class _Uncommitted(Exception):
    """The commit itself failed. If COMMIT was `sent`, it may have succeeded although its reply was lost."""

    def __init__(self, error: Exception, *, sent: bool, transaction: Transaction | None = None) -> None:
        super().__init__(error, sent)
        self.error, self.sent, self.transaction = error, sent, transaction


class BrokenOff(Exception):
    """The transaction ended inside a unit that raised no exception."""


def constant_pause() -> float:
    """Return 1, for pauses without randomness."""
    return 1.0


def run_group(
    connection: Connection,
    make_unit: MakeUnit,
    jobs: Sequence[Job],
    before_commit: Callable[[], None] | None = None,
    draw: Callable[[], float] = constant_pause,
    clock: DatabaseClock | None = None,
) -> GroupResult:
    """Run all `jobs` in one durable commit, or in several commits if the group fails.

    Args:
        connection: The writer's connection.
        make_unit: Creates a unit of work on the connection.
        jobs: At least one job.
        before_commit: Called before each COMMIT, if any. Its exception counts as a failed commit.
        draw: Returns a random number in [0, 1), for the pause before jobs in conflict are retried.
        clock: Records the time of a database on another machine.
    """
    result = _run_in_parts(
        _Transaction(connection=connection, make_unit=make_unit, before_commit=before_commit, clock=clock), jobs
    )
    if tries := max((job.tries for job in result.again), default=0):
        # The pause grows with every try, and is random so that two gateways do not collide again.
        return replace(result, pause_s=FIRST_PAUSE_S * float(2**tries) * draw())
    return result


def read_group(connection: Connection, make_unit: MakeUnit, jobs: Sequence[Job]) -> GroupResult:
    """Run queries in one snapshot. Appended journal lines are discarded, and other writes are refused or rolled back."""
    return _run_in_parts(_Snapshot(connection, make_unit), jobs)


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """A read-only transaction in which all queries share one unit of work."""

    connection: Connection
    make_unit: MakeUnit

    def open(self, jobs: Sequence[Job], *, briefly: bool) -> tuple[Sequence[Unit], float | None]:  # noqa: ARG002
        """Begin the transaction and prefetch rows. Return the same unit for all jobs, and None instead of the time."""
        _BEGIN_READ[self.connection.dialect.name].write(self.connection)
        self.connection.info[SNAPSHOT] = True
        unit = self.make_unit(self.connection)
        unit.look_ahead([job.locks.patron for job in jobs if job.locks.patron])
        return [unit] * len(jobs), None

    def close(self) -> None:
        """End the snapshot."""
        discard(self.connection)
        # psycopg forgets its prepared statements at ROLLBACK, so the read-only transaction is committed instead.
        (_ROLLBACK if self.connection.dialect.name == "sqlite" else _COMMIT).change(self.connection)

    def answer(self, job: Job, _unit: Unit, result: object) -> None:
        """Pass the result to the caller."""
        job.reply(result, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Transaction:
    """A durably committed transaction in which each job has its own unit of work."""

    connection: Connection
    make_unit: MakeUnit
    before_commit: Callable[[], None] | None
    clock: DatabaseClock | None

    def open(self, jobs: Sequence[Job], *, briefly: bool) -> tuple[Sequence[Unit], float | None]:
        """Begin the transaction, take the locks and prefetch rows. If `briefly`, wait only briefly for another gateway's locks.

        Returns:
            A unit for each job, and the database's time in seconds after locking, or None if no deadline depends on it.
        """
        connection, locks, there_s = self.connection, [job.locks for job in jobs], None
        _BEGIN[connection.dialect.name].write(connection)
        connection.info[SNAPSHOT] = False
        units = [self.make_unit(connection) for _ in jobs]
        if connection.dialect.name == "postgresql":
            if briefly:
                _BRIEFLY.write(connection)
            units[0].lock(locks)
            (connection.info[XACT],) = NUMBER.cells(connection)
            if self.clock is not None and any(job.deadline is not None for job in jobs):
                there_s = connection.info[XACT][0]
                self.clock.measured(there_s)
        units[0].read_ahead(locks, units)
        return units, there_s

    def close(self) -> None:
        """Send the appended rows and commit. Raises the error of an appended row, or _Uncommitted if the commit fails."""
        try:
            if self.before_commit is not None:
                self.before_commit()
        except Exception as error:
            raise _Uncommitted(error, sent=False) from error
        transaction = this_transaction(self.connection) if XACT in self.connection.info else None
        try:
            _COMMIT.change(self.connection)
        except Exception as error:
            if isinstance(error, LostRace) or (isinstance(error, DBAPIError) and error.statement != "COMMIT"):
                raise  # a row that was sent before COMMIT was refused: COMMIT did not run
            raise _Uncommitted(error, sent=not certainly_undone(error), transaction=transaction) from error

    def answer(self, job: Job, unit: Unit, result: object) -> None:
        """Notify the listeners, then pass the result to the caller."""
        try:
            job.context.run(unit.committed)
        finally:  # the caller gets the committed result even if a listener raises
            job.reply(result, None)


def _run_units(transaction: _Transaction | _Snapshot, jobs: Sequence[Job], *, briefly: bool) -> list[ReplyCallback]:
    """Run the units whose deadline has not passed. Return the replies to send after the commit. An exception fails them all."""
    units, there_s = transaction.open(jobs, briefly=briefly)
    answers: list[ReplyCallback] = []
    for place, (job, unit) in enumerate(zip(jobs, units, strict=True)):
        if not job.begin(there_s):
            answers.append(job.expiry())
            continue
        try:
            result = job.context.run(job.work, unit)
        except Exception as error:
            raise _UnitFailed(place, error) from error
        if not in_transaction(transaction.connection):
            raise _UnitFailed(place, BrokenOff())
        answers.append(partial(transaction.answer, job, unit, result))
    return answers


def _run_in_parts(transaction: _Transaction | _Snapshot, jobs: Sequence[Job]) -> GroupResult:
    """Run a group. If the group fails, run its parts one after the other in separate transactions."""
    connection = transaction.connection
    answers: list[ReplyCallback] = []
    again: list[Job] = []
    refused: Exception | None = None
    parts = deque([jobs])
    while parts:
        part, answered = parts.popleft(), list[ReplyCallback]()
        try:
            answered = _run_units(transaction, part, briefly=len(part) < len(jobs))
            transaction.close()
        except Exception as raised:  # noqa: BLE001  # any error goes to the callers
            error = _database_error(raised)
            fault = classify(connection, error)
            if not _rolled_back(connection) or fault is DbErrorClass.LOST:
                lost = _settle_lost(connection, part, raised, answered)
                return replace(lost, answers=[*answers, *lost.answers], again=[*again, *lost.again, *chain(*parts)])
            if len(part) > 1 and not is_file_locked(error):
                parts.extendleft(reversed(_divide_group(part, raised.place if isinstance(raised, _UnitFailed) else None)))
            else:
                refused = error if fault is DbErrorClass.BUSY else refused
                for job in part:
                    _settle_failure(job, error, fault, answers, again)
        else:
            answers += answered
    return GroupResult(answers=answers, again=again, refused=refused)


def _divide_group(jobs: Sequence[Job], place: int | None) -> list[Sequence[Job]]:
    """Divide a failed group: the unit at index `place` alone, or two halves if the failing unit is not known."""
    if place is None:
        half = len(jobs) // 2
        return [jobs[:half], jobs[half:]]
    return [part for part in (jobs[:place], jobs[place : place + 1], jobs[place + 1 :]) if part]


def _database_error(raised: Exception) -> Exception:
    return raised.error if isinstance(raised, _UnitFailed | _Uncommitted) else raised


def _settle_failure(
    job: Job, error: BaseException, fault: DbErrorClass, answers: list[ReplyCallback], again: list[Job]
) -> None:
    """Add a unit that failed alone to `again` for a retry, or add its error to `answers`."""
    if fault is DbErrorClass.CONFLICT:
        job.tries += 1
        if job.tries < TRIES:
            again.append(job)
            return
        error = error_for_caller(error)
    answers.append(job.refusal(error) if fault is DbErrorClass.BUSY else partial(job.fail, error))


def _settle_lost(
    connection: Connection, jobs: Sequence[Job], raised: Exception, answers: Sequence[ReplyCallback]
) -> GroupResult:
    """Return the result of units whose connection broke. `answers` has the replies to send if COMMIT has succeeded."""
    if not connection.invalidated:
        connection.invalidate()
    connection.rollback()  # SQLAlchemy reconnects only after a rollback
    if isinstance(raised, _Uncommitted) and raised.sent:
        return GroupResult(answers=(), lost=raised.error, in_doubt=partial(_settle_in_doubt, jobs, raised, answers))
    return replace(_retry_once(jobs, _database_error(raised)), lost=_database_error(raised))


def _retry_once(jobs: Sequence[Job], error: Exception) -> GroupResult:
    """Return the result of units that had no effect. Each unit is retried once, then refused."""
    again = [job for job in jobs if not job.tries]
    refused = [job.refusal(error) for job in jobs if job.tries]
    for job in again:
        job.tries += 1
        job.undo()
    return GroupResult(answers=refused, again=again)


def _settle_in_doubt(
    jobs: Sequence[Job], failed: _Uncommitted, answers: Sequence[ReplyCallback], connection: Connection | None
) -> GroupResult:
    """Query the outcome of a COMMIT on a new connection, and return the result of its units."""
    fate = fate_of(connection, failed.transaction) if connection is not None and failed.transaction else Fate.UNKNOWN
    import structlog  # imported late, because most commands load this module but never log

    structlog.get_logger().warning("database.commit_asked", fate=fate.value, units=len(jobs))
    if fate is Fate.COMMITTED:
        return GroupResult(answers=answers)
    if fate is Fate.ABORTED:
        return _retry_once(jobs, failed.error)
    repeated = _retry_once([job for job in jobs if job.repeatable], failed.error)
    unknown = "nobody knows whether it was committed"
    unanswered = [partial(job.fail, Undecided(unknown)) for job in jobs if not job.repeatable]
    return replace(repeated, answers=[*repeated.answers, *unanswered])


def _rolled_back(connection: Connection) -> bool:
    """Roll back the open transaction, if any. Return False if the connection is no longer usable."""
    try:
        discard(connection)
        _ROLLBACK.change(connection)
    except Exception:  # noqa: BLE001  # any error means that the connection is unusable
        return connection.dialect.name == "sqlite"  # no open transaction: BEGIN failed, or SQLite has rolled back by itself
    return True
