"""The catalogue of clauses, which is data: `clauses/*.toml`.

A probe says what is done, a clause what is expected of it. Several clauses may judge one probe, so
that the system under test is asked once.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from typing import Any

ROLES = ("sip2-server", "sip2-terminal", "ncip-responder", "ncip-initiator")
WEIGHTS = ("must", "should", "may")

Expectation = Mapping[str, Any]
"""One expectation, as the catalogue writes it. docs/writing.md lists the verbs."""


class CatalogueError(Exception):
    """A file of the catalogue contradicts itself; the message names the clause."""


@dataclass(frozen=True)
class Probe:
    """What is sent to the system under test.

    Attributes:
        steps: what is done, one verb and its text in each.
        needs: what the person who runs it must give or allow, such as "patron" or "transactions".
        offers: messages or services that the system must offer for this probe.
        connection: "shared", "fresh" (not logged in) or "logged-in" (of its own).
    """

    name: str
    steps: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    offers: tuple[str, ...] = ()
    connection: str = "shared"


@dataclass(frozen=True)
class Clause:
    """One statement of a standard, or of practice, that can be checked.

    Attributes:
        source: the section of the standard, or "practice" with the peers seen.
        on: of a clause about whoever calls us: the messages that it judges.
        when: the situation in which the clause says anything; else it is not tried.
        readings: two readings of the standard. Such a clause is never failed, but unclear.
        excused_without: what the person did not give may be why it fails; then it is not tried.
        advice: one sentence for the vendor.
        fault: the planted fault that this clause finds, for the scripted peers.
    """

    number: str
    title: str
    area: str
    weight: str
    source: str
    probe: str
    expect: tuple[Expectation, ...]
    advice: str
    on: tuple[str, ...] = ()
    when: tuple[Expectation, ...] = ()
    needs: tuple[str, ...] = ()
    offers: tuple[str, ...] = ()
    rests_on: tuple[str, ...] = ()
    readings: tuple[str, ...] = ()
    excused_without: str = ""
    fault: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Catalogue:
    """The clauses of one role, each after those on which it rests."""

    role: str
    clauses: tuple[Clause, ...]
    probes: Mapping[str, Probe]

    def needs_of(self, clause: Clause) -> tuple[str, ...]:
        """List what a person must give or allow for a clause, without repetition."""
        return tuple(dict.fromkeys((*self.probes[clause.probe].needs, *clause.needs)))

    def offers_of(self, clause: Clause) -> tuple[str, ...]:
        """List the messages or services that a clause needs."""
        return tuple(dict.fromkeys((*self.probes[clause.probe].offers, *clause.offers)))


def load(role: str) -> Catalogue:
    """Read the catalogue of a role.

    Raises:
        CatalogueError: if a clause is incomplete or names what does not exist.
    """
    text = resources.files("circprobe.clauses").joinpath(f"{role}.toml").read_text("utf-8")
    return parse(role, text)


def parse(role: str, text: str) -> Catalogue:
    """Read a catalogue from the text of its file.

    Raises:
        CatalogueError: if a clause is incomplete or names what does not exist.
    """
    document = tomllib.loads(text)
    probes: dict[str, Probe] = {}
    for name, row in document.get("probe", {}).items():
        probes[name] = _make_probe(name, row)
    # What a passive clause judges is the whole recording.
    probes.setdefault("recording", Probe("recording"))

    proved_by: Mapping[str, str] = document.get("proved_by", {})
    clauses = [_resting(_make_clause(row), probes, proved_by) for row in document["clause"]]
    _check(clauses, probes)
    return Catalogue(role, tuple(_in_order(clauses)), probes)


def _make_probe(name: str, row: Mapping[str, Any]) -> Probe:
    return Probe(
        name,
        steps=tuple(row.get("steps", ())),
        needs=tuple(row.get("needs", ())),
        offers=tuple(row.get("offers", ())),
        connection=row.get("connection", "shared"),
    )


def _make_clause(row: Mapping[str, Any]) -> Clause:
    try:
        return Clause(
            number=row["number"],
            title=row["title"],
            area=row["area"],
            weight=row["weight"],
            source=row["source"],
            probe=row.get("probe", "recording"),
            expect=tuple(row["expect"]),
            advice=row["advice"],
            on=tuple(row.get("on", ())),
            when=tuple(row.get("when", ())),
            needs=tuple(row.get("needs", ())),
            offers=tuple(row.get("offers", ())),
            rests_on=tuple(row.get("rests_on", ())),
            readings=tuple(row.get("readings", ())),
            excused_without=row.get("excused_without", ""),
            fault=row.get("fault", {}),
        )
    except KeyError as missing:
        message = f"clause {row.get('number', row)} has no {missing}"
        raise CatalogueError(message) from None


def _resting(clause: Clause, probes: Mapping[str, Probe], proved_by: Mapping[str, str]) -> Clause:
    """Let a clause rest on those that prove what it needs, such as an agency that is known."""
    probe = probes.get(clause.probe, Probe(clause.probe))
    needs = (*probe.needs, *clause.needs)
    proofs = [proved_by[need] for need in needs if need in proved_by]
    rests_on = [number for number in proofs if number != clause.number]
    return replace(clause, rests_on=(*rests_on, *clause.rests_on))


def _check(clauses: Sequence[Clause], probes: Mapping[str, Probe]) -> None:
    numbers = [clause.number for clause in clauses]
    for clause in clauses:
        if numbers.count(clause.number) > 1:
            raise CatalogueError(f"clause {clause.number} stands twice")
        if clause.weight not in WEIGHTS:
            raise CatalogueError(f"clause {clause.number}: {clause.weight} is no weight")
        if clause.probe not in probes:
            raise CatalogueError(f"clause {clause.number}: there is no probe {clause.probe}")
        for prerequisite in clause.rests_on:
            if prerequisite not in numbers:
                raise CatalogueError(f"clause {clause.number}: there is no clause {prerequisite}")


def _in_order(clauses: Sequence[Clause]) -> Iterator[Clause]:
    """Put each clause after those on which it rests, else in the order of the file."""
    by_number = {clause.number: clause for clause in clauses}
    placed: set[str] = set()

    def place(clause: Clause, above: tuple[str, ...]) -> Iterator[Clause]:
        if clause.number in placed:
            return
        if clause.number in above:
            raise CatalogueError(f"clause {clause.number} rests on itself")
        for prerequisite in clause.rests_on:
            yield from place(by_number[prerequisite], (*above, clause.number))
        placed.add(clause.number)
        yield clause

    for clause in clauses:
        yield from place(clause, ())
