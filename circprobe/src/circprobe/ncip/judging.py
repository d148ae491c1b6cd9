"""The verbs of expectations about NCIP documents. docs/writing.md describes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lxml import etree

from circprobe import rules
from circprobe.ncip import content, documents
from circprobe.ncip.documents import NAMESPACE, Document, Unreadable
from circprobe.results import Exchange

Checker = Callable[["Case", Mapping[str, Any]], str]
CHECKERS: dict[str, Checker] = {}

CALLER_REFUSED = {
    "Agency Authentication Failed",
    "System Authentication Failed",
    "Unknown Agency",
    "Unknown System",
}
"""Problems that are about who calls, not about what is asked."""
_HTTP_REFUSAL = re.compile(r"HTTP (?:401|403|407);")


@dataclass(frozen=True)
class Case:
    """What an expectation judges: the exchanges of a probe, and the values of the run."""

    exchanges: list[Exchange]
    values: Mapping[str, str]

    @property
    def variables(self) -> dict[str, Any]:
        """Give the values as variables of XPath."""
        return dict(self.values)

    def body(self, expectation: Mapping[str, Any]) -> bytes:
        """Give the body that is judged: an answer, or what an initiator under test sent."""
        exchange = self.exchange(expectation)
        return exchange.sent if expectation.get("of") == "sent" else exchange.received

    def exchange(self, expectation: Mapping[str, Any]) -> Exchange:
        """Give the exchange that is judged, counted from 1, or the last one."""
        step = int(expectation.get("step", 0))
        return self.exchanges[step - 1]

    def document(self, expectation: Mapping[str, Any]) -> Document:
        """Read the body that is judged.

        Raises:
            Unreadable: if it is no document.
        """
        body = self.body(expectation)
        if not body:
            raise Unreadable(self.exchange(expectation).note or "the body is empty")
        return documents.read(body)


def checker(name: str) -> Callable[[Checker], Checker]:
    """Register the function that judges expectations with this verb."""

    def register(function: Checker) -> Checker:
        CHECKERS[name] = function
        return function

    return register


def judge(case: Case, expectation: Mapping[str, Any]) -> str:
    """Judge one expectation by its verb, which is its first key.

    Returns:
        What is wrong, or an empty text.
    """
    verb = next(iter(expectation))
    try:
        return CHECKERS[verb](case, expectation)
    except Unreadable as error:
        return f"the body cannot be read: {error}"


@checker("answer")
def check_answer(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want this element first under NCIPMessage."""
    service = case.document(expectation).service
    if not re.fullmatch(expectation["answer"], service):
        return f"the message contains {service or 'nothing'}, not {expectation['answer']}"
    return ""


