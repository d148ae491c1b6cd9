"""What all commands share: options, the `Site` that a command works on, and one-line errors.

Nothing here imports the database, the configuration or the network, so that `--help` is fast. `cli.opening` makes a `Site`, and
`cli.with_site` passes it to a command.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, TypeAlias, cast, overload

import click

from hkall_gateway.rules.dates import parse_day
from hkall_gateway.rules.plain_text import printable
from hkall_gateway.rules.vendor_words.languages import CHINESE, ENGLISH
from hkall_gateway.rules.vocabulary import NOTHING, Actor, Sensitive

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from hkall_gateway.circulation.circulation import Circulation
    from hkall_gateway.circulation.command import Command, Facts, Library, Query, Result
    from hkall_gateway.circulation.results import Refused
    from hkall_gateway.circulation.staff.explaining import ExplainQuestion, Explanation
    from hkall_gateway.db.database import Immediate
    from hkall_gateway.net.http_post import Post
    from hkall_gateway.peers.callers import Caller
    from hkall_gateway.rules.marc_fields import MarcMapping
    from hkall_gateway.rules.partners import Partner

Option: TypeAlias = Callable[[Callable[..., object]], Callable[..., object]]
"""A decorator for a command, as returned by `click.option`."""

REFUSED, WRONG = 1, 2


class _Day(click.ParamType[date]):
    """Parameter type for a date in the form YYYY-MM-DD."""

    name = "day"

    def convert(self, value: str | date, param: click.Parameter | None, ctx: click.Context | None) -> date:
        try:
            return value if isinstance(value, date) else parse_day(value)
        except ValueError:
            self.fail(f"{value!r} is not a date (YYYY-MM-DD)", param, ctx)


DAY: Final = _Day()
ROW: Final = click.IntRange(1, 2**63 - 1)
"""Parameter type for the number of a database row."""
MOST_CENTS: Final = 10_000_000
CENTS: Final = click.IntRange(1, MOST_CENTS)
"""Parameter type for an amount in cents."""


class CliError(click.ClickException):
    """An error shown as one line. Exit code 1 means refused or not found, and 2 means wrong usage or configuration."""

    def __init__(self, message: str, exit_code: int = REFUSED) -> None:
        super().__init__(message)
        self.__dict__["exit_code"] = exit_code  # click declares it as a class attribute

    def show(self, file: IO[str] | None = None) -> None:
        """Print the message in red on standard error."""
        click.echo(click.style(printable(self.message, lines=True), fg="red"), file=file, err=True)


def _usual_marc_mapping() -> MarcMapping:
    from hkall_gateway.rules.marc_fields import MarcMapping

    return MarcMapping()


@dataclass(frozen=True, slots=True)
class NcipAgreements:
    """The secrets and proofs agreed with our partners and clients for NCIP.

    Attributes:
        secrets: FromAgencyAuthentication that each partner expects from us.
        callers: Proofs that partners and clients must give.
        posts: `Post` functions for partners that identify us by an Authorization header.
    """

    secrets: Mapping[str, str]
    callers: Callable[[str], Mapping[str, Caller]] = lambda _protocol: {}
    posts: Mapping[str, Post] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The library that a command works on: identity, database, partners, and clients for database and partners.

    Attributes:
        open_circulation: Returns the service that executes commands and queries as the gateway does, under the same locks.
        store: The database, which a running gateway may use at the same time.
        now: Returns the current time in UTC.
        partners: Partners in the configuration file.
        agreed: Returns the secrets and proofs agreed with partners and clients.
        asks_local_system: Whether the library's own system is asked about patrons, rather than loaded rows.
        languages: Languages of letters, with the default language first.
        bounce_key: Key that signs the Message-IDs of letters.
        engine: The database of a configured site; None in a scenario.
        erased_file: File with the marks of erased patrons. None if the site is not configured from a file.
        erased_key: Key for the marks in `erased_file`.
        marc: Mapping of MARC fields.
    """

    library: Library
    open_circulation: Callable[[], Circulation]
    store: Immediate
    now: Callable[[], datetime]
    partners: tuple[Partner, ...]
    agreed: Callable[[], NcipAgreements]
    post: Post
    asks_local_system: bool = False
    languages: tuple[str, ...] = (ENGLISH, CHINESE)
    bounce_key: Sensitive = NOTHING
    engine: Engine | None = None
    erased_file: Path | None = None
    erased_key: bytes = b""
    marc: MarcMapping = field(default_factory=_usual_marc_mapping)

    @property
    def circulation(self) -> Circulation:
        """The service, imported on first use, because many commands only read the database."""
        return self.open_circulation()

    @overload
    def execute(self, command: Query[Facts, Result]) -> Result: ...

    @overload
    def execute(self, command: Command[Facts, Result]) -> Result | Refused: ...

    def execute(self, command: Query[Facts, Result] | Command[Facts, Result]) -> Result | Refused:
        """Execute a command or a query and return its result after the commit.

        A question needs neither locks nor the local system, so it is answered without opening the service.
        """
        from hkall_gateway.circulation.command import Asked, in_context
        from hkall_gateway.db.database import finished

        if isinstance(command, Asked):
            return cast("Result", self.store.read_now(in_context(command.answer, self.library, self.now())))
        return finished(self.circulation.execute(command))

    def explain(self, question: ExplainQuestion, at: datetime) -> Explanation:
        """Decide a question as its command would at the time `at`, and change nothing."""
        from hkall_gateway.db.database import finished

        return self.circulation.explain(question, at, wait=finished, trial=self.store.trial, partners=self.partners)


def by_staff(message: str) -> Actor:
    """Return the actor for the journal: the login name of the person at the command line."""
    return Actor(who=os.environ.get("SUDO_USER") or os.environ.get("USER") or "staff", channel="cli", message=message)


def combine_options(*options: Option) -> Option:
    """Combine options into one decorator, in the order of `--help`."""
    return lambda command: functools.reduce(lambda made, option: option(made), reversed(options), command)


config_option: Final = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="HKALL_CONFIG",
    default=Path("gateway.toml"),
    show_default=True,
    help="The configuration file; or set HKALL_CONFIG.",
)
json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def require_partner(site: Site, agency: str) -> None:
    """Exit with code 1 if an agency is neither a configured nor a loaded partner; "" stands for all partners."""
    known = {partner.agency for partner in site.partners}
    if agency and agency not in known and not _is_loaded_partner(site, agency):
        raise CliError(f"--partner: {agency!r} is no partner; configured are {', '.join(sorted(known)) or 'none'}")


def _is_loaded_partner(site: Site, agency: str) -> bool:
    from hkall_gateway.circulation import queries

    return site.execute(queries.find_partner(agency)) is not None


def confirm(question: str, yes: bool) -> None:
    """Ask for confirmation of an irreversible action, unless --yes was given. Exit with code 2 without a terminal."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise CliError("--yes is needed if standard input is no terminal", WRONG)
    click.confirm(question, abort=True, err=True)
