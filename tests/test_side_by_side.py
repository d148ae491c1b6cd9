"""The slowest test files start first."""

from __future__ import annotations

import pytest

from tests import databases
from tests.side_by_side import HERE, LONG, ONE_DATABASE, longest_first


@pytest.mark.parametrize("names", [LONG, ONE_DATABASE])
def test_every_listed_file_exists_and_is_listed_once(names: tuple[str, ...]) -> None:
    assert [name for name in names if not (HERE / name).is_file()] == []
    assert len(set(names)) == len(names)


def test_file_that_needs_one_database_is_not_given_one_of_either_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_CURRENT_TEST", f"tests/{ONE_DATABASE[0]}::test_anything (call)")
    with pytest.raises(AssertionError, match="ONE_DATABASE"):
        databases.url("sqlite://")


def test_slow_files_run_first_and_other_files_keep_their_order(request: pytest.FixtureRequest) -> None:
    items = list(request.session.items)
    longest_first(items)
    known = [item.path for item in items if item.path in {HERE / name for name in LONG}]
    rest = items[len(known) :]
    assert known == sorted(known, key=[HERE / name for name in LONG].index)
    assert rest == [item for item in request.session.items if item in set(rest)]
