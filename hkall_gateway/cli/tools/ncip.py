"""`ncip`: sends one document to a responder and prints its answer, to test a partner's system."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hkall_gateway.cli.options import REFUSED, WRONG, CliError, json_option
from hkall_gateway.cli.show import echo, echo_json
from hkall_gateway.clock import now
from hkall_gateway.ncip.codec.dialects import DIALECTS

if TYPE_CHECKING:
    from hkall_gateway.ncip.codec.messages import Fields, NcipMessage, Value
    from hkall_gateway.ncip.http_post import HttpReply

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
    "--dialect", default="direct", type=click.Choice(list(DIALECTS)), help="Dialect in which the document is written."
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
    if os.path.isfile(what):  # a folder that this user may not read holds no such file, and is no error
        return Path(what).read_bytes()
    if not options["speaker"] or not options["listener"]:
        raise CliError(f"{what}: no such file; and to build a {what}, give --from and --to", WRONG)
    secret = _secret(options) if options["proof"] == "document" else ""
    return _built(what, words, options["speaker"], options["listener"], secret, options["dialect"])


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


def _built(service: str, words: tuple[str, ...], speaker: str, listener: str, secret: str, dialect: str) -> bytes:
    from hkall_gateway.ncip.codec.documents import encode
    from hkall_gateway.ncip.shorthand import written

    try:
        message = written(service, words, speaker, listener, secret, now())
        return encode(message, DIALECTS[dialect])
    except ValueError as bad:
        raise CliError(str(bad), WRONG) from None


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


def _lines(name: str, value: Value, depth: int) -> Iterator[str]:
    indent = "  " * depth
    if isinstance(value, str | bool):
        yield f"{indent}{name}" + (f": {value}" if isinstance(value, str) else "")
    elif isinstance(value, dict):
        yield f"{indent}{name}"
        yield from lines(value, depth + 1)
