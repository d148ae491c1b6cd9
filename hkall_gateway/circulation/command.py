"""Base classes of commands and queries: frozen records that the registry maps to handlers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Flag, auto
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

from hkall_gateway.circulation.results import Refused
from hkall_gateway.clock import Clock
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages import letters
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.rules.vocabulary import Actor, Refusal, Request

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from hkall_gateway.circulation.ports import Gathered, LocalSystem
    from hkall_gateway.db.engine.locks import LockSet
    from hkall_gateway.db.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """The library that this gateway serves. The first pickup location is the default (R4)."""

    agency: str
    name: str
    policy: Policy
    pickup_locations: tuple[str, ...]

    @property
    def silent(self) -> frozenset[Notification]:
        """Letters that the policy suppresses."""
        return letters.silent(self.policy.notices)


def refused(refusal: Refusal, language: str = "", title: str = "") -> Refused:
    """Convert a rule's refusal to the result of a command."""
    return Refused(why=refusal.why, rule=refusal.rule, detail=refusal.detail, language=language, title=title)


def pause(clock: Clock, seconds: float) -> Deferred[None]:
    """Return a Deferred that fires after this many seconds."""
    from twisted.internet.defer import Deferred  # imported late, because most importers of this module do not need Twisted

    over: Deferred[None] = Deferred()
    clock.callLater(seconds, partial(over.callback, None))
    return over


def flagged(request: Request, *flags: str) -> str:
    """Return the flags of a request with `flags` added, without duplicates.

    Flags are notes for staff. The CLI command `flagged` lists them until staff settle them.
    """
    return " ".join(dict.fromkeys([*request.flags.split(), *filter(None, flags)]))


def unflagged(request: Request, *flags: str) -> str:
    """Return the flags of a request without `flags`."""
    return " ".join(one for one in request.flags.split() if one not in flags)


P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Context:
    """Context for a handler: the unit of work, the library, and the time of the command (aware, UTC)."""

    unit: UnitOfWork
    library: Library
    now: datetime

    def refuse(
        self, why: Refusal | Reason, by: Actor, request: Request | None = None, *, patron: str = "", language: str = ""
    ) -> Refused:
        """Refuse a command and record the refusal in the journal. The result names the title of the request."""
        refusal = Refusal(why) if isinstance(why, Reason) else why
        self.unit.refuse(refusal, self.now, by, request, patron)
        return refused(refusal, language, request.full_title if request else "")


def in_context(
    work: Callable[Concatenate[Context, P], T], library: Library, now: datetime, *args: P.args, **named: P.kwargs
) -> Callable[[UnitOfWork], T]:
    """Bind the arguments of `work`, and return a function of the unit of work for the database to run."""
    return lambda unit: work(Context(unit, library, now), *args, **named)


Facts = TypeVar("Facts")
Result = TypeVar("Result", covariant=True)
C = TypeVar("C", bound="Command[Any, Any]")
Q = TypeVar("Q", bound="Query[Any, Any]")
J = TypeVar("J", bound="Job[Any]")


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxKey:
    """The identity of a document that changes data. Its reply is stored for `keep_s` seconds, and answers a repetition."""

    agency: str
    digest: str
    keep_s: int


class Face(Flag):
    """The ways by which commands and queries come. A row of the registry names those that are open to it.

    A protocol of partners also serves discovery systems. The courier reports what became of its messages.
    """

    TERMINALS = auto()
    PARTNERS = auto()
    PATRON_PAGES = auto()
    PATRON_API = auto()
    STAFF_PAGES = auto()
    STAFF_API = auto()
    COMMAND_LINE = auto()
    COURIER = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """A row of the registry. It is untyped, because the methods that create a row check its types against the command.

    Attributes:
        run: The handler, called with (context, command) or (context, command, facts). The step of a job is called with
            (context, job, cursor, limit).
        faces: The faces that may execute it.
        staff: The lowest role of staff who may, on their pages and with a token of the API. None if neither face may.
            A patron's page acts for its own patron, a terminal needs its role of the policy, a partner its flow, and
            the command line a login on the machine.
        locks: Returns the locks that the command needs. None for a query, which runs in a snapshot.
        facts: Queries the local system before the transaction, or None if the command needs no facts.
        resolve: Returns a function that completes the command from the database, or None if nothing is missing.
        under_card: Returns the command with the patron's current card.
        settles: Whether the command records an event that has already happened, so that deadlines do not apply.
        repeatable: Whether executing the command twice has the same effect as executing it once.
        reads_only: Whether the row is a query.
        is_long: Whether the query may take longer than a lookup by key.
    """

    run: Callable[..., Any]
    faces: Face
    staff: StaffRole | None = None
    locks: Callable[[Any], LockSet] | None = None
    facts: Callable[[LocalSystem, Any], Awaitable[Any]] | None = None
    resolve: Callable[[Any, Library], Callable[[UnitOfWork], Any] | None] | None = None
    under_card: Callable[[Any, str], Any] | None = None
    repeatable: bool = False
    settles: bool = False
    reads_only: bool = False
    is_long: bool = False


