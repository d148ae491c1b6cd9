"""Parses and writes the fields of a SIP2 line: fixed parts by width, then tags separated by the delimiter.

Parsing is tolerant and accepts every readable field. Writing uses a template that is cached for each message and dialect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from operator import itemgetter
from typing import Final, NamedTuple

from hkall_gateway.sip2.codec.dialects import Sip2Dialect
from hkall_gateway.sip2.codec.fields import KINDS, LONGEST, TAGS, clean_value, split_into_fields
from hkall_gateway.sip2.codec.messages import SHAPES

Value = str | tuple[str, ...]


def first(value: Value) -> str:
    """Return a single value, the first of several values, or "" for an empty tuple."""
    return value if isinstance(value, str) else next(iter(value), "")


class _Reader(NamedTuple):
    """The parser for a tag's value, and whether the tag may occur several times."""

    parse: Callable[[str], str]
    repeats: bool


_READERS: Final = {tag: _Reader(KINDS[row.kind].parse, row.repeats) for tag, row in TAGS.items() if tag not in ("AY", "AZ")}


@lru_cache(maxsize=1024)
def fixed_parts(code: str, text: str, delimiter: str) -> dict[str, Value] | None:
    """Return the fixed parts by name; None if they are truncated. Copy the dict before changing it, because it is cached.

    Fixed parts may be cached because they have few distinct values (flags, counts, the current second) and no personal data.
    """
    if len(text) < SHAPES[code].width or delimiter in text:
        return None
    return {name: parse(text[at:end]) for name, at, end, parse in _fixed_slices(code)}


def parse_tags(chunks: list[str], fields: dict[str, Value]) -> list[str]:
    """Store each value in `fields` under its tag; return the chunks without a known tag."""
    strays: list[str] = []
    several: dict[str, list[str]] = {}
    for chunk in chunks:
        field = chunk if chunk[:2] in _READERS else chunk.lstrip()
        tag, value = field[:2], field[2:]
        reader = _READERS.get(tag)
        if reader is None:
            strays.append(field)
        elif reader.repeats:
            fields.setdefault(tag, "")  # keeps the tag's place in the line
            several.setdefault(tag, []).append(value)
        elif tag not in fields:
            fields[tag] = reader.parse(value)
    for tag, values in several.items():
        fields[tag] = tuple(values)
    return [stray for stray in strays if stray]


def sort_strays(strays: list[str], sequence: str | None) -> tuple[str | None, tuple[str, ...]]:
    """Find the sequence number (AY before a delimiter or other fields) and the unknown tags among stray chunks."""
    for stray in strays:
        if not sequence and stray[:2] == "AY" and stray.isascii() and stray[2:3].isdigit():
            sequence = stray[2]
    return sequence, tuple([stray[:2] for stray in strays if stray[:2] != "AY"])


@cache
def _fixed_slices(code: str) -> tuple[tuple[str, int, int, Callable[[str], str]], ...]:
    """Return the name, start, end and parser of each fixed part of a message."""
    parts, at, found = SHAPES[code].fixed, 0, []
    for part in parts:
        found.append((part.name, at, at + part.width, KINDS[part.kind].parse))
        at += part.width
    return tuple(found)


_LINE_TAGS: Final = frozenset({"AF", "AG"})
"""Tags for lines of text. A text that is too long for one field continues in another field with the same tag."""
_SEAL_TAGS: Final = frozenset({"AY", "AZ"})
"""Tags for error detection, which are appended to the body."""
_BLANK: Final = "\0"
"""A placeholder that cannot occur in a cleaned text."""


def format_body(code: str, fields: Mapping[str, Value], dialect: Sip2Dialect) -> str:
    """Format a line without AY, AZ and terminator. Raise ValueError for a code or a field name that SIP2 does not have.

    All values are checked together. If no value needs cleaning, as is usual, they are inserted into the template unchanged.
    """
    form = _make_template(code, tuple(fields), dialect)
    texts = [*form.free(fields)]
    each = [*texts]
    for at, apart in form.several:  # join the values of a repeated tag for the template, but check each value
        if isinstance(values := texts[at], tuple) and values:
            texts[at], each[at] = apart.join(values), ""
            each += values
    if not _need_no_cleaning(each, dialect):
        pairs = [(tag, fields.get(tag, "")) for tag in form.tags]
        return _format_beginning(form, fields) + "".join(
            [_format_field(tag, one, dialect) for tag, value in pairs for one in _values_to_write(tag, value)]
        )
    for at in form.trimmed:
        texts[at] = str(texts[at]).strip()
    return _fill_fixed(form, form.set(fields)) % tuple(texts)


