"""Patrons in Alma's user XML: the same data as in patrons.csv, and errors by file and line."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from zipfile import ZipFile

import pytest

from hkall_gateway.ils.exports import BadFile, read_patron_rows, read_patrons
from hkall_gateway.rules.vocabulary import Borrower, Sensitive

CHAN = """
<user>
  <record_type desc="Public">PUBLIC</record_type>
  <primary_id>u1234567</primary_id>
  <first_name>Tai Man</first_name><last_name>CHAN</last_name><full_name>CHAN Tai Man</full_name>
  <pref_first_name>大文</pref_first_name><pref_last_name>陳</pref_last_name>
  <user_group desc="SPACE CDP">space_cdp</user_group>
  <preferred_language desc="Chinese">zh_TW</preferred_language>
  <expiry_date>2036-08-31Z</expiry_date>
  <status desc="Active">ACTIVE</status>
  <contact_info><emails>
    <email preferred="false"><email_address>old@x.test</email_address></email>
    <email preferred="true"><email_address>chan@x.test</email_address></email>
  </emails></contact_info>
  <user_identifiers>
    <user_identifier><id_type>BARCODE</id_type><value>P0000</value><status>INACTIVE</status></user_identifier>
    <user_identifier><id_type desc="Barcode">BARCODE</id_type><value>P0001</value><status>ACTIVE</status></user_identifier>
  </user_identifiers>
  <user_blocks><user_block><block_type>GENERAL</block_type><block_status>INACTIVE</block_status></user_block></user_blocks>
  <user_statistics><user_statistic>
    <statistic_category>FT</statistic_category><category_type>STUDY_MODE</category_type>
  </user_statistic></user_statistics>
</user>"""

PATRON = Borrower(
    barcode="P0001",
    name=Sensitive("CHAN Tai Man"),
    name_zh=Sensitive("陳大文"),
    category="space_cdp",
    study_mode="FT",
    expires=date(2036, 8, 31),
    email=Sensitive("chan@x.test"),
    language="zh-Hant",
    local_loans=None,
)


def users(*inside: str, head: str = "<users>") -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?>{head}{"".join(inside)}</users>'


def read(folder: Path, text: str, name: str = "users.xml") -> tuple[Borrower, ...]:
    path = folder / name
    path.write_bytes(text.encode())
    return read_patrons(path)


def mistakes(folder: Path, text: str) -> list[str]:
    with pytest.raises(BadFile) as caught:
        read(folder, text)
    return [m.replace(f"{folder}/", "") for m in caught.value.mistakes]


def test_user_record_becomes_a_patron(tmp_path: Path) -> None:
    assert read(tmp_path, users(CHAN)) == (PATRON,)


def test_file_name_and_namespace_are_irrelevant(tmp_path: Path) -> None:
    text = users(CHAN, head='<users xmlns="http://com/exlibris/urm/user_record/xmlbeans">')
    assert read(tmp_path, text, "tonight.csv") == (PATRON,)


def test_single_user_is_accepted_as_a_file(tmp_path: Path) -> None:
    assert read(tmp_path, CHAN.strip()) == (PATRON,)


def test_zip_file_may_contain_several_files(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "users.zip", "w") as archive:
        archive.writestr("users_1.xml", users(CHAN))
        archive.writestr("users_2.xml", users(CHAN.replace("P0001", "P0002")))
        archive.writestr("readme.txt", "nothing")
    assert [patron.barcode for patron in read_patrons(tmp_path / "users.zip")] == ["P0001", "P0002"]


@pytest.mark.parametrize(
    ("before", "after", "facts"),
    [
        ("<value>P0001</value>", "<value/>", {"barcode": "u1234567"}),
        ("<block_status>INACTIVE", "<block_status>ACTIVE", {"blocked": True}),
        ('<status desc="Active">ACTIVE', "<status>INACTIVE", {"blocked": True}),
        ("zh_TW", "en", {"language": "en"}),
        ("<pref_last_name>陳</pref_last_name>", "", {"name_zh": Sensitive("大文")}),
        ("大文</pref_first_name><pref_last_name>陳", "David</pref_first_name><pref_last_name>Chan", {"name_zh": Sensitive("")}),
        ("<full_name>CHAN Tai Man</full_name>", "", {"name": Sensitive("Tai Man CHAN")}),
        ('preferred="true"', 'preferred="false"', {"email": Sensitive("old@x.test")}),
        (">FT<", ">PT<", {"study_mode": "PT"}),
        ("STUDY_MODE", "FACULTY", {"study_mode": ""}),
        ("2036-08-31Z", "2036-08-31+08:00", {}),
        ("<expiry_date>2036-08-31Z</expiry_date>", "", {"expires": None}),
    ],
)
def test_optional_user_data_is_read(tmp_path: Path, before: str, after: str, facts: dict[str, object]) -> None:
    assert before in CHAN
    assert read(tmp_path, users(CHAN.replace(before, after))) == (replace(PATRON, **facts),)  # type: ignore[arg-type]


def test_inactive_barcodes_are_former_cards(tmp_path: Path) -> None:
    again = "<user_identifier><id_type>BARCODE</id_type><value>P0001</value><status>INACTIVE</status></user_identifier>"
    path = tmp_path / "users.xml"
    path.write_text(users(CHAN.replace("</user_identifiers>", f"{again}</user_identifiers>")))
    (row,) = read_patron_rows(path).rows
    assert (row.card, row.former, row.where) == ("P0001", ("P0000",), f"{path}:2")


def test_errors_are_reported_with_file_line_and_column(tmp_path: Path) -> None:
    bad = CHAN.replace("2036-08-31Z", "31/08/2036").replace('<user_group desc="SPACE CDP">space_cdp</user_group>', "")
    assert mistakes(tmp_path, users(bad, CHAN)) == [
        "users.xml:2: category: is empty",
        "users.xml:2: expires: '31/08/2036' is not a date (YYYY-MM-DD)",
        "users.xml:24: barcode: 'P0001' is in line 2 too",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<holdings><user/></holdings>", "users.xml:1: holdings: not Alma's user XML"),
        ("<users><user></users>", "users.xml:1: Opening and ending tag mismatch"),
        (
            '<!DOCTYPE users [<!ENTITY e SYSTEM "file:///etc/passwd">]><users><user><primary_id>&e;</primary_id></user></users>',
            "users.xml:1: barcode: is empty",
        ),
    ],
)
def test_malformed_user_xml_is_refused_without_fetching_anything(tmp_path: Path, text: str, said: str) -> None:
    assert mistakes(tmp_path, text)[0].startswith(said)


def test_zip_without_users_is_refused(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "users.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(BadFile, match="there is no XML file in it"):
        read_patrons(tmp_path / "users.zip")
