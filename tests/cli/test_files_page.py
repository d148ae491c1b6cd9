"""docs/files.md: every column lists its values, and each sample can be loaded by the command next to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from demo import demo_setup
from docs.generate.files_page import FILES, VALUES, LoadedFile
from hkall_gateway.cli import main
from hkall_gateway.cli.admin.load import load

PORTS = demo_setup.Ports(partners={"CUHK": 1, "HKUST": 2, "LU": 3})


def test_every_loadable_file_kind_is_documented() -> None:
    assert sorted(file.kind for file in FILES) == sorted(load.commands)


def test_every_column_format_is_described_and_used() -> None:
    assert {column.read for file in FILES for column in file.columns} == set(VALUES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.kind)
def test_sample_file_can_be_loaded(file: LoadedFile, tmp_path: Path) -> None:
    environ = demo_setup.environment(PORTS)
    config = demo_setup.write_config(tmp_path, PORTS)
    demo_setup.fill_database(config, environ)
    sample = tmp_path / f"{file.kind}.csv"
    sample.write_text(file.sample, encoding="utf-8")

    done = CliRunner().invoke(main, ["load", file.kind, str(sample), "--config", str(config)], env=environ)

    assert done.exit_code == 0, done.output
    assert set(file.sample.partition("\n")[0].split(",")) <= {column.name for column in file.columns}
