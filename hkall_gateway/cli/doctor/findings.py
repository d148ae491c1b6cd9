"""Doctor's checks, as listed in `checks.toml`, and their results: a sheet of findings for each peer, within its time limit."""

from __future__ import annotations

import tomllib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure

from hkall_gateway.app.resources import Resources
from hkall_gateway.rules.vocabulary import Sensitive

GATEWAY, PARTNER, CLIENT, ILS, SMTP = "gateway", "partner", "client", "ils", "smtp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check of doctor, for the kinds of peers in `of`. `advice` is the remedy, unless a finding names another remedy.

    `fine` is the finding for a check that found no fault, or "" if the check itself reports what it found. `clauses` are the
    numbers of circprobe's clauses from whose results the check follows.
    """

    name: str
    of: list[str]
    tries: str
    advice: str
    fine: str = ""
    clauses: tuple[str, ...] = ()


_FOLDER: Final = Path(__file__).parent
CHECKS: Final = {
    name: Check(name=name, **row) for name, row in tomllib.loads((_FOLDER / "checks.toml").read_text("utf-8")).items()
}
TLS: Final = tuple(name for name in CHECKS if name.startswith("tls."))
FAULTS: Final[Mapping[str, Mapping[str, str]]] = tomllib.loads((_FOLDER / "faults.toml").read_text("utf-8"))
"""Descriptions of errors, by kind and number."""


T = TypeVar("T")


class InThread(Protocol):
    """Runs blocking work in a thread."""

    def __call__(self, work: Callable[[], T], /) -> Deferred[T]:
        """Run `work` in a thread and return its result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interview:
    """What the interview of the library's own system may use.

    Attributes:
        program: The path of `circprobe`, or "" if it is not installed.
        card: The card of a reader made for tests, or "".
        pin: The PIN of that reader, or "".
        copy: The barcode of a copy on the shelf, or "".
    """

    program: str
    card: str = ""
    pin: Sensitive = field(default_factory=Sensitive)
    copy: str = ""


@dataclass(frozen=True, slots=True)
class ExaminationTools:
    """The gateway's resources, and a function that runs blocking work in a thread.

    Attributes:
        interview: Without it, the library's own system is not interviewed.
    """

    means: Resources
    in_thread: InThread
    interview: Interview | None = None

    @property
    def reactor(self) -> Any:  # zope's interfaces have no types
        """Return the gateway's reactor."""
        return self.means.reactor


class TooLong(Exception):
    """A step exceeded its time limit."""


async def within(reactor: Any, seconds: float, work: Awaitable[T]) -> T:
    """Return the result of `work`. After `seconds`, cancel the work and raise TooLong."""
    going: Deferred[T] = work if isinstance(work, Deferred) else ensureDeferred(work)  # type: ignore[arg-type]
    late: list[bool] = []

    def too_late(value: T | Failure, _seconds: float) -> Failure:
        assert isinstance(value, Failure)
        late.append(True)
        return value

    _ = going.addTimeout(seconds, reactor, onTimeoutCancel=too_late)
    try:
        return await going
    except Exception as failed:
        if late:
            raise TooLong(f"no answer within {seconds:.0f} s") from failed
        raise


class Status(StrEnum):
    """Outcome of a check. SKIP means that the check was not tried: an earlier check failed, or it does not apply."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Result of one check at one peer. `about` names the file, port or key if the check covers several."""

    peer: str
    check: str
    status: Status
    detail: str
    advice: str = ""
    about: str = ""


class Sheet:
    """The findings about one peer.

    Args:
        plan: Names of the peer's checks, in order.
        seconds: Returns the time of a clock.
        allowed_s: Time limit for all checks of this peer.
        advice: Remedies for checks that are not in the table.

    Attributes:
        about: Subject of findings that are added without an `about`.
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
        """Return the seconds left for this peer: never 0, so that a step that begins too late times out."""
        return max(self._ends_s - self._seconds(), 0.01)

    def ok(self, check: str, detail: str, about: str = "") -> None:
        """Add a check that passed."""
        self._add(check, Status.OK, detail, "", about)

    def warn(self, check: str, detail: str, advice: str = "", about: str = "") -> None:
        """Add a check that passed but needs attention. `advice` defaults to the advice in the table."""
        self._add(check, Status.WARN, detail, advice, about)

    def fail(self, check: str, detail: str, advice: str = "", about: str = "") -> None:
        """Add a check that failed. `advice` defaults to the advice in the table."""
        self._add(check, Status.FAIL, detail, advice, about)

    def skip(self, check: str, why: str) -> None:
        """Add a check that was not tried, with the reason."""
        self._add(check, Status.SKIP, why, "", "")

    def close(self) -> None:
        """Sort the findings in the order of the plan, and add a SKIP finding for each check that has no finding."""
        tried, failed = {one.check for one in self.found}, {one.check for one in self.failed}
        why = "not tried"
        for check in self.plan:
            why = f"{check} failed" if check in failed else why
            if check not in tried:
                self.skip(check, why)
        self.found.sort(key=lambda one: self.plan.index(one.check))

    @property
    def failed(self) -> list[Finding]:
        """Return the findings of failed checks."""
        return [one for one in self.found if one.status is Status.FAIL]

    def _add(self, check: str, status: Status, detail: str, advice: str, about: str) -> None:
        assert check in self.plan, f"{check} is not planned for {self.peer}"
        if status in (Status.WARN, Status.FAIL):
            advice = advice or self._advice.get(check) or CHECKS[check].advice
        self.found.append(
            Finding(peer=self.peer, check=check, status=status, detail=detail, advice=advice, about=about or self.about)
        )
