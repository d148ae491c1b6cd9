"""The slowest test files start first."""

from __future__ import annotations

import pytest

from tests.side_by_side import HERE, LONG, longest_first


def test_every_long_file_exists_and_is_listed_once() -> None:
    assert [name for name in LONG if not (HERE / name).is_file()] == []
    assert len(set(LONG)) == len(LONG)


def test_slow_files_run_first_and_other_files_keep_their_order(request: pytest.FixtureRequest) -> None:
    items = list(request.session.items)
    longest_first(items)
    known = [item.path for item in items if item.path in {HERE / name for name in LONG}]
    rest = items[len(known) :]
    assert known == sorted(known, key=[HERE / name for name in LONG].index)
    assert rest == [item for item in request.session.items if item in set(rest)]
