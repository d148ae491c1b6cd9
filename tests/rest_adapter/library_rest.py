"""An adapter for a library system with a REST interface, as a third-party distribution would provide it."""

import json
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, Field

from hkall_gateway.circulation.ports import BorrowerFacts, Unreachable, Verb
from hkall_gateway.ils.adapter import Adapter, DoctorRow, Report
from hkall_gateway.ils.live import LiveFacts, over_loaded
from hkall_gateway.ils.tools import ConnectorTools
from hkall_gateway.net.http_post import NotSent
from hkall_gateway.rules.vocabulary import Holding, Sensitive


class RestSettings(BaseModel):
    base_url: str = Field(description="rest: address of the interface, without a slash at its end", pattern="^https?://")
    token_scheme: str = Field(default="Bearer", description="rest: the word before our token in the Authorization header")
    timeout_s: float = 3.0


class Rest:
    supports = frozenset({Verb.BORROWER})

    def __init__(self, tools: ConnectorTools) -> None:
        self._settings, self._services, self._store = tools.settings_of(RestSettings), tools.abroad(), tools.store

    async def borrower(self, card: str) -> BorrowerFacts:
        now = self._services.now()
        found = await self._services.ask("patron", partial(self.get, f"/patrons/{quote(card, '')}"), 3.0, self._try_again)
        if found is None:
            return BorrowerFacts(borrower=None, source="rest", as_of=now)
        facts = LiveFacts(
            blocked=found["blocked"], local_loans=found["loans"], name=Sensitive(found["name"]), category=found["category"]
        )
        return await over_loaded(self._store, card, facts, "rest", now)

    async def verify_pin(self, card: str, pin: Sensitive) -> bool:
        return False

    async def copies(self, bib_id: str) -> tuple[Holding, ...] | None:
        return None

    async def get(self, path: str, allowed_s: float) -> Any:
        proof = f"{self._settings.token_scheme} {self._services.password.reveal()}"
        try:
            reply = await self._services.get(self._settings.base_url + path, allowed_s, proof)
        except NotSent as failed:
            raise Unreachable(str(failed)) from failed
        if reply.status not in (200, 404):
            raise Unreachable(f"HTTP {reply.status}")
        return json.loads(reply.body) if reply.status == 200 else None

    async def _try_again(self) -> None:
        with suppress(Unreachable):
            await self._services.record("about", partial(self.get, "/about"), 3.0, self._try_again)


async def examine(report: Report, tools: ConnectorTools) -> None:
    about = await Rest(tools).get("/about", 3.0)
    if about and about["version"] >= 2:
        report.ok("rest.version", f"version {about['version']}")
    else:
        report.fail("rest.version", f"version {about and about['version']}")


ROW = DoctorRow(
    name="rest.version", tries="reads the version of the interface", advice="Ask the vendor for version 2 of the interface."
)
ADAPTER = Adapter(
    name="rest",
    build=Rest,
    settings=RestSettings,
    rows=(ROW,),
    examine=examine,
    address=lambda own: getattr(own, "base_url", ""),
)
