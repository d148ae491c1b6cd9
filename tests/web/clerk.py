"""A clerk at the staff pages, whose clicks and keys are counted.

A click is a link, a button, a tick box, an answer to a question, or a field without the focus. A key is a typed character,
Enter, or a jump to the end of a long page. A barcode scanner types for free. The pages are used without JavaScript, except that
what it asks ("This cannot be undone") is counted.
"""

from __future__ import annotations

from typing import Any

from lxml import html
from werkzeug.test import TestResponse

from tests.web.conftest import Site

LONG = 20
"""Rows of a list that fill a screen."""


class Clerk:
    """A logged-in clerk on the page "Today"."""

    def __init__(self, site: Site, role: str = "clerk") -> None:
        self._browser = site.staff(role)
        self.clicks = self.keys = 0
        self.page: Any = None
        self._field: Any = None
        self._at_end = False
        self.load("/staff/")

    @property
    def acts(self) -> int:
        return self.clicks + self.keys

    @property
    def words(self) -> str:
        """The text of the page."""
        return " ".join(self.page.xpath("string(//main)").split())

    def load(self, path: str) -> None:
        self._show(self._browser.get(path))

    def click(self, text: str) -> None:
        """Follow the first link with this text."""
        self.clicks += 1
        self.load(self._find(f'//a[normalize-space()="{text}"]').get("href"))

    def type(self, name: str, text: str) -> None:
        """Type into a field."""
        self.clicks += self._focus(name)
        self.keys += len(text)
        self._field.set("value", text)

    def enter(self) -> None:
        """Press Enter in the field that was typed into."""
        self.keys += 1
        form = self._field.getparent()
        while form.tag != "form":
            form = form.getparent()
        self._submit(form, (form.xpath(".//button[not(@type='button')]") or [None])[0])

    def scan(self, text: str) -> None:
        """Scan into the field that has the focus."""
        assert not self._focus(self._find("//input[@autofocus]").get("name")), "the field has no focus"
        self._field.set("value", text)
        self.enter()
        self.keys -= 1

    def tick(self, number: str) -> None:
        """Tick the row of a request."""
        self.clicks += 1
        self._find(f'//input[@name="request"][@value="{number}"]').set("checked", "")

    def tick_all(self) -> None:
        """Tick all rows of a page by one box, as the script does."""
        box = self._find("//*[@data-select-all]")
        self.clicks += 1
        self._scroll_to(box)
        for one in self.page.xpath('//input[@name="request"][@type="checkbox"]'):
            one.set("checked", "")

    def open(self, text: str) -> None:
        """Open a part of the page, whose first field then has the focus, as the script sees to."""
        part = self._find(f'//details[summary[normalize-space()="{text}"]]')
        self.clicks += 1
        self._field = part.xpath(".//input[not(@type='hidden')]")[0] if "data-focus" in part.attrib else None

    def press(self, text: str, within: str = "") -> None:
        """Press the first button with this text, inside an element that an XPath names."""
        button = self._find(f'{within}//button[starts-with(normalize-space(), "{text}")]')
        self.clicks += 1 + ("data-confirm" in button.attrib)
        self._scroll_to(button)
        self._submit(next(one for one in button.iterancestors("form")), button)

    def _find(self, expression: str) -> Any:
        found = self.page.xpath(expression)
        assert found, f"{expression} is not on the page: {self.words}"
        return found[0]

    def _focus(self, name: str) -> bool:
        """Move the focus to a field. Return whether that takes a click."""
        before, self._field = self._field, self._find(f'//main//input[@name="{name}"][not(@type="hidden")]')
        return before is not self._field

    def _scroll_to(self, element: Any) -> None:
        """Count a key for an element below a long list, unless it stays on the screen."""
        rows = len(element.xpath("./preceding::tr[@data-request]"))
        below = rows > LONG and not element.xpath('ancestor-or-self::*[contains(@class, "sticky")]')
        self.keys += below and not self._at_end
        self._at_end = self._at_end or below

    def _submit(self, form: Any, button: Any) -> None:
        fields = list(form.form_values())
        own = {} if button is None else button.attrib
        if own.get("name"):
            fields.append((own["name"], own.get("value", "")))
        action, method = own.get("formaction") or form.get("action") or self._path, form.method
        values: dict[str, list[str]] = {}
        for name, value in fields:
            values.setdefault(name, []).append(value)
        send = self._browser.client.post if method == "POST" else self._browser.client.get
        key = "data" if method == "POST" else "query_string"
        self._show(send(action, environ_base={"REMOTE_ADDR": self._browser.address}, **{key: values}))

    def _show(self, answer: TestResponse) -> None:
        while answer.status_code == 303:
            answer = self._browser.get(answer.headers["Location"])
        assert answer.status_code == 200, answer.text
        self._path = answer.request.path
        self.page, self._at_end = html.fromstring(answer.text), False
        self._field = next(iter(self.page.xpath("//input[@autofocus]")), None)
