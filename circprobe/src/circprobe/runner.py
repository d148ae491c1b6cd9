"""Runs a catalogue: order, prerequisites, what is offered, what is given, and the verdicts."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Protocol

from circprobe.catalogue import Catalogue, Clause, Expectation, Probe
from circprobe.results import Exchange, Outcome, Report, Result


class NotTried(Exception):
    """The situation of a clause did not arise; the message says why."""


class NotOffered(Exception):
    """The system says that it does not offer what the clause needs; the message quotes it."""


class Driver(Protocol):
    """Asks the system under test, and judges what it did."""

    def offers(self, names: Collection[str]) -> bool:
        """Say whether the system offers all these messages or services."""

    def gather(self, probe: Probe, clause: Clause) -> list[list[Exchange]]:
        """Do what a probe says, once in a run.

        Returns:
            Evidence: one list of exchanges for each time that the clause can be judged.

        Raises:
            NotTried: if the situation did not arise.
            NotOffered: if the answer says that the system does not offer it.
        """

    def judge(self, expectation: Expectation, evidence: list[Exchange]) -> str:
        """Judge one expectation.

        Returns:
            What is wrong, or an empty text if it is met.
        """


GIVEN_BY = {
    "patron": "--patron",
    "pin": "--pin-env",
    "item": "--item",
    "second-item": "a second --item",
    "login": "--login",
    "transactions": "--transactions",
    "wrong-pin": "--wrong-pin",
    "load": "--load",
    "user": "--user",
    "agency": "--from and --to",
    "proof": "--secret-env or --bearer-env, if --from and --to are right",
    "version-1": "--version-1",
    "idle": "--idle",
    "error-detection": "error detection, which --no-error-detection switched off",
}
"""How a person gives or allows what clauses need."""


def _ignore(result: Result) -> None:
    """Show no progress."""
    del result


@dataclass
class Runner:
    """Runs a catalogue against one system.

    Attributes:
        given: what the person gave and allowed, by the names that clauses use in `needs`.
        on_result: called after each clause, for progress.
    """

    catalogue: Catalogue
    driver: Driver
    given: Collection[str]
    on_result: Callable[[Result], None] = _ignore
    _blocked: dict[str, str] = field(default_factory=dict)

    def run(self, report: Report, only: Collection[str] = ()) -> Report:
        """Try every clause, or those of `only` (numbers or areas) with their prerequisites."""
        outcomes: dict[str, Outcome] = {}
        chosen = self._chosen(only)
        for clause in self.catalogue.clauses:
            if clause.number not in chosen:
                continue
            result = self._try(clause, outcomes)
            outcomes[clause.number] = result.outcome
            report.results.append(result)
            self.on_result(result)
        return report

    def _chosen(self, only: Collection[str]) -> set[str]:
        clauses = self.catalogue.clauses
        if not only:
            return {clause.number for clause in clauses}
        chosen = {c.number for c in clauses if c.number in only or c.area in only}
        # In reverse order, a prerequisite is seen after everything that rests on it.
        for clause in reversed(clauses):
            if clause.number in chosen:
                chosen.update(clause.rests_on)
        return chosen

    def _try(self, clause: Clause, outcomes: dict[str, Outcome]) -> Result:
        for prerequisite in clause.rests_on:
            if outcomes[prerequisite] is Outcome.FAILED:
                self._blocked[clause.number] = prerequisite
            elif prerequisite in self._blocked:
                self._blocked[clause.number] = self._blocked[prerequisite]
        if clause.number in self._blocked:
            reason = f"rests on {self._blocked[clause.number]}, which was not met"
            return Result(clause, Outcome.NOT_TRIED, reason)

        missing = [need for need in self.catalogue.needs_of(clause) if need not in self.given]
        if missing:
            reason = "needs " + ", ".join(GIVEN_BY.get(need, need) for need in missing)
            return Result(clause, Outcome.NOT_TRIED, reason)

        offers = self.catalogue.offers_of(clause)
        if offers and not self.driver.offers(offers):
            reason = f"the system says that it does not offer {', '.join(offers)}"
            return Result(clause, Outcome.NOT_OFFERED, reason)

        try:
            cases = self.driver.gather(self.catalogue.probes[clause.probe], clause)
        except NotTried as reason:
            return Result(clause, Outcome.NOT_TRIED, str(reason))
        except NotOffered as reason:
            return Result(clause, Outcome.NOT_OFFERED, str(reason))
        return self._judge(clause, cases)

    def _judge(self, clause: Clause, cases: list[list[Exchange]]) -> Result:
        relevant = [case for case in cases if self._applies(clause, case)]
        if not relevant:
            reason = "the situation did not arise"
            return Result(clause, Outcome.NOT_TRIED, reason)
        for case in relevant:
            for expectation in clause.expect:
                wrong = self.driver.judge(expectation, case)
                if wrong:
                    return self._not_met(clause, wrong, case)
        return Result(clause, Outcome.PASSED, exchanges=tuple(relevant[-1]))

    def _applies(self, clause: Clause, case: list[Exchange]) -> bool:
        return not any(self.driver.judge(condition, case) for condition in clause.when)

    def _not_met(self, clause: Clause, wrong: str, case: list[Exchange]) -> Result:
        excuse = clause.excused_without
        if excuse and excuse not in self.given:
            # Nothing is asked that rests on it, or each question would be one more wrong proof.
            self._blocked[clause.number] = clause.number
            reason = f"{wrong}: needs {GIVEN_BY.get(excuse, excuse)}"
            return Result(clause, Outcome.NOT_TRIED, reason, tuple(case))
        if clause.readings:
            detail = f"{wrong}. Two readings: " + " / ".join(clause.readings)
            return Result(clause, Outcome.UNCLEAR, detail, tuple(case))
        return Result(clause, Outcome.FAILED, wrong, tuple(case))