# In Big5, GBK and Shift-JIS the second byte of a character may be the byte of a delimiter or a letter: 育 ends in "|" in Big5.
# A relayed body is therefore changed as text. Undecodable bytes stay as they are.


def text_of(body: bytes, dialect: Sip2Dialect) -> str:
    """Decode a relayed body to change it; `bytes_of` is the reverse. Undecodable bytes become surrogates."""
    return body.decode(dialect.encoding, "surrogateescape")


def bytes_of(text: str, dialect: Sip2Dialect) -> bytes:
    """Encode the text of a relayed body."""
    return text.encode(dialect.encoding, "surrogateescape")


def end_field(text: str, delimiter: str) -> str:
    """Add a delimiter to a text with fields, unless it has one.

    A last byte that is half a character would form another character with the delimiter, so it becomes "?".
    """
    if text.endswith(delimiter):
        return text
    if text[-1:].isprintable():
        return text + delimiter
    return text[:-1] + "?" + delimiter


def patch_body(body: bytes, parts: Mapping[str, str], tags: Sequence[tuple[str, str]], dialect: Sip2Dialect) -> bytes:
    """Replace fixed parts of a relayed body and add tags; the rest of the text stays unchanged.

    Each tag is inserted after the last field with the same tag, since some terminals expect a list as one block, or else at the
    end. Tags that the dialect hides are not added.
    """
    text, at = text_of(body, dialect), 2
    for part in SHAPES[text[:2]].fixed:
        if part.name in parts:
            text = text[:at] + KINDS[part.kind].emit(parts[part.name], part.width) + text[at + part.width :]
        at += part.width
    more: dict[str, str] = {}
    for tag, value in tags:
        if tag not in dialect.hidden:
            more[tag] = more.get(tag, "") + _format_field(tag, value, dialect)
    if more and len(text) > at:
        text = end_field(text, dialect.delimiter)
    for tag, fields in more.items():
        end = _find_field_end(tag, text, at, dialect.delimiter)
        text = text[:end] + fields + text[end:]
    return bytes_of(text, dialect)


def remove_hidden(body: bytes, dialect: Sip2Dialect) -> bytes:
    """Remove the fields that the dialect hides from a relayed body; the rest of the text stays unchanged."""
    shape = SHAPES.get(body[:2].decode("latin-1"))
    if shape is None or not dialect.hidden:
        return body
    text, start = text_of(body, dialect), 2 + shape.width
    hidden = dialect.hidden.difference(shape.required)
    kept = [field for field in text[start:].split(dialect.delimiter) if field[:2] not in hidden]
    return bytes_of(text[:start] + dialect.delimiter.join(kept), dialect)


def transcode(body: bytes, source: Sip2Dialect, target: Sip2Dialect) -> bytes:
    """Convert a relayed body to the other side's character set and delimiter.

    Letters that the other character set lacks are simplified as in our own messages.
    """
    if (source.encoding, source.delimiter) == (target.encoding, target.delimiter):
        return body
    text = body.decode(source.encoding, "replace")
    shape = SHAPES.get(text[:2])
    start = 2 + shape.width if shape else 2
    if source.delimiter in text[:start]:  # the fixed part is truncated
        start = 2
    # The other side's delimiter may be an ordinary character in this body.
    fields = [
        field[:2] + clean_value(field[2:], target.encoding, target.delimiter) for field in text[start:].split(source.delimiter)
    ]
    return (text[:start] + target.delimiter.join(fields)).encode(target.encoding, "replace")


def _find_field_end(tag: str, text: str, at: int, delimiter: str) -> int:
    """Return the end of the last field with this tag after `at`, or the end of the text if there is no such field."""
    begin = delimiter + tag
    last = text.rfind(begin)
    if last < 0:
        last = at - len(delimiter) if text.startswith(tag, at) else -1
    return text.index(delimiter, max(last, at - 1) + len(begin)) + len(delimiter) if last >= 0 else len(text)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Template:
    """The template for a message with certain field names in one dialect.

    It includes every required field and leaves out the fields that the dialect does not allow.

    Attributes:
        set_names: Names of the fixed parts and of the tags of fixed width. The template is cached with their values, which are
            few and contain no personal data.
        free_names: Names of all other fields.
        set: Extracts the values of `set_names` from a message.
        free: Extracts the values of `free_names` from a message.
        trimmed: Indices of the barcodes in `free_names`.
        several: For each repeatable field, its index in `free_names`, and the delimiter and tag that separate its values.
    """

    code: str
    dialect: Sip2Dialect
    tags: tuple[str, ...]
    set_names: tuple[str, ...]
    free_names: tuple[str, ...]
    set: Callable[[Mapping[str, Value]], tuple[Value, ...]]
    free: Callable[[Mapping[str, Value]], tuple[Value, ...]]
    trimmed: tuple[int, ...]
    several: tuple[tuple[int, str], ...]


