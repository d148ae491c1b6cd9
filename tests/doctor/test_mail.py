"""The mail server: Debian's exim, with and without STARTTLS and a login. No letter is ever sent."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import exim
from tests.doctor.conftest import Authority, Site, finding, status
from tests.exim import LOGIN, PASSWORD, REFUSED, Exim
from tests.ports import free_ports

SENDER = "lending@lib.example.hk"
PLAIN = dict.fromkeys(("dns", "tcp", "ehlo", "tls.version", "sender", "recipient"), "ok")
SECURE = dict.fromkeys(
    ("dns", "tcp", "ehlo", "starttls", "tls.version", "tls.chain", "tls.name", "tls.expiry", "auth", "sender", "recipient"),
    "ok",
)

Start = Callable[..., Exim]


@pytest.fixture
def mail() -> Iterator[Start]:
    """Starts exim with or without a key and a certificate for STARTTLS."""
    exim.refuse_or_skip()
    running: list[Exim] = []

    def start(identity: Path | None = None) -> Exim:
        running.append(Exim(free_ports(1)[0], identity))
        running[-1].start()
        return running[-1]

    yield start
    for one in running:
        one.stop()


def configure(site: Site, port: int, more: str = "") -> None:
    site.write(f'\n[smtp]\nhost = "localhost"\nport = {port}\nfrom = "{SENDER}"\n{more}')


def with_login(site: Site, port: int, password: str = PASSWORD) -> None:
    site.environ["MAIL"] = password
    configure(site, port, f'starttls = true\nlogin = "{LOGIN}"\npassword_env = "MAIL"\n')


def test_plaintext_server_passes_without_sending_a_letter(site: Site, mail: Start) -> None:
    server = mail()
    configure(site, server.port)
    sheet = site.examine("smtp")
    assert status(sheet) == PLAIN
    assert finding(sheet, "recipient").detail == f"{SENDER}; taken back by RSET"
    assert server.delivered() == []
    assert "<=" not in server.log()


def test_server_with_encryption_and_login_passes(site: Site, mail: Start, trusted: Authority) -> None:
    server = mail(trusted.issue("mail"))
    with_login(site, server.port)
    sheet = site.examine("smtp", to="reader@connect.test")
    assert status(sheet) == SECURE
    assert finding(sheet, "auth").detail == LOGIN
    assert finding(sheet, "recipient").detail.startswith("reader@connect.test;")
    assert "<=" not in server.log()
    assert PASSWORD not in str(sheet.found)


def test_wrong_password_fails_the_auth_check(site: Site, mail: Start, trusted: Authority) -> None:
    with_login(site, mail(trusted.issue("mail2")).port, "another")
    sheet = site.examine("smtp")
    assert status(sheet) == SECURE | {"auth": "fail", "sender": "skip", "recipient": "skip"}
    assert finding(sheet, "auth").detail == "535 Incorrect authentication data"
    assert "another" not in str(sheet.found)


def test_expired_certificate_fails_and_the_password_is_not_sent(site: Site, mail: Start, trusted: Authority) -> None:
    server = mail(trusted.issue("mail3", days=-2))
    with_login(site, server.port)
    sheet = site.examine("smtp")
    assert status(sheet) == SECURE | {"tls.expiry": "fail", "auth": "skip", "sender": "skip", "recipient": "skip"}
    assert "authenticator" not in server.log()


def test_certificate_from_an_unknown_authority_fails_the_chain_check(site: Site, mail: Start, authority: Authority) -> None:
    configure(site, mail(authority.issue("mail4")).port, "starttls = true\n")
    assert status(site.examine("smtp"))["tls.chain"] == "fail"


def test_missing_starttls_fails_when_it_is_required(site: Site, mail: Start) -> None:
    configure(site, mail().port, "starttls = true\n")
    sheet = site.examine("smtp")
    assert (status(sheet)["ehlo"], status(sheet)["starttls"], status(sheet)["sender"]) == ("ok", "fail", "skip")
    assert finding(sheet, "starttls").detail == "the server does not offer it"


def test_missing_login_method_fails_the_auth_check(site: Site, mail: Start) -> None:
    site.environ["MAIL"] = PASSWORD
    configure(site, mail().port, f'login = "{LOGIN}"\npassword_env = "MAIL"\n')
    sheet = site.examine("smtp")
    assert (status(sheet)["starttls"], status(sheet)["tls.chain"], status(sheet)["auth"]) == ("ok", "skip", "fail")


def test_refused_recipient_fails_the_recipient_check(site: Site, mail: Start) -> None:
    configure(site, mail().port)
    sheet = site.examine("smtp", to=f"somebody@{REFUSED}")
    assert status(sheet) == PLAIN | {"recipient": "fail"}
    assert finding(sheet, "recipient").detail == "550 relay not permitted"
    assert "--to" in finding(sheet, "recipient").advice


def test_silent_port_fails_the_ehlo_check_within_its_time_limit(site: Site) -> None:
    with socket.create_server(("127.0.0.1", free_ports(1)[0])) as silent:
        for more in ("", "starttls = true\n"):
            configure(site, silent.getsockname()[1], more)
            sheet = site.examine("smtp", seconds=1.0)
            assert (status(sheet)["tcp"], status(sheet)["ehlo"], status(sheet)["sender"]) == ("ok", "fail", "skip")
            assert "no answer within" in finding(sheet, "ehlo").detail


def test_web_server_on_the_port_fails_the_ehlo_check(site: Site) -> None:
    with socket.create_server(("127.0.0.1", free_ports(1)[0])) as other:
        configure(site, other.getsockname()[1])

        def speak() -> None:
            for _ in range(2):
                line, _address = other.accept()
                line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                line.close()

        threading.Thread(target=speak, daemon=True).start()
        sheet = site.examine("smtp", seconds=3.0)
    assert (status(sheet)["ehlo"], finding(sheet, "ehlo").detail) == ("fail", "the server does not speak SMTP")


def test_server_refusing_a_second_session_fails(site: Site) -> None:
    with socket.create_server(("127.0.0.1", free_ports(1)[0])) as other:

        def speak() -> None:
            for greeting in (b"", b"220 mail.test ESMTP\r\n250 mail.test\r\n221 bye\r\n", b"421 too many connections\r\n"):
                line, _address = other.accept()
                line.sendall(greeting)
                line.recv(1000)
                line.close()

        threading.Thread(target=speak, daemon=True).start()
        site.environ["MAIL"] = PASSWORD
        configure(site, other.getsockname()[1], f'login = "{LOGIN}"\npassword_env = "MAIL"\n')
        sheet = site.examine("smtp", seconds=3.0)
    assert (status(sheet)["ehlo"], status(sheet)["auth"], status(sheet)["recipient"]) == ("ok", "fail", "skip")
    assert finding(sheet, "auth").detail == "421 too many connections"


def test_closed_port_fails_the_tcp_check(site: Site) -> None:
    configure(site, free_ports(1)[0])
    assert status(site.examine("smtp"))["tcp"] == "fail"
