"""Configurations and commands in the documentation are valid."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import click
import pytest

from hkall_gateway.cli import main
from hkall_gateway.config import load
from hkall_gateway.config import policy as policies
from hkall_gateway.ils import exports
from hkall_gateway.net.secrets import DECOY
from tests.config.test_gateway import LEAST
from tests.peers.test_signed_tokens import pem
from tests.walk.blocks import ALONE, Block
from tests.walk.blocks import PAGES as WALKED
from tests.walk.blocks import blocks as walked

BASE = {
    "apt-get",
    "cat",
    "cd",
    "chgrp",
    "chmod",
    "cp",
    "echo",
    "install",
    "journalctl",
    "runuser",
    "sed",
    "sleep",
    "systemctl",
    "useradd",
}
"""Programs of every Debian system."""
INSTALLED = {
    "createdb",
    "createuser",
    "curl",
    "hkall-gateway",
    "logrotate",
    "openssl",
    "pip",
    "python3",
    "update-ca-certificates",
}
"""Programs that the first site installs with the gateway's package or PostgreSQL's package."""
ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
FIRST_SITE = ROOT / "docs" / "first-site.md"
VARIABLES = {"HKALL_SECRET_CUHK": "a", "HKALL_SECRET_DISCOVERY": "b", "HKALL_LOG_KEY": "c", "HKALL_BOUNCE_KEY": "d"}


def _blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def _commands(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8")
    lines = [line.split(" #")[0] for block in _blocks(page, "sh") for line in block.splitlines()]
    inline = re.findall(r"`(hkall-gateway [^`]*)`", text)
    return [found[1] for line in (*lines, *inline) if (found := re.match(r"(?:\S*/)?hkall-gateway +(.*)", line.strip()))]


def test_configuration_and_policy_of_the_first_site_are_valid(tmp_path: Path) -> None:
    config, policy, later = _blocks(FIRST_SITE, "toml")
    (tmp_path / "gateway.toml").write_text(config, encoding="utf-8")
    (tmp_path / "policy.toml").write_text(policy, encoding="utf-8")
    assert load(tmp_path / "gateway.toml", VARIABLES).policy.file == tmp_path / "policy.toml"
    assert policies.load(tmp_path / "policy.toml").waits.requested_days == 4
    (tmp_path / "live.toml").write_text(LEAST + later, encoding="utf-8")
    assert load(tmp_path / "live.toml", VARIABLES).partners[0].url.startswith("https://")


@pytest.mark.parametrize(
    "block", [block for block in walked("ils.md") if block.language == "toml"], ids=lambda block: block.place
)
def test_documented_rows_of_each_library_system_are_valid(block: Block, tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text(re.sub(r"\[ils\]\n(.+\n)*", "", LEAST) + block.text, encoding="utf-8")
    assert load(tmp_path / "gateway.toml", {"HKALL_ILS": "x"}).ils.is_living


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_shell_block_has_valid_syntax(page: Path) -> None:
    for block in _blocks(page, "sh"):
        checked = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, f"{page.name}: {checked.stderr}\n{block}"


@pytest.mark.parametrize("page", [page.name for page in PAGES if page.name not in {*WALKED, *ALONE, "README.md"}])
def test_untested_commands_are_marked_as_examples(page: str) -> None:
    """The walks run the commands of their pages, `test_readme.py` those of its page."""
    assert {block.mark for block in walked(page) if block.language == "sh"} <= {"example"}


@pytest.mark.parametrize("page", WALKED)
def test_tested_pages_use_only_programs_installed_by_the_first_site(page: str) -> None:
    for block in walked(page):
        if block.language == "sh" and block.mark != "elsewhere":
            assert programs(block.text) <= BASE | INSTALLED, block.place


def programs(text: str) -> set[str]:
    """Return the first word of each command; not of here-document text or continued lines."""
    plain = re.sub(r"<<'?(\w+)'?\n.*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL).replace("\\\n", " ")
    lines = (re.sub(r"#.*|^export ", "", line).strip() for line in plain.splitlines())
    words = (part.split()[0] for line in lines for part in line.split(" | ") if part.strip())
    return {Path(re.sub(r"^\w+=\$\(", "", word)).name for word in words}


def test_documented_rows_of_vufind_and_openrs_are_valid(tmp_path: Path) -> None:
    client, peer = _blocks(ROOT / "docs" / "callers.md", "toml")
    (tmp_path / "ours.pem").write_bytes(pem("ours"))
    partner = (
        '[[partners]]\nagency = "DCB"\nname = "OpenRS"\nurl = "https://dcb.example.org/ncip"\nfrom_system_id = "HKU-SYSTEM"\n'
    )
    text = LEAST + client.replace("$argon2id$…", DECOY) + partner + peer.replace('"ours.pem"', f'"{tmp_path}/ours.pem"')
    (tmp_path / "gateway.toml").write_text(text, encoding="utf-8")
    found = load(tmp_path / "gateway.toml", {})
    ours = found.partners[0].our_proof.jwt
    assert ours is not None
    assert (found.clients[0].request_type, ours.subject) == ("Hold", found.partners[0].from_system_id)


def test_documented_row_for_a_replaced_card_can_be_loaded(tmp_path: Path) -> None:
    (example,) = _blocks(ROOT / "docs" / "loading.md", "csv")
    (tmp_path / "patrons.csv").write_text(example, encoding="utf-8")
    assert exports.read_patron_rows(tmp_path / "patrons.csv").rows[0].former == ("35002011223344",)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_toml_block_is_valid(page: Path) -> None:
    assert all(tomllib.loads(block) for block in _blocks(page, "toml"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_documented_command_exists(page: Path) -> None:
    for shown in _commands(page):
        found: click.Command = main
        context = click.Context(main)
        for word in shown.split():
            if not isinstance(found, click.Group) or not re.fullmatch(r"[a-z][a-z-]*", word):
                break
            inner = found.get_command(context, word)
            assert inner is not None, f"{page.name}: {shown}: there is no {word!r}"
            found = inner


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_documented_option_exists(page: Path) -> None:
    known = {name for command in _all(main) for parameter in command.params for name in parameter.opts} | {"--help"}
    shown = {word for line in _commands(page) for word in re.findall(r"(?<![\w-])--[a-z-]+", line)}
    assert shown <= known


def _all(command: click.Command) -> list[click.Command]:
    context = click.Context(command)
    names = command.list_commands(context) if isinstance(command, click.Group) else ()
    inner = [command.get_command(context, name) for name in names] if isinstance(command, click.Group) else []
    return [command, *(each for one in inner if one for each in _all(one))]
