"""The way to the gateway that runs with a configuration: its endpoints by their addresses, its database beside it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from hkall_gateway.cli.options import Site
from hkall_gateway.cli.tools.sip2 import connected
from hkall_gateway.cli.work.opening import load_config
from hkall_gateway.config import mapping as config_mapping
from hkall_gateway.db.unit import Unit
from hkall_gateway.ncip.http_post import NoReply, post
from hkall_gateway.simulator.scenario.live_gateway import GatewayAddress

PAUSE_S: Final = 0.5


def way_to(path: Path, site: Site, password: str, terminals_at: str, partners_at: str, timeout_s: float) -> GatewayAddress:
    """How a scenario reaches it; `password` is every terminal's."""
    config, library = load_config(path)

    def send(document: bytes) -> bytes:
        try:
            return post(partners_at, document, timeout_s).body
        except NoReply as failed:
            raise OSError(str(failed)) from None

    return GatewayAddress(
        agency=library.agency,
        call=lambda: connected(terminals_at, timeout_s),
        post=send,
        password=password,
        encodings={login: row.dialect.encoding for login, row in config_mapping.terminals(config, library.policy).items()},
        secrets=config_mapping.agreed_secrets(config, os.environ),
        dialects=config_mapping.dialects(config),
        request=lambda number: site.run(Unit.request, number),
        outbox=lambda: site.run(lambda unit: unit.outbox.rows()),
        now=site.now,
        pause=lambda: time.sleep(PAUSE_S),
    )
