"""Execute commands and queries for all protocols: gather facts, then run the handler in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any, TypeVar, cast, overload

from hkall_gateway.circulation.command import Asked, Command, Context, InboxKey, Job, Library, Query, in_context
from hkall_gateway.circulation.idempotency import Overtaken, once
from hkall_gateway.circulation.ports import AWAY, NO_PATRON, BorrowerFacts, LocalSystem
from hkall_gateway.circulation.registry import HANDLERS
from hkall_gateway.circulation.results import Refused
from hkall_gateway.circulation.staff import explaining
from hkall_gateway.circulation.staff.explaining import ExplainQuestion, Explanation
from hkall_gateway.db.database import Store
from hkall_gateway.db.engine.expiry import without
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.queries import request_history
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.deadline import current
from hkall_gateway.rules.partners import Partner

Facts = TypeVar("Facts")
Result = TypeVar("Result")

BATCH = 200
"""Maximum number of requests in one transaction of a job."""


class Circulation:
    """Executes all commands and queries of the gateway, for every protocol.

    Use `ils` directly for queries to the local system that need no transaction.
    """

    def __init__(self, store: Store, ils: LocalSystem, library: Callable[[], Library], now: Callable[[], datetime]) -> None:
        """Create the service.

        Args:
            store: The database.
            ils: The local system.
            library: Returns the library of this gateway, which a reload may change.
            now: Returns the current time, aware and in UTC.
        """
        self.store, self.ils, self._library, self.now = store, ils, library, now

    @property
    def library(self) -> Library:
        """The library that this gateway serves."""
        return self._library()

    @overload
    async def execute(self, command: Query[Facts, Result]) -> Result: ...

    @overload
    async def execute(self, command: Command[Facts, Result], *, inbox: InboxKey | None = None) -> Result | Refused: ...

    @overload
    async def execute(
        self, command: Command[Facts, Result], *, inbox: InboxKey | None = None, since: int
    ) -> Result | Refused | Overtaken: ...

    async def execute(
        self, command: Query[Facts, Result] | Command[Facts, Result], *, inbox: InboxKey | None = None, since: int | None = None
    ) -> Result | Refused | Overtaken:
        """Execute a command or a query in one transaction.

        If the message behind the call has a deadline, the deadline is checked once the locks are held.

        Args:
            command: The command or query. Its row of the registry names the handler.
            inbox: Key of a document or form that may be repeated. A repetition gets the stored reply while the effect holds.
                A command whose row says that it is repeatable needs none.
            since: Last journal line about `command.request` that the caller has seen. Newer lines prevent the execution.

        Raises:
            Unavailable: The database is unreachable, or the deadline has passed. The command has no effect.
        """
        if isinstance(command, Asked):
            answer = in_context(command.answer, self._library(), self.now())
            return cast("Result", await self.store.read(answer, is_long=command.question.is_long))
        # Each registry row is type-checked against its command where it is created, so untyped access is safe here.
        handler, subject = HANDLERS[type(command)], cast("Any", command)
        library, now = self._library(), self.now()
        if handler.resolve is not None and (find := handler.resolve(subject, library)) is not None:
            subject = await self.store.read(find)
        gathered = await handler.facts(self.ils, subject) if handler.facts is not None else None
        if isinstance(gathered, Refused):
            return gathered
        if gathered is not None and gathered.card and handler.under_card is not None:
            subject = handler.under_card(subject, gathered.card)

        def decide(context: Context) -> Result | Refused | Overtaken:
            if since is not None:
                newer = request_history.changes_since(context.unit, subject.request, since)
                if newer:
                    return Overtaken(lines=newer)
            facts = () if gathered is None else (gathered.read(context.unit),)
            return cast("Result | Refused", handler.run(context, subject, *facts))

        key = None if handler.repeatable else inbox

        def work(unit: UnitOfWork) -> Result | Refused | Overtaken:
            context = Context(unit, library, now)
            return decide(context) if key is None else once(context, key, decide)

        locks = handler.locks(subject) if handler.locks is not None else LockSet()
        if handler.reads_only:
            return await self.store.read(work, patron=locks.patron, is_long=handler.is_long)
        if key is not None:
            locks = locks._replace(document=(key.agency, key.digest))
        repeatable = handler.repeatable or key is not None
        return await self.store.write(work, locks, None if handler.settles else current(), repeatable=repeatable)

    def explain(
        self,
        question: ExplainQuestion,
        at: datetime | None,
        *,
        wait: Callable[[Coroutine[Any, object, BorrowerFacts]], BorrowerFacts | Refused],
        trial: Callable[[Callable[[UnitOfWork], Explanation]], Explanation],
        partners: Sequence[Partner] = (),
    ) -> Explanation:
        """Decide a question as its command would, and change nothing. It may be called in any thread.

        Args:
            question: The question.
            at: Time of the decision, or None for now.
            wait: Waits for the local system's facts about the patron. A refusal stands for a local system that is away.
            trial: Runs a unit of work, rolls back its changes, and returns its result.
            partners: Partners of the configuration file, which a gateway writes into the database when it starts.

        Raises:
            Unavailable: The database is down, or the decision took too long.
        """
        now = self.now()
        facts = NO_PATRON
        if question.patron:
            answer = wait(self.ils.known(question.patron, question.title[0]))
            facts = AWAY if isinstance(answer, Refused) else answer
        return trial(in_context(explaining.decide, self.library, at or now, question, facts, now, partners))

    async def run_job(self, job: Job[Result]) -> list[Result]:
        """Run a job to completion, with one transaction for each batch, and return the results for all requests."""
        row = HANDLERS[type(job)]
        assert row.locks is not None, "the row of a job names its locks"
        locks = row.locks(job)
        results: list[Result] = []
        cursor: str | None = ""
        with without():
            while cursor is not None:
                work = in_context(row.run, self.library, self.now(), job, cursor, BATCH)
                done, cursor = await self.store.write(work, locks)
                results += done
        return results
