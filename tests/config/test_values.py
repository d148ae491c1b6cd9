"""Value types: endpoints, networks, time zones, URLs, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from hkall_gateway.config import values
from hkall_gateway.ils.settings import DialectName
from hkall_gateway.ncip.codec.dialects import DIALECTS as NCIP_DIALECTS
from hkall_gateway.net.secrets import hash_secret
from hkall_gateway.rules.values import Certificate, Network, WebUrl, Zone, on_this_machine

SITE = {"folder": Path("/etc/hkall")}


def read(kind: Any, text: str) -> Any:
    return TypeAdapter(kind).validate_python(text, context=SITE)


def sound(kind: Any, text: str) -> bool:
    try:
        read(kind, text)
    except ValidationError:
        return False
    return True


# fmt: off
ENDPOINTS = (
    ("tcp:6001",                             True),
    ("tcp:port=6001:interface=127.0.0.1",    True),
    ("tcp:6001:interface=\\:\\:1",           True),
    ("tcp:interface=127.0.0.1:port=6001",    True),
    ("haproxy:tcp:6001",                     False),  # it would believe anybody's header; see proxy_from
    ("unix:/run/gateway.sock",               True),
    ("systemd:domain=INET:index=0",          True),
    ("systemd:domain=INET6:name=sip2",       True),
    ("systemd:domain=INET",                  False),
    ("systemd:name=sip2",                    False),
    ("systemd:domain=IPV4:name=sip2",        False),
    ("systemd:domain=INET:index=0:name=s",   False),
    ("systemd:domain=INET:index=first",      False),
    ("tcp",                                  False),
    ("tcp:",                                 False),
    ("tcp:65536",                            False),
    ("tcp:-1",                               False),
    ("udp:6001",                             False),
    ("unix:",                                False),
    ("6001",                                 False),
    ("",                                     False),
)
# fmt: on


@pytest.mark.parametrize(("endpoint", "good"), ENDPOINTS)
def test_endpoint_requires_kind_and_port(endpoint: str, good: bool) -> None:
    assert sound(values.Endpoint, endpoint) is good


# fmt: off
PLACED = (
    ("ssl:6443:privateKey=tls/key.pem:certKey=/x/cert.pem", "ssl:6443:privateKey=/etc/hkall/tls/key.pem:certKey=/x/cert.pem"),
    ("ssl:6443:privateKey=a\\:b.pem",                       "ssl:6443:privateKey=/etc/hkall/a\\:b.pem"),
    ("unix:run/gateway.sock",                               "unix:address=/etc/hkall/run/gateway.sock"),
    ("unix:/run/gateway.sock:mode=660",                     "unix:address=/run/gateway.sock:mode=660"),
    ("tcp:6001:interface=\\:\\:1",                          "tcp:6001:interface=\\:\\:1"),
)
# fmt: on


@pytest.mark.parametrize(("written", "meant"), PLACED)
def test_files_in_an_endpoint_are_relative_to_the_configuration(written: str, meant: str) -> None:
    assert read(values.Endpoint, written) == meant


# fmt: off
URLS = (
    ("http://127.0.0.1:9101/ncip",    True),
    ("https://ncip.example.edu/",     True),
    ("https://[2001:db8::1]:8443/x",  True),
    ("ftp://127.0.0.1/ncip",          False),
    ("127.0.0.1:9101/ncip",           False),
    ("http:///ncip",                  False),
    ("http://[::1/ncip",              False),
    ("http://x:99999/ncip",           False),
    ("http://x:0/ncip",               False),
    ("http://x:1/ncip",               True),
    ("http://user:pw@x.example/ncip", False),
    ("",                              False),
)
# fmt: on


@pytest.mark.parametrize(("url", "good"), URLS)
def test_partner_url_must_be_http(url: str, good: bool) -> None:
    assert sound(WebUrl, url) is good


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://x/ncip", "must be a URL that begins with http:// or https://"),
        ("http://x:99999/ncip", "must be a URL that begins with http:// or https://"),
        ("http://user:pw@x/ncip", "must not hold a user or password"),
        ("http://user@x/ncip", "must not hold a user or password"),
    ],
)
def test_refused_url_is_explained(url: str, why: str) -> None:
    with pytest.raises(ValidationError, match=f"Value error, {why} "):
        read(WebUrl, url)


# fmt: off
DATABASES = (
    ("sqlite:///var/hkall.db",                    "sqlite:////etc/hkall/var/hkall.db"),
    ("sqlite:////srv/hkall.db",                   "sqlite:////srv/hkall.db"),
    ("sqlite:///:memory:",                        "sqlite:///:memory:"),
    ("postgresql://hkall@db/hkall",               "postgresql+psycopg://hkall@db/hkall"),
    ("postgresql+psycopg://hkall@db:5432/hkall",  "postgresql+psycopg://hkall@db:5432/hkall"),
)
# fmt: on


@pytest.mark.parametrize(("written", "meant"), DATABASES)
def test_database_is_a_file_relative_to_the_configuration_or_a_server(written: str, meant: str) -> None:
    assert read(values.DatabaseUrl, written) == meant


@pytest.mark.parametrize("url", ["postgresql+psycopg://hkall:pw@db/hkall", "postgresql+psycopg://db/hkall?password=pw"])
def test_password_in_the_database_url_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="must not hold a password"):
        read(values.DatabaseUrl, url)


@pytest.mark.parametrize("url", ["mysql://db/hkall", "sqlite:hkall.db", "postgresql+asyncpg://db/hkall", ""])
def test_databases_other_than_sqlite_and_postgresql_are_refused(url: str) -> None:
    assert not sound(values.DatabaseUrl, url)


@pytest.mark.parametrize(
    ("zone", "good"), [("Asia/Hong_Kong", True), ("UTC", True), ("Asia/Kowloon", False), ("../etc", False), ("", False)]
)
def test_time_zone_must_be_in_the_zone_database(zone: str, good: bool) -> None:
    assert sound(Zone, zone) is good


def test_unknown_time_zone_is_named_beside_an_example() -> None:
    with pytest.raises(ValidationError, match="Value error, 'Asia/Kowloon' is not a known time zone, like Asia/Hong_Kong "):
        read(Zone, "Asia/Kowloon")


def test_network_with_host_bits_is_refused() -> None:
    assert sound(Network, "10.0.0.0/8")
    with pytest.raises(ValidationError, match=r"'10\.0\.0\.1/8' is not a network: 10\.0\.0\.1/8 has host bits set"):
        read(Network, "10.0.0.1/8")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (":".join(["AB"] * 32), "ab" * 32),
        ("AB" * 32, "ab" * 32),
        ("ab" * 31, "ab" * 31),
        ("NCIP:gateway.CUHK.example", "NCIP:gateway.CUHK.example"),
    ],
)
def test_only_a_fingerprint_is_written_in_lower_case_without_colons(written: str, meant: str) -> None:
    assert read(Certificate, written) == meant


def test_secret_hash_must_be_argon2id() -> None:
    assert sound(values.Argon2Hash, hash_secret("x"))
    assert not sound(values.Argon2Hash, "x")


def test_only_known_dialects_are_accepted() -> None:
    assert all(sound(DialectName, name) for name in NCIP_DIALECTS)
    assert not sound(DialectName, "standard")


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("LocalHost", True),
        ("192.0.2.1", False),
        ("[2001:db8::1]", False),
        ("localhost.example.edu", False),
        ("", False),
    ],
)
def test_only_localhost_and_loopback_addresses_are_this_machine(host: str, here: bool) -> None:
    assert on_this_machine(host) is here
