"""MARC files: fields that become titles and items, in both formats, and errors about invalid records."""

from __future__ import annotations

import codecs
import gzip
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymarc import Field, Indicators, Leader, Record, Subfield, record_to_xml

from hkall_gateway.db.loads.loading import Placed, StagedCopies
from hkall_gateway.ils import marc, marc_records
from hkall_gateway.ils.columns import BadFile
from hkall_gateway.rules.marc_fields import ITEM_FIELDS, ItemField, MarcMapping, overlaid, source
from hkall_gateway.rules.vocabulary import Holding, Title

Write = Callable[..., Path]
PLAIN = MarcMapping()


@dataclass(frozen=True)
class Read:
    """A parsed file with its items."""

    file: marc.MarcFile
    rows: tuple[Placed, ...]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def read(path: Path, mapping: MarcMapping, agency: str = "", *, skip: bool = False) -> Read:
    staged = StagedCopies()
    found = marc.read(path, mapping, staged, agency, skip=skip)
    return Read(found, tuple(staged))


def data(tag: str, *parts: str) -> Field:
    """Return a data field; each part is a subfield code followed by its text."""
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
    """Writes records in each format; bytes are written unchanged into MARC21."""

    def written(*records: Record | bytes) -> Path:
        path = tmp_path / f"some.{request.param}"
        if request.param == "xml":
            body = b"".join(one if isinstance(one, bytes) else record_to_xml(one) for one in records)  # type: ignore[no-untyped-call]
            path.write_bytes(b'<collection xmlns="http://www.loc.gov/MARC21/slim">' + body + b"</collection>")
        else:
            path.write_bytes(b"".join(one if isinstance(one, bytes) else one.as_marc() for one in records))
        return path

    return written


def test_record_is_a_title_with_its_linked_fields(write: Write) -> None:
    assert read(write(hong_lou_meng()), PLAIN).titles == {
        "b9": Title(
            bib_id="b9",
            title="Hong lou meng : a novel",
            author="Cao, Xueqin ; Gao, E.",
            isbns=("9787020002207", "9780306406157"),
            language="chi",
            published="Beijing : Ren min wen xue chu ban she, 1982",
            linked_title="紅樓夢",
            linked_author="曹雪芹",
        )
    }


def test_each_field_with_a_barcode_is_an_item(write: Write) -> None:
    rows = read(write(hong_lou_meng()), replace(PLAIN, agencies={"HK-CU": "CUHK"})).rows
    title: Any = {"bib_id": "b9", "title": "Hong lou meng : a novel", "author": "Cao, Xueqin", "isbn": "9787020002207"}
    assert [copy for _, copy in rows] == [
        Holding(agency="CUHK", barcode="001", **title, volume="v.1", call_number="PL2727 .S2 A1"),
        Holding(agency="HK-LU", barcode="002", **title),
    ]
    assert [where.rpartition(":")[2] for where, _ in rows] == ["record 1", "record 1"]


def test_library_of_the_file_takes_precedence_over_codes_in_it(write: Write) -> None:
    rows = read(write(hong_lou_meng()), PLAIN, "CUHK").rows
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
def test_item_fields_of_known_systems_are_read(write: Write, fields: list[Field], copy: dict[str, Any]) -> None:
    ((_, found),) = read(write(record("b1", *fields)), PLAIN, "CUHK").rows
    assert found == replace(Holding(agency="CUHK", barcode="7", bib_id="b1", title="Dune"), **copy)


def test_site_specific_field_takes_precedence_over_default_fields(write: Write) -> None:
    own = MarcMapping(items=overlaid((ItemField(tag="999", barcode="i", agency="m"),)))
    both = record("b1", data("999", "i7", "mCUHK"), data("952", "p8"))
    assert [copy.barcode for _, copy in read(write(both), own).rows] == ["7"]


def test_site_specific_row_replaces_the_default_with_the_same_tag() -> None:
    own = ItemField(tag="952", barcode="x")
    assert overlaid((own,)) == (own, *(row for row in ITEM_FIELDS if row.tag != "952"))


@pytest.mark.parametrize(("leader", "material"), [("nam", "book"), ("nas", "journal"), ("ngm", "dvd")])
def test_material_type_is_read_from_the_leader(write: Write, leader: str, material: str) -> None:
    ((_, copy),) = read(write(record("b1", data("952", "p7"), leader=leader)), PLAIN, "CUHK").rows
    assert copy.material == material


