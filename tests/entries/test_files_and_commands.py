"""Every column of every file, every option of every command, and mail, with invalid values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from demo import demo_setup
from docs.generate.files_page import FILES
from hkall_gateway.cli import main
from hkall_gateway.ils import exports
from hkall_gateway.ils.columns import BadFile, Column
from tests import databases
from tests.entries.bad_values import BAD, FORBIDDEN, HUGE

PORTS = demo_setup.Ports()
READERS: dict[str, Callable[[Path], object]] = {
    "patrons": exports.read_patron_rows,
    "holdings": exports.read_holdings,
    "closures": exports.read_closures,
    "partners": exports.read_partners,
    "requests": exports.read_requests,
}
NUMBERS = (HUGE, "9" * 10, "9" * 5_000, "²")


def table(sample: str) -> tuple[list[str], list[str]]:
    """Return the names of a sample's columns, and the values of its first row."""
    heads, row = (line.split(",") for line in sample.splitlines()[:2])
    return heads, row


def file_with(folder: Path, sample: str, column: str, value: str) -> Path:
    """Return a copy of the sample's first row with this value in one column, quoted as CSV requires."""
    heads, row = table(sample)
    values = dict(zip(heads, row, strict=True)) | {column: f'"{value}"'}
    path = folder / "some.csv"
    path.write_bytes((",".join(values) + "\n" + ",".join(values.values()) + "\n").encode("utf-8", "surrogatepass"))
    return path


def columns() -> Iterator[tuple[str, str, Column]]:
    for file in FILES:
        for column in file.columns:
            yield file.kind, file.sample, column


@pytest.mark.parametrize(("kind", "sample", "column"), list(columns()), ids=lambda one: getattr(one, "name", None))
def test_every_column_refuses_invalid_characters(tmp_path: Path, kind: str, sample: str, column: Column) -> None:
    for bad in (*FORBIDDEN, "a megabyte"):
        with pytest.raises(BadFile) as refused:
            READERS[kind](file_with(tmp_path, sample, column.name, BAD[bad]))
        told = "\n".join(refused.value.mistakes)
        assert "some.csv:" in told, (bad, told[:200])
        assert len(told) < 500, bad


@pytest.mark.parametrize(
    ("kind", "sample", "column"),
    [one for one in columns() if one[2].read.__name__ in {"count", "day"}],
    ids=lambda one: getattr(one, "name", None),
)
def test_number_or_date_out_of_range_is_reported_with_its_line(tmp_path: Path, kind: str, sample: str, column: Column) -> None:
    for value in (*NUMBERS, "0001-01-01", "9999-12-31"):
        with pytest.raises(BadFile) as refused:
            READERS[kind](file_with(tmp_path, sample, column.name, value))
        assert f"some.csv:2: {column.name}: " in "\n".join(refused.value.mistakes)


# ---- the command line


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = demo_setup.write_config(tmp_path_factory.mktemp("site"), PORTS)
    databases.fill(path, demo_setup.environment(PORTS))
    return path


def commands(group: click.Group, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command with its path of names."""
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from commands(found, (*above, name))
        else:
            yield (*above, name), found


def parameters() -> Iterator[tuple[tuple[str, ...], click.Parameter]]:
    """Yield every argument, and every option that takes a value."""
    for words, command in commands(main):
        for one in command.params:
            if not getattr(one, "is_flag", False) and one.name not in {"config", "help"}:
                yield words, one


def run(*words: str) -> Any:
    return CliRunner().invoke(main, [*words], env=demo_setup.environment(PORTS))


@pytest.mark.parametrize("value", ["a\x1b[31mb", "a\udc80b", "x" * 100_000], ids=["escape", "lone surrogate", "long"])
def test_every_command_refuses_invalid_characters(value: str) -> None:
    asked = 0
    for words, one in parameters():
        given = [one.opts[0], value] if isinstance(one, click.Option) else [value]
        done = run(*words, *given)
        asked += 1
        assert (done.exit_code, done.output.count("\n")) == (2, 1), (words, one.name, done.output[:200])
        assert done.output.isprintable() or done.output.rstrip("\n").isprintable()
    assert asked > 100


def test_every_command_refuses_numbers_beyond_64_bits(config: Path) -> None:
    asked = 0
    for words, one in parameters():
        if not isinstance(one.type, click.types.IntRange | click.types.IntParamType) or words[0] in {"simulate"}:
            continue
        _, command = next(found for found in commands(main) if found[0] == words)
        before = ["1" for other in command.params if isinstance(other, click.Argument) and other is not one]
        given = [one.opts[0], HUGE, *before] if isinstance(one, click.Option) else [*before, HUGE]
        done = run(*words, *given, "--config", str(config))
        asked += 1
        assert done.exit_code in {1, 2}, (words, one.name, done.output)
        assert isinstance(done.exception, SystemExit), (words, one.name, done.exception)
    assert asked > 10


@pytest.mark.parametrize("mail", [value.encode("utf-8", "surrogatepass") for value in BAD.values()], ids=list(BAD))
def test_invalid_mail_is_not_a_bounce(config: Path, mail: bytes) -> None:
    report = b'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n--b\n'
    status = report + b"Content-Type: message/delivery-status\n\nAction: " + mail + b"\n\n--b--\n"
    for message in (mail, report + mail, status):
        environ = demo_setup.environment(PORTS)
        done = CliRunner().invoke(main, ["bounce", "--config", str(config)], input=message, env=environ)
        assert done.exit_code in {1, 2}, done.output
        assert isinstance(done.exception, SystemExit)