@lru_cache(maxsize=1024)
def _make_template(code: str, names: tuple[str, ...], dialect: Sip2Dialect) -> _Template:
    shape = SHAPES.get(code)
    if shape is None:
        raise ValueError(f"{code!r} is not a SIP2 message")
    fixed = {part.name for part in shape.fixed}
    if unknown := [name for name in names if name not in fixed and (name not in TAGS or name in _SEAL_TAGS)]:
        raise ValueError(f"SIP2 has no field {unknown[0]} in this message")
    offered = {tag for tag, row in TAGS.items() if not row.extension or tag in dialect.extensions}
    sent = offered - dialect.hidden | {*shape.required}
    given = tuple(name for name in names if name not in fixed and name in sent)
    set_names = tuple(name for name in names if name in fixed or (name in given and TAGS[name].width))
    free = tuple(name for name in given if not TAGS[name].width)
    return _Template(
        code=code,
        dialect=dialect,
        tags=(*given, *(tag for tag in shape.required if tag not in names)),
        set_names=set_names,
        free_names=free,
        set=_value_picker(set_names),
        free=_value_picker(free),
        trimmed=tuple(at for at, name in enumerate(free) if TAGS[name].kind == "barcode"),
        several=tuple((at, dialect.delimiter + name) for at, name in enumerate(free) if TAGS[name].repeats),
    )


def _value_picker(names: tuple[str, ...]) -> Callable[[Mapping[str, Value]], tuple[Value, ...]]:
    """Return a function that extracts the values of these fields from a message."""
    return itemgetter(*names) if len(names) > 1 else lambda fields: tuple([fields[name] for name in names])


def _need_no_cleaning(values: Sequence[Value], dialect: Sip2Dialect) -> bool:
    """Check that all these values can be sent unchanged."""
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) < len(values):  # a value is an empty tuple, or a tuple for a tag that does not repeat
        return False
    text = dialect.delimiter.join(texts)
    try:
        text.isascii() or text.encode(dialect.encoding)
    except UnicodeEncodeError:  # a letter is not in the dialect's character set
        return False
    plain = text.isprintable() and text.count(dialect.delimiter) < len(texts)
    return plain and (len(text) <= LONGEST or max(map(len, texts)) <= LONGEST)


@lru_cache(maxsize=4096)
def _fill_fixed(form: _Template, values: tuple[Value, ...]) -> str:
    """Return the body with the `set` values filled in, and `%s` for each free value."""
    given, dialect = dict(zip(form.set_names, values, strict=True)), form.dialect
    blanks = {tag: f"{tag}{_BLANK}{dialect.delimiter}" for tag in form.free_names}
    fields = [blanks.get(tag) or _format_field(tag, first(given.get(tag, "")), dialect) for tag in form.tags]
    return "".join([_format_beginning(form, given), *fields]).replace("%", "%%").replace(_BLANK, "%s")


def _format_beginning(form: _Template, fields: Mapping[str, Value]) -> str:
    """Format the message code and the fixed parts."""
    encoding, delimiter = form.dialect.encoding, form.dialect.delimiter
    given = [(part, clean_value(first(fields.get(part.name, "")), encoding, delimiter)) for part in SHAPES[form.code].fixed]
    return "".join([form.code, *(KINDS[part.kind].emit(value, part.width) for part, value in given)])


def _values_to_write(tag: str, value: Value) -> tuple[str, ...]:
    """Return the values to write. A tag that does not repeat is written once: terminals disagree on which value counts."""
    if isinstance(value, str):
        return (value,)
    return value if TAGS[tag].repeats else value[:1] or ("",)


def value_as_sent(tag: str, value: str, dialect: Sip2Dialect) -> str:
    """Return a value as the terminal receives it: converted to the terminal's character set and cut to the field length."""
    return _format_field(tag, value, dialect)[len(tag) : -len(dialect.delimiter)]


def _format_field(tag: str, value: str, dialect: Sip2Dialect) -> str:
    """Format a field as tag, text and delimiter. A long text in AF or AG becomes several fields."""
    row = TAGS[tag]
    pieces = split_into_fields(KINDS[row.kind].emit(clean_value(value, dialect.encoding, dialect.delimiter), row.width))
    return "".join([f"{tag}{piece}{dialect.delimiter}" for piece in (pieces if tag in _LINE_TAGS else pieces[:1])])
