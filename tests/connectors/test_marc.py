"""MARC files: which fields become titles and copies, in both formats, and what is said of bad records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pymarc import Field, Indicators, Leader, Record, Subfield, record_to_xml

from hkall_gateway.connectors import marc
from hkall_gateway.connectors.columns import BadFile
from hkall_gateway.rules.marc_fields import ITEM_FIELDS, ItemField, MarcMapping, overlaid, source
from hkall_gateway.rules.vocabulary import Holding, Title

Write = Callable[..., Path]
PLAIN = MarcMapping()


def data(tag: str, *parts: str) -> Field:
    """A field; each part is a subfield's code and text."""
    return Field(tag, Indicators(" ", " "), [Subfield(part[0], part[1:]) for part in parts])


def record(number: str, *fields: Field, title: Sequence[str] = ("aDune /",), leader: str = "nam") -> Record:
    made = Record(force_utf8=True)
    made.leader = Leader(f"00000{leader} a2200000 a 4500")
    made.fields = [Field("001", data=number)] if number else []
    made.fields += [data("245", *title)] if title else []
    made.fields += fields
    return made


def hong_lou_meng() -> Record:
    return record(
        "b9",
        Field("008", data="820101s1982    cc            000 1 chi d"),
        data("020", "a9787020002207 (v. 1)"),
        data("020", "a0306406152 :", "c$10"),
        data("100", "6880-01", "aCao, Xueqin,"),
        data("700", "aGao, E."),
        data("264", "aBeijing :", "bRen min wen xue chu ban she,", "c1982."),
        data("880", "6245-02/$1", "a紅樓夢 /"),
        data("880", "6100-01/$1", "a曹雪芹,"),
        data("852", "aHK-CU", "hPL2727 .S2", "iA1", "p001", "3v.1"),
        data("852", "aHK-LU", "p002"),
        title=("6880-02", "aHong lou meng :", "ba novel /", "cCao Xueqin."),
    )


@pytest.fixture(params=["mrc", "xml"])
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Write:
    """Writes records in each format; bytes among them go as they are into MARC21."""

    def written(*records: Record | bytes) -> Path:
        path = tmp_path / f"some.{request.param}"
        if request.param == "xml":
            body = b"".join(one if isinstance(one, bytes) else record_to_xml(one) for one in records)  # type: ignore[no-untyped-call]
            path.write_bytes(b'<collection xmlns="http://www.loc.gov/MARC21/slim">' + body + b"</collection>")
        else:
            path.write_bytes(b"".join(one if isinstance(one, bytes) else one.as_marc() for one in records))
        return path

    return written


def test_a_record_is_a_title_with_its_linked_fields(write: Write) -> None:
    assert marc.read(write(hong_lou_meng()), PLAIN).titles == {
        "b9": Title(
            "b9",
            "Hong lou meng : a novel",
            "Cao, Xueqin ; Gao, E.",
            ("9787020002207", "9780306406157"),
            "chi",
            "Beijing : Ren min wen xue chu ban she, 1982",
            "紅樓夢",
            "曹雪芹",
        )
    }


def test_each_field_with_a_barcode_is_a_copy(write: Write) -> None:
    rows = marc.read(write(hong_lou_meng()), replace(PLAIN, agencies={"HK-CU": "CUHK"})).rows
    title = ("b9", "Hong lou meng : a novel", "Cao, Xueqin", "9787020002207")
    assert [copy for _, copy in rows] == [
        Holding("CUHK", "001", *title, volume="v.1", call_number="PL2727 .S2 A1"),
        Holding("HK-LU", "002", *title),
    ]
    assert [where.rpartition(":")[2] for where, _ in rows] == ["record 1", "record 1"]


def test_the_library_of_a_file_counts_before_codes_in_it(write: Write) -> None:
    rows = marc.read(write(hong_lou_meng()), PLAIN, "CUHK").rows
    assert {copy.agency for _, copy in rows} == {"CUHK"}


@pytest.mark.parametrize(
    ("fields", "copy"),
    [
        ([data("949", "aQA76", "b.B3", "cv.2", "i7", "s-")], {"call_number": "QA76 .B3", "volume": "v.2", "status": "-"}),
        ([data("952", "p7", "oF HER", "hv.2", "71")], {"call_number": "F HER", "volume": "v.2", "lendable": False}),
        ([data("952", "p7", "70")], {}),
        (
            [data("852", "81", "hX"), data("852", "82", "hQA76"), data("876", "82.1", "p7", "jOn Loan")],
            {"call_number": "QA76", "status": "On Loan"},
        ),
        ([data("852", "hQA76"), data("876", "p7")], {"call_number": "QA76"}),
        ([data("952", "oNo barcode"), data("949", "i7")], {}),
    ],
)
def test_the_fields_of_copies_that_systems_export(write: Write, fields: list[Field], copy: dict[str, Any]) -> None:
    ((_, found),) = marc.read(write(record("b1", *fields)), PLAIN, "CUHK").rows
    assert found == replace(Holding("CUHK", "7", "b1", "Dune"), **copy)


