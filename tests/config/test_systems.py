"""The table of library systems, and the effect of `system = "…"` on a table of gateway.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.generate.systems_facts import FACTS, Basis
from hkall_gateway.config import ConfigErrors, load
from hkall_gateway.config.gateway import ClientConfig, GatewayConfig, PartnerConfig
from hkall_gateway.config.ils import IlsConfig
from hkall_gateway.config.loading import Strict
from hkall_gateway.config.systems import SYSTEMS, System, SystemRole, names

pytestmark = pytest.mark.walks_a_table

MODELS: dict[SystemRole, type[Strict]] = {
    SystemRole.PARTNER: PartnerConfig,
    SystemRole.CLIENT: ClientConfig,
    SystemRole.ILS: IlsConfig,
}
ROWS = pytest.mark.parametrize("system", SYSTEMS.values(), ids=list(SYSTEMS))

SCENARIOS = Path(__file__).parents[2] / "fixtures/scenarios"
LEAST = """
[library]
agency = "HKU"
name = "The University of Hong Kong Libraries"
pickup_locations = ["HKU-MAIN-LENDING"]
[database]
url = "sqlite:///var/hkall.db"
"""


def test_every_system_is_documented() -> None:
    assert FACTS.keys() == SYSTEMS.keys()


@ROWS
@pytest.mark.parametrize("use", list(SystemRole))
def test_system_sets_only_known_partner_keys(system: System, use: SystemRole) -> None:
    assert set(system.defaults(use) or {}) <= set(MODELS[use].model_fields) - {"system"}


@ROWS
def test_system_is_named_only_where_the_schema_allows_it(system: System) -> None:
    assert {proof.use for proof in FACTS[system.name].evidence} <= {
        use for use in SystemRole if system.defaults(use) is not None
    }
    assert any(system.defaults(use) is not None for use in SystemRole)


@ROWS
def test_every_tested_system_has_scenarios_named_after_it(system: System) -> None:
    played = any(one.seen is Basis.PLAYED for one in FACTS[system.name].evidence)
    assert not played or list(SCENARIOS.glob(f"system-{system.name}-*.txt"))


PARTNER = "[[partners]]\nagency = 'P'\nname = 'P'\nurl = 'http://p.test'"
TABLES = {
    SystemRole.PARTNER: (PARTNER, "partners[0].system"),
    SystemRole.CLIENT: ("[[clients]]\nagency = 'D'\nby_address = true", "clients[0].system"),
    SystemRole.ILS: ("[ils]", "ils.system"),
}


@pytest.mark.parametrize("use", TABLES)
def test_unknown_system_is_refused_with_the_list_of_known_systems(tmp_path: Path, use: SystemRole) -> None:
    row, where = TABLES[use]

    with pytest.raises(ConfigErrors) as bad:
        read(tmp_path, f"{row}\nsystem = 'nonesuch'")

    ((path, what),) = bad.value.errors
    assert path == where
    assert all(name in what for name in names(use))


@pytest.mark.parametrize(("use", "name"), [(use, name) for use in SystemRole for name in names(use)])
def test_each_system_gives_a_valid_configuration(tmp_path: Path, use: SystemRole, name: str) -> None:
    needed = "\nhost = 'ils.test'\nurl = 'http://ils.test'" if use is SystemRole.ILS else ""
    assert read(tmp_path, f"{TABLES[use][0]}\nsystem = '{name}'{needed}")


def test_key_in_the_file_overrides_the_system_default(tmp_path: Path) -> None:
    config = read(tmp_path, f"{PARTNER}\nsystem = 'folio'\nrequest_type = 'Hold'")

    (partner,) = (row.plain() for row in config.partners)
    assert (partner.dialect, partner.request_type, partner.request_scope_type) == ("broker", "Hold", "Title")
    assert ("Did not find a user with that id", "fault") in partner.problems


def test_problem_mapping_in_the_file_extends_or_overrides_the_system_defaults(tmp_path: Path) -> None:
    said = "{ 'Closed for stocktaking' = 'later', 'User id missing' = 'refused' }"
    config = read(tmp_path, f"{PARTNER}\nsystem = 'folio'\nproblems = {said}")

    meant = config.partners[0].problems
    assert {meant["Closed for stocktaking"], meant["User id missing"]} == {"later", "refused"}
    assert meant["Did not find a user with that id"] == "fault"


def test_table_without_a_system_is_unchanged(tmp_path: Path) -> None:
    assert read(tmp_path, PARTNER).partners[0].plain().dialect == "direct"


def read(folder: Path, rows: str) -> GatewayConfig:
    path = folder / "gateway.toml"
    path.write_text(LEAST + rows, "utf-8")
    return load(path, {})
