"""Commands sip2 and ncip: a terminal and an NCIP initiator on the command line."""

from __future__ import annotations

import os
import re
import shlex
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

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
    from hkall_gateway.xml.tree import Fields


_SHORT: Final = re.compile(r"[0-9]{2}(\s+[A-Za-z_0-9]{2,}=.*)?")
_BLANK: Final[Mapping[str, str]] = {"flag": "N", "bit": "0"}


@dataclass(slots=True)
class TerminalSession:
    """One terminal connection. `number` is the next sequence number, and `sealed` tells whether to send AY and AZ."""

    wire: SocketLines
    dialect: Sip2Dialect
    sealed: bool = True
    number: int = 0

    def ask(self, message: Sip2Message) -> Sip2Message:
        """Send a message and return the reply. Raise CliError if there is no reply or it is unreadable."""
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
    address: str,
    lines: tuple[str, ...],
    login: str | None,
    password_env: str | None,
    tls: bool,
    ca: Path | None,
    dialect: str,
    plain: bool,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Log in as a terminal, send LINES (or those of standard input), and print each reply field by field.

    A line is SIP2 in wire format, without AY and AZ, or a message code with KEY=VALUE words. KEY is a field's two letters or
    the name of a fixed part. Omitted parts are blank, "no" or the current time.

    \b
    Example: hkall-gateway sip2 localhost:6001 --login counter-1 '63 AA=UG1 "summary=  Y"' '17 AB=C1'
    """  # noqa: D301  # click interprets \b
    spoken = DIALECTS[dialect]
    messages = [read_line(text, now(), spoken) for text in lines]
    typed = (read_line(text.rstrip("\r\n"), now(), spoken) for text in sys.stdin if text.strip())
    with connected(address, timeout_s, tls=tls, authority=ca) as line:
        caller = TerminalSession(SocketLines(line), spoken, sealed=not plain)
        if login:
            plain_text = {"uid_algorithm": "0", "pwd_algorithm": "0"}
            message = Sip2Message("93", {**plain_text, "CN": login, "CO": password_of(password_env)})
            if caller.ask(message).get("ok") != "1":
                raise CliError(f"{login}: the login was refused; the gateway's log says why")
        for message in messages or typed:
            reply = caller.ask(message)
            if as_json:
                echo_json(as_object(reply), indent=None)
            else:
                echo(shown(reply))


def read_line(text: str, moment: datetime, dialect: Sip2Dialect) -> Sip2Message:
    """Parse a line, in wire format or short form, as a message. Raise CliError (exit code 2) for an invalid line."""
    try:
        words = shlex.split(text) if _SHORT.fullmatch(text) else []
        if words[:1] and words[0] in SHAPES:
            code = words[0]
            messages = dict(word.split("=", 1) for word in words[1:])
            shape = SHAPES[code]
            known = {part.name for part in shape.fixed} | TAGS.keys()
            if stray := messages.keys() - known:
                raise ValueError(f"{code} has no field {', '.join(sorted(stray))}")
            fields: dict[str, Value] = {part.name: _BLANK.get(part.kind, "") for part in shape.fixed}
            fields |= {name: date18(moment, HONG_KONG) for name in ("transaction_date", "return_date") if name in fields}
            fields |= dict.fromkeys(shape.required, "")
            return Sip2Message(code, {**fields, **messages})
        return decode(text.encode(dialect.encoding, "replace"), dialect)
    except (BadMessage, ValueError) as bad:
        raise CliError(f"{text!r}: {bad}", WRONG) from None


def shown(message: Sip2Message) -> str:
    """Format a message for people: its name, then a line for each field, with a dot in place of a secret value."""
    lines = [f"{message.code} {SHAPES[message.code].name}"]
    for name in message.fields:
        tag = TAGS.get(name)
        title = f"{name} {tag.name}" if tag else name
        lines += [f"  {title:<24} {'•' if tag and tag.secret else value}" for value in message.all(name)]
    return "\n".join(lines)


def as_object(message: Sip2Message) -> dict[str, object]:
    """Convert a message for JSON: code, name and fields, with a dot in place of each secret value."""
    hidden = {name: "•" if name in TAGS and TAGS[name].secret else value for name, value in message.fields.items()}
    return {"code": message.code, "name": SHAPES[message.code].name, "fields": hidden}


def password_of(variable: str | None) -> str:
    """Return the password from an environment variable, or prompt for it. Raise CliError if the variable is not set."""
    if variable is None:
        return str(click.prompt("Password", hide_input=True, err=True))
    if variable not in os.environ:
        raise CliError(f"the environment has no variable {variable!r}", WRONG)
    return os.environ[variable]


def connected(address: str, timeout_s: float, *, tls: bool = False, authority: Path | None = None) -> socket.socket:
    """Return a socket connected to HOST:PORT. Raise CliError for a malformed address (exit 2) or a failed connection."""
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal()):
        raise CliError(f"{address!r} is not HOST:PORT", WRONG)
    try:
        line = socket.create_connection((host.strip("[]"), int(port)), timeout_s)
        from hkall_gateway.net.tls import client_context

        context = client_context(authority) if tls or authority else None
        return context.wrap_socket(line, server_hostname=host.strip("[]")) if context else line
    except (OSError, OverflowError) as bad:
        raise CliError(f"{address}: {bad}") from None


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
def ncip(
    url: str,
    what: str,
    words: tuple[str, ...],
    speaker: str,
    listener: str,
    secret_env: str,
    proof: str,
    login: str,
    dialect: str,
    timeout_s: float,
    shown: bool,
    as_json: bool,
) -> None:
    """Send the document in a file, or one built from SERVICE key=value …, to URL and print the reply.

    Keys: user, item, request, bib, pickup, due, title, or a path of the content model; identities are AGENCY:VALUE.
    Exit code 1: the reply was a Problem, or unreadable.
    """
    from hkall_gateway.ncip.codec.documents import BadDocument, decode, encode
    from hkall_gateway.ncip.shorthand import make_message
    from hkall_gateway.net.http_post import NoReply, charset, post
    from hkall_gateway.peers.authentication import basic, bearer

    try:
        if os.path.isfile(what):  # False, and no error, if this user may not read the folder
            body = Path(what).read_bytes()
        elif not speaker or not listener:
            raise CliError(f"{what}: no such file; and to build a {what}, give --from and --to", WRONG)
        else:
            secret = _read_secret(secret_env) if proof == "document" else ""
            body = encode(make_message(what, words, speaker, listener, secret, now()), NCIP_DIALECTS[dialect])
        if shown:
            echo(body.decode("utf-8", "replace"))
        header = ""
        if proof != "document":
            secret = _read_secret(secret_env)
            header = (basic(login or speaker, secret) if proof == "basic" else bearer(secret))(now())
        posted = post(url, body, timeout_s, header)
    except ValueError as bad:
        raise CliError(str(bad), WRONG) from None
    except NoReply as failed:
        raise CliError(str(failed)) from None
    try:
        message = decode(posted.body, charset(posted.content_type))
    except BadDocument as bad:
        echo(posted.body[:4000].decode("utf-8", "replace"))
        raise CliError(f"HTTP {posted.status}: {bad.problem}: {bad.detail}") from None
    if as_json:
        facts = {"status": posted.status, "service": message.service, "version": message.version, "fields": message.fields}
        echo_json(facts)
    else:
        echo(f"{message.service}  (HTTP {posted.status}, {message.version or 'no version'})")
        for line in [*lines(message.fields), *(f"note: {note}" for note in message.notes)]:
            echo(line)
    if message.has("Problem"):
        raise SystemExit(REFUSED)


def _read_secret(variable: str) -> str:
    """Return the secret in an environment variable, or "" if `variable` is empty. Raise CliError if it is not set."""
    secret = os.environ.get(variable, "") if variable else ""
    if variable and not secret:
        raise CliError(f"--secret-env: the environment has no variable {variable!r}", WRONG)
    return secret


def lines(fields: Fields, depth: int = 1) -> Iterator[str]:
    """Yield the fields formatted for people: one line for each element, with its content indented below."""
    from hkall_gateway.xml.tree import many

    indent = "  " * depth
    for name, value in fields.items():
        for one in many(value):
            if isinstance(one, dict):
                yield f"{indent}{name}"
                yield from lines(one, depth + 1)
            elif isinstance(one, str | bool):
                yield f"{indent}{name}" + (f": {one}" if isinstance(one, str) else "")
