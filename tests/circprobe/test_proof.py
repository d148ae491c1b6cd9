"""The catalogue proves itself: planted faults are found, and good peers pass."""

from pathlib import Path

import pytest
from circprobe.cli import catalogue_page
from circprobe.results import Outcome

from circprobe import catalogue, proof

ROLES = sorted(proof.JUDGES)
LEAST = {"sip2-server": 120, "sip2-terminal": 40, "ncip-responder": 100, "ncip-initiator": 40}


@pytest.mark.parametrize("role", ROLES)
def test_good_peer_passes_every_clause(role: str) -> None:
    report = proof.JUDGES[role]({})

    outcomes = {r.clause.number: (r.outcome, r.detail) for r in report.results}
    assert {n: o for n, o in outcomes.items() if o[0] is not Outcome.PASSED} == {}
    assert report.remarks == []


@pytest.mark.parametrize("role", ROLES)
def test_every_planted_fault_is_found_by_its_clause_alone(role: str) -> None:
    proofs = list(proof.prove(role))

    assert [(p.clause.number, p.outcome, p.others) for p in proofs if not p.holds] == []


@pytest.mark.parametrize("role", ROLES)
def test_every_must_has_a_planted_fault(role: str) -> None:
    musts = [c for c in catalogue.load(role).clauses if c.weight == "must"]

    assert [clause.number for clause in musts if not clause.fault] == []
    assert [clause.number for clause in musts if clause.readings] == []


@pytest.mark.parametrize("role", ROLES)
def test_catalogue_is_as_long_as_promised_and_no_clause_stands_twice(role: str) -> None:
    clauses = catalogue.load(role).clauses

    assert len(clauses) >= LEAST[role]
    judged = [(c.probe, str(c.on), str(c.expect), str(c.when)) for c in clauses]
    assert [clause for clause in judged if judged.count(clause) > 1] == []
    assert len({clause.title for clause in clauses}) == len(clauses)


@pytest.mark.parametrize("role", catalogue.ROLES)
def test_page_of_the_catalogue_is_current(role: str) -> None:
    page = (Path(__file__).parents[2] / "circprobe" / "docs" / "clauses.md").read_text("utf-8")

    assert catalogue_page(catalogue.load(role)) in page
