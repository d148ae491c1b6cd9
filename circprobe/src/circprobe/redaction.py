"""Replaces names, PINs and cards before anything is shown or written.

The same value has the same pseudonym throughout a run, so that a reader can follow it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from circprobe.results import Exchange, Report, Result
from circprobe.sip2 import messages

SHORTEST = 3
"""Shorter values are replaced only where a field says what they are."""

PERSONAL_FIELDS = {
    "AA": "PATRON",
    "AB": "ITEM",
    "AC": "SECRET",
    "AD": "PIN",
    "AE": "NAME",
    "BD": "ADDRESS",
    "BE": "EMAIL",
    "BF": "PHONE",
    "CN": "LOGIN",
    "CO": "SECRET",
    "AS": "ITEM",
    "AT": "ITEM",
    "AU": "ITEM",
    "AV": "FINE",
    "BU": "ITEM",
    "CD": "ITEM",
    "BM": "ITEM",
    "BN": "ITEM",
    "AJ": "TITLE",
    "AL": "TEXT",
    "BK": "PAYMENT",
    "CG": "FEE",
    "PB": "BIRTHDAY",
    "PA": "EXPIRY",
    "PI": "PERSON",
    "CY": "PATRON",
    "DA": "NAME",
}
"""What the value of a SIP2 field is; 2.00 and the extensions that carry people's data."""

PERSONAL_ELEMENTS = {
    "UserIdentifierValue": "PATRON",
    "ItemIdentifierValue": "ITEM",
    "VisibleUserIdentifier": "PATRON",
    "VisibleItemIdentifier": "ITEM",
    "AuthenticationInputData": "PIN",
    "FromAgencyAuthentication": "SECRET",
    "FromSystemAuthentication": "SECRET",
    "UnstructuredPersonalUserName": "NAME",
    "GivenName": "NAME",
    "Surname": "NAME",
    "Initials": "NAME",
    "Prefix": "NAME",
    "UnstructuredAddressData": "ADDRESS",
    "ElectronicAddressData": "ADDRESS",
    "Street": "ADDRESS",
    "HouseName": "ADDRESS",
    "Line1": "ADDRESS",
    "Line2": "ADDRESS",
    "PostalCode": "ADDRESS",
    "CareOf": "NAME",
    "DateOfBirth": "BIRTHDAY",
    "Title": "TITLE",
    "ProblemValue": "VALUE",
}
"""What the text of an NCIP element is."""

_FIELD = re.compile(r"(?<=\|)([A-Z]{2})([^|\r\n]+)")
_ELEMENT = re.compile(r"<((?:[\w.-]+:)?(" + "|".join(PERSONAL_ELEMENTS) + r"))(\s[^>]*)?>([^<]+)</")


@dataclass
class Redactor:
    """Knows the values of one run, and their pseudonyms."""

    _pseudonyms: dict[str, str] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)

    def learn(self, kind: str, value: str) -> str:
        """Give a value its pseudonym.

        Returns:
            The pseudonym; the value itself if it is blank or a pseudonym already.
        """
        value = value.strip()
        if not value or value in self._pseudonyms.values() or value.startswith("circprobe"):
            return value
        if value not in self._pseudonyms:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._pseudonyms[value] = f"{kind}{self._counts[kind]}"
        return self._pseudonyms[value]

    def text(self, text: str) -> str:
        """Replace what is personal in a text: by its field or element, then wherever it stands."""
        if text[:2] in messages.MESSAGES:
            return self.message(text, messages.fixed_length(text[:2]))
        text = _ELEMENT.sub(self._replace_element, text)
        text = _FIELD.sub(self._replace_field, text)
        return self._replace_known(text)

    def message(self, text: str, fixed_length: int) -> str:
        """Replace what is personal in a SIP2 message.

        Args:
            text: the message, with or without its terminator.
            fixed_length: the length of command and fixed part, behind which the first field begins.
        """
        if "|" in text[:fixed_length]:
            # The fixed part is too short, so the first field begins somewhere within it.
            fixed_length = 2
        head, tail = text[:fixed_length], text[fixed_length:]
        tail = _FIELD.sub(self._replace_field, "|" + tail)[1:]
        return head + self._replace_known(tail)

    def _replace_field(self, found: re.Match[str]) -> str:
        tag, value = found[1], found[2]
        if tag not in PERSONAL_FIELDS:
            return found[0]
        return tag + self.learn(PERSONAL_FIELDS[tag], value)

    def _replace_element(self, found: re.Match[str]) -> str:
        name, local_name, attributes, value = found.groups()
        pseudonym = self.learn(PERSONAL_ELEMENTS[local_name], value)
        return f"<{name}{attributes or ''}>{pseudonym}</"

    def _replace_known(self, text: str) -> str:
        # The longest first, because a card number may contain a PIN.
        for value in sorted(self._pseudonyms, key=len, reverse=True):
            if len(value) >= SHORTEST:
                text = text.replace(value, self._pseudonyms[value])
        return text

    def report(self, report: Report) -> Report:
        """Copy a report with every personal value replaced."""
        # Learn everything before the first replacement: a name may stand in an earlier message.
        for result in report.results:
            for exchange in result.exchanges:
                self.text(as_text(exchange.sent))
                self.text(as_text(exchange.received))
        results = [self._result(result) for result in report.results]
        remarks = [self.text(remark) for remark in report.remarks]
        return Report(report.role, report.peer, report.started, results, remarks)

    def _result(self, result: Result) -> Result:
        exchanges = tuple(self._exchange(exchange) for exchange in result.exchanges)
        return Result(result.clause, result.outcome, self.text(result.detail), exchanges)

    def _exchange(self, exchange: Exchange) -> Exchange:
        sent = self.text(as_text(exchange.sent)).encode()
        received = self.text(as_text(exchange.received)).encode()
        return Exchange(sent, received, exchange.seconds, self.text(exchange.note))

    def learn_all(self, kind: str, values: Iterable[str]) -> None:
        """Learn the values that the person gave on the command line."""
        for value in values:
            self.learn(kind, value)


def as_text(content: bytes) -> str:
    """Decode bytes for people: UTF-8, else Latin-1."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")
