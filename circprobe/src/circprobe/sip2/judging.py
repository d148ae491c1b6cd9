"""The verbs of expectations about SIP2 messages. docs/writing.md describes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from circprobe import rules
from circprobe.results import Exchange
from circprobe.sip2 import codec, messages

Checker = Callable[["Case", Mapping[str, Any]], str]
CHECKERS: dict[str, Checker] = {}


@dataclass(frozen=True)
class Case:
    """What an expectation judges: the exchanges of a probe, and the values of the run."""

    exchanges: list[Exchange]
    values: Mapping[str, str]
    encoding: str

    def received(self, step: int) -> codec.Message:
        """Read the answer to a step, counted from 1, or from the end if negative."""
        return codec.read(self.exchange(step).received, self.encoding)

    def sent(self, step: int) -> codec.Message:
        """Read what was sent in a step."""
        return codec.read(self.exchange(step).sent, self.encoding)

    def exchange(self, step: int) -> Exchange:
        """Give the exchange of a step."""
        return self.exchanges[step - 1 if step > 0 else step]


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
    return CHECKERS[verb](case, expectation)


def _answer(case: Case, expectation: Mapping[str, Any]) -> codec.Message:
    """Read the message that is judged: an answer, or what the terminal under test sent."""
    if expectation.get("of") == "sent":
        return case.sent(expectation.get("step", -1))
    return case.received(expectation.get("step", -1))


def _nothing_came(case: Case, expectation: Mapping[str, Any]) -> str:
    if expectation.get("of") == "sent":
        return ""
    exchange = case.exchange(expectation.get("step", -1))
    if exchange.received:
        return ""
    return exchange.note or "no answer came"


@checker("reply")
def check_reply(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want an answer with this command."""
    nothing = _nothing_came(case, expectation)
    if nothing:
        return f"{nothing}, {expectation['reply']} was expected"
    code = _answer(case, expectation).code
    if code != expectation["reply"]:
        return f"the answer is {code!r}, not {expectation['reply']}"
    return ""


