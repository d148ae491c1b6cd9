"""Findings: the results of checks, collected on one sheet for each peer, within that peer's time limit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred

from hkall_gateway.app.resources import Resources
from hkall_gateway.cli.doctor.table import CHECKS

# ---- The tools that every examination receives, and the time limit of a step.


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ExaminationTools:
    """The gateway's own means, and `in_thread(work)`, which does blocking work beside the reactor."""

    means: Resources
    in_thread: Callable[[Callable[[], Any]], Deferred[Any]]

    @property
    def reactor(self) -> Any:
        return self.means.reactor


class TooLong(Exception):
    """A step was not done in its time."""


async def within(reactor: Any, seconds: float, work: Awaitable[T] | Coroutine[Any, Any, T]) -> T:
    """Returns the result of `work`. After `seconds` it cancels the work and raises TooLong."""
    going: Deferred[T] = work if isinstance(work, Deferred) else ensureDeferred(work)  # type: ignore[arg-type]
    late: list[bool] = []

    def too_late(value: Any, _seconds: float) -> Any:
        late.append(True)
        return value

    going.addTimeout(seconds, reactor, onTimeoutCancel=too_late)
    try:
        return await going
    except Exception as failed:
        if late:
            raise TooLong(f"no answer within {seconds:.0f} s") from failed
        raise


class Status(StrEnum):
    """How a check ended. SKIP: it was not tried, since an earlier one failed or does not apply."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check at one peer; `about` names the file, port or key if the check covers several."""

    peer: str
    check: str
    status: Status
    detail: str
    advice: str = ""
    about: str = ""


class Sheet:
    """The findings about one peer. `plan` are the checks that are due there, in order.

    `seconds` returns the time of a clock; `allowed_s` is the time limit for all checks of this peer. `about` is the default
    for findings that name no subject of their own; `advice` is that of checks that stand in no row of the table.
    """

    def __init__(
        self,
        peer: str,
        plan: Sequence[str],
        seconds: Callable[[], float],
        allowed_s: float,
        advice: Mapping[str, str] | None = None,
    ) -> None:
        self.peer, self.plan = peer, tuple(plan)
        self._advice = advice or {}
        self.found: list[Finding] = []
        self.about = ""
        self._seconds, self._ends_s = seconds, seconds() + allowed_s

    def left_s(self) -> float:
        """Seconds that are left for this peer; never 0, so that a step that begins too late fails as too late."""
        return max(self._ends_s - self._seconds(), 0.01)

    def ok(self, check: str, detail: str, about: str = "") -> None:
        """The check passed."""
        self._add(check, Status.OK, detail, "", about)

    def warn(self, check: str, detail: str, advice: str = "", about: str = "") -> None:
        """The check passed, but a person should look at it; without `advice` the table's own is given."""
        self._add(check, Status.WARN, detail, advice or self._advice.get(check) or CHECKS[check].advice, about)

    def fail(self, check: str, detail: str, advice: str = "", about: str = "") -> None:
        """The check failed; without `advice` the table's own is given."""
        self._add(check, Status.FAIL, detail, advice or self._advice.get(check) or CHECKS[check].advice, about)

    def skip(self, check: str, why: str) -> None:
        """The check was not tried; `why` is the reason."""
        self._add(check, Status.SKIP, why, "", "")

    def close(self) -> None:
        """Put the findings into the order of the plan; a check without a finding is added as not tried."""
        tried, failed = {one.check for one in self.found}, {one.check for one in self.failed}
        why = "not tried"
        for check in self.plan:
            why = f"{check} failed" if check in failed else why
            if check not in tried:
                self.skip(check, why)
        self.found.sort(key=lambda one: self.plan.index(one.check))

    @property
    def failed(self) -> list[Finding]:
        """The findings that fail."""
        return [one for one in self.found if one.status is Status.FAIL]

    def _add(self, check: str, status: Status, detail: str, advice: str, about: str) -> None:
        assert check in self.plan, f"{check} is not planned for {self.peer}"
        self.found.append(Finding(self.peer, check, status, detail, advice, about or self.about))
