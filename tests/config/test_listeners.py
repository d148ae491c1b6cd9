"""[[sip2.listeners]] and [[sip2.framings]]: ports for terminals with special settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from hkall_gateway.config import ConfigErrors, GatewayConfig, load
from hkall_gateway.net.secrets import hash_secret

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
[sip2]
listen = ["tcp:6001"]
[[sip2.terminals]]
login = "counter-1"
secret_hash = "{HASH}"
role = "counter"
location = "HKU-MAIN-LENDING"
"""


def _read(folder: Path, text: str, base: str = BASE) -> GatewayConfig:
    path = folder / "gateway.toml"
    path.write_text(base + text, encoding="utf-8")
    return load(path, {})


def test_port_may_have_its_own_login_framing_and_load_balancers(tmp_path: Path) -> None:
    text = """
[[sip2.listeners]]
endpoint = "tcp:6002"
login = "optional"
terminal = "counter-1"
dialect = "big5"
proxy_from = ["10.0.0.5/32"]
[[sip2.framings]]
from = ["10.2.0.0/16"]
dialect = "crlf"
"""
    sip2 = _read(tmp_path, text).sip2
    (listener,), (framing,) = sip2.listeners, sip2.framings
    assert (listener.login, listener.terminal, listener.dialect) == ("optional", "counter-1", "big5")
    assert listener.proxy_from == ("10.0.0.5/32",)
    assert (framing.callers, framing.dialect) == (("10.2.0.0/16",), "crlf")


def test_port_without_settings_equals_a_plain_port(tmp_path: Path) -> None:
    (listener,) = _read(tmp_path, '[[sip2.listeners]]\nendpoint = "tcp:6002"\n').sip2.listeners
    assert (listener.login, listener.terminal, listener.dialect, listener.proxy_from) == ("required", "", None, ())


@pytest.mark.parametrize(
    ("row", "key", "said"),
    [
        ('login = "optional"', "terminal", "is missing; it names the login of terminals that do not log in"),
        ('login = "optional"\nterminal = "counter-9"', "terminal", "'counter-9' is no login of sip2.terminals"),
        ('terminal = "counter-1"', "terminal", "has no use if every terminal must log in"),
        ('login = "telnet"\nterminal = "counter-1"', "terminal", "has no use if every terminal must log in"),
        ('login = "maybe"', "login", "must be"),
        ('dialect = "klingon"', "dialect", "must be"),
        ('proxy_from = ["10.0.0.300"]', "proxy_from[0]", "is not a network"),
    ],
)
def test_contradictory_port_is_reported_with_its_path(tmp_path: Path, row: str, key: str, said: str) -> None:
    with pytest.raises(ConfigErrors) as refused:
        _read(tmp_path, f'[[sip2.listeners]]\nendpoint = "tcp:6002"\n{row}\n')
    told = dict(refused.value.errors)
    assert said in told[f"sip2.listeners[0].{key}"]


CERTIFICATE = 'certificate = "kiosk-1.lib.example"\n'


def test_terminal_must_show_its_certificate_to_authorities_that_are_configured(tmp_path: Path) -> None:
    (tmp_path / "terminals.pem").write_text("read when the port is opened", encoding="utf-8")
    authorities = "[sip2]\nclient_ca = 'terminals.pem'\n"
    sip2 = _read(tmp_path, CERTIFICATE, base=BASE.replace("[sip2]\n", authorities)).sip2
    assert sip2.client_ca == tmp_path / "terminals.pem"
    assert sip2.terminals[0].certificate == "kiosk-1.lib.example"


def test_certificate_of_a_terminal_without_authorities_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors) as refused:
        _read(tmp_path, CERTIFICATE)
    assert refused.value.errors == [("sip2.terminals[0].certificate", "can never be shown without sip2.client_ca")]


def test_terminal_with_a_certificate_is_no_port_without_logins(tmp_path: Path) -> None:
    port = '[[sip2.listeners]]\nendpoint = "tcp:6002"\nlogin = "optional"\nterminal = "counter-1"\n'
    with pytest.raises(ConfigErrors) as refused:
        _read(tmp_path, CERTIFICATE + port)
    assert [where for where, _ in refused.value.errors] == [
        "sip2.listeners[0].terminal",
        "sip2.terminals[0].certificate",
    ]
