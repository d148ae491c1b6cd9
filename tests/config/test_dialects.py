"""[[sip2.dialects]]: a site's own terminal models."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from hkall_gateway.config import ConfigErrors, GatewayConfig, load
from hkall_gateway.config import dialects as own
from hkall_gateway.config.mapping import listeners, makes_of_terminals, terminals
from hkall_gateway.net.secrets import hash_secret
from hkall_gateway.rules.settings import Policy
from hkall_gateway.sip2.codec.dialects import DIALECTS, Sip2Dialect

HASH = hash_secret("terminal")
BASE = f"""
[library]
agency = "HKU"
name = "HKU Libraries"
pickup_locations = ["HKU-MAIN-LENDING"]
[database]
url = "sqlite:///hkall.db"
[ils]
connector = "manual"
[[sip2.terminals]]
login = "counter-1"
secret_hash = "{HASH}"
role = "counter"
location = "HKU-MAIN-LENDING"
"""
LOBBY = """
dialect = "lobby"
[[sip2.dialects]]
name = "lobby"
like = "big5"
terminator = "CRLF"
pin_required = true
hidden = ["BE"]
"""


def _read(folder: Path, text: str) -> GatewayConfig:
    path = folder / "gateway.toml"
    path.write_text(BASE + text, encoding="utf-8")
    return load(path, {})


def test_exactly_the_fields_of_a_dialect_are_accepted() -> None:
    assert own.DialectConfig.model_fields.keys() == {"like"} | {field.name for field in fields(Sip2Dialect)}


def test_site_dialect_needs_only_its_differences_from_a_packaged_dialect(tmp_path: Path) -> None:
    lobby = terminals(_read(tmp_path, LOBBY), Policy())["counter-1"].dialect
    changed = {"name": "lobby", "terminator": b"\r\n", "pin_required": True, "hidden": frozenset({"BE"})}
    assert lobby == replace(DIALECTS["big5"], **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(("row", "language"), [('language = "zh-Hant"', "zh-Hant"), ("", "en")])
def test_terminal_uses_the_default_language_unless_its_row_names_another_language(
    tmp_path: Path, row: str, language: str
) -> None:
    assert terminals(_read(tmp_path, row), Policy())["counter-1"].language == language


def test_empty_dialect_row_equals_the_standard_dialect(tmp_path: Path) -> None:
    makes = makes_of_terminals(_read(tmp_path, '[[sip2.dialects]]\nname = "ours"\n').sip2)
    assert makes["ours"] == replace(DIALECTS["standard"], name="ours")


def test_listeners_and_framings_can_name_a_site_dialect(tmp_path: Path) -> None:
    text = LOBBY + '[[sip2.listeners]]\nendpoint = "tcp:6002"\ndialect = "lobby"\n'
    text += '[[sip2.framings]]\nfrom = ["10.2.0.0/16"]\ndialect = "lobby"\n'
    ((_, listener),) = listeners(_read(tmp_path, text).sip2)
    assert listener.framing is not None
    assert {listener.framing.name, listener.framing_of("10.2.0.1")[0].name} == {"lobby"}


@pytest.mark.parametrize("name", DIALECTS)
def test_every_value_of_a_packaged_dialect_is_accepted(name: str) -> None:
    row = DIALECTS[name]
    said = {field.name: getattr(row, field.name) for field in fields(row)}
    said |= {key: tuple(said[key]) for key in ("extensions", "hidden", "withheld")}
    assert own.DialectConfig.model_validate(said | {"terminator": "CR"}).name == name


@pytest.mark.parametrize(
    ("line", "key", "words"),
    [
        ('like = "klingon"', "like", "must be standard"),
        ('encoding = "utf-16"', "encoding", "keeps ASCII"),
        ('encoding = "klingon"', "encoding", "keeps ASCII"),
        ('delimiter = "||"', "delimiter", "one ASCII sign"),
        ('delimiter = "A"', "delimiter", "one ASCII sign"),
        ('terminator = "LF"', "terminator", "must be CR or CRLF"),
        ('ah_format = "tomorrow"', "ah_format", "shows no date"),
        ('currency = "dollars"', "currency", "three capital letters"),
        ('extensions = ["AE"]', "extensions[0]", "is no extension"),
        ('extensions = ["PB"]', "extensions[0]", "is no extension"),
        ('hidden = ["CQ"]', "hidden[0]", "always sent"),
        ('hidden = ["AE"]', "hidden[0]", "always sent"),
        ('hidden = ["QQ"]', "hidden[0]", "is no field"),
        ('withheld = ["93"]', "withheld[0]", "can be withheld"),
        ('alerts = "never"', "alerts", "must be always or with_alert"),
        ("timeout_tenths = 1000", "timeout_tenths", "at most 999"),
        ("pin_required = 1", "pin_required", "true or false"),
    ],
)
def test_unusable_value_is_refused(tmp_path: Path, line: str, key: str, words: str) -> None:
    with pytest.raises(ConfigErrors) as bad:
        _read(tmp_path, f'[[sip2.dialects]]\nname = "ours"\n{line}\n')
    ((path, message),) = bad.value.errors
    assert path == f"sip2.dialects[0].{key}"
    assert words in message


@pytest.mark.parametrize("name", ["standard", "ours"])
def test_duplicate_dialect_name_is_refused(tmp_path: Path, name: str) -> None:
    text = '[[sip2.dialects]]\nname = "ours"\n' + f'[[sip2.dialects]]\nname = "{name}"\n'
    with pytest.raises(ConfigErrors, match=rf"sip2\.dialects\[1\]\.name: '{name}' is taken"):
        _read(tmp_path, text)


def test_unknown_dialect_error_lists_the_sites_own_dialects(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match=r"sip2\.terminals\[0\]\.dialect: .*ours.*did you mean `ours`"):
        _read(tmp_path, 'dialect = "our"\n[[sip2.dialects]]\nname = "ours"\n')
