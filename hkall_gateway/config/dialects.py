"""[[sip2.dialects]], where a site defines its own terminal models by their differences from a packaged dialect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_type_hints

from pydantic import AfterValidator, Field, create_model

from hkall_gateway.config.loading import Strict, Table
from hkall_gateway.rules.plain_text import listed, nearest
from hkall_gateway.rules.values import Natural, Text
from hkall_gateway.sip2.codec.dialects import DIALECTS, Sip2Dialect
from hkall_gateway.sip2.codec.fields import TAGS
from hkall_gateway.sip2.codec.messages import SHAPES

PRINTABLE: Final = "".join(map(chr, range(32, 127)))
ANY_DAY: Final = datetime(2017, 3, 16)  # noqa: DTZ001 - any date will do to try a pattern
NEVER_SENT: Final = frozenset({"PB"})
"""Extensions that no site may send, since a birth date serves no purpose."""
ALWAYS_SENT: Final = frozenset({"AY", "AZ", "BL", "CQ"})
"""Optional SIP2 2.00 fields that are always sent. For example, a terminal may treat a missing CQ as a correct PIN."""


def _check_base_dialect(name: str) -> str:
    if name not in DIALECTS:
        raise ValueError(f"must be {listed(DIALECTS)}{nearest(name, DIALECTS)}")
    return name


def _check_encoding(name: str) -> str:
    try:
        plain = PRINTABLE.encode(name) == PRINTABLE.encode("ascii")
    except (LookupError, UnicodeError):
        plain = False
    if not plain:
        raise ValueError(f"{name!r} is no character set that keeps ASCII as it is, like utf-8, cp850 or big5hkscs")
    return name


def _check_delimiter(text: str) -> str:
    if len(text) != 1 or text not in PRINTABLE or text.isalnum() or text == " ":
        raise ValueError(f"{text!r} is not one ASCII sign, like | or ^")
    return text


def _check_date_pattern(text: str) -> str:
    if not ANY_DAY.strftime(text).isprintable() or (text and ANY_DAY.strftime(text) == text):
        raise ValueError(f"{text!r} shows no date; %Y-%m-%d does")
    return text


def _check_extension(tag: str) -> str:
    known = sorted(name for name, row in TAGS.items() if row.extension and name not in NEVER_SENT)
    if tag not in known:
        raise ValueError(f"{tag!r} is no extension; {listed(known)} are")
    return tag


def _check_optional_field(tag: str) -> str:
    if tag not in TAGS:
        raise ValueError(f"{tag!r} is no field{nearest(tag, TAGS)}")
    if tag in ALWAYS_SENT or any(tag in shape.required for shape in SHAPES.values()):
        raise ValueError(f"{tag!r} is always sent where it belongs")
    return tag


def _check_withheld(code: str) -> str:
    requests = sorted(name for name, shape in SHAPES.items() if shape.reply and name not in ("93", "97", "99"))
    if code not in requests:
        raise ValueError(f"{code!r} is no message that can be withheld; {listed(requests)} are")
    return code


# fmt: off
STRICTER: Final[Mapping[str, Any]] = {
    "encoding":       Annotated[str, AfterValidator(_check_encoding)],
    "delimiter":      Annotated[str, AfterValidator(_check_delimiter)],
    "terminator":     Literal["CR", "CRLF"],
    "max_line":       Natural,
    "ah_format":      Annotated[str, AfterValidator(_check_date_pattern)],
    "currency":       Annotated[str, Field(pattern=r"^[A-Z]{3}$")],
    "extensions":     tuple[Annotated[str, AfterValidator(_check_extension)], ...],
    "hidden":         tuple[Annotated[str, AfterValidator(_check_optional_field)], ...],
    "withheld":       tuple[Annotated[str, AfterValidator(_check_withheld)], ...],
    "timeout_tenths": Annotated[int, Field(ge=0, le=999)],
    "retries":        Annotated[int, Field(ge=0, le=999)],
}
# fmt: on
"""Types for keys whose values are more restricted in the file than in `Sip2Dialect`, or have another type."""


class _Named(Strict):
    name: Text = Field(description="its name for terminals, listeners and framings")
    like: Annotated[str, AfterValidator(_check_base_dialect)] = Field(
        default="standard", description="the packaged row that it differs from"
    )


def _dialect_keys() -> Table:
    """Return an optional key for each field of `Sip2Dialect`."""
    hints, own = get_type_hints(Sip2Dialect), [field for field in fields(Sip2Dialect) if field.name != "name"]
    return {
        field.name: (STRICTER.get(field.name, hints[field.name]) | None, Field(None, description=field.metadata["doc"]))
        for field in own
    }


_Keys: Any = create_model("_Keys", __base__=_Named, **_dialect_keys())


class DialectConfig(_Keys):  # type: ignore[misc]  # created at run time
    """A terminal model that no packaged row fits. Missing keys have the values of the dialect `like`."""

    if TYPE_CHECKING:
        name: str
        like: str
        terminator: str | None
