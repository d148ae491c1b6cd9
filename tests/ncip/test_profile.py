"""The table of services: who may call a service, in which flow, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from docs.generate.ncip_profile import WHY, callers_of
from hkall_gateway.ncip.codec.dialects import DIALECTS
from hkall_gateway.ncip.codec.messages import SHAPES
from hkall_gateway.ncip.profile import FLOWS, HANDLERS

if TYPE_CHECKING:
    from tests.ncip.conftest import World

# What the issue wants done; everything else that NCIP knows is answered and not done.
# fmt: off
WANTED = """
LookupUser LookupItem LookupItemSet LookupRequest LookupAgency RequestItem CancelRequestItem UpdateRequestItem AcceptItem
CheckOutItem CheckInItem RenewItem RecallItem CancelRecallItem UndoCheckOutItem CreateItem UpdateItem DeleteItem
CreateUserFiscalTransaction UpdateCirculationStatus ReportCirculationStatusChange ItemRequested ItemRequestCancelled
ItemRequestUpdated ItemShipped ItemReceived ItemCheckedOut ItemCheckedIn ItemRenewed ItemRecalled ItemRecallCancelled
CirculationStatusUpdated UserFiscalTransactionCreated CirculationStatusChangeReported
"""
SAME = (
    ("CheckOutItem", "ItemCheckedOut"), ("CheckInItem", "ItemCheckedIn"), ("RecallItem", "ItemRecalled"),
    ("CancelRecallItem", "ItemRecallCancelled"), ("RequestItem", "ItemRequested"), ("UpdateRequestItem", "ItemRequestUpdated"),
    ("UpdateCirculationStatus", "CirculationStatusUpdated"), ("CreateUserFiscalTransaction", "UserFiscalTransactionCreated"),
    ("ReportCirculationStatusChange", "CirculationStatusChangeReported"),
)
# fmt: on


def test_exactly_the_required_services_are_implemented() -> None:
    assert HANDLERS.keys() == set(WANTED.split())


def test_every_ncip_service_states_why_it_is_implemented_or_not() -> None:
    assert WHY.keys() == SHAPES.keys() | {"LookupVersion"}


@pytest.mark.parametrize("flow", FLOWS)
def test_every_implemented_service_is_used_by_some_flow(flow: str) -> None:
    assert FLOWS[flow].keys() == HANDLERS.keys()
    assert all(any(FLOWS[f][name].who for f in FLOWS) for name in HANDLERS)


@pytest.mark.parametrize(("command", "told"), SAME)
def test_command_and_notification_of_an_event_share_a_handler(command: str, told: str) -> None:
    for rows in FLOWS.values():
        assert rows[command].who == rows[told].who
    assert HANDLERS[command].handle is HANDLERS[told].handle


def test_every_dialect_has_a_flow() -> None:
    assert {row.flow for row in DIALECTS.values()} == FLOWS.keys()


def test_brokers_and_central_are_partners_never_clients() -> None:
    assert {callers_of(flow, name) for flow in ("broker", "innreach") for name in HANDLERS} == {"partner", ""}


CARD = {"AgencyId": "HKU", "UserIdentifierValue": "UG1"}


@pytest.mark.parametrize(
    ("agency", "refused"), [("CUHK", True), ("HKU-DISCOVERY", False), ("RESHARE", False), ("HKALL1", False)]
)
def test_only_authorised_callers_can_look_up_patrons(world: World, agency: str, refused: bool) -> None:
    reply = world.ask(agency, "LookupUser", UserId=CARD)
    assert (reply.text("Problem/ProblemType") == "Unauthorized Service For Agency") == refused
    assert not reply.has("UserOptionalFields")
