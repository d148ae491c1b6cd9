"""The command `circprobe`."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import click
from rich.console import Console
from rich.table import Table

from circprobe import __version__, catalogue, proof, reporting
from circprobe.care import Permissions, Refused
from circprobe.ncip import initiator
from circprobe.ncip.responder import NcipResponder
from circprobe.ncip.responder import Target as NcipTarget
from circprobe.redaction import Redactor
from circprobe.results import Report, Result
from circprobe.runner import Driver, Runner
from circprobe.scripted import library
from circprobe.sip2 import recording, terminal
from circprobe.sip2.client import Target
from circprobe.sip2.server import Sip2Server

Function = Callable[..., Any]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Say clause by clause what a SIP2 or NCIP system does.

    The kit reads only, unless you allow more. It replaces names, PINs and cards in all outputs.
    """


@main.group()
def sip2() -> None:
    """Judge a SIP2 server or a terminal."""


def address_of(text: str) -> tuple[str, int]:
    """Read HOST:PORT, or a port alone for all addresses of this machine.

    Raises:
        click.BadParameter: if there is no port.
    """
    host, _, port = text.rpartition(":")
    if not port.isdigit():
        raise click.BadParameter(f"{text} is not HOST:PORT")
    return host.strip("[]"), int(port)


def outputs(function: Function) -> Function:
    """Add the options for where results go, which all roles share."""
    options = (
        click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write JSON."),
        click.option("--junit", type=click.Path(path_type=Path), help="Write JUnit XML, for CI."),
        click.option("--html", type=click.Path(path_type=Path), help="Write one page."),
        click.option("--only", multiple=True, help="Only this clause or area; may be repeated."),
        click.option("--quiet", is_flag=True, help="No progress and no summary."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def secret(variable: str | None) -> str:
    """Read a secret from the environment variable that an option names.

    Raises:
        click.ClickException: if the variable is not set.
    """
    if variable is None:
        return ""
    if variable not in os.environ:
        raise click.ClickException(f"the environment variable {variable} is not set")
    return os.environ[variable]


def judge(
    role: str,
    driver: Driver,
    given: set[str],
    redactor: Redactor,
    peer: str,
    options: dict[str, Any],
    finish: Callable[[], list[str]],
) -> None:
    """Run the catalogue of a role, show and write the report, and exit.

    Args:
        role: the key of the catalogue.
        driver: asks and judges the system under test.
        given: what the person gave and allowed.
        redactor: knows what the person gave, and replaces it.
        peer: the address that the report names.
        options: those of `outputs`.
        finish: called at the end; it returns remarks for the report.
    """
    console = Console(quiet=options["quiet"])

    def progress(result: Result) -> None:
        reporting.print_progress(console, result)

    started = datetime.now().astimezone().isoformat(timespec="seconds")
    report = Report(role, peer, started)
    runner = Runner(catalogue.load(role), driver, given, progress)
    try:
        runner.run(report, options["only"])
    finally:
        report.remarks.extend(finish())
    shown = redactor.report(report)
    reporting.print_summary(console, shown)
    forms = (
        ("json", options["json_path"]),
        ("junit", options["junit"]),
        ("html", options["html"]),
    )
    reporting.write(shown, forms)
    sys.exit(1 if report.failed_musts else 0)


@sip2.command("server")
@click.argument("address")
@click.option("--login", help="The user of the login (93).")
@click.option("--password-env", help="The environment variable with the password of the login.")
@click.option("--location", default="", help="The location code (CP).")
@click.option("--institution", default="", help="The institution id (AO).")
@click.option("--terminal-password", default="", help="The terminal password (AC).")
@click.option("--patron", help="The card of a patron made for tests.")
@click.option("--pin-env", help="The environment variable with the patron's PIN.")
@click.option("--item", "items", multiple=True, help="An item on the shelf; may be repeated.")
@click.option("--transactions", is_flag=True, help="Lend and return these items.")
@click.option("--wrong-pin", is_flag=True, help="Try a wrong PIN and password; may lock a card.")
@click.option("--load", is_flag=True, help="Be faster than ten messages a second.")
@click.option("--no-error-detection", is_flag=True, help="Send no AY and AZ.")
@click.option("--encoding", default="utf-8", help="The character set that the site agreed on.")
@click.option("--timeout", default=5.0, help="Seconds that an answer may take.")
@click.option("--idle", default=0.0, help="Seconds that a connection must be able to idle.")
@click.option("--tls", is_flag=True, help="Speak TLS; certificates are not judged.")
@click.option("--check-certificate", is_flag=True, help="Speak TLS with a good certificate only.")
@outputs
def sip2_server(address: str, **options: Any) -> None:
    """Judge the SIP2 server at ADDRESS (HOST:PORT)."""
    host, port = address_of(address)
    permissions = Permissions(
        transactions=options["transactions"],
        wrong_pin=options["wrong_pin"],
        load=options["load"],
    )
    password = secret(options["password_env"])
    pin = secret(options["pin_env"])
    target = Target(
        host,
        port,
        encoding=options["encoding"],
        answer_s=options["timeout"],
        detects_errors=not options["no_error_detection"],
        uses_tls=options["tls"] or options["check_certificate"],
        checks_certificate=options["check_certificate"],
        known_secrets=frozenset({password, pin}),
    )
    items = options["items"]
    values = {
        "login": options["login"] or "",
        "password": password,
        "location": options["location"],
        "institution": options["institution"],
        "terminal_password": options["terminal_password"],
        "patron": options["patron"] or "",
        "pin": pin,
        "item": items[0] if items else "",
        "item2": items[1] if len(items) > 1 else "",
        "idle": str(options["idle"] or ""),
    }
    given = permissions.names()
    given.update(need for need in ("login", "patron", "pin", "item", "idle") if values[need])
    if values["item2"]:
        given.add("second-item")
    if target.detects_errors:
        given.add("error-detection")

    redactor = Redactor()
    redactor.learn_all("PATRON", [values["patron"]])
    redactor.learn_all("SECRET", [password, pin, values["terminal_password"]])
    redactor.learn_all("LOGIN", [values["login"]])
    redactor.learn_all("ITEM", items)
    driver = Sip2Server(target, values, permissions)

    def finish() -> list[str]:
        driver.finish()
        return driver.remarks

    judge("sip2-server", driver, given, redactor, address, options, finish)


INSTRUCTIONS = """
The kit listens on port {port}. Point the self-check there, with error detection on, and

  1. let it connect and log in with any user,
  2. show a card, enter its PIN, look at the account and at each list,
  3. lend three items, renew one, and return all of them,
  4. place a hold and take it away, pay a fee, end the session,
  5. show the card once more.

At some messages the kit stays silent, asks for a repetition or damages an answer, on purpose.
Press Ctrl-C when you are done.
"""


@sip2.command("terminal")
@click.option("--listen", "address", required=True, help="The port, or HOST:PORT, to listen on.")
@click.option("--pin-env", help="The environment variable with the PIN that will be entered.")
@click.option("--seconds", default=0.0, help="Stop after so many seconds; 0 waits for Ctrl-C.")
@outputs
def sip2_terminal(address: str, **options: Any) -> None:
    """Judge the terminal that connects."""
    pin = secret(options["pin_env"])
    judge_server = terminal.listen(address_of(address), library.make_open_library(pin))
    wait(INSTRUCTIONS.format(port=judge_server.port), options)
    judge_server.shutdown()
    judge_server.server_close()
    driver = terminal.Sip2Terminal(judge_server.recording, {"pin": pin})
    redactor = Redactor()
    redactor.learn_all("SECRET", [pin])
    given = {"pin"} if pin else set()
    judge("sip2-terminal", driver, given, redactor, address, options, list)


def wait(instructions: str, options: dict[str, Any]) -> None:
    """Show what a person must do, and wait until it is done."""
    if not options["quiet"]:
        click.echo(instructions)
    try:
        if options["seconds"]:
            time.sleep(options["seconds"])
        while not options["seconds"]:
            time.sleep(3600)
    except KeyboardInterrupt:
        click.echo()


@main.command()
@click.option("--listen", "address", required=True, help="The port, or HOST:PORT, to listen on.")
@click.option("--to", "server", required=True, help="The SIP2 server, HOST:PORT.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="The recording.")
@click.option("--encoding", default="utf-8", help="The character set of the session.")
@click.option("--seconds", default=0.0, help="Stop after so many seconds; 0 waits for Ctrl-C.")
@click.option("--quiet", is_flag=True, help="Say nothing.")
def record(address: str, server: str, output: Path, encoding: str, **options: Any) -> None:
    """Record a SIP2 session between a terminal and a server, without names and PINs."""
    with output.open("w", encoding="utf-8") as file:

        def put(line: str) -> None:
            file.write(line + "\n")
            file.flush()

        writer = recording.Writer(put, encoding)
        recorder = recording.Recorder(address_of(address), address_of(server), writer)
        threading.Thread(target=recorder.serve_forever, args=(0.05,), daemon=True).start()
        wait(f"Recording on port {recorder.port}. Press Ctrl-C when you are done.", options)
        recorder.shutdown()
        recorder.server_close()


@main.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.argument("address")
@click.option("--set", "pairs", multiple=True, help="PSEUDONYM=VALUE; may be repeated.")
@click.option("--set-env", "secret_pairs", multiple=True, help="PSEUDONYM=VARIABLE with a secret.")
@click.option("--transactions", is_flag=True, help="Send loans, returns and payments too.")
@click.option("--wrong-pin", is_flag=True, help="Send the pseudonyms of PINs as PINs.")
@click.option("--encoding", default="utf-8", help="The character set of the server.")
@click.option("--timeout", default=5.0, help="Seconds that an answer may take.")
def replay(path: Path, address: str, **options: Any) -> None:
    """Send the recording at PATH to the server at ADDRESS, and compare the answers in form."""
    replacements = dict(pair.split("=", 1) for pair in options["pairs"])
    secrets = {}
    for pair in options["secret_pairs"]:
        pseudonym, variable = pair.split("=", 1)
        secrets[pseudonym] = secret(variable)
    host, port = address_of(address)
    target = Target(
        host,
        port,
        encoding=options["encoding"],
        answer_s=options["timeout"],
        known_secrets=frozenset(secrets.values()),
    )
    permissions = Permissions(options["transactions"], options["wrong_pin"])
    steps = recording.read(path.read_text("utf-8"))
    redactor = Redactor()
    redactor.learn_all("SECRET", secrets.values())
    differences = 0
    try:
        for step, exchange, difference in recording.replay(
            steps, target, permissions, {**replacements, **secrets}
        ):
            differences += bool(difference)
            click.echo(f"> {step.sent}")
            answer = reporting.show_bytes(exchange.received) or exchange.note
            click.echo(f"< {redactor.text(answer)}")
            if difference:
                click.echo(f"! {redactor.text(difference)}")
    except Refused as reason:
        raise click.ClickException(str(reason)) from None
    sys.exit(1 if differences else 0)


@main.group()
def ncip() -> None:
    """Judge an NCIP responder or an initiator."""


@ncip.command("responder")
@click.argument("url", required=False)
@click.option("--url-env", help="The environment variable with the URL, if that holds a key.")
@click.option("--from", "sender", default="", help="The agency that the kit speaks for.")
@click.option("--to", "receiver", default="", help="The agency of the responder.")
@click.option("--secret-env", help="The environment variable with FromAgencyAuthentication.")
@click.option("--bearer-env", help="The environment variable with a bearer token for HTTP.")
@click.option("--user", help="The card of a user made for tests.")
@click.option("--pin-env", help="The environment variable with the user's PIN.")
@click.option("--item", help="An item on the shelf.")
@click.option("--request-type", default="Hold", help="The RequestType of requests.")
@click.option("--version-1", is_flag=True, help="Speak version 1 too.")
@click.option("--transactions", is_flag=True, help="Request, lend and return this item.")
@click.option("--wrong-pin", is_flag=True, help="Try a wrong PIN; may lock a card.")
@click.option("--load", is_flag=True, help="Be faster than ten messages a second.")
@click.option("--timeout", default=30.0, help="Seconds that an answer may take.")
@outputs
def ncip_responder(url: str | None, **options: Any) -> None:
    """Judge the NCIP responder at URL."""
    url = url or secret(options["url_env"])
    if not url:
        raise click.UsageError("name the URL, or by --url-env the variable that holds it")
    permissions = Permissions(
        transactions=options["transactions"],
        wrong_pin=options["wrong_pin"],
        load=options["load"],
    )
    pin = secret(options["pin_env"])
    agency_secret = secret(options["secret_env"])
    token = secret(options["bearer_env"])
    values = {
        "from": options["sender"],
        "to": options["receiver"],
        "user": options["user"] or "",
        "pin": pin,
        "item": options["item"] or "",
        "request_type": options["request_type"],
    }
    if agency_secret:
        element = "FromAgencyAuthentication"
        values["authentication"] = f"<{element}>{escape(agency_secret)}</{element}>"
    target = NcipTarget(
        url,
        answer_s=options["timeout"],
        headers=(("Authorization", f"Bearer {token}"),) if token else (),
        known_secrets=frozenset({pin}),
    )
    given = permissions.names()
    given.update(need for need in ("user", "pin", "item") if values[need])
    if values["from"] and values["to"]:
        given.add("agency")
    if agency_secret or token:
        given.add("proof")
    if options["version_1"]:
        given.add("version-1")

    redactor = Redactor()
    redactor.learn_all("PATRON", [values["user"]])
    redactor.learn_all("SECRET", [pin, agency_secret, token])
    redactor.learn_all("ITEM", [values["item"]])
    peer = url.partition("?")[0]
    driver = NcipResponder(target, values, permissions)

    def finish() -> list[str]:
        driver.finish()
        return driver.remarks

    judge("ncip-responder", driver, given, redactor, peer, options, finish)


@ncip.command("initiator")
@click.option("--listen", "address", required=True, help="The port, or HOST:PORT, to listen on.")
@click.option("--pin-env", help="The environment variable with the PIN that will be sent.")
@click.option("--seconds", default=0.0, help="Stop after so many seconds; 0 waits for Ctrl-C.")
@outputs
def ncip_initiator(address: str, **options: Any) -> None:
    """Judge the initiator that calls."""
    pin = secret(options["pin_env"])
    judge_server = initiator.listen(address_of(address), library.make_open_library(pin))
    port = judge_server.port
    wait(f"Let the system call http://HERE:{port}/. Press Ctrl-C when you are done.", options)
    judge_server.shutdown()
    judge_server.server_close()
    driver = initiator.NcipInitiator(judge_server.calls)
    redactor = Redactor()
    redactor.learn_all("SECRET", [pin])
    judge("ncip-initiator", driver, set(), redactor, address, options, list)


@main.command()
@click.argument("role", type=click.Choice(catalogue.ROLES))
@click.option("--markdown", is_flag=True, help="Write a page of the documentation.")
def clauses(role: str, markdown: bool) -> None:
    """Show the catalogue of a role."""
    book = catalogue.load(role)
    if markdown:
        click.echo(catalogue_page(book))
        return
    table = Table(title=f"{len(book.clauses)} clauses of {role}")
    for heading in ("clause", "weight", "what it says", "source"):
        table.add_column(heading)
    for clause in book.clauses:
        table.add_row(clause.number, clause.weight, clause.title, clause.source)
    Console().print(table)


@main.command()
@click.argument("role", type=click.Choice(sorted(proof.JUDGES)))
def prove(role: str) -> None:
    """Plant every fault of a role in a scripted peer, and show which clause finds it."""
    proofs = list(proof.prove(role))
    for result in proofs:
        others = f", and also {', '.join(result.others)}" if result.others else ""
        click.echo(f"{result.clause.number} {result.outcome}{others}")
    held = sum(result.holds for result in proofs)
    click.echo(f"{held} of {len(proofs)} planted faults were found by their clause alone.")
    sys.exit(0 if held == len(proofs) else 1)


def catalogue_page(book: catalogue.Catalogue) -> str:
    """Write the catalogue of a role as Markdown."""
    lines = [f"## {book.role}", "", f"{len(book.clauses)} clauses.", ""]
    area = ""
    for clause in sorted(book.clauses, key=lambda clause: clause.number):
        if clause.area != area:
            area = clause.area
            lines += ["", f"### {area}", "", "| clause | weight | what it says | source |"]
            lines.append("|---|---|---|---|")
        title = clause.title.replace("|", "\\|")
        source = clause.source.replace("|", "\\|")
        lines.append(f"| {clause.number} | {clause.weight} | {title} | {source} |")
    return "\n".join(lines)
