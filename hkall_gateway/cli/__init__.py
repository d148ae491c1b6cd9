"""The command `hkall-gateway`: a table of subcommands, each imported when it is run."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

import click

from hkall_gateway import __version__
from hkall_gateway.cli import command_log
from hkall_gateway.cli.lazy import Entry, LazyGroup

DAILY, RUN, DATA, LATE, LOOK = "Every day", "Running", "Data", "Messages and money", "Checks and trials"

YOUNG: Final = (50_000, 10, 10)
"""Garbage collector thresholds. They save a tenth of a command's time, since it creates many objects but little garbage."""

CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"
"""Environment variable with the folder of the secret files that systemd passes (`LoadCredential=`).

Source: systemd.exec(5), "Credentials"; https://systemd.io/CREDENTIALS
"""
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# fmt: off
ENTRIES: tuple[Entry, ...] = (
    Entry(RUN,   "serve",            "admin.serve:serve",             "Run the gateway in the foreground."),
    Entry(RUN,   "status",           "admin.status:status",           "Show gateways, queues, rounds and links to partners."),
    Entry(RUN,   "partners",         "admin.status:partners",         "Show the state and the queue of each partner."),
    Entry(RUN,   "tail",             "tools.tail:tail",               "Show the log, filtered, for people."),
    Entry(RUN,   "check-config",     "admin.configuration:check_config", "Check the configuration and the policy file."),
    Entry(RUN,   "reload",           "admin.serve:reload_gateway",    "Check, and let the gateway read its files again."),
    Entry(RUN,   "doctor",           "doctor:doctor",                 "Check whether everything is ready to go live."),
    Entry(RUN,   "hash-secret",      "admin.configuration:hash_secret", "Print the hash of a password for the configuration."),
    Entry(RUN,   "token",            "admin.token:token",             "Make, list and revoke tokens of the API."),
    Entry(RUN,   "policy",           "admin.configuration:policy",    "Check a policy file."),
    Entry(DAILY, "pull-list",        "staff.work_lists:COMMANDS",     "List the copies to fetch from our shelves now."),
    Entry(DAILY, "expected",         "staff.work_lists:COMMANDS",     "List the copies on their way to our counter."),
    Entry(DAILY, "expired-pickups",  "staff.work_lists:COMMANDS",     "List the copies to take off the hold shelf (R15)."),
    Entry(DAILY, "overdues",         "staff.work_lists:COMMANDS",     "List loans whose due date is over (R39)."),
    Entry(DAILY, "recalls",          "staff.work_lists:COMMANDS",     "List the copies that their owner recalls (R23)."),
    Entry(DAILY, "renewals",         "staff.work_lists:COMMANDS",     "List renewals that are pending or denied (R28)."),
    Entry(DAILY, "lender-dates",     "staff.work_lists:COMMANDS",     "List loans past a lender's date (R32)."),
    Entry(DAILY, "stuck",            "staff.work_lists:COMMANDS",     "List requests that stand still for too long."),
    Entry(DAILY, "flagged",          "staff.work_lists:COMMANDS",     "List requests for staff to look at, and why."),
    Entry(DAILY, "slips",            "staff.work_lists:slips",        "Print a slip for every book of the pull list."),
    Entry(DAILY, "requests",         "staff.requests:requests",       "List, show and trace requests."),
    Entry(DAILY, "request",          "staff.requests:request",        "Place, receive, ship, return, cancel … by hand."),
    Entry(DAILY, "explain",          "staff.explain:explain",         "Explain a decision by rule and facts; change nothing."),
    Entry(LATE,  "fines",            "staff.fines:fines",             "List unpaid charges; take payments, waive."),
    Entry(LATE,  "notices",          "staff.letters:notices",         "List letters and their outcomes."),
    Entry(LATE,  "bounce",           "staff.letters:bounce",          "Mark a letter that came back as undeliverable."),
    Entry(LATE,  "outbox",           "staff.outbox:outbox",           "List, retry and settle undelivered messages."),
    Entry(LATE,  "quarantine",       "staff.quarantine:quarantine",   "Judge messages about requests that are not known."),
    Entry(LATE,  "reconcile",        "staff.reconcile:reconcile",     "Compare open requests with a partner's."),
    Entry(DATA,  "db",               "admin.database:db",             "Check or upgrade the database schema."),
    Entry(DATA,  "load",             "admin.load:load",               "Load patrons, holdings, closures, partners, requests."),
    Entry(DATA,  "closures",         "staff.closures:closures",       "List and change the days when libraries are closed."),
    Entry(DATA,  "patron",           "admin.privacy:patron",          "Export or erase the data of one person."),
    Entry(DATA,  "purge",            "admin.privacy:purge",           "Make ended requests anonymous; archive them."),
    Entry(DATA,  "backup",           "admin.database:backup",         "Copy the database into a file while gateways work."),
    Entry(DATA,  "restore",          "admin.database:restore",        "Replace the database by a backup."),
    Entry(LOOK,  "sip2",             "tools.clients:sip2",            "Send SIP2 messages as a terminal."),
    Entry(LOOK,  "ncip",             "tools.clients:ncip",            "Send an NCIP document and print the reply."),
    Entry(LOOK,  "replay",           "tools.simulations:replay",      "Run scenario files."),
    Entry(LOOK,  "simulate",         "tools.simulations:simulate",    "Simulate a consortium with faults and crashes."),
    Entry(LOOK,  "simulate-partner", "tools.simulations:simulate_partner", "Answer as a partner would, for a rehearsal."),
)
# fmt: on


def add_credentials(environ: MutableMapping[str, str]) -> None:
    """Add each credential file to `environ` under its file name, unless that variable is already set.

    A final newline is removed. Raise OSError or UnicodeDecodeError if a file cannot be read.
    """
    folder = environ.get(CREDENTIALS)
    for file in sorted(Path(folder).iterdir()) if folder else ():
        if _VARIABLE.fullmatch(file.name):
            environ.setdefault(file.name, file.read_text(encoding="utf-8").removesuffix("\n"))


@click.group(cls=LazyGroup, entries=ENTRIES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hkall-gateway")
@click.pass_context
def main(context: click.Context) -> None:
    """Run a gateway between partner libraries (NCIP), terminals (SIP2) and the library's own system.

    Example: hkall-gateway serve --config gateway.toml
    """
    gc.set_threshold(*YOUNG)
    command_log.prepare()
    if context.invoked_subcommand != "reload":  # reload needs no secret, and systemd 252 (Debian 12) passes it none
        add_credentials(os.environ)
