"""Reports API errors as problems (RFC 9457). The problem for a refusal has the reason and the rule number."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final, TypeAlias

import structlog
from flask import Flask, Response, g
from pydantic import BaseModel, Field, ValidationError
from werkzeug.exceptions import HTTPException, InternalServerError
from werkzeug.wrappers import Response as WsgiResponse

from hkall_gateway.circulation.results import Refused
from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.web.errors import PROBLEM
from hkall_gateway.web.labels import rule_of, sentence
from hkall_gateway.web.services import services

LOG = structlog.get_logger()

RETRY_S: Final = "5"


Reply: TypeAlias = Response | dict[str, object] | tuple[dict[str, object] | str, int]
"""The return type of an operation."""


Responses: TypeAlias = dict[str | int | HTTPStatus, type[BaseModel] | dict[str, object] | None]


class Problem(BaseModel):
    """A problem as in RFC 9457. `reason` is the gateway's refusal code. `rule` is the number of the published rule."""

    type: str = Field(description="about:blank, or the address of the rule")
    title: str
    status: int
    detail: str = ""
    reason: str = ""
    rule: str = ""
    number: str = Field(default="", description="names this request in the gateway's log")


# fmt: off
STATUSES: Final[Mapping[Reason, int]] = MappingProxyType({
    Reason.UNKNOWN_REQUEST:  404,
    Reason.UNKNOWN_BORROWER: 404,
    Reason.UNKNOWN_TITLE:    404,
    Reason.UNKNOWN_ITEM:     404,
    Reason.REASON_NEEDED:    422,
    Reason.WRONG_DATE:       422,
    Reason.NOT_SUPPORTED:    422,
    Reason.TRY_AGAIN:        503,
})
"""HTTP status for each refusal reason. Any other reason, which depends on a rule or a request's position, is a 409."""
# fmt: on
CONFLICT: Final = 409


class Trouble(Exception):
    """Raised to end an operation with a problem other than a refused command."""

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers


def refused(refusal: Refused, *, to_patron: bool = False) -> Response:
    """Return the problem for a refusal, worded for staff or for the patron."""
    status, rule = STATUSES.get(refusal.why, CONFLICT), rule_of(refusal)
    kind = f"{services().settings().public_url}/help#{rule}" if rule else "about:blank"
    headers = {"Retry-After": RETRY_S} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    return _problem_response(
        status, sentence(refusal, to_patron=to_patron), headers, type=kind, reason=refusal.why.value, rule=rule
    )


def unreadable(error: ValidationError) -> Response:
    """Return the problem for a request that fails validation, with the first validation error and its location."""
    first = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    return _problem_response(422, f"{where}: {first['msg']}" if where else str(first["msg"]), {})


def install(api: Flask) -> None:
    """Register error handlers that turn every API error into a problem."""
    api.register_error_handler(Trouble, lambda trouble: _problem_response(trouble.status, trouble.detail, trouble.headers))
    api.register_error_handler(HTTPException, _http_problem)
    api.register_error_handler(Unavailable, lambda _error: refused(Refused(why=Reason.TRY_AGAIN)))


def _http_problem(error: HTTPException) -> WsgiResponse:
    if error.response is not None:
        return error.get_response()
    if isinstance(error, InternalServerError):
        LOG.error("web.failed", exc_info=error.original_exception)
    kept = {name: value for name, value in error.get_headers() if name.lower() in ("allow", "retry-after")}
    return _problem_response(error.code or 500, "", kept)


def _problem_response(
    status: int,
    detail: str,
    headers: Mapping[str, str],
    *,
    type: str = "about:blank",  # noqa: A002  # RFC 9457's own name
    **named: str,
) -> Response:
    title = HTTPStatus(status).phrase
    problem = Problem(type=type, title=title, status=status, detail=detail, number=g.get("number", ""), **named)
    return Response(problem.model_dump_json(exclude_defaults=False), status, dict(headers), content_type=PROBLEM)


def described(*statuses: int) -> Responses:
    """Return the OpenAPI responses for `statuses` and for the problems that every operation may return."""
    content = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {str(one): {"description": HTTPStatus(one).phrase, "content": content} for one in sorted({*ALWAYS, *statuses})}


ALWAYS: Final = (400, 401, 403, 422, 429, 503, 504)
"""Statuses of the problems that every operation may return."""
