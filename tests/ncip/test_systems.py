"""The table of systems, as a table; and what `system = "…"` does to a row of gateway.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from hkall_gateway.config import ConfigErrors, load
from hkall_gateway.config.gateway import Client, Partner
from hkall_gateway.config.ils import Ils
from hkall_gateway.config.loading import Strict
from hkall_gateway.ncip.systems import SYSTEMS, System, Use, names

MODELS: dict[Use, type[Strict]] = {Use.PARTNER: Partner, Use.CLIENT: Client, Use.ILS: Ils}
ROWS = pytest.mark.parametrize("system", SYSTEMS.values(), ids=list(SYSTEMS))

LEAST = """
[library]
agency = "HKU"
name = "The University of Hong Kong Libraries"
pickup_locations = ["HKU-MAIN-LENDING"]
[database]
url = "sqlite:///var/hkall.db"
"""


@ROWS
@pytest.mark.parametrize("use", list(Use))
def test_a_system_sets_only_keys_that_a_row_of_its_table_has(system: System, use: Use) -> None:
    assert set(system.defaults(use) or {}) <= set(MODELS[use].model_fields) - {"system"}


@ROWS
def test_a_system_is_told_of_only_where_it_can_stand(system: System) -> None:
    assert {proof.use for proof in system.evidence} <= {use for use in Use if system.defaults(use) is not None}
    assert any(system.defaults(use) is not None for use in Use)


@pytest.mark.parametrize(("use", "row"), [(Use.CLIENT, "[[clients]]\nagency = 'D'\nby_address = true")])
def test_an_unknown_system_is_refused_with_the_names_of_those_that_are_known(tmp_path: Path, use: Use, row: str) -> None:
    with pytest.raises(ConfigErrors) as bad:
        read(tmp_path, f"{row}\nsystem = 'folium'")
    ((where, what),) = bad.value.errors
    assert where in {"clients[0].system", "ils.system"}
    assert all(name in what for name in names(use))


def read(folder: Path, rows: str) -> object:
    path = folder / "gateway.toml"
    path.write_text(LEAST + rows, "utf-8")
    return load(path, {})