def test_deleted_record_loses_its_items(write: Write) -> None:
    found = read(write(record("b1", data("952", "p7"), leader="dam")), PLAIN, "CUHK")
    assert not found.rows
    assert not found.titles
    assert found.complete == {("CUHK", "b1")}


def test_record_lists_all_items_of_its_libraries(write: Write) -> None:
    bare = record("b1")
    assert {("HK-CU", "b9"), ("HK-LU", "b9")} <= read(write(hong_lou_meng()), PLAIN).complete
    assert read(write(bare), PLAIN, "CUHK").complete == {("CUHK", "b1")}
    assert read(write(bare), PLAIN).complete == frozenset()


# ---- invalid records


def test_every_invalid_record_is_reported_by_its_number(write: Write) -> None:
    good = record("b1", data("952", "p1"))
    path = write(good, record("", data("952", "p2")), record("b3", title=()), record("b4", data("952", "p1")), good)
    with pytest.raises(BadFile) as bad:
        read(path, PLAIN, "CUHK")
    assert bad.value.mistakes == (
        f"{path}:record 2: has no number",
        f"{path}:record 3: has no title",
        f"{path}:record 4: barcode: '1' is in record 1 too",
        f"{path}:record 5: barcode: '1' is in record 4 too",
    )


def test_invalid_records_are_skipped_on_request(write: Write) -> None:
    path = write(record("", data("952", "p2")), record("b3", data("952", "p3")))
    found = read(path, PLAIN, "CUHK", skip=True)
    assert ([copy.barcode for _, copy in found.rows], len(found.mistakes)) == (["3"], 1)


def test_item_without_a_library_is_an_error(write: Write) -> None:
    path = write(record("b1", data("952", "p1")))
    with pytest.raises(BadFile, match="record 1: agency: is empty"):
        read(path, PLAIN)


@pytest.mark.parametrize(
    "broken",
    [b"garbage\x1d", b"00050nam a2200037   4500\x1d", b"\xff\xfe\x00\x1d", b"99999nam a22000250  4500\x1e\x1d"],
)
def test_broken_record_does_not_hide_later_records(tmp_path: Path, broken: bytes) -> None:
    path = tmp_path / "some.mrc"
    path.write_bytes(record("b1", data("952", "p1")).as_marc() + broken + b"\r\n" + record("b3", data("952", "p3")).as_marc())
    found = read(path, PLAIN, "CUHK", skip=True)
    assert [copy.barcode for _, copy in found.rows] == ["1", "3"]
    assert [mistake.startswith(f"{path}:record 2: ") for mistake in found.mistakes] == [True]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.mrc", record("b1").as_marc()[:-3]),
        ("cut.xml", b"<collection><record>"),
        ("none.xml", b""),
        ("text.mrc", b"a,b\n1,2\n"),  # this is not MARC
    ],
)
def test_truncated_file_is_refused_with_every_option(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadFile, match=name):
        read(tmp_path / name, PLAIN, "CUHK", skip=True)


def test_xml_entities_do_not_open_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    path = tmp_path / "some.xml"
    entity = f'<!DOCTYPE c [<!ENTITY x SYSTEM "{(tmp_path / "secret").as_uri()}">]>'
    fields = '<controlfield tag="001">b1</controlfield><datafield tag="245"><subfield code="a">T &x;</subfield></datafield>'
    path.write_text(f"{entity}<collection><record><leader>00000nam a2200000 a 4500</leader>{fields}</record></collection>")
    assert read(path, PLAIN, "CUHK").titles["b1"].title == "T"


# ---- peculiarities of real files


def bytes_of(title: bytes, scheme: str = "a", *, length: int | None = None) -> bytes:
    """Return a record with an item whose title has these bytes, whatever its leader says."""
    mark = b"#" * len(title)
    made = record("b1", data("952", "p1"), title=(f"a{mark.decode()}",)).as_marc()
    made = made[:9] + scheme.encode() + made[10:]
    return (b"%05d" % length + made[5:] if length is not None else made).replace(mark, title)


