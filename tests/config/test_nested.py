"""The keys of a partner's protocol, in a table of its own or beside the others as in earlier releases."""

from __future__ import annotations

from pathlib import Path

import pytest

from hkall_gateway.config import gateway
from hkall_gateway.config.loading import ConfigErrors
from hkall_gateway.rules.partners import Partner

START = """
[library]
agency = "HKU"
name = "HKU Libraries"
pickup_locations = ["MAIN"]
[database]
url = "sqlite:///hkall.db"
[[partners]]
agency = "CUHK"
name = "Chinese University"
"""
NESTED = """
[partners.ncip]
url = "https://ncip.cuhk.example/ncip"
dialect = "koha"
can_lookup_items = true
problems = { "Unknown User" = "fault" }
"""
FLAT = NESTED.replace("[partners.ncip]", "")


def load(folder: Path, text: str) -> gateway.GatewayConfig:
    file = folder / "gateway.toml"
    file.write_text(START + text, encoding="utf-8")
    return gateway.load(file, None)


def partner(folder: Path, text: str) -> Partner:
    return load(folder, text).partners[0].plain()


def test_keys_of_ncip_mean_the_same_in_its_table_and_in_the_row(tmp_path: Path) -> None:
    assert partner(tmp_path, NESTED) == partner(tmp_path, FLAT)
    assert partner(tmp_path, NESTED).dialect == "koha"


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ('[partners.ncip]\nurl = "ftp://x"', "partners[0].ncip.url", "must be a URL that begins with http:// or https://"),
        ('[partners.ncip]\nurll = "https://x"', "partners[0].ncip.urll", "is not a known key"),
        ('[partners.ncip]\npriority = 3\nurl = "https://x"', "partners[0].ncip.priority", "is not a known key"),
        ('url = "https://x"\n[partners.ncip]\nurl = "https://y"', "partners[0].ncip.url", "is not a known key"),
        ("", "partners[0].url", "is missing"),
        ('[partners.nicp]\nurl = "https://x"', "partners[0].nicp", "is not a known key"),
    ],
)
def test_fault_in_the_table_of_a_protocol_names_its_place(tmp_path: Path, text: str, path: str, message: str) -> None:
    with pytest.raises(ConfigErrors) as refused:
        load(tmp_path, text)

    assert [what for where, what in refused.value.errors if where == path and what.startswith(message)] != []
