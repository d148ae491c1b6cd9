"""Writes one log line per event, as JSON or for people, without secrets or patrons' personal data."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from hashlib import blake2b
from math import floor
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger
from twisted.logger import LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure

from hkall_gateway.db.journal import JournalEntry
from hkall_gateway.observability.log_console import Draw
from hkall_gateway.observability.log_context import logged_context
from hkall_gateway.protocols import PACKAGED, protocols_in_use
from hkall_gateway.rules.vocabulary import Sensitive
from hkall_gateway.sip2.codec.fields import TAGS

LOG = structlog.get_logger()

DOT: Final = "•"

HIDDEN_WORDS: Final = frozenset(
    {"pin", "password", "passwd", "secret", "token", "credential", "credentials", "authorization", "authentication"}
    | {"name", "surname", "address", "email", "mail", "phone", "telephone", "birth", "birthday", "title"}
)
"""Words that make a key's value confidential, as in user_name, pin-hash or barcodePin."""

PATRON_TAGS: Final = frozenset(tag.tag for tag in TAGS.values() if tag.personal and tag.kind == "barcode")
HIDDEN_TAGS: Final = frozenset(tag.tag for tag in TAGS.values() if tag.secret or tag.personal) - PATRON_TAGS | {"AJ"}
"""Confidential SIP2 fields, including the title (AJ), since what patrons read is confidential too."""

HIDDEN_ELEMENTS: Final = frozenset(name for protocol in PACKAGED.values() for name in protocol.hidden)
"""Confidential elements in the documents of partners."""

PATRON_KEYS: Final = PATRON_TAGS | {"patron", "borrower", "card"}
"""Keys whose values are card numbers, which are logged only as `patron_ref`."""

_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_HKT: Final = ZoneInfo("Asia/Hong_Kong")

# After a name that ends in `_env` comes a variable name or an error message, never a secret.
_NAMED: Final = (
    r"(?i)((?:(?<![a-z])pin(?![a-z])|passw(?:or)?d|secret|token)(?!\w{0,36}_env\b|_hash: must\b)"
    r"\w{0,40}['\"]?\s{0,9}[=:]\s{0,9})(['\"]?)[^\s'\",;)|&]+"
)

# Secrets inside running text (a traceback, a driver's message): fields in a SIP2 line, NCIP elements, `pin=…`, password
# hashes, passwords in URLs, e-mail addresses. Each row begins with the marks without which the pattern cannot match. Most
# values contain no mark and need no search. Repetitions are bounded, since a peer may choose the text.
_SPOTS: Final = tuple(
    (marks, re.compile(pattern), shown)
    for marks, pattern, shown in (
        (("|",), r"(?<=\|)(" + "|".join(sorted(HIDDEN_TAGS | PATRON_TAGS)) + r")[^|\r\n]*", rf"\1{DOT}"),
        (("<",), r"(<(?:\w{1,20}:)?(?:" + "|".join(sorted(HIDDEN_ELEMENTS)) + r")\b[^<>]*>)[^<]+", rf"\1{DOT}"),
        (("=", ":"), _NAMED, rf"\1\2{DOT}"),
        (("$argon2",), r"\$argon2\w+\$[^\s'\"]+", DOT),
        (("://",), r"(://[^\s:/@]*:)[^\s@/]+(?=@)", rf"\1{DOT}"),
        (("@",), r"[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+", DOT),
    )
)
_MARKS: Final = frozenset(mark for marks, _, _ in _SPOTS for mark in marks)


def patron_ref(barcode: str, key: bytes) -> str:
    """Return a keyed hash of a card number as twelve hex digits, which identify a patron in the log.

    Raises ValueError for an empty key, since an unkeyed hash could be reversed by hashing all card numbers.
    """
    if not key:
        raise ValueError("patron_ref: the key is empty")
    short = key if len(key) <= blake2b.MAX_KEY_SIZE else blake2b(key).digest()
    return blake2b(barcode.encode("utf-8", "surrogatepass"), key=short, digest_size=6).hexdigest()


