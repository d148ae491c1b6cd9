"""The partners: their channels, unsent messages, balance, answers and turnaround."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from flask import Blueprint, render_template

from hkall_gateway.circulation.common.context import Context, in_context
from hkall_gateway.circulation.staff.partner_lines import PartnerLine, partner_lines
from hkall_gateway.rules.circuit import UP
from hkall_gateway.web.access import needs
from hkall_gateway.web.i18n import library_name
from hkall_gateway.web.roles import StaffRole
from hkall_gateway.web.services import services

PAGES = Blueprint("partners", __name__)

MOST: Final = 200
"""Partners of the directory that are shown beside those with messages."""


@dataclass(frozen=True, slots=True)
class Partners:
    """The rows of the page, and the names of the libraries by agency."""

    rows: tuple[PartnerLine, ...]
    names: Mapping[str, str]


@PAGES.get("/staff/partners")
@needs(StaffRole.VIEWER)
def partners() -> str:
    """The page; the script reads it again every quarter of a minute."""
    found = services().bridge.read(in_context, partners_of, services().library(), services().now())
    return render_template("staff/partners.html", found=found, up=UP)


def partners_of(context: Context) -> Partners:
    """Return the partners that were ever sent a message, and the first of the directory, by agency."""
    unit = context.unit
    agencies = sorted({*unit.circuits.used(), *unit.circuits.listed(MOST)})
    names = {agency: library_name(agency, partner.name) for agency, partner in unit.partners(agencies).items()}
    return Partners(partner_lines(unit, context.now, agencies), names)