class Command(Generic[Facts, Result]):
    """A command whose handler takes Facts (None: no facts) and returns Result or Refused."""

    __slots__ = ()

    @classmethod
    def handled_by(
        cls: type[C],
        run: Callable[[Context, C], Result | Refused],
        locks: Callable[[C], LockSet],
        *,
        faces: Face,
        staff: StaffRole | None = None,
        resolve: Callable[[C, Library], Callable[[UnitOfWork], C] | None] | None = None,
        repeatable: bool = False,
        settles: bool = False,
    ) -> tuple[type[C], Handler]:
        """Return the registry row of a command that needs no facts."""
        row = Handler(
            run=run,
            faces=faces,
            staff=staff,
            locks=locks,
            resolve=resolve,
            repeatable=repeatable,
            settles=settles,
        )
        return cls, row

    @classmethod
    def decided_by(
        cls: type[C],
        run: Callable[[Context, C, Facts], Result | Refused],
        facts: Callable[[LocalSystem, C], Awaitable[Gathered[Facts] | Refused]],
        locks: Callable[[C], LockSet],
        *,
        faces: Face,
        staff: StaffRole | None = None,
        resolve: Callable[[C, Library], Callable[[UnitOfWork], C] | None] | None = None,
        under_card: Callable[[C, str], C] | None = None,
    ) -> tuple[type[C], Handler]:
        """Return the registry row of a command that needs facts about a patron."""
        row = Handler(
            run=run,
            faces=faces,
            staff=staff,
            locks=locks,
            facts=facts,
            resolve=resolve,
            under_card=under_card,
        )
        return cls, row


Answer = TypeVar("Answer")


class Question(Generic[P, Answer]):
    """A kind of query that needs no facts, made by `question` of a function (context, arguments).

    Calling it makes a query with these arguments, which `circulation.execute` answers in a snapshot.
    """

    def __init__(self, answer: Callable[Concatenate[Context, P], Answer], *, is_long: bool) -> None:
        self._answer = answer
        self.is_long = is_long
        self.__doc__ = answer.__doc__

    def __call__(self, *args: P.args, **named: P.kwargs) -> Asked[Answer]:
        """Return the query with these arguments."""
        return Asked(self, lambda context: self._answer(context, *args, **named))

    def within(self, context: Context, *args: P.args, **named: P.kwargs) -> Answer:
        """Answer the question as a part of another query or command."""
        return self._answer(context, *args, **named)


def question(answer: Callable[Concatenate[Context, P], Answer]) -> Question[P, Answer]:
    """Make a Question of a function that looks up a few rows."""
    return Question(answer, is_long=False)


def long_question(answer: Callable[Concatenate[Context, P], Answer]) -> Question[P, Answer]:
    """Make a Question of a function that may take longer than a lookup by key."""
    return Question(answer, is_long=True)


class Job(Generic[Result]):
    """A command on many requests, which runs in batches of one transaction each. Its step is a row of the registry."""

    __slots__ = ()

    @classmethod
    def run_in_batches(
        cls: type[J],
        step: Callable[[Context, J, str, int], tuple[Sequence[Any], str | None]],
        locks: Callable[[J], LockSet],
        *,
        faces: Face,
        staff: StaffRole | None = None,
    ) -> tuple[type[J], Handler]:
        """Return the registry row of a job.

        Args:
            step: Takes (context, job, cursor, limit). Returns the results of one batch, and the next cursor or None
                at the end.
            locks: Returns the locks that each batch needs.
            faces: The faces that may start it.
            staff: The lowest role of staff who may start it.
        """
        return cls, Handler(run=step, faces=faces, staff=staff, locks=locks)


class Query(Generic[Facts, Result]):
    """A query whose handler takes Facts (None: no facts), returns Result, and changes no data."""

    __slots__ = ()

    @classmethod
    def answered_by(
        cls: type[Q],
        run: Callable[[Context, Q], Result],
        *,
        faces: Face,
        staff: StaffRole | None = None,
        is_long: bool = False,
    ) -> tuple[type[Q], Handler]:
        """Return the registry row of a query that needs no facts."""
        return cls, Handler(run=run, faces=faces, staff=staff, reads_only=True, is_long=is_long)

    @classmethod
    def answered_with(
        cls: type[Q],
        run: Callable[[Context, Q, Facts], Result],
        facts: Callable[[LocalSystem, Q], Awaitable[Gathered[Facts]]],
        locks: Callable[[Q], LockSet] | None = None,
        *,
        faces: Face,
        staff: StaffRole | None = None,
    ) -> tuple[type[Q], Handler]:
        """Return the registry row of a query that needs facts. `locks` names the patron whose rows are prefetched."""
        return cls, Handler(run=run, faces=faces, staff=staff, locks=locks, facts=facts, reads_only=True)


@dataclass(frozen=True, slots=True)
class Asked(Query[None, Result]):
    """A query made of a Question. `answer` is the question's function with its arguments."""

    question: Question[Any, Any]
    answer: Callable[[Context], Result]
