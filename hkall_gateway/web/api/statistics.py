"""Statistics of a period."""

from __future__ import annotations

from typing import Any

from flask_openapi3.blueprint import APIBlueprint

from hkall_gateway.circulation.messages.results import Refused
from hkall_gateway.circulation.staff.console import statistics_of
from hkall_gateway.web.api import models
from hkall_gateway.web.api.access import SECURITY
from hkall_gateway.web.api.problems import described, refused
from hkall_gateway.web.services import consult

API = APIBlueprint("statistics", __name__, abp_security=SECURITY, abp_responses=described())


@API.get("/statistics", responses={"200": models.StatisticsRecord})
def period(query: models.PeriodQuery) -> Any:
    """Requests, turnaround, refusals and declines of a period, by month and partner."""
    found = consult(statistics_of, query.first, query.last)
    return (
        refused(found) if isinstance(found, Refused) else models.StatisticsRecord.model_validate(found).model_dump(mode="json")
    )
