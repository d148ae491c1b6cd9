"""Creates the WSGI application for the API, which is mounted at /api/v1."""

from __future__ import annotations

from typing import Final

from flask import g, redirect, request
from flask_openapi3.models.info import Info
from flask_openapi3.models.server import Server
from flask_openapi3.openapi import OpenAPI

from hkall_gateway import __version__
from hkall_gateway.web import incoming, paths
from hkall_gateway.web.api import access, console, patron, problems
from hkall_gateway.web.api.description import describe
from hkall_gateway.web.middleware import NUMBER, PAGE
from hkall_gateway.web.middleware import install as install_headers
from hkall_gateway.web.paths import API_ROOT
from hkall_gateway.web.services import EXTENSION, WebServices

DOCUMENTATION: Final = "/help/api"
"""Path of the web page that documents the API."""
OPERATIONS: Final = (
    patron.TITLES,
    patron.TOKEN,
    patron.PATRON,
    console.LISTS,
    console.REQUESTS,
    console.MONEY,
    console.STATISTICS,
)
MOST_BYTES: Final = 65_536


class Api(OpenAPI):
    """The API application, without sessions or a secret key. The module `problems` logs errors with the standard fields."""

    def log_exception(self, exc_info: object) -> None:
        """Do nothing, since the module `problems` logs errors."""


def make_api(services: WebServices) -> Api:
    """Create the API application with all operations."""
    api = Api(
        __name__,
        info=Info(title="HKALL gateway", version=__version__, description=DESCRIPTION),
        servers=[Server(url=API_ROOT)],
        security_schemes={"token": {"type": "http", "scheme": "bearer"}},
        validation_error_model=problems.Problem,
        validation_error_callback=problems.unreadable,
        doc_ui=False,
        static_folder=None,
    )
    api.config.update(MAX_CONTENT_LENGTH=MOST_BYTES)
    paths.install(api)
    api.extensions[EXTENSION] = services
    api.before_request(_begin_request)
    incoming.install(api)
    access.install(api)
    install_headers(api)
    problems.install(api)
    for group in OPERATIONS:
        api.register_api(group)
    api.add_url_rule("/openapi.json", "description", lambda: describe(api))
    api.add_url_rule("/", "documentation", lambda: redirect(DOCUMENTATION))
    api.add_url_rule("/docs", "documentation")
    return api


DESCRIPTION: Final = (
    "HKALL at one library: for patrons the union catalogue, requests, the circulation record and renewals; for staff work "
    "lists, requests, commands and statistics. Errors are problems of RFC 9457; `rule` is the number of the published rule. "
    "Every change needs an Idempotency-Key."
)


def _begin_request() -> None:
    g.number = request.environ.get(NUMBER, "")
    request.environ[PAGE] = API_ROOT + paths.rule_of_page()
