"""The demo's own pages: the letters that the gateway sent, and a page of each partner library.

They stand for what a site has elsewhere, its patrons' mailboxes and the discovery systems of other libraries. The package knows
nothing of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from twisted.web import resource, server

from demo.demo_setup import NAMES, NAMES_ZH
from hkall_gateway import web
from hkall_gateway.delivery.letters import plain_text
from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.rules import dates
from hkall_gateway.simulator.peers import short

PATH: Final = "/demo/mail"
SHOWN: Final = 200
"""Most letters or documents of a list, newest first."""
STYLE: Final = Path(web.__file__).parent / "static" / "style.css"
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
LANGUAGES: Final = {"en": "English", "zh-Hant": "繁體中文"}
# fmt: off
WORDS: Final = {
    "Letters of the demo":  "示範郵箱",
    "What the gateway sent to its patrons, newest first. A real site has no such page.":
                            "系統寄給讀者的通知，最新的在前。正式系統並無此頁。",
    "To":                   "收件人",
    "From":                 "寄件人",
    "Sent":                 "時間",
    "Subject":              "主旨",
    "No letters yet.":      "尚無通知。",
    "All letters":          "所有通知",
    "All letters to this patron": "此讀者的所有通知",
    "This page stands for the catalogue of this library, in which its own patrons search HKALL and request.":
                            "此頁代表該館的館藏目錄；該館的讀者在其目錄檢索 HKALL 並提出申請。",
    "Back to HKALL at HKU Libraries": "返回香港大學圖書館的 HKALL",
    "What the gateway of HKU has told this library since the demo was started": "示範開始後，香港大學圖書館傳給該館的訊息",
    "Nothing yet. Request a book of this library, and it arrives here.": "尚無訊息。申請該館的圖書後，訊息會在此出現。",
    "Skip to content":      "跳到內容",
    "Language":             "語言",
}
# fmt: on
"""The words of the pages, in English and in Chinese."""
_TEMPLATES: Final = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True, slots=True)
class Letter:
    """One letter, which is a file of the mailbox."""

    name: str
    message: EmailMessage

    @property
    def sent(self) -> datetime:
        """The time at which it was sent, in Hong Kong."""
        return parsedate_to_datetime(self.message["Date"]).astimezone(dates.HONG_KONG)

    @property
    def text(self) -> str:
        """Its text."""
        return plain_text(self.message)

    @property
    def language(self) -> str:
        """The language of its text, for the `lang` attribute."""
        ideographs = sum("\u4e00" <= letter <= "\u9fff" for letter in self.text)
        return "zh-Hant" if ideographs > len(self.text) / 5 else "en"


class MailFolder:
    """A folder with one file for each letter, named by numbers that grow."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def keep(self, message: EmailMessage) -> None:
        """Write a letter."""
        number = max((int(file.stem) for file in self._folder.glob("*.eml")), default=0) + 1
        (self._folder / f"{number:05}.eml").write_bytes(message.as_bytes())

    def newest(self, to: str = "") -> Sequence[Letter]:
        """Return the newest letters, all or those to an address."""
        letters = (_read_letter(file) for file in sorted(self._folder.glob("*.eml"), reverse=True))
        return list(islice((letter for letter in letters if not to or letter.message["To"] == to), SHOWN))

    def find(self, name: str) -> Letter | None:
        """Return one letter, or None if there is none of this name."""
        file = self._folder / f"{name}.eml"
        return _read_letter(file) if name.isdigit() and file.exists() else None


def _read_letter(file: Path) -> Letter:
    return Letter(file.stem, message_from_bytes(file.read_bytes(), policy=policy.default))


class _Page(resource.Resource):
    """A page of one template, in the language of the query's `lang`."""

    isLeaf = True  # noqa: N815  # Twisted's own name

    def render_GET(self, request: Any) -> bytes:  # noqa: N802
        """Answer a browser."""
        for name, value in HEADERS.items():
            request.setHeader(name.encode(), value.encode())
        path = request.path.decode("utf-8", "replace")
        if path == "/style.css":
            request.setHeader(b"content-type", b"text/css; charset=utf-8")
            return STYLE.read_bytes()
        asked = {key.decode("latin-1"): values[0].decode("utf-8", "replace") for key, values in request.args.items()}
        language = asked.get("lang", "en") if asked.get("lang") in LANGUAGES else "en"
        found = self.content(path, asked)
        if found is None:
            request.setResponseCode(404)
            found = ("missing.html", {})
        template, variables = found
        request.setHeader(b"content-type", b"text/html; charset=utf-8")
        words = WORDS if language != "en" else {}
        page = _TEMPLATES.get_template(template).render(
            _=lambda text: words.get(text, text), language=language, languages=LANGUAGES, here=path, asked=asked, **variables
        )
        return page.encode()

    def content(self, path: str, asked: dict[str, str]) -> tuple[str, dict[str, Any]] | None:
        """Return the template of a path and its variables, or None if there is no such page."""
        raise NotImplementedError


class MailPages(_Page):
    """The letters of a folder, at /demo/mail."""

    def __init__(self, mail: MailFolder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # twisted.web has no types
        self._mail = mail

    def content(self, path: str, asked: dict[str, str]) -> tuple[str, dict[str, Any]] | None:
        """Return the list of letters, or one letter."""
        if path in ("/", PATH):
            return "letters.html", {"letters": self._mail.newest(asked.get("to", ""))}
        letter = self._mail.find(path.removeprefix(f"{PATH}/"))
        return ("letter.html", {"letter": letter}) if letter else None


class PartnerPages(_Page):
    """The page of a partner library, beside its NCIP responder."""

    def __init__(self, agency: str, home: str, seen: Sequence[NcipMessage], responder: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # twisted.web has no types
        self._agency, self._home, self._seen, self._responder = agency, home, seen, responder

    def render_POST(self, request: Any) -> Any:  # noqa: N802
        """Answer a document."""
        return self._responder.render_POST(request)

    def content(self, path: str, asked: dict[str, str]) -> tuple[str, dict[str, Any]] | None:  # noqa: ARG002
        """Return the library's page."""
        if path != "/":
            return None
        told = [short(message) for message in reversed(self._seen)][:SHOWN]
        names = {"en": NAMES[self._agency], "zh-Hant": NAMES_ZH[self._agency]}
        return "partner.html", {"agency": self._agency, "names": names, "home": self._home, "told": told}


def site(page: _Page) -> server.Site:
    """Return the HTTP site of a page."""
    return server.Site(page)  # type: ignore[no-untyped-call]  # twisted.web has no types