def titles_of(tmp_path: Path, content: bytes, name: str = "some.mrc") -> list[str]:
    (tmp_path / name).write_bytes(content)
    found = read(tmp_path / name, PLAIN, "CUHK", skip=True)
    return [title.title for title in found.titles.values()] + [one.partition("record 1: ")[2] for one in found.mistakes]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (bytes_of(b"Caf\xe2e", " "), "Café"),  # MARC-8 has the accent before the letter
        (bytes_of(b"\x1b$1!0B!0C\x1b(B", " "), "乒乓"),
        (bytes_of("紅樓夢".encode(), " "), "紅樓夢"),  # UTF-8 although the leader says MARC-8
        (bytes_of(b"Dune", length=20), "Dune"),  # the wrong length in the leader is ignored
        (codecs.BOM_UTF8 + bytes_of(b"Dune"), "Dune"),
        (bytes_of(b"x" * 5_000), "x" * 5_000),
        (bytes_of(b"Caf\xe9"), "field 245 is not UTF-8, as the leader says: b'Caf\\xe9'"),
        (bytes_of(b"\xe7\xb4\x85 \xe7\xb4", "a"), "field 245 is not UTF-8, as the leader says: b'\\xe7\\xb4\\x85 \\xe7\\xb4'"),
        (bytes_of(b"\x1b$1!!!~~~\x1b(B", " "), "field 245 is not MARC-8, as the leader says: b'\\x1b$1!!!~~~\\x1b(B'"),
        (bytes_of(b"a\x1b$1!", " "), "field 245 is not MARC-8, as the leader says: b'a\\x1b$1!'"),
        (bytes_of(b"Dune", length=900), "it has 80 bytes, but 900 by its leader: it is cut off"),
        (bytes_of(b"Dune").replace(b"Dune", b"Dunes"), "field 245 does not end where the directory says"),
        (bytes_of(b"Dune").replace(b"245", b"2\xc3\xa9"), "its directory is not that of MARC21"),
        (b"\xef" + bytes_of(b"Dune"), "its leader is not that of MARC21"),
    ],
)
def test_file_errors_are_reported(tmp_path: Path, content: bytes, said: str) -> None:
    assert titles_of(tmp_path, content) == [said]


@pytest.mark.parametrize("name", ["some.mrc.gz", "some.MARC.GZ"])
def test_compressed_file_is_read(tmp_path: Path, name: str) -> None:
    assert titles_of(tmp_path, gzip.compress(bytes_of(b"Dune")), name) == ["Dune"]
    assert marc_records.is_marc(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("some.mrc.gz", gzip.compress(bytes_of(b"Dune"), mtime=0)[:-9], "ended before"),
        ("some.mrc.gz", bytes_of(b"Dune"), "Not a gzipped file"),
        ("some.xml", b"<users><user/></users>", "users: not MARCXML"),
        ("some.xml", b"<collection><record><leader>\xe9</leader></record>", "after record 0: Invalid bytes"),
        ("none.mrc", None, "No such file"),
    ],
)
def test_malformed_file_is_refused(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BadFile, match=said):
        read(tmp_path / name, PLAIN, "CUHK", skip=True)


def test_unknown_field_is_ignored(tmp_path: Path) -> None:
    noted = record("b1", data("520", "aNOTE"), data("952", "p1")).as_marc().replace(b"NOTE", b"\xff\xfe\xfd\xfc")
    assert titles_of(tmp_path, noted) == ["Dune"]


def test_oai_pmh_records_and_unusual_leaders_are_read(tmp_path: Path) -> None:
    inner = record_to_xml(record("b1", data("952", "p1")), namespace=True).decode()  # type: ignore[no-untyped-call]
    inner = re.sub("<leader>.*</leader>", "<leader>nam</leader>", inner)
    oai = f"<OAI-PMH><ListRecords><record><header/><metadata>{inner}</metadata></record></ListRecords></OAI-PMH>"
    assert titles_of(tmp_path, oai.encode(), "some.xml") == ["Dune"]


HARVEST = replace(PLAIN, oai_identifier="oai:cuhk.example.hk:{bib_id}")


def harvest(tmp_path: Path, *parts: str) -> Path:
    """Return a ListRecords response; each part is the identifier of a deleted record, or an identifier and a record number."""

    def record_of(part: str) -> str:
        identifier, _, number = part.partition(" ")
        if not number:
            return f'<record><header status="deleted"><identifier>{identifier}</identifier></header></record>'
        inner = record_to_xml(record(number, data("952", f"p{number}")), namespace=True).decode()  # type: ignore[no-untyped-call]
        return f"<record><header><identifier>{identifier}</identifier></header><metadata>{inner}</metadata></record>"

    path = tmp_path / "harvest.xml"
    records = "".join(map(record_of, parts))
    namespace = "http://www.openarchives.org/OAI/2.0/"
    path.write_text(f'<OAI-PMH xmlns="{namespace}"><ListRecords>{records}</ListRecords></OAI-PMH>')
    return path


