"""What every command needs: the configuration, the database beside a running daemon, and polite endings."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from hkall_gateway.config import gateway
from hkall_gateway.config.gateway import Gateway
from hkall_gateway.config.loading import ConfigErrors
from hkall_gateway.daemon import house_of, make_unit
from hkall_gateway.desk.house import House
from hkall_gateway.rules.vocabulary import By
from hkall_gateway.store import schema
from hkall_gateway.store.database import Immediate
from hkall_gateway.store.engine import open_engine

T = TypeVar("T")

REFUSED, WRONG = 1, 2


class Ending(click.ClickException):
    """One line on standard error and an exit code: 1 refused or not found, 2 wrong usage or configuration."""

    def __init__(self, message: str, exit_code: int = REFUSED) -> None:
        super().__init__(message)
        self.__dict__["exit_code"] = exit_code  # click declares it for the class

    def show(self, file: Any = None) -> None:
        click.echo(self.message, file=file, err=True)


@dataclass(frozen=True, slots=True)
class Site:
    """One library's configuration and database, as a command sees them."""

    config: Gateway
    house: House
    engine: Engine

    def run(self, work: Callable[..., T], *args: Any) -> T:
        """`work(unit, *args)` in a short transaction of its own, beside a running daemon."""
        store = Immediate(self.engine, make_unit(self.house))
        try:
            return store.now(work, *args)
        finally:
            store.close()


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


def open_site(path: Path, *, any_revision: bool = False) -> Site:
    """Configuration and database; a database at another revision is an ending with the command to run."""
    config, house = load_config(path)
    engine = open_engine(config.database.url)
    if not any_revision:
        require_revision(engine, path)
    return Site(config, house, engine)


def require_revision(engine: Engine, path: Path) -> None:
    """Exit 2 unless the database is at the revision of this program."""
    try:
        found, wanted = schema.revision(engine), schema.head()
    except OperationalError as error:
        raise Ending(f"{path}: database.url: cannot be opened: {error.orig}", WRONG) from None
    if found != wanted:
        state = f"at revision {found}" if found else "empty"
        mend = f"run `hkall-gateway db upgrade --config {path}`"
        raise Ending(f"the database is {state}, this program needs {wanted}: {mend}", WRONG)


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
    """Give a command the opened `Site` as its first argument."""

    @config_option
    @functools.wraps(command)
    def opened(*args: Any, config: Path, **options: Any) -> Any:
        return command(open_site(config), *args, **options)

    return opened


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option --json, handed on as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(command)
