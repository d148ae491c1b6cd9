"""Open the library in a configuration file for a command: its partners and its database, which a gateway may be using."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from hkall_gateway.circulation.command import Library
from hkall_gateway.cli.endings import cause_of
from hkall_gateway.cli.options import WRONG, CliError, NcipAgreements, Site
from hkall_gateway.clock import now
from hkall_gateway.config import gateway
from hkall_gateway.config.gateway import GatewayConfig
from hkall_gateway.config.library import library_of, make_unit
from hkall_gateway.config.loading import ConfigErrors
from hkall_gateway.db import schema
from hkall_gateway.db.database import Immediate
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.ils.installed import find_adapter
from hkall_gateway.rules.vocabulary import Sensitive

if TYPE_CHECKING:
    from hkall_gateway.circulation.circulation import Circulation
    from hkall_gateway.net.http_post import HttpReply, Post
    from hkall_gateway.peers.authentication import OurProof


def load_config(path: Path, environ: Mapping[str, str] | None = os.environ) -> tuple[GatewayConfig, Library]:
    """Return the configuration and the library that it describes. On errors, exit with code 2 and a line for each error.

    `environ` must have the variables that the configuration names; None skips this check.
    """
    try:
        found = gateway.load(path, environ)
        return found, library_of(found)
    except ConfigErrors as error:
        raise CliError(str(error), WRONG) from None


def open_database(path: Path, *, any_revision: bool = False) -> Engine:
    """Open the database of a configuration. If it is at another revision, exit and name the upgrade command."""
    config, _library = load_config(path)
    return _open_engine(config, path, any_revision=any_revision)


def _open_engine(config: GatewayConfig, path: Path, *, any_revision: bool = False) -> Engine:
    engine = open_engine(config.database.url, config.database.limits())
    if not any_revision:
        require_revision(engine, path)
    return engine


def open_site(path: Path) -> Site:
    """Open the library in a configuration file. Exit if its database is not at the revision of this program."""
    config, library = load_config(path)
    engine = _open_engine(config, path)

    store = Immediate(engine, make_unit(library))
    bounces = os.environ.get(config.smtp.bounce_key_env or "", "") if config.smtp else ""
    return Site(
        library=library,
        open_circulation=cache(partial(_open_circulation, config, library, store)),
        store=store,
        now=now,
        partners=tuple(partner.plain() for partner in config.partners),
        agreed=partial(_read_agreements, config),
        post=_post_now,
        asks_local_system=find_adapter(config.ils.connector).is_live,
        languages=config.library.languages,
        bounce_key=Sensitive(bounces),
        engine=engine,
        erased_file=erased_file(config, path),
        erased_key=erased_key(config),
        marc=config.marc.plain(),
    )


def _read_agreements(config: GatewayConfig) -> NcipAgreements:
    from hkall_gateway.config import mapping as config_mapping

    posts: dict[str, Post] = {
        a: partial(_post_now, proof=proof) for a, proof in config_mapping.our_proofs(config, os.environ).items()
    }
    secrets = config_mapping.agreed_secrets(config, os.environ)
    return NcipAgreements(secrets, partial(config_mapping.callers, config, os.environ), posts)


def _open_circulation(config: GatewayConfig, library: Library, store: Immediate) -> Circulation:
    """Return the service with the library's own system, as the gateway sees it. Loaded data are read from the database."""
    from hkall_gateway.circulation.circulation import Circulation
    from hkall_gateway.ils.local_system import ConnectedSystem, reject_pin
    from hkall_gateway.ils.tools import ConnectorTools

    if find_adapter(config.ils.connector).is_live:
        from hkall_gateway.cli.local_system import live_system

        local = live_system(config, library, store, _post_now)
    else:
        tools = ConnectorTools(store=store, agency=library.agency, verify=reject_pin)
        local = ConnectedSystem(store, find_adapter(config.ils.connector).build(tools), lambda: library, now)
    return Circulation(store, local, lambda: library, now)


def erased_file(config: GatewayConfig, path: Path) -> Path:
    """Return the path of the file, outside the database, that holds the marks of erased patrons."""
    url = make_url(config.database.url)
    beside = Path(f"{url.database}.erased") if url.get_backend_name() == "sqlite" else path.absolute().with_name("hkall.erased")
    return config.privacy.erased_file or beside


def erased_key(config: GatewayConfig) -> bytes:
    """Return the key for the marks of erased patrons, or b"" if no key is configured."""
    return os.environ.get(config.privacy.erased_key_env or "", "").encode()


async def _post_now(url: str, body: bytes, timeout_s: float, proof: OurProof | None = None) -> HttpReply:
    """Post a document and wait for the reply."""
    from hkall_gateway.net.http_post import post

    return post(url, body, timeout_s, proof(now()) if proof else "")


def require_revision(engine: Engine, path: Path) -> None:
    """Exit with code 2 unless the database can be opened and is at the revision of this program."""
    found, wanted = revision_of(engine, path), schema.head()
    if found != wanted:
        require_known(found)
        state = f"at revision {found}" if found else "empty"
        mend = f"run `hkall-gateway db upgrade --config {path}`"
        raise CliError(f"the database is {state}, this program needs {wanted}: {mend}", WRONG)


def revision_of(engine: Engine, path: Path) -> str:
    """Return the revision of the database, or "" if it is empty. Exit with code 2 if it cannot be opened."""
    from sqlalchemy.exc import DBAPIError

    try:
        return schema.revision(engine)
    except DBAPIError as error:
        raise CliError(f"{path}: database.url: cannot be opened: {cause_of(error)}", WRONG) from None


def require_known(found: str) -> None:
    """Exit with code 2 if a newer version of the program has upgraded the database."""
    if not schema.knows(found):
        raise CliError(
            f"the database is at revision {found}, and this program knows none after {schema.head()}: "
            "install the newer version here too; gateways that run already may go on until then",
            WRONG,
        )