def test_record_deleted_by_a_harvest_loses_its_items(tmp_path: Path) -> None:
    path = harvest(tmp_path, "oai:cuhk.example.hk:b1 b1", "oai:cuhk.example.hk:b2", "oai:cuhk.example.hk:b3/4 b3/4")
    found = read(path, HARVEST, "CUHK")
    assert [copy.barcode for _, copy in found.rows] == ["b1", "b3/4"]
    assert found.complete == {("CUHK", "b1"), ("CUHK", "b2"), ("CUHK", "b3/4")}
    assert read(harvest(tmp_path, "oai:cuhk.example.hk:b2"), HARVEST, "CUHK").complete == {("CUHK", "b2")}


@pytest.mark.parametrize(
    ("mapping", "part", "said"),
    [
        (PLAIN, "oai:cuhk.example.hk:b2", "'oai:cuhk.example.hk:b2' is deleted; [marc] oai_identifier must say"),
        (HARVEST, "oai:lu.example.hk:b2", "'oai:lu.example.hk:b2' is not like oai:cuhk.example.hk:{bib_id}"),
        (HARVEST, "oai:cuhk.example.hk:", "'oai:cuhk.example.hk:' is not like"),
        (HARVEST, "oai:cuhk.example.hk:77 b1", "by its OAI-PMH identifier its number is '77', by its fields 'b1'"),
    ],
)
def test_identifier_without_the_record_number_is_an_error(tmp_path: Path, mapping: MarcMapping, part: str, said: str) -> None:
    path = harvest(tmp_path, part)
    with pytest.raises(BadFile, match=re.escape(said)) as bad:
        read(path, mapping, "CUHK")
    assert "record 1" in str(bad.value)
    assert read(path, mapping, "CUHK", skip=True).complete == frozenset()


def test_identifier_is_ignored_while_no_record_is_deleted(tmp_path: Path) -> None:
    assert [copy.barcode for _, copy in read(harvest(tmp_path, "oai:x:77 b1"), PLAIN, "CUHK").rows] == ["b1"]


@pytest.mark.parametrize(
    ("field", "said"),
    [('<subfield code="a">T</subfield>', "T"), ("<subfield>T</subfield>", "a subfield of field 245 has no code")],
)
def test_invalid_record_in_an_xml_file_is_named(tmp_path: Path, field: str, said: str) -> None:
    fields = f'<controlfield tag="001">b1</controlfield><controlfield>x</controlfield><datafield tag="245">{field}</datafield>'
    assert titles_of(tmp_path, f"<collection><record>{fields}</record></collection>".encode(), "some.xml") == [said]


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
FIELDS = st.lists(st.tuples(st.sampled_from(["020", "100", "245", "880"]), st.lists(st.tuples(st.sampled_from("abc6"), TEXT))))


@given(FIELDS)
def test_record_is_read_like_pymarc_does(fields: list[tuple[str, list[tuple[str, str]]]]) -> None:
    made = record("b1", *(Field(tag, Indicators("1", "0"), [Subfield(*one) for one in parts]) for tag, parts in fields))
    written = made.as_marc()
    theirs: dict[str, list[list[tuple[str, str]]]] = {}
    for one in Record(written).fields:
        if one.tag >= "010":
            theirs.setdefault(one.tag, []).append([(part.code, part.value) for part in one.subfields])
    with tempfile.TemporaryDirectory() as folder:
        (path := Path(folder) / "some.mrc").write_bytes(written)
        (ours,) = marc_records.records(path, {"001", "020", "100", "245", "880"})
    assert isinstance(ours, marc_records.MarcRecord)
    assert (ours.control, ours.data) == ({"001": ["b1"]}, theirs)


# ---- the mapping table


@pytest.mark.parametrize("text", ["245", "245/1", "001a", "24", "245A", "008/", "", "245 a"])
def test_invalid_source_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no MARC field"):
        source(text)


def test_item_tags_are_unique() -> None:
    assert len({row.tag for row in ITEM_FIELDS}) == len(ITEM_FIELDS)
