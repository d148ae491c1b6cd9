"""The layout shared by all pages: the menu, the library's name and logo, the brand colour, and the URLs of static files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from flask import Blueprint, Flask, Response, abort, redirect, render_template, request, send_file, url_for
from werkzeug.wrappers import Response as Redirect

from hkall_gateway.net.contrast import DARK_PAPER, readable_on
from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.rules.vendor_words.languages import ENGLISH
from hkall_gateway.web.i18n import A_YEAR_S, LANGUAGES, N_, language
from hkall_gateway.web.labels import KEYS
from hkall_gateway.web.paths import set_own_cookie, way_back
from hkall_gateway.web.services import services
from hkall_gateway.web.sessions import may, needs, patron, staff

STATIC: Final = Path(__file__).with_name("static")
STAFF_PAGES: Final = "/staff/"
NO_KEYS: Final = "__Host-hkall-no-keys"
"""Cookie of a browser whose access keys are switched off."""
AN_HOUR: Final = "public, max-age=3600"

PAGES = Blueprint("layout", __name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class MenuEntry:
    """One menu entry.

    Attributes:
        endpoint: The page to which the entry links.
        word: Text of the entry.
        role: Lowest staff role that sees the entry, or None if everybody sees it.
        others: Additional Blueprints whose pages highlight this entry, besides the endpoint's Blueprint.
        key: Act whose access key opens the page.
        more: Whether the entry is shown under "More".
    """

    endpoint: str
    word: str
    role: StaffRole | None = None
    others: tuple[str, ...] = ()
    key: str = ""
    more: bool = False

    @property
    def url(self) -> str:
        """Return the URL of the page."""
        return url_for(self.endpoint)

    @property
    def is_here(self) -> bool:
        """Return whether this page highlights the entry."""
        return request.blueprint in (self.endpoint.partition(".")[0], *self.others)


# fmt: off
MENU: Final = (
    MenuEntry(endpoint="dashboard.dashboard",   word=N_("Today"),      role=StaffRole.VIEWER),
    MenuEntry(endpoint="scan.scan",             word=N_("Scan"),       role=StaffRole.CLERK,      key="scan"),
    MenuEntry(endpoint="lists.first",           word=N_("Lists"),      role=StaffRole.VIEWER,     key="lists"),
    MenuEntry(endpoint="slips.slips",           word=N_("Slips"),      role=StaffRole.CLERK),
    MenuEntry(endpoint="requests.find",         word=N_("Requests"),   role=StaffRole.VIEWER,     key="find"),
    MenuEntry(endpoint="patrons.search",        word=N_("Patrons"),    role=StaffRole.CLERK,      key="patron"),
    MenuEntry(endpoint="unsent.page",           word=N_("Unsent"),     role=StaffRole.SUPERVISOR),
    MenuEntry(endpoint="closures.page",         word=N_("Closures"),   role=StaffRole.SUPERVISOR),
    MenuEntry(endpoint="partners.partners",     word=N_("Partners"),   role=StaffRole.VIEWER,     more=True),
    MenuEntry(endpoint="terminals.terminals",   word=N_("Terminals"),  role=StaffRole.VIEWER,     more=True),
    MenuEntry(endpoint="statistics.page",       word=N_("Statistics"), role=StaffRole.VIEWER,     more=True),
    MenuEntry(endpoint="explain.form",          word=N_("Explain"),    role=StaffRole.VIEWER,     more=True),
    MenuEntry(endpoint="help.rules",            word=N_("Rules"),      more=True),
    MenuEntry(endpoint="layout.keys",           word=N_("Keys"),       role=StaffRole.VIEWER,     more=True),
)
PUBLIC_MENU: Final = (
    MenuEntry(endpoint="home.page",   word=N_("Search"), others=("search", "title")),
    MenuEntry(endpoint="record.page", word=N_("My record")),
    MenuEntry(endpoint="help.rules",  word=N_("Rules")),
)
# fmt: on
"""Menu entries in display order. Staff see the entries that their role allows. Everybody else sees the public menu."""


def install(app: Flask) -> None:
    """Provide every template with the variables that the layout needs."""
    app.register_blueprint(PAGES)
    app.context_processor(_layout_variables)
    app.jinja_env.globals["asset"] = asset


def asset(name: str) -> str:
    """Return the URL of a file in `static/`. The URL changes with the file's content, so that browsers may cache the file."""
    return url_for("static", filename=name, v=_file_version(name))


@PAGES.get("/brand.css")
def brand() -> Response:
    """Serve the site's colour as CSS variables, since pages cannot have inline styles."""
    light = services().settings().brand
    dark = readable_on(light, DARK_PAPER)
    text = (
        f":root{{--brand:{light};--on-brand:#fff}}\n"
        f"@media (prefers-color-scheme:dark){{:root{{--brand:{dark};--on-brand:#10161a}}}}\n"
        f"@media print{{:root{{--brand:{light}}}}}\n"
    )
    return Response(text, mimetype="text/css", headers={"Cache-Control": AN_HOUR})


@PAGES.get("/staff/keys")
@needs(StaffRole.VIEWER)
def keys() -> str:
    """Show the access keys of the acts that the role allows."""
    pages = {entry.key for entry in MENU if entry.role and may(entry.role)}
    return render_template("staff/keys.html", acts=[KEYS[act] for act in KEYS if act in pages or may(StaffRole.CLERK)])


@PAGES.post("/staff/keys")
@needs(StaffRole.VIEWER)
def choose_keys() -> Redirect:
    """Switch the access keys of this browser off or on."""
    answer = redirect(url_for("layout.keys"), 303)
    set_own_cookie(answer, NO_KEYS, request.form.get("off", ""), max_age=A_YEAR_S)
    return answer


@PAGES.get("/logo")
def logo() -> Response:
    """Serve the site's logo."""
    file = services().settings().logo
    if file is None or not file.is_file():
        abort(404)
    answer = send_file(file, max_age=3600)
    answer.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
    return answer


def _layout_variables() -> dict[str, object]:
    settings, tongue = services().settings(), language()
    found, back = staff(), way_back()
    return {
        "language": tongue,
        "languages": [(code, name, url_for("language.choose", chosen=code, next=back)) for code, name in LANGUAGES.items()],
        "site_name": settings.names.get(tongue) or settings.names[ENGLISH],
        "has_logo": settings.logo is not None,
        "keys": {} if request.cookies.get(NO_KEYS) else {act: key for act, (key, _) in KEYS.items()} if found else {},
        "menu": [entry for entry in (MENU if found else PUBLIC_MENU) if entry.role is None or may(entry.role)],
        "person": found,
        "reader": patron(),
        "login": "" if request.path.startswith(STAFF_PAGES) else "/login?" + urlencode({"next": back}),
        "role": StaffRole.of(found.role) if found else None,
        "home": url_for("dashboard.dashboard") if found else "/",
    }


@cache
def _file_version(name: str) -> str:
    return sha256((STATIC / name).read_bytes()).hexdigest()[:12]