@checker("xpath")
def check_xpath(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want an XPath over the document without namespaces to be true."""
    document = case.document(expectation)
    # Values stand for themselves as variables, so that no quote in them can end a text.
    find = etree.XPath(expectation["xpath"])
    found = find(document.plain, **case.variables)
    if not found:
        return str(expectation.get("says", f"{expectation['xpath']} does not hold"))
    return ""


@checker("valid")
def check_valid(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want a document of the schema."""
    faults = content.faults_of(case.document(expectation))
    return "; ".join(faults[:3])


@checker("readable")
def check_readable(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want a well-formed document with the root NCIPMessage."""
    name = str(case.document(expectation).plain.tag)
    return "" if name == "NCIPMessage" else f"the root is {name}"


@checker("namespace")
def check_namespace(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want every element in the namespace of version 2, or none in it for version 1."""
    root = case.document(expectation).root
    wanted = NAMESPACE if expectation["namespace"] == "v2" else None
    for element in root.iter(etree.Element):
        name = etree.QName(element)
        inside_ext = any(etree.QName(a).localname == "Ext" for a in element.iterancestors())
        if name.namespace != wanted and not inside_ext:
            return f"{name.localname} is in the namespace {name.namespace or '(none)'}"
    return ""


@checker("qualified")
def check_qualified(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want an attribute in the namespace wherever it stands."""
    for element in case.document(expectation).root.iter(etree.Element):
        if expectation["qualified"] in element.attrib:
            name = etree.QName(element).localname
            return f"the attribute {expectation['qualified']} of {name} is not qualified"
    return ""


@checker("version")
def check_version(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want the attribute version to match."""
    version = case.document(expectation).plain.get("version", "")
    if not re.fullmatch(expectation["version"], version):
        return f"version is {version!r}"
    return ""


@checker("problem")
def check_problem(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want a problem: of any type, of one of several types, or none."""
    document = case.document(expectation)
    wanted = expectation["problem"]
    types = document.problems()
    if wanted == "none":
        return f"there is a problem: {', '.join(types)}" if document.has_problem else ""
    if not document.has_problem:
        return "there is no Problem"
    if wanted != "any" and not set(types) & set(wanted):
        return f"the problem is {', '.join(types) or 'without a type'}, none of {', '.join(wanted)}"
    return ""


@checker("caller")
def check_caller(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want no answer that says that the caller is unknown, or that its proof is missing."""
    del expectation
    exchange = case.exchange({})
    if _HTTP_REFUSAL.match(exchange.note):
        return f"the caller is refused with {exchange.note.partition(';')[0]}"
    try:
        types = documents.read(exchange.received).problems()
    except Unreadable:
        # Another clause judges the form of the answer.
        return ""
    refusals = CALLER_REFUSED & set(types)
    return f"the caller is refused with {', '.join(sorted(refusals))}" if refusals else ""


@checker("http")
def check_http(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want a status of HTTP."""
    note = case.exchange(expectation).note
    if not re.match(rf"HTTP (?:{expectation['http']});", note):
        return note or "there was no answer"
    return ""


@checker("content_type")
def check_content_type(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want a Content-Type."""
    note = case.exchange(expectation).note
    content_type = note.partition("; ")[2]
    if not re.fullmatch(expectation["content_type"], content_type, re.IGNORECASE):
        return f"Content-Type is {content_type!r}"
    return ""


@checker("body")
def check_body(case: Case, expectation: Mapping[str, Any]) -> str:
    """Judge the text of the body."""
    text = case.body(expectation).decode("utf-8", "replace")
    if not text:
        return case.exchange(expectation).note or "the body is empty"
    wrong = rules.broken(text, expectation["body"], case.values)
    return str(expectation.get("says", f"the body {wrong[:200]}")) if wrong else ""


@checker("answered")
def check_answered(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want any answer of HTTP at all."""
    note = case.exchange(expectation).note
    return "" if note.startswith("HTTP ") else note or "there was no answer"


@checker("same_service")
def check_same_service(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want two answers with the same element and the same problems."""
    first, second = (case.document({"step": step}) for step in expectation["same_service"])
    if (first.service, first.problems()) != (second.service, second.problems()):
        return (
            f"the first answer is {first.service} {first.problems()}, "
            f"the second {second.service} {second.problems()}"
        )
    return ""


@checker("within_s")
def check_time(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want every answer within some seconds."""
    slowest = max(exchange.seconds for exchange in case.exchanges)
    if slowest > expectation["within_s"]:
        return f"an answer took {slowest:.1f} s"
    return ""


# What an initiator under test did.


@checker("request")
def check_request(case: Case, expectation: Mapping[str, Any]) -> str:
    """Judge method, address and Content-Type of a call."""
    note = case.exchange(expectation).note
    wrong = rules.broken(note, expectation["request"], case.values)
    return f"the call {wrong}" if wrong else ""


@checker("goes_on")
def check_goes_on(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want another document behind a stimulus, not the same again."""
    del expectation
    first, second = case.exchanges[0], case.exchanges[1]
    if first.sent == second.sent:
        return "the initiator sent the same document again"
    return ""


@checker("repeats")
def check_repeats(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want the same document again later, or at least the same service about the same things."""
    first, *behind = case.exchanges
    if expectation["repeats"] == "document":
        is_there = any(exchange.sent == first.sent for exchange in behind)
        return "" if is_there else "the same document did not come again"
    asked = _transaction(documents.read(first.sent))
    later = [_transaction(documents.read(exchange.sent)) for exchange in behind if exchange.sent]
    return "" if asked in later else f"{asked[0]} did not come again"


def _transaction(document: Document) -> tuple[str, str, str]:
    """Give the service with its item and user; a RequestId may have changed by mistake."""
    item = document.text(".//ItemIdentifierValue")
    return document.service, item, document.text(".//UserIdentifierValue")


@checker("constant")
def check_constant(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want one text in all documents."""
    texts = set()
    for exchange in case.exchanges:
        if exchange.sent:
            texts.add(documents.read(exchange.sent).text(expectation["constant"]))
    return f"it is {' and '.join(sorted(texts))}" if len(texts) > 1 else ""


@checker("unique_requests")
def check_unique(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want a new RequestId in each RequestItem that is no repetition of a document."""
    del expectation
    bodies = {exchange.sent for exchange in case.exchanges if exchange.sent}
    numbers = []
    for body in bodies:
        document = documents.read(body)
        if document.service == "RequestItem":
            numbers.append(document.text(".//RequestId/RequestIdentifierValue"))
    repeated = {number for number in numbers if number and numbers.count(number) > 1}
    return f"RequestId {', '.join(repeated)} stands in different requests" if repeated else ""
