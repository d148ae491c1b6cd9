"""One daemon for all attacks; no attack may affect the next one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attacks.floods.arena import Arena


@pytest.fixture(scope="package")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    made = Arena(tmp_path_factory.mktemp("arena"))
    yield made
    made.end()
