"""A library system whose SIP2 server is PyPI's pysip2: `python -m tests.doctor.sip2_server PORT MANNER …`.

Manners: known, no-bl, no-cq, off-line, no-63.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Final

from pysip2 import (
    ITEM_INFORMATION,
    LOGIN,
    PATRON_INFORMATION,
    PATRON_STATUS,
    ItemInformationResponse,
    LoginResponse,
    PatronInformationResponse,
    PatronStatusResponse,
    SIP2Server,
)

DATE: Final = "20170301    100000"
COUNTS: Final = ("hold_items", "overdue_items", "charged_items", "fine_items", "recall_items", "unavailable_holds")


def make(manners: set[str]) -> SIP2Server:
    """Create the server; it accepts the login `gateway` with the password `opensesame`."""
    server = SIP2Server(
        login_required=True, institution_id="HKU", min_protocol_version="9.99" if "off-line" in manners else "1.00"
    )
    checked = {} if "no-cq" in manners else {"valid_patron_password": "N"}
    valid = None if "no-bl" in manners else "Y" if "known" in manners else "N"

    @server.route(LOGIN)
    def login(request: Any, _ctx: Any) -> LoginResponse:
        right = (request.login_user_id, request.login_password) == ("gateway", "opensesame")
        return LoginResponse(ok="1" if right else "0")

    @server.route(ITEM_INFORMATION)
    def item(request: Any, _ctx: Any) -> ItemInformationResponse:
        status = "03" if "known" in manners else "01"
        said: dict[str, Any] = {
            "circulation_status": status,
            "security_marker": "00",
            "fee_type": "01",
            "transaction_date": DATE,
        }
        return ItemInformationResponse(item_identifier=request.item_identifier, title_identifier="", **said)

    def person(request: Any) -> dict[str, Any]:
        said = {"patron_status": " " * 14, "language": "000", "transaction_date": DATE, "institution_id": "HKU"}
        return {**said, "patron_identifier": request.patron_identifier, "personal_name": "", "valid_patron": valid, **checked}

    @server.route(PATRON_STATUS)
    def status(request: Any, _ctx: Any) -> PatronStatusResponse:
        return PatronStatusResponse(**person(request))

    if "no-63" not in manners:

        @server.route(PATRON_INFORMATION)
        def information(request: Any, _ctx: Any) -> PatronInformationResponse:
            return PatronInformationResponse(**person(request) | {f"{name}_count": "0000" for name in COUNTS})

    return server


async def _serve(port: int, manners: set[str]) -> None:
    async with make(manners).start("127.0.0.1", port):
        print("listening", flush=True)  # noqa: T201
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), set(sys.argv[2:])))
