"""Unreadable TOML files, and their error messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from hkall_gateway.config.loading import ConfigErrors, dotted, read
from hkall_gateway.rules.plain_text import listed, nearest


def faults(folder: Path, data: bytes) -> list[tuple[str, str]]:
    file = folder / "gateway.toml"
    file.write_bytes(data)
    with pytest.raises(ConfigErrors) as caught:
        read(file)
    return caught.value.errors


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[library]\nagency = HKU\n", "line 2"),
        ("[library]\nname = 'x'\n\nname = 'y'\n", "line 4"),
        ('[library]\nname = """x\n', "line 2"),
        ("a = [1,\n\n", "line 1"),
    ],
)
def test_invalid_toml_is_reported_with_its_line(tmp_path: Path, text: str, line: str) -> None:
    assert [where for where, _ in faults(tmp_path, text.encode())] == [line]


def test_invalid_toml_is_reported_with_its_column_where_known(tmp_path: Path) -> None:
    assert faults(tmp_path, b"[library]\nagency = HKU\n") == [("line 2", "invalid value (column 10)")]


def test_invalid_utf_8_is_reported_with_its_line(tmp_path: Path) -> None:
    assert faults(tmp_path, '[library]\nname = "香港"\n'.encode("big5")) == [("line 2", "is not UTF-8 text")]


def test_file_with_a_byte_order_mark_and_crlf_is_read(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_bytes('\ufeff[library]\r\nagency = "HKU"\r\n'.encode())
    assert read(tmp_path / "gateway.toml") == {"library": {"agency": "HKU"}}


def test_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors) as caught:
        read(tmp_path / "nowhere.toml")
    assert caught.value.errors == [("file", "no such file or directory")]


def test_folder_is_not_read_as_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match="is a directory"):
        read(tmp_path)


@pytest.mark.parametrize(("words", "text"), [(["a"], "a"), (["a", "b"], "a or b"), (["a", "b", "c"], "a, b or c")])
def test_alternatives_are_listed_in_the_error_message(words: list[str], text: str) -> None:
    assert listed(words) == text


def test_path_of_a_setting_has_dots_and_indexes() -> None:
    assert dotted(("sip2", "terminals", 0, "role")) == "sip2.terminals[0].role"


def test_only_a_similar_key_is_suggested() -> None:
    assert nearest("lisen", ["listen", "url"]) == " (did you mean `listen`?)"
    assert nearest("zebra", ["listen", "url"]) == ""
