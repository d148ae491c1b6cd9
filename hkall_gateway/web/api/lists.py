"""The work lists."""

from __future__ import annotations

from typing import Any

from flask_openapi3.blueprint import APIBlueprint

from hkall_gateway.circulation.staff.console import list_counts, work_list
from hkall_gateway.db.queries.work_lists import Only, PageOrder
from hkall_gateway.web.api import models
from hkall_gateway.web.api.access import SECURITY, role
from hkall_gateway.web.api.problems import described
from hkall_gateway.web.services import consult

API = APIBlueprint("lists", __name__, abp_security=SECURITY, abp_responses=described())


@API.get("/lists", responses={"200": models.ListCounts})
def counts() -> Any:
    """The number of requests in each work list."""
    return models.ListCounts(counts={str(name): number for name, number in consult(list_counts).items()}).model_dump()


@API.get("/lists/<name>", responses={"200": models.ListPageRecord, **described(404)})
def page(path: models.ListPath, query: models.ListQuery) -> Any:
    """A page of a work list."""
    order = PageOrder(query.sort, query.reverse, query.after, query.most)
    found = consult(work_list, path.name, role(), order, Only(query.partner, query.pickup, query.material))
    return models.list_page(found).model_dump(mode="json")