class Stream(Protocol):
    """A destination for log lines, such as a binary file or `background_writer.BackgroundWriter`."""

    def write(self, line: bytes, /) -> int:
        """Write a line."""

    def flush(self) -> None:
        """Flush the written lines."""


def configure(
    stream: Stream,
    now: Callable[[], datetime],
    level: str,
    key: bytes,
    titles: bool = False,
    *,
    draw: Draw | None = None,
    for_good: bool = False,
) -> None:
    """Send all log events from `level` (debug, info, warning, error) upwards to `stream`. Each line is flushed.

    Args:
        stream: Destination of the lines.
        now: Returns the current time as an aware datetime.
        level: Lowest level to log.
        key: Key for `patron_ref`.
        titles: Whether to show book titles.
        draw: Renders a line for people, or None for JSON.
        for_good: Whether to cache loggers, which is faster. A later call then has no effect on existing loggers.
    """
    hidden = HIDDEN_WORDS | HIDDEN_TAGS | HIDDEN_ELEMENTS
    for protocol in protocols_in_use():
        hidden |= protocol.hidden
    if titles:
        hidden -= {"title", "AJ"}
    line = LogLine(hidden, key, now, draw)

    class Logger(structlog.make_filtering_bound_logger(level)):  # type: ignore[misc]  # a class made at run time
        def _proxy_to_logger(self, method: str, event: str | None = None, /, **fields: object) -> None:
            # structlog would copy the fields twice more, for several processors. This is the only one.
            stream.write(line(None, method, {**self._context, **fields, "event": event}) + b"\n")
            stream.flush()

    # A cached logger keeps the stream and the level of an earlier call.
    structlog.configure(processors=[line], wrapper_class=Logger, cache_logger_on_first_use=for_good)


class LogLine:
    """The structlog processor that renders an event: adds context and time, and removes confidential values.

    `hidden` holds the words, tags and elements whose values are confidential. For `key` and `draw`, see `configure`. One
    processor does all steps, since copying the event for each step would double the time.
    """

    def __init__(self, hidden: frozenset[str], key: bytes, now: Callable[[], datetime], draw: Draw | None = None) -> None:
        self._hidden, self._key, self._now, self._draw = hidden, key, now, draw
        self._known: dict[str, bool] = {}
        self._open: set[str] = set()

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> bytes:
        """Return the line for an event."""
        if place := logged_context():
            event = {**place, **event}
        if not PATRON_KEYS.isdisjoint(event):
            event = {
                "patron_ref" if name in PATRON_KEYS else name: self._patron_ref(value) if name in PATRON_KEYS else value
                for name, value in event.items()
            }
        if "exc_info" in event:
            event = structlog.processors.format_exc_info(logger, method, event)
        # Fast path: nearly all events have only public field names, and values that cannot contain a secret.
        if not (event.keys() <= self._open and _are_harmless(event.values())):
            event = self._scrubbed_table(event)
        instant = self._now()
        second, day = _format_second(floor(instant.timestamp()))
        head = {"ts": f"{second}.{instant.microsecond // 1000:03}Z", "hkt_date": day, "level": _LEVELS.get(method, method)}
        line = {**head, "event": event.pop("event", ""), **event}
        if len(line) < len(head) + 1 + len(event):  # an event field has the same name as a field in the head
            line |= head
        if self._draw is not None:
            return self._draw(line).encode("utf-8", "backslashreplace")
        try:
            return orjson.dumps(line)
        except TypeError:  # orjson rejects integers over 64 bits and lone surrogates
            # The standard encoder accepts both. Lone surrogates are written as escapes such as \udc80.
            return _ENCODER.encode(line).encode("utf-8", "backslashreplace")

    def _scrubbed_table(self, table: Mapping[Any, object]) -> dict[str, object]:
        shown: dict[str, object] = {}
        for key, value in table.items():
            name = str(key)
            if name in PATRON_KEYS:  # patron data is redacted, so such a key is never in `_open`
                shown["patron_ref"] = self._patron_ref(value)
            else:
                shown[name] = DOT if self._is_hidden(name) and value else self._scrubbed_value(value)
        return shown

    def _patron_ref(self, value: object) -> str:
        text = value.reveal() if isinstance(value, Sensitive) else str(value or "")
        return patron_ref(text, self._key) if text else ""

    def _is_hidden(self, name: str) -> bool:
        # Keys are usually constants, SIP2 tags or NCIP elements, which are few enough to cache. Limit the cache for other keys.
        known = self._known.get(name)
        if known is None:
            words = {word.lower() for word in _WORD.findall(name)}
            known = name in self._hidden or not words.isdisjoint(self._hidden)
            if len(self._known) < 1000:
                self._known[name] = known
                self._open |= set() if known or name in PATRON_KEYS else {name}
        return known

    def _scrubbed_value(self, value: object) -> object:
        if isinstance(value, str):
            return scrub(value)
        if isinstance(value, Mapping):
            return self._scrubbed_table(value)
        if isinstance(value, list | tuple | set | frozenset):
            return [self._scrubbed_value(each) for each in value]
        if value is None or isinstance(value, bool | int | float):
            return value
        return DOT if isinstance(value, Sensitive) else scrub(_as_text(value))


