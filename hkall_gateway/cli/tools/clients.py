"""sip2: a terminal on the command line; sends messages to a gateway and prints its replies."""

from __future__ import annotations

import os
import re
import shlex
import socket
import ssl
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hkall_gateway.cli.options import REFUSED, WRONG, CliError, json_option
from hkall_gateway.cli.show import echo, echo_json
from hkall_gateway.clock import now
from hkall_gateway.ncip.codec.dialects import DIALECTS as NCIP_DIALECTS
from hkall_gateway.net.socket_lines import SocketLines
from hkall_gateway.rules.dates import HONG_KONG
from hkall_gateway.sip2.codec.dialects import DIALECTS, Sip2Dialect
from hkall_gateway.sip2.codec.fields import TAGS, date18
from hkall_gateway.sip2.codec.lines import BadMessage, Sip2Message, Value, decode, encode
from hkall_gateway.sip2.codec.messages import SHAPES

if TYPE_CHECKING:
    from hkall_gateway.ncip.codec.messages import Fields, NcipMessage
    from hkall_gateway.ncip.codec.messages import Value as NcipValue
    from hkall_gateway.ncip.http_post import HttpReply


_SHORT: Final = re.compile(r"[0-9]{2}(\s+[A-Za-z_0-9]{2,}=.*)?")
_BLANK: Final[Mapping[str, str]] = {"flag": "N", "bit": "0"}


@dataclass(slots=True)
class TerminalSession:
    """One connection of a terminal. `number` is the sequence number of its next line; `sealed`: AY and AZ are sent."""

    wire: SocketLines
    dialect: Sip2Dialect
    sealed: bool = True
    number: int = 0

    def ask(self, message: Sip2Message) -> Sip2Message:
        """The reply to a message. Raises CliError when none comes, or one that cannot be read."""
        number, self.number = self.number, (self.number + 1) % 10
        wanted = Sip2Message(message.code, message.fields, str(number) if self.sealed else None, self.sealed)
        try:
            return decode(self.wire.ask(encode(wanted, self.dialect)), self.dialect)
        except (OSError, BadMessage) as bad:
            raise CliError(f"no usable reply to {message.code}: {bad}") from None


@click.command()
@click.argument("address")
@click.argument("lines", nargs=-1)
@click.option("--login", help="Login name (93 CN); without it no login is sent.")
@click.option("--password-env", help="Environment variable with the password; the default is to ask for it.")
@click.option("--tls", is_flag=True, help="Use TLS, and accept only certificates of known authorities.")
@click.option(
    "--ca", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="TLS: a file with a further trusted authority."
)
@click.option(
    "--dialect",
    type=click.Choice(sorted(DIALECTS)),
    default="standard",
    show_default=True,
    help="Dialect that frames the lines.",
)
@click.option("--plain", is_flag=True, help="Send neither sequence numbers nor checksums.")
@click.option("--timeout", "timeout_s", type=float, default=10.0, show_default=True, help="Seconds to wait for a reply.")
@json_option
def sip2(
    address: str, lines: tuple[str, ...], as_json: bool, plain: bool, dialect: str, timeout_s: float, **options: Any
) -> None:
    """Log in as a terminal, send LINES (or those of standard input), and print each reply field by field.

    A line is SIP2 as it goes on the wire, without AY and AZ, or its code and KEY=VALUE words: a field's two letters, or the
    name of a fixed part; omitted parts are blank, "no", or now.

    \b
    Example: hkall-gateway sip2 localhost:6001 --login counter-1 '63 AA=UG1 "summary=  Y"' '17 AB=C1'
    """
    said = [read_line(text, now(), DIALECTS[dialect]) for text in lines]
    with connected(address, timeout_s, tls=options["tls"], authority=options["ca"]) as line:
        caller = TerminalSession(SocketLines(line), DIALECTS[dialect], sealed=not plain)
        if options["login"]:
            _log_in(caller, options["login"], password_of(options["password_env"]))
        for message in said or _typed(DIALECTS[dialect]):
            reply = caller.ask(message)
            if as_json:
                echo_json(as_object(reply), indent=None)
            else:
                echo(shown(reply))


