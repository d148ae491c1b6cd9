"""The context of a command: the unit of work, the library and the instant, which always travel together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from hkall_gateway.circulation.messages.results import Refused
from hkall_gateway.circulation.ports import Clock
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages import letters
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.vocabulary import Refusal, Request

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from hkall_gateway.db.unit import Unit


# ---- The library that this gateway serves: agency, pickup locations and policy, passed to every function of the desk.


@dataclass(frozen=True, slots=True)
class Library:
    """The library that this gateway serves. The first pickup location is the default one (R4)."""

    agency: str
    name: str
    policy: Policy
    pickup_locations: tuple[str, ...]

    @property
    def silent(self) -> frozenset[Notification]:
        """The letters that the policy does not send."""
        return letters.silent(self.policy.notices)


def refused(refusal: Refusal, language: str = "", title: str = "") -> Refused:
    """A rule's refusal as the desk's result."""
    return Refused(refusal.why, refusal.rule, refusal.detail, language, title)


# ---- A pause by a clock.


def pause(clock: Clock, seconds: float) -> Deferred[None]:
    """Return a Deferred that fires after so many seconds."""
    from twisted.internet.defer import Deferred  # commands that only need a context do without

    over: Deferred[None] = Deferred()
    clock.callLater(seconds, partial(over.callback, None))
    return over


# ---- Flags for staff, as words in a request's `flags`: each once, listed by the command `flagged` until it is settled.


def flagged(request: Request, *flags: str) -> str:
    """The flags of a request with these; "" is none."""
    return " ".join(dict.fromkeys([*request.flags.split(), *filter(None, flags)]))


def unflagged(request: Request, *flags: str) -> str:
    """The flags of a request without these."""
    return " ".join(one for one in request.flags.split() if one not in flags)


P = ParamSpec("P")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Context:
    """The unit of work of one command, the library that it concerns, and its aware UTC instant."""

    unit: Unit
    library: Library
    now: datetime


def in_context(
    unit: Unit, work: Callable[Concatenate[Context, P], Result], library: Library, now: datetime, *args: P.args, **kw: P.kwargs
) -> Result:
    """Call `work` with the context of a unit; the form in which the store runs a function of the desk."""
    return work(Context(unit, library, now), *args, **kw)
