"""TLS to a peer, tested with openssl's own server: each certificate fault fails its own check."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.doctor.conftest import Authority, Site, TlsServers, Web, finding, openssl, status
from tests.ports import free_ports

WELL = {"tls.version": "ok", "tls.chain": "ok", "tls.name": "ok", "tls.expiry": "ok"}


def found(site: Site, port: int, host: str = "localhost", seconds: float = 3.0) -> dict[str, str]:
    """The status of the four TLS checks for an https partner on this port."""
    site.partner(f"https://{host}:{port}/ncip")
    sheet = site.examine("CUHK", seconds=seconds)
    return {name: word for name, word in status(sheet).items() if name in WELL}


def test_valid_certificate_passes_all_four_checks(site: Site, trusted: Authority, tls_server: TlsServers) -> None:
    port = tls_server(trusted.issue("good"), "-www")
    assert found(site, port) == WELL
    sheet = site.examine("CUHK", seconds=3.0)
    assert finding(sheet, "tls.version").detail == "TLSv1.3"
    assert finding(sheet, "tls.chain").detail == "signed by Test Authority"
    assert finding(sheet, "tls.expiry").detail.startswith("89 days, until ")


def test_subject_alternative_address_matches(site: Site, trusted: Authority, tls_server: TlsServers) -> None:
    assert found(site, tls_server(trusted.issue("addressed")), host="127.0.0.1") == WELL


def test_expired_certificate_fails_only_the_expiry_check(site: Site, trusted: Authority, tls_server: TlsServers) -> None:
    port = tls_server(trusted.issue("ended", days=-3))
    assert found(site, port) == WELL | {"tls.expiry": "fail"}
    sheet = site.examine("CUHK")
    assert finding(sheet, "tls.expiry").detail.startswith("ended 3 days ago, on ")
    assert finding(sheet, "tls.expiry").advice == "Ask the peer to renew its certificate."
    assert finding(sheet, "http").status.value == "skip"


def test_certificate_expiring_soon_causes_a_warning(site: Site, trusted: Authority, tls_server: TlsServers) -> None:
    assert found(site, tls_server(trusted.issue("soon", days=5))) == WELL | {"tls.expiry": "warn"}


def test_expired_certificate_outside_the_chain_is_ignored(site: Site, trusted: Authority, tls_server: TlsServers) -> None:
    """Some servers still send an authority's expired root."""
    old = trusted.issue("old-root", days=-30)
    assert found(site, tls_server(trusted.issue("modern"), "-cert_chain", str(old), "-www")) == WELL


def test_certificate_not_valid_yet_fails_and_mentions_our_clock(site: Site, trusted: Authority, tls_server: TlsServers) -> None:
    folder, name = trusted.folder, "tomorrow"
    trusted.issue(name)
    sign = ["x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-copy_extensions", "copy"]
    openssl(*sign, "-not_before", "20900101000000Z", "-not_after", "20910101000000Z", "-out", f"{name}.crt", folder=folder)
    (folder / "t.pem").write_bytes((folder / f"{name}.key").read_bytes() + (folder / f"{name}.crt").read_bytes())
    assert found(site, tls_server(folder / "t.pem")) == WELL | {"tls.expiry": "fail"}
    assert "our clock says" in finding(site.examine("CUHK"), "tls.expiry").detail


def test_wrong_host_name_fails_with_the_names_of_the_certificate(
    site: Site, trusted: Authority, tls_server: TlsServers
) -> None:
    port = tls_server(trusted.issue("other", names="DNS:ncip.lib.example,DNS:www.lib.example"))
    assert found(site, port) == WELL | {"tls.name": "fail"}
    told = finding(site.examine("CUHK"), "tls.name").detail
    assert told == "it is for ncip.lib.example, www.lib.example, and not for localhost"


def test_self_signed_certificate_fails_the_chain_check(site: Site, authority: Authority, tls_server: TlsServers) -> None:
    new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "90"]
    named = ["-subj", "/CN=self", "-addext", "subjectAltName=DNS:localhost"]
    openssl(*new, *named, "-keyout", "self.pem", "-out", "self.crt", folder=authority.folder)
    file = authority.folder / "self.pem"
    file.write_bytes(file.read_bytes() + (authority.folder / "self.crt").read_bytes())
    assert found(site, tls_server(file)) == WELL | {"tls.chain": "fail"}
    assert "signed by itself" in finding(site.examine("CUHK"), "tls.chain").detail


def test_untrusted_authority_fails_the_chain_check(site: Site, authority: Authority, tls_server: TlsServers) -> None:
    port = tls_server(authority.issue("stranger"))
    assert found(site, port) == WELL | {"tls.chain": "fail"}
    assert "not known here" in finding(site.examine("CUHK"), "tls.chain").detail


def test_all_faults_of_a_certificate_are_reported(site: Site, authority: Authority, tls_server: TlsServers) -> None:
    port = tls_server(authority.issue("worst", days=-1, names="DNS:elsewhere.example"))
    assert found(site, port) == {"tls.version": "ok", "tls.chain": "fail", "tls.name": "fail", "tls.expiry": "fail"}


def test_server_with_only_old_tls_versions_fails_the_version_check(
    site: Site, trusted: Authority, tls_server: TlsServers
) -> None:
    port = tls_server(trusted.issue("old"), "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
    sheet_words = found(site, port)
    assert sheet_words == {"tls.version": "fail", "tls.chain": "skip", "tls.name": "skip", "tls.expiry": "skip"}


@pytest.fixture
def plain() -> Iterator[int]:
    """A socket that accepts connections and sends nothing."""
    with socket.create_server(("127.0.0.1", free_ports(1)[0])) as listening:
        yield listening.getsockname()[1]


def test_silent_port_fails_within_its_time_limit(site: Site, plain: int) -> None:
    assert found(site, plain, seconds=1.0)["tls.version"] == "fail"
    assert "no answer within" in finding(site.examine("CUHK", seconds=1.0), "tls.version").detail


def test_plain_http_on_an_https_port_is_reported(site: Site, web: Web) -> None:
    port = int(web(lambda request, body: None).rpartition(":")[2].removesuffix("/ncip"))
    assert found(site, port)["tls.version"] == "fail"
    assert "no handshake" in finding(site.examine("CUHK"), "tls.version").detail


def test_no_request_is_sent_when_the_certificate_is_wrong(site: Site, trusted: Authority, tls_server: TlsServers) -> None:
    """A secret must not be sent to an unauthenticated server."""
    assert found(site, tls_server(trusted.issue("thief", names="DNS:thief.example")))["tls.name"] == "fail"
    assert b"POST" not in tls_server.said()
    assert found(site, tls_server(trusted.issue("friend")), seconds=2.0) == WELL
    assert b"POST /ncip" in tls_server.said()