def read_line(text: str, moment: datetime, dialect: Sip2Dialect) -> Sip2Message:
    """The message that a line means, raw or short. Raises CliError (exit 2) for one that means none."""
    words = _words(text) if _SHORT.fullmatch(text) else []
    try:
        if words[:1] and words[0] in SHAPES:
            code = words[0]
            said = dict(word.split("=", 1) for word in words[1:])
            shape = SHAPES[code]
            known = {part.name for part in shape.fixed} | TAGS.keys()
            if stray := said.keys() - known:
                raise ValueError(f"{code} has no field {', '.join(sorted(stray))}")
            fields: dict[str, Value] = {part.name: _BLANK.get(part.kind, "") for part in shape.fixed}
            fields |= {name: date18(moment, HONG_KONG) for name in ("transaction_date", "return_date") if name in fields}
            fields |= dict.fromkeys(shape.required, "")
            return Sip2Message(code, {**fields, **said})
        return decode(text.encode(dialect.encoding, "replace"), dialect)
    except (BadMessage, ValueError) as bad:
        raise CliError(f"{text!r}: {bad}", WRONG) from None


def shown(message: Sip2Message) -> str:
    """Return a message for people: its name, then one line a field; a secret value is a dot."""
    lines = [f"{message.code} {SHAPES[message.code].name}"]
    lines += [f"  {name:<24} {value}" for name, value in _named(message)]
    return "\n".join(lines)


def as_object(message: Sip2Message) -> dict[str, object]:
    """A message for programs: code and fields."""
    hidden = {name: "•" if name in TAGS and TAGS[name].secret else value for name, value in message.fields.items()}
    return {"code": message.code, "name": SHAPES[message.code].name, "fields": hidden}


def _named(message: Sip2Message) -> Iterator[tuple[str, str]]:
    for name in message.fields:
        tag = TAGS.get(name)
        for value in message.all(name):
            yield f"{name} {tag.name}" if tag else name, "•" if tag and tag.secret else value


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as bad:
        raise CliError(f"{text!r}: {bad}", WRONG) from None


def _typed(dialect: Sip2Dialect) -> Iterator[Sip2Message]:
    for text in sys.stdin:
        if text.strip():
            yield read_line(text.rstrip("\r\n"), now(), dialect)


def _log_in(caller: TerminalSession, login: str, password: str) -> None:
    if (
        caller.ask(Sip2Message("93", {"uid_algorithm": "0", "pwd_algorithm": "0", "CN": login, "CO": password})).get("ok")
        != "1"
    ):
        raise CliError(f"{login}: the login was refused; the gateway's log says why")


def password_of(variable: str | None) -> str:
    """Return the password from an environment variable, or as typed. Raises CliError (exit 2) if there is no such variable."""
    if variable is None:
        return str(click.prompt("Password", hide_input=True, err=True))
    if variable not in os.environ:
        raise CliError(f"the environment has no variable {variable!r}", WRONG)
    return os.environ[variable]


def connected(address: str, timeout_s: float, *, tls: bool = False, authority: Path | None = None) -> socket.socket:
    """Return a socket connected to HOST:PORT. Raises CliError for a malformed address (exit 2) or a failed connection."""
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal()):
        raise CliError(f"{address!r} is not HOST:PORT", WRONG)
    try:
        line = socket.create_connection((host.strip("[]"), int(port)), timeout_s)
        context = ssl.create_default_context(cafile=authority) if tls or authority else None
        return context.wrap_socket(line, server_hostname=host.strip("[]")) if context else line
    except (OSError, OverflowError) as bad:
        raise CliError(f"{address}: {bad}") from None


# ---- `ncip`: sends one document to a responder and prints its answer, to test a partner's system.


EXAMPLE = """
\b
Example: hkall-gateway ncip http://cuhk.test/ncip question.xml
\b
More:
  hkall-gateway ncip http://127.0.0.1:8080/ncip LookupRequest request=d-77 --from HKU-DISCOVERY --to HKU --secret-env KEY
  hkall-gateway ncip http://127.0.0.1:8080/ncip LookupUser user=UG1 LoanedItemsDesired=yes --from HKU-DISCOVERY --to HKU
  hkall-gateway ncip http://127.0.0.1:8080/ncip question.xml --proof basic --login vufind --secret-env KEY
  hkall-gateway ncip http://127.0.0.1:8080/ncip LookupItem item=HKU:K9 --dialect innreach --from HKALL1 --to HKU --show
"""


