"""load: a missing column keeps the stored values; an empty column clears them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from demo import demo_setup
from hkall_gateway.cli import main
from hkall_gateway.config import gateway
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.tables import HOLDINGS, PATRONS
from tests import databases

PORTS = demo_setup.Ports()
HEAD = "barcode,name,category,expires,email,language,blocked,local_loans,total_quota,pin_hash\n"
CHAN = "Z1,Chan Tai Man,undergraduates,2036-08-31,chan@hku.test,zh-Hant,yes,3,40,$argon2id$1\n"
KEPT = ("Chan Tai Man", date(2036, 8, 31), "chan@hku.test", "zh-Hant", True, 3, 40, "$argon2id$1")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = demo_setup.write_config(tmp_path / "site", PORTS)
    databases.fill(path, demo_setup.environment(PORTS))
    load(path, HEAD + CHAN)
    return path


def load(config: Path, text: str, *options: str, kind: str = "patrons") -> Result:
    file = config.parent / f"{kind}.csv"
    file.write_text(text, encoding="utf-8")
    words = ["load", kind, str(file), *options, "--config", str(config)]
    return CliRunner().invoke(main, words, env=demo_setup.environment(PORTS))


def patron(config: Path, card: str) -> tuple[object, ...] | None:
    """Return the stored data of a patron, without card and category."""
    engine = open_engine(gateway.load(config, demo_setup.environment(PORTS)).database.url)
    names = ("name", "expires", "email", "language", "blocked", "local_loans", "total_quota", "pin_hash")
    with engine.connect() as connection:
        found = connection.execute(select(*(PATRONS.c[n] for n in names)).where(PATRONS.c.barcode == card)).first()
    engine.dispose()
    return tuple(found) if found else None


@pytest.mark.parametrize("options", [(), ("--full", "--force")], ids=["delta", "full"])
def test_missing_column_keeps_stored_values(config: Path, options: tuple[str, ...]) -> None:
    done = load(config, "barcode,category\nZ1,postgraduates\n", *options)

    assert done.exit_code == 0
    assert patron(config, "Z1") == KEPT


def test_empty_value_clears_the_stored_value(config: Path) -> None:
    load(config, "barcode,category,email,local_loans,blocked\nZ1,undergraduates,,,\n")

    assert patron(config, "Z1") == ("Chan Tai Man", date(2036, 8, 31), "", "zh-Hant", False, None, 40, "$argon2id$1")


def test_new_patron_gets_defaults_for_missing_columns(config: Path) -> None:
    load(config, "barcode,category\nZ1,undergraduates\nZ2,undergraduates\n")

    assert patron(config, "Z2") == ("", None, "", "en", False, None, None, "")


def test_missing_columns_are_not_counted_as_changes(config: Path) -> None:
    done = load(config, "barcode,category\nZ1,undergraduates\n", "--dry-run")

    assert "0 new, 0 changed, 1 as before" in done.output


def test_card_replacement_keeps_values_of_missing_columns(config: Path) -> None:
    done = load(config, "barcode,name,category,former_barcode\nZ9,Chan Tai Man,undergraduates,Z0;Z1\n")

    assert done.exit_code == 0
    assert (patron(config, "Z9"), patron(config, "Z1")) == (KEPT, None)


def test_data_of_the_latest_replaced_card_is_kept(config: Path) -> None:
    load(config, "barcode,name,category,email\nZ0,Chan Tai Man,undergraduates,old@hku.test\n")
    load(config, "barcode,name,category,former_barcode\nZ9,Chan Tai Man,undergraduates,Z0;Z1\n")

    assert (patron(config, "Z9"), patron(config, "Z0"), patron(config, "Z1")) == (KEPT, None, None)


def test_missing_language_column_causes_no_warning(config: Path) -> None:
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("[library]\n", '[library]\nlanguages = ["zh-Hant"]\n'), encoding="utf-8")

    assert "language" not in load(config, "barcode,category\nZ1,undergraduates\n").output
    assert "language 'en' is not written here" in load(config, "barcode,category,language\nZ1,undergraduates,\n").output


def test_items_keep_values_of_missing_columns(config: Path) -> None:
    load(config, "agency,bib_id,title,author,barcode,status\nCUHK,n1,Dune,Herbert,N1,Available\n", kind="holdings")
    load(config, "agency,bib_id,title,barcode,status\nCUHK,n1,Dune,N1,On Loan\n", kind="holdings")

    engine = open_engine(gateway.load(config, demo_setup.environment(PORTS)).database.url)
    with engine.connect() as connection:
        found = connection.execute(select(HOLDINGS.c.author, HOLDINGS.c.status).where(HOLDINGS.c.barcode == "N1")).one()
    engine.dispose()
    assert tuple(found) == ("Herbert", "On Loan")
