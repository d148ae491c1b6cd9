"""Creates the WSGI application for all pages, with the API mounted at /api/v1."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pkgutil import iter_modules
from typing import Final

from flask import Blueprint, Flask, g, request
from flask_wtf.csrf import CSRFProtect
from jinja2 import StrictUndefined
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.web import errors, i18n, incoming, labels, layout, limits, middleware, paths, patron, staff
from hkall_gateway.web.api.app import make_api
from hkall_gateway.web.api.description import documentation
from hkall_gateway.web.middleware import NUMBER, PAGE, Middleware
from hkall_gateway.web.paths import API_ROOT
from hkall_gateway.web.services import API_DOCUMENTATION, EXTENSION, WebServices
from hkall_gateway.web.sessions import Sessions, current
from hkall_gateway.web.staff.words import in_words, problem

MOST_BYTES: Final = 65_536
"""Maximum request body in bytes. A longer request is answered with 413."""

SIGNING: Final = "hkall"
"""Key with which Flask-WTF signs form tokens. The key need not be secret, since each token contains a secret that only the
session knows. A constant key makes forms valid at every gateway that shares the database."""


class Application(Flask):
    """Flask application that leaves the logging of exceptions to the module `errors`."""

    def log_exception(self, exc_info: object) -> None:
        """Do nothing, since the module `errors` logs exceptions with the standard fields."""


def make_app(services: WebServices) -> Flask:
    """Create the Flask application. Its `wsgi_app` includes the API, the request log and the metrics."""
    app = Application(__name__, static_folder="static", template_folder="templates")
    app.config.update(
        MAX_CONTENT_LENGTH=MOST_BYTES,
        MAX_FORM_MEMORY_SIZE=MOST_BYTES,
        SECRET_KEY=SIGNING,
        WTF_CSRF_TIME_LIMIT=None,  # a form is valid as long as its session
        WTF_CSRF_SSL_STRICT=False,  # the strict check needs a Referer header, which our Referrer-Policy suppresses
    )
    app.extensions[EXTENSION] = services
    app.session_interface = Sessions()
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters["problem"] = problem
    for function in (labels.word, labels.flag_words, labels.job_words, labels.message_words, labels.reason_in_words):
        app.jinja_env.globals[function.__name__] = function
    app.jinja_env.globals["in_words"] = in_words
    app.jinja_env.globals["form_key"] = incoming.form_key
    app.jinja_env.globals["WORDS"] = labels.WORDS
    paths.install(app)
    app.before_request(_begin_request)  # runs before the checks, since error pages show the request number
    incoming.install(app)
    CSRFProtect(app)
    for part in (i18n, layout, middleware, errors):
        part.install(app)
    for blueprint in dict.fromkeys(_blueprints()):
        app.register_blueprint(blueprint)
    api = make_api(services)
    app.extensions[API_DOCUMENTATION] = partial(documentation, api)
    shared = limits.shared(services)
    for one in (app, api):
        one.extensions |= shared
    both = DispatcherMiddleware(app.wsgi_app, {API_ROOT: api.wsgi_app})
    app.wsgi_app = Middleware(both, services)  # type: ignore[method-assign]  # as documented by Flask
    return app


def _blueprints() -> Iterator[Blueprint]:
    """Yield the Blueprints of every module in `patron` and `staff`."""
    for package in (patron, staff):
        for module in iter_modules(package.__path__, f"{package.__name__}."):
            yield from (value for value in vars(import_module(module.name)).values() if isinstance(value, Blueprint))


def _begin_request() -> None:
    """Store the request number and URL rule. Raise Unavailable if the database did not answer."""
    g.number = request.environ.get(NUMBER, "")
    request.environ[PAGE] = paths.rule_of_page()
    if current().away:
        raise Unavailable("the database is away")
