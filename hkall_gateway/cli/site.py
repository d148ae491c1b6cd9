"""What every command needs: the configuration, the database beside a running daemon, and polite endings."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
from sqlalchemy import Engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from hkall_gateway import rows
from hkall_gateway.cli.local import Known, known
from hkall_gateway.cli.post import post
from hkall_gateway.config import gateway
from hkall_gateway.config.gateway import Gateway
from hkall_gateway.config.loading import ConfigErrors
from hkall_gateway.daemon import house_of, make_unit, now
from hkall_gateway.desk.common.house import House
from hkall_gateway.desk.local import loaded_facts
from hkall_gateway.desk.ports import BorrowerFacts
from hkall_gateway.mail.letters import LANGUAGES
from hkall_gateway.ncip.calls import Caller
from hkall_gateway.ncip.our_proofs import OurProof
from hkall_gateway.ncip.transport import Post, Posted
from hkall_gateway.rules.vocabulary import NOTHING, By, Partner, Sensitive
from hkall_gateway.store import schema
from hkall_gateway.store.engine.connect import open_engine
from hkall_gateway.store.engine.database import Immediate, finished
from hkall_gateway.store.outbox import Newer

T = TypeVar("T")

REFUSED, WRONG = 1, 2
LOADED_ONLY = ("snapshot", "manual")
"""Connectors that ask nobody."""


class Ending(click.ClickException):
    """One line on standard error and an exit code: 1 refused or not found, 2 wrong usage or configuration."""

    def __init__(self, message: str, exit_code: int = REFUSED) -> None:
        super().__init__(message)
        self.__dict__["exit_code"] = exit_code  # click declares it for the class

    def show(self, file: Any = None) -> None:
        click.echo(self.message, file=file, err=True)


@dataclass(frozen=True, slots=True)
class Site:
    """One library as a command sees it: who we are, its database, its partners, and the way to them.

    `transact(work, *args)` does `work(unit, *args)` in a short transaction of its own, beside a running daemon; `partners` are
    the configured ones, `secrets` is the FromAgencyAuthentication that each expects of us; `now` is the aware UTC instant;
    `local` asks the library's own system, None where borrowers are what was loaded. `languages` are those of letters, the
    usual one first; `bounce_key` signs their Message-IDs. `looking` does the same as `transact` without a lock, for work that
    only reads. `posts` are the ways to partners that know us by an Authorization header. `engine` and `erased_file` (the
    marks of the erased, under `erased_key`) are there where the site is a configured one.
    """

    house: House
    transact: Callable[..., Any]
    now: Callable[[], datetime]
    partners: tuple[Partner, ...]
    secrets: Mapping[str, str]
    post: Post
    callers: Mapping[str, Caller] = field(default_factory=dict)
    local: Known | None = None
    languages: tuple[str, ...] = LANGUAGES
    bounce_key: Sensitive = NOTHING
    looking: Callable[..., Any] | None = None
    engine: Engine | None = None
    erased_file: Path | None = None
    erased_key: bytes = b""
    posts: Mapping[str, Post] = field(default_factory=dict)

    def known(self, card: str, bib_id: str = "") -> BorrowerFacts:
        """What is known of a borrower now; asked before the unit of work that decides."""
        return self.local(card, bib_id) if self.local else self.run(loaded_facts, card)

    def run(self, work: Callable[..., T], *args: Any) -> T:
        """What `work(unit, *args)` answers, once it is committed."""
        done: T = self.transact(work, *args)
        return done

    def look(self, work: Callable[..., T], *args: Any) -> T:
        """What `work(unit, *args)` answers, which only reads, for however long."""
        seen: T = (self.looking or self.transact)(work, *args)
        return seen


def by_staff(message: str) -> By:
    """Who is at the command line: the login name, for the journal."""
    return By(os.environ.get("SUDO_USER") or os.environ.get("USER") or "staff", "cli", message)


def load_config(path: Path) -> tuple[Gateway, House]:
    """The configuration and the house it describes; every mistake on a line of its own and exit 2."""
    try:
        found = gateway.load(path, os.environ)
        return found, house_of(found)
    except ConfigErrors as error:
        raise Ending(str(error), WRONG) from None


def open_database(path: Path, *, any_revision: bool = False) -> Engine:
    """The database of a configuration; one at another revision is an ending with the command to run."""
    config, _house = load_config(path)
    engine = open_engine(config.database.url, config.database.limits())
    if not any_revision:
        require_revision(engine, path)
    return engine


def open_site(path: Path) -> Site:
    """The library of a configuration, as `open_database` finds it."""
    engine = open_database(path)
    config, house = load_config(path)

    def transact(work: Callable[..., T], *args: Any) -> T:
        with closing(Immediate(engine, make_unit(house))) as store:
            return store.now(work, *args)

    def looking(work: Callable[..., T], *args: Any) -> T:
        with closing(Immediate(engine, make_unit(house))) as store:
            return finished(store.read(work, *args))

    partners = tuple(partner.plain() for partner in config.partners)
    secrets, callers = rows.agreed_secrets(config, os.environ), rows.callers(config, os.environ)
    asked = known(config, house, engine, _post) if config.ils.connector not in LOADED_ONLY else None
    bounces = os.environ.get(config.smtp.bounce_key_env or "", "") if config.smtp else ""
    marks, key = erased_file(config, path), erased_key(config)
    told = (config.library.languages, Sensitive(bounces))
    posts: dict[str, Post] = {a: partial(_post, proof=proof) for a, proof in rows.our_proofs(config, os.environ).items()}
    return Site(house, transact, now, partners, secrets, _post, callers, asked, *told, looking, engine, marks, key, posts)


def erased_file(config: Gateway, path: Path) -> Path:
    """Where the marks of the erased are kept outside the database."""
    url = make_url(config.database.url)
    beside = Path(f"{url.database}.erased") if url.get_backend_name() == "sqlite" else path.absolute().with_name("hkall.erased")
    return config.privacy.erased_file or beside


def erased_key(config: Gateway) -> bytes:
    """The key of these marks, b"" where the site has none."""
    return os.environ.get(config.privacy.erased_key_env or "", "").encode()


async def _post(url: str, body: bytes, timeout_s: float, proof: OurProof | None = None) -> Posted:
    """The command waits for the reply."""
    return post(url, body, timeout_s, proof(now()) if proof else "")


def require_revision(engine: Engine, path: Path) -> None:
    """Exit 2 unless the database is at the revision of this program."""
    try:
        found, wanted = schema.revision(engine), schema.head()
    except OperationalError as error:
        raise Ending(f"{path}: database.url: cannot be opened: {error.orig}", WRONG) from None
    if found != wanted:
        require_known(found)
        state = f"at revision {found}" if found else "empty"
        mend = f"run `hkall-gateway db upgrade --config {path}`"
        raise Ending(f"the database is {state}, this program needs {wanted}: {mend}", WRONG)


def require_known(found: str) -> None:
    """Exit 2 where a newer version of the program has been at the database."""
    if not schema.knows(found):
        raise Ending(
            f"the database is at revision {found}, and this program knows none after {schema.head()}: "
            "install the newer version here too; gateways that run already may finish their day",
            WRONG,
        )


def config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option --config FILE (or HKALL_CONFIG), handed on as a path."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="HKALL_CONFIG",
        default=Path("gateway.toml"),
        show_default=True,
        help="The configuration file; HKALL_CONFIG names it too.",
    )(command)


def with_site(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command its `Site` as its first argument: the one of the context, as in a scenario, else the configured one."""

    @config_option
    @functools.wraps(command)
    def opened(*args: Any, config: Path, **options: Any) -> Any:
        given = click.get_current_context().find_object(Site)
        site = given or open_site(config)
        try:
            return command(site, *args, **options)
        except Newer as newer:
            raise Ending(f"{newer}: use that one here too", WRONG) from None
        finally:
            if given is None and site.engine is not None:
                site.engine.dispose()

    return opened


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option --json, handed on as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(command)