def _are_harmless(values: Iterable[Any]) -> bool:
    """Check that all values are numbers, or texts without marks of a secret."""
    try:
        return _has_no_marks(" ".join([value for value in values if type(value) not in _NUMBERS]))
    except TypeError:  # a value is neither a number nor a text
        return False


_NUMBERS: Final = frozenset({bool, int, float, type(None)})


def _has_no_marks(text: str) -> bool:
    """Check that a text contains no mark of a secret (see `_SPOTS`)."""
    return not any(map(text.__contains__, _MARKS))


def scrub(text: str) -> str:
    """Mask recognisable secrets and e-mail addresses in a text."""
    if _has_no_marks(text):
        return text
    for marks, spot, shown in _SPOTS:
        if any(map(text.__contains__, marks)):
            text = spot.sub(shown, text)
    return text


def log_twisted_event(event: LogEvent) -> None:
    """Log an event from Twisted's log, failures and errors as errors, warnings as warnings, and all others at debug level."""
    said, room = formatEvent(event), event.get("log_namespace", "")
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        LOG.error("twisted.failed", said=said, room=room, exception=failure.getTraceback())
    elif event.get("log_level") in (LogLevel.error, LogLevel.critical):
        LOG.error("twisted.failed", said=said, room=room)
    elif event.get("log_level") is LogLevel.warn:
        LOG.warning("twisted.warned", said=said, room=room)
    else:
        LOG.debug("twisted.said", said=said, room=room)


@lru_cache(maxsize=4)
def _format_second(second: int) -> tuple[str, str]:
    """Format a POSIX timestamp as a time in UTC and a date in Hong Kong, computed once for all lines within the second."""
    instant = datetime.fromtimestamp(second, UTC)
    return f"{instant:%Y-%m-%dT%H:%M:%S}", f"{instant.astimezone(_HKT):%Y-%m-%d}"


_LEVELS: Final = {"warn": "warning", "exception": "error", "fatal": "critical"}
"""structlog method -> level name, if different."""


def _as_text(value: object) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False, default=_as_text)


def log_move(move: JournalEntry) -> None:
    """Log a request's committed move, or a refusal with the rule."""
    LOG.info(
        "decision.refused" if move.event == "REFUSED" else "transition",
        request_id=move.request,
        step=move.event,
        **{"from": move.source, "to": move.target},
        rule=move.rule,
        outcome=move.outcome,
        partner=move.partner,
        patron=move.patron,
        actor=move.by.who,
        channel=move.by.channel,
        msg_id=move.by.message,
        corr_id=move.by.corr,
    )
