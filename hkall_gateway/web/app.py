"""Makes the WSGI application of all pages, with that of the API below its own address."""

from __future__ import annotations

from typing import Final

from flask import Flask, g, render_template, request
from flask_wtf.csrf import CSRFProtect
from jinja2 import StrictUndefined
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.web import errors, i18n, incoming, layout, limits, middleware, paths
from hkall_gateway.web.api.app import ROOT, make_api
from hkall_gateway.web.limits import patron_caller, stranger_caller
from hkall_gateway.web.middleware import NUMBER, PAGE, Middleware
from hkall_gateway.web.patron import home, record, request_title, search, title
from hkall_gateway.web.patron import login as patron_login
from hkall_gateway.web.services import EXTENSION, WebServices
from hkall_gateway.web.sessions import NO_SESSION, Sessions, current
from hkall_gateway.web.staff import (
    closures,
    explain,
    lists,
    login,
    overview,
    patrons,
    requests,
    scan,
    selection,
    slips,
    statistics,
    unsent,
)

BLUEPRINTS: Final = (
    home.PAGES,
    home.HELP,
    home.FILES,
    search.PAGES,
    search.OPENURL,
    title.PAGES,
    login.PAGES,
    login.SSO,
    overview.DASHBOARD,
    overview.PARTNERS,
    overview.TERMINALS,
    scan.PAGES,
    lists.PAGES,
    requests.PAGES,
    selection.PAGES,
    slips.PAGES,
    slips.BARCODES,
    unsent.PAGES,
    closures.PAGES,
    patrons.PAGES,
    statistics.PAGES,
    explain.PAGES,
    patron_login.PAGES,
    patron_login.SSO,
    request_title.PAGES,
    record.PAGES,
)
"""Every group of pages."""

MOST_BYTES: Final = 65_536
"""Length of a form; a longer one is answered with 413."""

SIGNING: Final = "hkall"
"""Flask-WTF signs what it writes into a form. The secret is the session's own token, which a stranger does not know; the
signature adds nothing to it, and this text makes forms valid at every gateway on the database."""


class Application(Flask):
    """Flask without a logger of its own."""

    def log_exception(self, exc_info: object) -> None:
        """Log nothing: `errors` does, with the fields of every line."""


def make_app(services: WebServices) -> Flask:
    """Return the application. Its `wsgi_app` is the whole, with the log and the metrics."""
    app = Application(__name__, static_folder="static", template_folder="templates")
    app.config.update(
        MAX_CONTENT_LENGTH=MOST_BYTES,
        MAX_FORM_MEMORY_SIZE=MOST_BYTES,
        SECRET_KEY=SIGNING,
        WTF_CSRF_TIME_LIMIT=None,  # as long as the session
        WTF_CSRF_SSL_STRICT=False,  # it wants a Referer, which our Referrer-Policy forbids
    )
    app.extensions[EXTENSION] = services
    app.session_interface = Sessions()
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    paths.install(app)
    app.before_request(_begin)  # before the checks: an error page shows the number
    incoming.install(app)
    CSRFProtect(app)
    for part in (i18n, layout, middleware, errors):
        part.install(app)
    for pages in BLUEPRINTS:
        app.register_blueprint(pages)
    api = make_api(services)
    shared = {**limits.shared(services), **patron_login.shared(services)}
    for one in (app, api):
        one.extensions |= shared
    both = DispatcherMiddleware(app.wsgi_app, {ROOT: api.wsgi_app})
    app.wsgi_app = Middleware(both, services)  # type: ignore[method-assign]  # as Flask's own documentation does
    return app


def _begin() -> tuple[str, int, dict[str, str]] | None:
    """Refuse a caller that asks for too many pages with 429, before the page is made."""
    g.number = request.environ.get(NUMBER, "")
    request.environ[PAGE] = paths.rule_of_page()
    if current().away:
        raise Unavailable("the database is away")
    if request.endpoint in NO_SESSION or not (caller := _caller()):
        return None
    seconds = limits.wait_s(caller)
    return (render_template("patron/too_many.html"), 429, {"Retry-After": str(seconds)}) if seconds else None


def _caller() -> str:
    """Return the name under which this page is counted; "" for staff, whose pages are not."""
    own = current()
    if own.row:
        return patron_caller(own.row.patron) if own.row.patron else ""
    return f"browser {own.browser.token_hash}" if own.browser else stranger_caller()
