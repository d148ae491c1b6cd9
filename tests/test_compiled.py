"""The compiled build: its table of modules, and what must be the same in both builds. CI runs other tests on it as well."""

from __future__ import annotations

import runpy
import traceback
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import hkall_gateway
from hkall_gateway.cli import main
from hkall_gateway.rules import policy
from hkall_gateway.sip2.codec.dialects import DIALECTS
from hkall_gateway.sip2.codec.lines import Sip2Message, encode
from hkall_gateway.sip2.codec.messages import SHAPES

TABLE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "packaging" / "compiled.py"))
PACKAGE = Path(hkall_gateway.__file__).parent
SERIALIZE = PACKAGE / "sip2" / "codec" / "serialize.py"


def test_each_row_names_files_and_each_exception_is_in_a_compiled_room() -> None:
    rooms: tuple[str, ...] = TABLE["COMPILED"]
    pure: dict[str, str] = TABLE["PURE"]

    assert len(set(rooms)) == len(rooms)
    assert all((PACKAGE / room).exists() for room in rooms)
    assert all((PACKAGE / module).exists() and why for module, why in pure.items())
    assert all(any(Path(module).is_relative_to(room) for room in rooms) for module in pure)


def test_the_version_says_whether_the_build_is_compiled() -> None:
    said = CliRunner().invoke(main, ["--version"]).output
    assert ("compiled" in said) == (not str(policy.__file__).endswith(".py"))


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
