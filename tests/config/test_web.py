"""[web]: what `check-config` reports about the web pages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from demo import demo_setup
from hkall_gateway.config import ConfigErrors, gateway
from hkall_gateway.config.web import Web
from hkall_gateway.net.secrets import HASHER

HASH = HASHER.hash("x")
PORTS = demo_setup.Ports()
ENVIRON = {**demo_setup.environment(PORTS), "HKALL_OIDC_SECRET": "s"}
LOCAL = 'public_url = "http://127.0.0.1:8090"\n'


def load(folder: Path, text: str) -> Web:
    path = demo_setup.write_config(folder, PORTS)
    path.write_text(f"{path.read_text(encoding='utf-8')}\n[web]\n{text}", encoding="utf-8")
    found = gateway.load(path, ENVIRON).web
    assert found is not None
    return found


def errors(folder: Path, text: str) -> Mapping[str, str]:
    with pytest.raises(ConfigErrors) as caught:
        load(folder, text)
    return dict(caught.value.errors)


def test_pages_are_off_without_the_table(tmp_path: Path) -> None:
    assert gateway.load(demo_setup.write_config(tmp_path, PORTS), ENVIRON).web is None


def test_demo_configuration_has_an_account_of_each_role(tmp_path: Path) -> None:
    found = gateway.load(demo_setup.write_config(tmp_path, PORTS, pages=True), ENVIRON).web
    assert found is not None
    accounts = {row.login: row.role for row in found.staff}
    assert accounts == {"lending-1": "clerk", "head": "supervisor", "viewer": "viewer", "sysadmin": "sysadmin"}


def test_every_key_of_the_web_table_is_read(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        'public_url = "https://hkall.lib.example.edu.hk/"\nlisten = ["tcp:8090"]\nthreads = 8\nproxy_from = ["10.0.0.0/8"]\n'
        f'brand = "#003D7A"\nlogo = "logo.svg"\n[[web.staff]]\nlogin = "a"\nname = "A"\nrole = "viewer"\n'
        f'secret_hash = "{HASH}"\n'
        '[web.oidc]\nissuer = "https://login.example.edu.hk"\nclient_id = "hkall"\nclient_secret_env = "HKALL_OIDC_SECRET"\n'
        'card_claim = "library_card"\nroles = { lending = "clerk" }\n',
    )
    assert (found.public_url, found.brand) == ("https://hkall.lib.example.edu.hk", "#003d7a")
    assert found.logo == tmp_path / "logo.svg"
    assert found.oidc is not None
    assert found.oidc.roles == {"lending": "clerk"}


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8090", "http://localhost:8090", "http://[::1]:8090", "https://lib.example.hk"]
)
def test_public_url_must_be_https_or_loopback(tmp_path: Path, url: str) -> None:
    assert load(tmp_path, f'public_url = "{url}"\n').public_url == url


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://lib.example.hk", "must begin with https://"),
        ("http://10.0.0.5:8090", "must begin with https://"),
        ("https://lib.example.hk/hkall", "pages stand at the root"),
        ("ftp://lib.example.hk", "must be a URL"),
    ],
)
def test_public_url_with_plain_http_is_refused(tmp_path: Path, url: str, said: str) -> None:
    assert said in errors(tmp_path, f'public_url = "{url}"\n')["web.public_url"]


@pytest.mark.parametrize(
    ("colour", "said"),
    [("#7fb3a5", "contrast of 2."), ("#ffffff", "contrast of 1.1"), ("green", "a colour like"), ("#0f5", "a colour like")],
)
def test_unreadable_colour_is_refused(tmp_path: Path, colour: str, said: str) -> None:
    assert said in errors(tmp_path, f'{LOCAL}brand = "{colour}"\n')["web.brand"]


def test_unix_socket_is_refused(tmp_path: Path) -> None:
    assert "UNIX socket" in errors(tmp_path, f'{LOCAL}listen = ["unix:web.sock"]\n')["web.listen[0]"]


def test_duplicate_login_is_reported(tmp_path: Path) -> None:
    row = f'[[web.staff]]\nlogin = "{{}}"\nname = "A"\nrole = "clerk"\nsecret_hash = "{HASH}"\n'
    found = errors(tmp_path, LOCAL + row.format("desk") + row.format("Desk"))
    assert "already stands at web.staff[0].login" in found["web.staff[1].login"]


def test_unknown_role_and_plain_password_are_reported_without_the_password(tmp_path: Path) -> None:
    found = errors(tmp_path, LOCAL + '[[web.staff]]\nlogin = "a"\nname = "A"\nrole = "boss"\nsecret_hash = "hunter2"\n')
    assert "viewer" in found["web.staff[0].role"]
    assert "hash-secret" in found["web.staff[0].secret_hash"]
    assert "hunter2" not in str(found)


def test_missing_secret_of_the_identity_provider_is_reported(tmp_path: Path) -> None:
    table = '[web.oidc]\nissuer = "https://x.test"\nclient_id = "h"\nclient_secret_env = "NOT_SET"\n'
    assert "NOT_SET" in errors(tmp_path, LOCAL + table)["web.oidc.client_secret_env"]


def test_missing_libraries_are_reported_with_the_install_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hkall_gateway.config.web.find_spec", lambda name: None if name == "flask" else name)
    assert errors(tmp_path, LOCAL)["web"] == "needs flask: pip install 'hkall-gateway[web]'"