@click.command(epilog=EXAMPLE)
@click.argument("url")
@click.argument("what")
@click.argument("words", nargs=-1)
@click.option("--from", "speaker", default="", help="The FromAgencyId: the agency that asks. Needed to build a document.")
@click.option("--to", "listener", default="", help="The ToAgencyId: the agency that is asked. Needed to build a document.")
@click.option("--secret-env", default="", help="Name of the environment variable with the secret.")
@click.option(
    "--proof",
    default="document",
    type=click.Choice(["document", "basic", "bearer"]),
    show_default=True,
    help="Where to put the secret: in FromAgencyAuthentication, or in the Authorization header.",
)
@click.option("--login", default="", help="HTTP Basic: the name, if it is not the FromAgencyId.")
@click.option(
    "--dialect", default="direct", type=click.Choice(list(NCIP_DIALECTS)), help="Dialect in which the document is written."
)
@click.option("--timeout", "timeout_s", default=20.0, show_default=True, help="Seconds to wait for the reply.")
@click.option("--show", "shown", is_flag=True, help="Print the sent document, too.")
@json_option
def ncip(url: str, what: str, words: tuple[str, ...], **options: Any) -> None:
    """Send the document in a file, or one built from SERVICE key=value …, to URL and print the reply.

    Keys: user, item, request, bib, pickup, due, title, or a path of the content model; identities are AGENCY:VALUE.
    Exit code 1: the reply was a Problem, or unreadable.
    """
    from hkall_gateway.ncip.codec.documents import BadDocument, decode
    from hkall_gateway.ncip.http_post import charset

    body = _body(what, words, options)
    if options["shown"]:
        echo(body.decode("utf-8", "replace"))
    posted = _posted(url, body, options["timeout_s"], _authorization(options))
    try:
        message = decode(posted.body, charset(posted.content_type))
    except BadDocument as bad:
        echo(posted.body[:4000].decode("utf-8", "replace"))
        raise CliError(f"HTTP {posted.status}: {bad.problem}: {bad.detail}") from None
    _print(posted.status, message, options["as_json"])
    if message.has("Problem"):
        raise SystemExit(REFUSED)


def _body(what: str, words: tuple[str, ...], options: dict[str, Any]) -> bytes:
    from hkall_gateway.ncip.codec.documents import encode
    from hkall_gateway.ncip.shorthand import written

    if os.path.isfile(what):  # a folder that this user may not read holds no such file, and is no error
        return Path(what).read_bytes()
    if not options["speaker"] or not options["listener"]:
        raise CliError(f"{what}: no such file; and to build a {what}, give --from and --to", WRONG)
    secret = _secret(options) if options["proof"] == "document" else ""
    try:
        message = written(what, words, options["speaker"], options["listener"], secret, now())
        return encode(message, NCIP_DIALECTS[options["dialect"]])
    except ValueError as bad:
        raise CliError(str(bad), WRONG) from None


def _secret(options: dict[str, Any]) -> str:
    secret = os.environ.get(options["secret_env"], "") if options["secret_env"] else ""
    if options["secret_env"] and not secret:
        raise CliError(f"--secret-env: the environment has no variable {options['secret_env']!r}", WRONG)
    return secret


def _authorization(options: dict[str, Any]) -> str:
    """Return the Authorization header of a request; "" if the document has the credentials, or if there are none."""
    from hkall_gateway.ncip.authentication import basic, bearer

    if options["proof"] == "document":
        return ""
    secret = _secret(options)
    made = basic(options["login"] or options["speaker"], secret) if options["proof"] == "basic" else bearer(secret)
    return made(now())


def _posted(url: str, body: bytes, timeout_s: float, authorization: str) -> HttpReply:
    from hkall_gateway.ncip.http_post import NoReply, post

    try:
        return post(url, body, timeout_s, authorization)
    except ValueError as bad:
        raise CliError(str(bad), WRONG) from None
    except NoReply as failed:
        raise CliError(str(failed)) from None


def _print(status: int, message: NcipMessage, as_json: bool) -> None:
    if as_json:
        said = {"status": status, "service": message.service, "version": message.version, "fields": message.fields}
        echo_json(said)
        return
    echo(f"{message.service}  (HTTP {status}, {message.version or 'no version'})")
    for line in lines(message.fields):
        echo(line)
    for note in message.notes:
        echo(f"note: {note}")


def lines(fields: Fields, depth: int = 1) -> Iterator[str]:
    """The fields for people: one line an element, its content indented below it."""
    from hkall_gateway.ncip.codec.messages import many

    for name, value in fields.items():
        for one in many(value):
            yield from _lines(name, one, depth)


def _lines(name: str, value: NcipValue, depth: int) -> Iterator[str]:
    indent = "  " * depth
    if isinstance(value, str | bool):
        yield f"{indent}{name}" + (f": {value}" if isinstance(value, str) else "")
    elif isinstance(value, dict):
        yield f"{indent}{name}"
        yield from lines(value, depth + 1)
