"""The demo's own pages: /demo/mail with the letters that were sent, and a page of each partner library."""

from __future__ import annotations

from email.message import EmailMessage
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lxml import html

from demo import pages
from demo.demo_setup import NAMES, NAMES_ZH
from demo.pages import MailFolder, MailPages, PartnerPages
from hkall_gateway.clock import now
from hkall_gateway.ncip.shorthand import make_message


def letter(to: str, subject: str, text: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "lending@lib.example.hk", to, subject
    message["Date"] = "Mon, 30 Nov 2026 10:00:00 +0800"
    message.set_content(text)
    return message


class Asked:
    """A request to a page of Twisted."""

    def __init__(self, path: str, **words: str) -> None:
        self.path, self.args = path.encode(), {name.encode(): [value.encode()] for name, value in words.items()}
        self.headers: dict[bytes, bytes] = {}
        self.code = 200

    def setHeader(self, name: bytes, value: bytes) -> None:  # noqa: N802
        self.headers[name] = value

    def setResponseCode(self, code: int) -> None:  # noqa: N802
        self.code = code


def shown(page: Any, path: str, **words: str) -> tuple[int, str]:
    asked = Asked(path, **words)
    body = page.render_GET(asked).decode()
    assert asked.headers[b"Content-Security-Policy"].startswith(b"default-src 'self'")
    return asked.code, " ".join(html.fromstring(body).xpath("string(//body)").split())


@pytest.fixture
def mail(tmp_path: Path) -> MailFolder:
    made = MailFolder(tmp_path / "mail")
    made.keep(letter("p0001@connect.example.hk", "Ready for you: Tides", "Dear Ho Wai Man,\n\nCollect it.\n"))
    made.keep(letter("p0002@connect.example.hk", "可供領取：潮汐", "曾家明：\n\n請來領取 <b>。\n"))
    return made


def test_mail_page_lists_letters_newest_first(mail: MailFolder) -> None:
    code, text = shown(MailPages(mail), "/demo/mail")
    assert code == 200
    assert text.index("可供領取：潮汐") < text.index("Ready for you: Tides")
    assert "2026-11-30" in text


def test_mail_page_lists_the_letters_to_one_patron(mail: MailFolder) -> None:
    _, text = shown(MailPages(mail), "/demo/mail", to="p0001@connect.example.hk")
    assert "Tides" in text
    assert "潮汐" not in text


def test_mail_page_is_in_chinese_too(mail: MailFolder) -> None:
    assert "收件人" in shown(MailPages(mail), "/demo/mail", lang="zh-Hant")[1]


def test_letters_are_marked_with_their_language(mail: MailFolder) -> None:
    assert [one.language for one in mail.newest()] == ["zh-Hant", "en"]


def test_letter_is_shown_with_its_text_escaped(mail: MailFolder) -> None:
    code, text = shown(MailPages(mail), "/demo/mail/00002")
    assert code == 200
    assert "請來領取 <b>。" in text


def test_letter_that_is_too_old_for_the_list_is_shown(mail: MailFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "SHOWN", 1)
    assert "Tides" not in shown(MailPages(mail), "/demo/mail")[1]
    assert "Tides" in shown(MailPages(mail), "/demo/mail/00001")[1]


@pytest.mark.parametrize("path", ["/demo/mail/00009", "/demo/mail/../mail/00001", "/demo/mail/%2e%2e", "/etc/passwd"])
def test_unknown_letter_is_not_found(mail: MailFolder, path: str) -> None:
    assert shown(MailPages(mail), path)[0] == 404


def test_mailbox_continues_after_a_restart(mail: MailFolder, tmp_path: Path) -> None:
    again = MailFolder(tmp_path / "mail")
    again.keep(letter("p0003@connect.example.hk", "Recalled", "x"))
    assert [one.name for one in again.newest()] == ["00003", "00002", "00001"]


@pytest.mark.parametrize("agency", NAMES)
def test_partner_has_a_page_in_both_languages(agency: str) -> None:
    page = PartnerPages(agency, "http://127.0.0.1:8090/", [], SimpleNamespace(render_POST=lambda _request: b"<reply/>"))
    assert NAMES[agency] in shown(page, "/")[1]
    assert NAMES_ZH[agency] in shown(page, "/", lang="zh-Hant")[1]
    assert page.render_POST(None) == b"<reply/>"


def test_partner_page_shows_what_the_partner_was_told() -> None:
    asked = make_message("RequestItem", ["user=P0001", "bib=b9001", "request=R-1"], "HKU", "CUHK", "demo", now())
    page = PartnerPages("CUHK", "http://127.0.0.1:8090/", [asked], SimpleNamespace())
    assert "RequestItem R-1" in shown(page, "/")[1]