def test_a_site_s_own_field_counts_before_the_usual_ones(write: Write) -> None:
    own = MarcMapping(items=overlaid((ItemField("999", barcode="i", agency="m"),)))
    both = record("b1", data("999", "i7", "mCUHK"), data("952", "p8"))
    assert [copy.barcode for _, copy in marc.read(write(both), own).rows] == ["7"]


def test_an_own_row_replaces_the_usual_one_of_its_tag() -> None:
    own = ItemField("952", barcode="x")
    assert overlaid((own,)) == (own, *(row for row in ITEM_FIELDS if row.tag != "952"))


@pytest.mark.parametrize(("leader", "material"), [("nam", "book"), ("nas", "journal"), ("ngm", "dvd")])
def test_the_leader_says_the_material(write: Write, leader: str, material: str) -> None:
    ((_, copy),) = marc.read(write(record("b1", data("952", "p7"), leader=leader)), PLAIN, "CUHK").rows
    assert copy.material == material


def test_a_deleted_record_has_no_copies_any_more(write: Write) -> None:
    found = marc.read(write(record("b1", data("952", "p7"), leader="dam")), PLAIN, "CUHK")
    assert not found.rows
    assert not found.titles
    assert found.complete == {("CUHK", "b1")}


def test_a_record_names_all_copies_of_its_libraries(write: Write) -> None:
    bare = record("b1")
    assert {("HK-CU", "b9"), ("HK-LU", "b9")} <= marc.read(write(hong_lou_meng()), PLAIN).complete
    assert marc.read(write(bare), PLAIN, "CUHK").complete == {("CUHK", "b1")}
    assert marc.read(write(bare), PLAIN).complete == frozenset()


# ---- bad records


def test_every_bad_record_is_named_by_its_number(write: Write) -> None:
    good = record("b1", data("952", "p1"))
    path = write(good, record("", data("952", "p2")), record("b3", title=()), record("b4", data("952", "p1")), good)
    with pytest.raises(BadFile) as bad:
        marc.read(path, PLAIN, "CUHK")
    assert bad.value.mistakes == (
        f"{path}:record 2: has no number",
        f"{path}:record 3: has no title",
        f"{path}:record 4: barcode: '1' is in record 1 too",
        f"{path}:record 5: barcode: '1' is in record 4 too",
    )


def test_bad_records_are_left_out_where_that_is_wanted(write: Write) -> None:
    path = write(record("", data("952", "p2")), record("b3", data("952", "p3")))
    found = marc.read(path, PLAIN, "CUHK", skip=True)
    assert ([copy.barcode for _, copy in found.rows], len(found.mistakes)) == (["3"], 1)


def test_a_copy_without_a_library_is_bad(write: Write) -> None:
    path = write(record("b1", data("952", "p1")))
    with pytest.raises(BadFile, match="record 1: agency: is empty"):
        marc.read(path, PLAIN)


@pytest.mark.parametrize(
    "broken",
    [b"garbage\x1d", b"00050nam a2200037   4500\x1d", b"\xff\xfe\x00\x1d", b"99999nam a22000250  4500\x1e\x1d"],
)
def test_a_broken_record_does_not_hide_those_after_it(tmp_path: Path, broken: bytes) -> None:
    path = tmp_path / "some.mrc"
    path.write_bytes(record("b1", data("952", "p1")).as_marc() + broken + b"\r\n" + record("b3", data("952", "p3")).as_marc())
    found = marc.read(path, PLAIN, "CUHK", skip=True)
    assert [copy.barcode for _, copy in found.rows] == ["1", "3"]
    assert [mistake.startswith(f"{path}:record 2: ") for mistake in found.mistakes] == [True]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.mrc", record("b1").as_marc()[:-3]),
        ("cut.xml", b"<collection><record>"),
        ("none.xml", b""),
        ("text.mrc", b"a,b\n1,2\n"),  # no MARC at all
    ],
)
def test_a_file_that_ends_too_early_is_refused_whatever_the_option(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadFile, match=name):
        marc.read(tmp_path / name, PLAIN, "CUHK", skip=True)


def test_entities_of_an_xml_file_open_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    path = tmp_path / "some.xml"
    entity = f'<!DOCTYPE c [<!ENTITY x SYSTEM "{(tmp_path / "secret").as_uri()}">]>'
    fields = '<controlfield tag="001">b1</controlfield><datafield tag="245"><subfield code="a">T &x;</subfield></datafield>'
    path.write_text(f"{entity}<collection><record><leader>00000nam a2200000 a 4500</leader>{fields}</record></collection>")
    assert marc.read(path, PLAIN, "CUHK").titles["b1"].title == "T"


# ---- the table


@pytest.mark.parametrize("text", ["245", "245/1", "001a", "24", "245A", "008/", "", "245 a"])
def test_what_is_no_source_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no MARC field"):
        source(text)


def test_tags_of_copies_are_unique() -> None:
    assert len({row.tag for row in ITEM_FIELDS}) == len(ITEM_FIELDS)
