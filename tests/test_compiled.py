"""The compiled build: its table of modules, and what must be the same in both builds. CI runs other tests on it as well."""

from __future__ import annotations

import runpy
import traceback
from collections.abc import Callable
from inspect import isfunction
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import hkall_gateway
from hkall_gateway.cli import main
from hkall_gateway.desk.messages.results import PatronSeen
from hkall_gateway.rules import policy
from hkall_gateway.rules.vocabulary import Request
from hkall_gateway.sip2.codec.dialects import DIALECTS
from hkall_gateway.sip2.codec.lines import Sip2Message, encode
from hkall_gateway.sip2.codec.messages import SHAPES

PACKAGING = Path(__file__).parents[1] / "packaging"
TABLE: dict[str, Any] = runpy.run_path(str(PACKAGING / "compiled.py"))
with_constructors: Callable[[str], str] = runpy.run_path(str(PACKAGING / "constructors.py"))["with_constructors"]
PACKAGE = Path(hkall_gateway.__file__).parent
SERIALIZE = PACKAGE / "sip2" / "codec" / "serialize.py"


def test_each_row_names_files_and_each_exception_is_in_a_compiled_room() -> None:
    rooms: tuple[str, ...] = TABLE["COMPILED"]
    pure: dict[str, str] = TABLE["PURE"]

    assert len(set(rooms)) == len(rooms)
    assert all((PACKAGE / room).exists() for room in rooms)
    assert all((PACKAGE / module).exists() and why for module, why in pure.items())
    assert all(any(Path(module).is_relative_to(room) for room in rooms) for module in pure)


IS_COMPILED = not str(policy.__file__).endswith(".py")


def test_the_version_says_whether_the_build_is_compiled() -> None:
    said = CliRunner().invoke(main, ["--version"]).output
    assert ("compiled" in said) == IS_COMPILED


def test_a_traceback_names_file_and_line() -> None:
    with pytest.raises(ValueError, match="ZZ") as caught:
        encode(Sip2Message("ZZ"), DIALECTS["standard"])

    frames = traceback.extract_tb(caught.value.__traceback__)
    raised = frames[-1]
    assert raised.filename.endswith("hkall_gateway/sip2/codec/serialize.py")
    assert "raise ValueError" in SERIALIZE.read_text(encoding="utf-8").splitlines()[(raised.lineno or 0) - 1]
    assert [frame.name for frame in frames][-3:-1] == ["encode", "written"]


def test_a_frozen_record_refuses_a_change() -> None:
    shape: Any = SHAPES["11"]
    with pytest.raises(AttributeError):
        shape.code = "12"
    assert shape.code == "11"


@pytest.mark.parametrize("record", [Request, PatronSeen, Sip2Message])
def test_a_compiled_record_has_a_compiled_constructor(record: type) -> None:
    assert isfunction(vars(record)["__init__"]) != IS_COMPILED


RECORDS = """\
from __future__ import annotations
from dataclasses import dataclass, field

@dataclass(slots=True)
class Loan:
    \"\"\"A loan.\"\"\"

    barcode: str
    renewals: int = 2
    notes: list[str] = field(default_factory=list)
    patron: str = field(default="nobody", repr=False)

    def __len__(self) -> int:
        return len(self.barcode)


@dataclass(slots=True, kw_only=True)
class Make:
    name: str


@dataclass(slots=True)
class Hold(Loan):
    shelf: str = ""


@record
@dataclass(slots=True)
class Answer:
    text: str


@dataclass(slots=True)
class Checked:
    name: str

    def __post_init__(self) -> None:
        self.name = self.name.strip()


@dataclass(slots=True)
class Counted:
    seen: list[str] | None = field(default_factory=list)
"""


def made(source: str) -> dict[str, Any]:
    names: dict[str, Any] = {"record": lambda cls: cls}
    exec(source, names)  # noqa: S102  # the text above
    return names


def test_a_written_constructor_does_what_the_one_of_dataclass_does() -> None:
    written, usual = made(with_constructors(RECORDS)), made(RECORDS)

    for names in (written, usual):
        one, other = names["Loan"]("b1"), names["Loan"]("b1", notes=["torn"], patron="p1")
        one.notes.append("late")
        assert (one.barcode, one.renewals, one.notes, one.patron) == ("b1", 2, ["late"], "nobody")
        assert (other.renewals, other.notes, other.patron) == (2, ["torn"], "p1")
        assert names["Loan"]("b1").notes == []
        assert names["Make"](name="pin").name == "pin"
        assert names["Checked"](" p ").name == "p"
        assert names["Counted"](None).seen is None
        with pytest.raises(TypeError):
            names["Make"]("pin")
        with pytest.raises(TypeError):
            names["Loan"]()


def test_a_written_constructor_moves_no_line_and_is_written_for_plain_dataclasses_alone() -> None:
    before, after = RECORDS.splitlines(), with_constructors(RECORDS).splitlines()
    changed = [(was, now) for was, now in zip(before, after, strict=True) if was != now]

    assert [now.split(":")[0] for was, now in changed] == ["    def __init__(self, barcode", "    def __init__(self, *, name"]
    assert not any(was for was, _ in changed)
