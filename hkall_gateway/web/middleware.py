"""WSGI middleware around all pages: gives each request a number, one log line, metrics, and security headers."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import structlog
from flask import Flask, Response, request

from hkall_gateway.observability.log_context import log_context
from hkall_gateway.web.errors import BROKEN
from hkall_gateway.web.services import WebServices

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


POLICY: Final = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'; img-src 'self' data:"
)
PICTURE: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
"""Content-Security-Policy for generated SVG images, which have inline styles and are embedded with `<img>`."""

HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Content-Security-Policy": POLICY,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Cache-Control": "no-store",
    }
)
"""Default headers of every response. A page may set other values."""


def install(app: Flask) -> None:
    """Add the default headers to every response of the application."""

    @app.after_request
    def headed(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if request.endpoint == "static":
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        if request.is_secure:
            response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        return response


LOG = structlog.get_logger()

NUMBER: Final = "hkall.number"
PAGE: Final = "hkall.page"
"""Keys in the WSGI environment: the request's number, and the URL rule of its page (`/staff/requests/<number>`)."""
PLAIN: Final = (("Content-Type", "text/html; charset=utf-8"), ("Cache-Control", "no-store"))
LETTERS: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZ"


class Middleware:
    """WSGI middleware that numbers, logs and measures every request."""

    def __init__(self, app: WSGIApplication, services: WebServices) -> None:
        self._app, self._services = app, services

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Handle one request, count it, and log one line."""
        number = environ[NUMBER] = "".join(secrets.choice(LETTERS) for _ in range(8))
        began, answered = self._services.seconds(), list[str]()

        def start(
            status: str, headers: list[tuple[str, str]], exc_info: OptExcInfo | None = None, /
        ) -> Callable[[bytes], object]:
            answered.append(status[:3])
            return start_response(status, headers, exc_info)

        with log_context(channel="web", corr_id=number):
            try:
                return self._app(environ, start)
            except Exception:  # the error page itself failed, but the browser still gets a response
                LOG.exception("web.failed")
                answered.append("500")
                start_response("500 Internal Server Error", list(PLAIN))
                return [BROKEN.content]
            finally:
                # Log the URL rule instead of the path or the query, which may contain typed text or a person's number.
                took_s, page, code = self._services.seconds() - began, environ.get(PAGE, ""), answered[-1]
                self._services.metrics.web_latency.labels(page, code).observe(took_s)
                if page != "/static/<path:filename>":
                    facts = {
                        "verb": environ["REQUEST_METHOD"],
                        "page": page,
                        "code": code,
                        "peer": environ.get("REMOTE_ADDR", ""),
                    }
                    LOG.info("web.answered", **facts, ms=round(took_s * 1000, 1))