@checker("silent")
def check_silence(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want no answer, and the connection still open."""
    exchange = case.exchange(expectation.get("step", -1))
    if exchange.received:
        return f"it was answered with {exchange.received[:40]!r}"
    if "closed" in exchange.note:
        return exchange.note
    return ""


@checker("fixed")
def check_fixed(case: Case, expectation: Mapping[str, Any]) -> str:
    """Judge a value of the fixed part."""
    nothing = _nothing_came(case, expectation)
    if nothing:
        return nothing
    name = expectation["fixed"]
    message = _answer(case, expectation)
    if name not in message.fixed:
        return f"{message.code} has no {name}"
    wrong = rules.broken(message.fixed[name], expectation, case.values)
    if wrong:
        return f"{name.replace('_', ' ')} {wrong}"
    return ""


@checker("field")
def check_field(case: Case, expectation: Mapping[str, Any]) -> str:
    """Judge a tagged field: its presence, its number, or each of its values."""
    nothing = _nothing_came(case, expectation)
    if nothing:
        return nothing
    tag = expectation["field"]
    values = _answer(case, expectation).values(tag)
    if expectation.get("absent"):
        return f"{tag} is there: {values[0]!r}" if values else ""
    if not values and not expectation.get("optional"):
        return f"{tag} is missing"
    if "count" in expectation and len(values) != expectation["count"]:
        return f"{tag} stands {len(values)} times, not {expectation['count']}"
    if "most" in expectation and len(values) > expectation["most"]:
        return f"{tag} stands {len(values)} times"
    for value in values:
        wrong = rules.broken(value, expectation, case.values)
        if wrong:
            return f"{tag} {wrong}"
    return ""


@checker("line")
def check_line(case: Case, expectation: Mapping[str, Any]) -> str:
    """Judge the whole text of a message, with its terminator."""
    exchange = case.exchange(expectation.get("step", -1))
    content = exchange.sent if expectation.get("of") == "sent" else exchange.received
    if not content:
        return exchange.note or "no answer came"
    wrong = rules.broken(content.decode("latin-1"), expectation["line"], case.values)
    return f"the message {wrong}" if wrong else ""


@checker("same")
def check_same(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want byte for byte the same answer to two steps."""
    first, second = (case.exchange(step).received for step in expectation["same"])
    if not first or not second:
        return "one of the two answers is missing"
    if first.strip() != second.strip():
        return f"the answers differ: {first!r} and {second!r}"
    return ""


@checker("same_fixed")
def check_same_fixed(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want one value of the fixed part to be the same in two answers."""
    first, second = (case.received(step) for step in expectation["steps"])
    name = expectation["same_fixed"]
    if first.fixed.get(name) != second.fixed.get(name):
        return f"{name} is {first.fixed.get(name)!r}, then {second.fixed.get(name)!r}"
    return ""


@checker("same_field")
def check_same_field(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want a tagged field to have the same values in two answers."""
    first, second = (case.received(step) for step in expectation["steps"])
    tag = expectation["same_field"]
    if first.values(tag) != second.values(tag):
        return f"{tag} is {first.values(tag)}, then {second.values(tag)}"
    return ""


@checker("checksum")
def check_checksum(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want AZ to be there and right."""
    nothing = _nothing_came(case, expectation)
    if nothing:
        return nothing
    message = _answer(case, expectation)
    if message.checksum is None:
        return "there is no AZ"
    if not message.has_right_checksum:
        return f"AZ is {message.checksum}, not {codec.checksum(message.raw[:-4])}"
    return ""


@checker("checksum_form")
def check_checksum_form(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want AZ in four upper-case digits."""
    message = _answer(case, expectation)
    if message.checksum and message.checksum != message.checksum.upper():
        return f"AZ is {message.checksum}, in lower case"
    return ""


@checker("error_detection")
def check_error_detection(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want error detection present, or absent."""
    nothing = _nothing_came(case, expectation)
    if nothing:
        return nothing
    message = _answer(case, expectation)
    is_there = message.checksum is not None
    if expectation["error_detection"] == "absent" and is_there:
        return "AZ is there although the request had none"
    if expectation["error_detection"] == "present" and not is_there:
        return "AZ is missing although the request had it"
    return ""


@checker("sequence")
def check_sequence(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want the request's AY in the answer, in each step."""
    del expectation
    for exchange in case.exchanges:
        sent = codec.read(exchange.sent)
        received = codec.read(exchange.received)
        if exchange.received and sent.sequence != received.sequence:
            return f"AY is {received.sequence}, the request's was {sent.sequence}"
    return ""


@checker("no_sequence")
def check_no_sequence(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want no AY."""
    message = _answer(case, expectation)
    return f"AY is {message.sequence}" if message.sequence is not None else ""


@checker("complete")
def check_complete(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want the fixed part in its whole length."""
    nothing = _nothing_came(case, expectation)
    if nothing:
        return nothing
    message = _answer(case, expectation)
    if not message.is_complete:
        return f"the fixed part of {message.code} is too short: {message.text!r}"
    position = messages.fixed_length(message.code)
    # An empty field behind the fixed part is not this clause's concern.
    rest = message.raw[position:].lstrip(b"|")
    if rest and not _begins_a_field(rest):
        return f"no field begins at position {position}: {rest[:12]!r}"
    return ""


def _begins_a_field(rest: bytes) -> bool:
    tag = rest[:2].decode("latin-1")
    return tag in messages.FIELDS or tag in messages.EXTENSION_FIELDS


@checker("required_fields")
def check_required_fields(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want every required field of a message, except those that the expectation leaves out."""
    nothing = _nothing_came(case, expectation)
    if nothing:
        return nothing
    message = _answer(case, expectation)
    present = {tag for tag, _ in message.fields}
    wanted = messages.MESSAGES[message.code].required - set(expectation.get("besides", ()))
    missing = sorted(wanted - present)
    return f"{', '.join(missing)} missing" if missing else ""


@checker("known_fields")
def check_known_fields(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want only fields that 2.00 or an extension gives this message."""
    message = _answer(case, expectation)
    layout = messages.MESSAGES[message.code]
    known = layout.required | layout.optional | messages.EXTENSION_FIELDS
    foreign = sorted({tag for tag, _ in message.fields} & set(messages.FIELDS) - known)
    return f"{message.code} has no {', '.join(foreign)}" if foreign else ""


@checker("single_fields")
def check_single_fields(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want no field twice that may not repeat."""
    message = _answer(case, expectation)
    tags = [tag for tag, _ in message.fields]
    for tag in dict.fromkeys(tags):
        kind = messages.FIELDS.get(tag)
        if kind and not kind.may_repeat and tags.count(tag) > 1:
            return f"{tag} stands {tags.count(tag)} times"
    return ""


@checker("field_lengths")
def check_field_lengths(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want every field within its length."""
    message = _answer(case, expectation)
    for tag, value in message.fields:
        kind = messages.FIELDS.get(tag)
        if kind is None or (kind.has_fixed_length and not value):
            continue
        if kind.has_fixed_length and len(value) != kind.most:
            return f"{tag} has {len(value)} characters, not {kind.most}"
        if len(value) > kind.most:
            return f"{tag} has {len(value)} characters, more than {kind.most}"
    return ""


@checker("delimited")
def check_delimited(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want a delimiter behind each variable-length field, also the last."""
    message = _answer(case, expectation)
    body = re.sub(rb"(AY.)?AZ.{4}$", b"", message.raw)
    if message.fields and not body.endswith(b"|"):
        return f"the last field has no delimiter: {body[-20:]!r}"
    return ""


@checker("list_count")
def check_list_count(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want as many fields as the count in the fixed part says."""
    message = _answer(case, expectation)
    count = message.fixed.get(expectation["list_count"], "")
    listed = len(message.values(expectation["tag"]))
    if not count.strip():
        return ""
    if not count.isdigit() or int(count) != listed:
        return f"the count is {count}, and {listed} {expectation['tag']} are listed"
    return ""


@checker("within_s")
def check_time(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want every answer within some seconds."""
    slowest = max(exchange.seconds for exchange in case.exchanges)
    if slowest > expectation["within_s"]:
        return f"an answer took {slowest:.1f} s"
    return ""


@checker("bx")
def check_bx(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want a position of BX to be Y, for a message that every server must have."""
    supported = case.received(-1).value("BX")
    position = messages.SUPPORTED.index(expectation["bx"])
    if supported[position : position + 1] != "Y":
        return f"BX says that {expectation['bx']} is not supported: {supported!r}"
    return ""


@checker("encoded")
def check_encoded(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want bytes that the agreed encoding knows."""
    message = _answer(case, expectation)
    if "�" in message.text:
        return f"bytes that are not {case.encoding}: {message.raw!r}"
    return ""


@checker("open")
def check_open(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want the connection to stay open through all steps."""
    del expectation
    for exchange in case.exchanges:
        if "closed" in exchange.note:
            return exchange.note
    return ""


@checker("nothing_personal")
def check_nothing_personal(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want no name, address or loan in an answer, if there is one."""
    message = _answer(case, expectation)
    shown = [tag for tag in ("AE", "BD", "BE", "BF", "AU", "AS") if message.value(tag)]
    return f"{', '.join(shown)} shown" if shown else ""


@checker("counted")
def check_counted(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want at least one of several counts to be more than zero."""
    message = _answer(case, expectation)
    counts = {name: message.fixed.get(name, "") for name in expectation["counted"]}
    if any(count.strip("0 ") for count in counts.values()):
        return ""
    return f"{', '.join(name.replace('_', ' ') for name in counts)} are all zero"


# What a terminal under test did.


@checker("waited")
def check_waited(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want the answer to the message before to have been sent before this one came."""
    return case.exchange(expectation.get("step", -1)).note


@checker("goes_on")
def check_goes_on(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want a new message behind a stimulus, neither a repetition nor 97."""
    del expectation
    first, second = case.sent(1), case.sent(2)
    if not second.raw:
        return case.exchanges[1].note
    if second.code in {"97", first.code} and (second.code == "97" or _is_same(first, second)):
        return f"the terminal sent {second.code} instead of going on"
    return ""


@checker("repeats")
def check_repeats(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want the same message again, by its command, its text or its sequence number.

    With `or_ends`, a terminal that hangs up instead is as good.
    """
    first, second = case.sent(1), case.sent(2)
    if not second.raw:
        return "" if expectation.get("or_ends") else case.exchanges[1].note
    if second.code != first.code:
        return f"the terminal sent {second.code}, not {first.code} again"
    if expectation["repeats"] == "text" and not _is_same(first, second):
        return "the terminal sent another message of the same command"
    if expectation["repeats"] == "sequence" and first.sequence != second.sequence:
        return f"AY was {first.sequence}, and is {second.sequence} in the repetition"
    return ""


def _is_same(first: codec.Message, second: codec.Message) -> bool:
    """Compare two messages without their error detection."""
    return (first.code, first.fixed, first.fields) == (second.code, second.fixed, second.fields)


@checker("new_sequence")
def check_new_sequence(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want another AY in a new message than in the one before."""
    del expectation
    first, second = case.sent(1), case.sent(2)
    if None in {first.sequence, second.sequence} or _is_same(first, second):
        return ""
    if first.sequence == second.sequence:
        return f"AY is {first.sequence} in two messages in a row"
    return ""


@checker("next_sequence")
def check_next_sequence(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want AY to go up by one, and from 9 to 0."""
    del expectation
    first, second = case.sent(1), case.sent(2)
    if None in {first.sequence, second.sequence} or first.sequence == second.sequence:
        return ""
    following = str((int(first.sequence or 0) + 1) % 10)
    if second.sequence != following:
        return f"AY {second.sequence} follows {first.sequence}"
    return ""


@checker("begins_with")
def check_begins_with(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want one of these commands first, behind the login."""
    codes = [codec.read(exchange.sent).code for exchange in case.exchanges]
    codes = [code for code in codes if code != "93"]
    if codes and codes[0] not in expectation["begins_with"]:
        return f"the terminal began with {codes[0]}"
    return ""


@checker("pin_only_in")
def check_pin(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want the PIN in one field only."""
    for tag, value in case.sent(-1).fields:
        if value == case.values["pin"] and tag != expectation["pin_only_in"]:
            return f"the PIN stands in {tag}"
    return ""


@checker("one_field")
def check_one_field(case: Case, expectation: Mapping[str, Any]) -> str:
    """Want at least one of several fields."""
    message = case.sent(-1)
    if any(message.value(tag) for tag in expectation["one_field"]):
        return ""
    return f"there is neither {' nor '.join(expectation['one_field'])}"
