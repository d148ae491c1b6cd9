"""The layout of all pages: the menu, the name at the top, the brand colour, and addresses of static files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from flask import Blueprint, Flask, Response, abort, request, send_file, url_for

from hkall_gateway.net.contrast import DARK_PAPER, readable_on
from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.rules.vendor_words.languages import ENGLISH
from hkall_gateway.web.i18n import LANGUAGES, N_, language
from hkall_gateway.web.paths import way_back
from hkall_gateway.web.services import services
from hkall_gateway.web.sessions import may, patron, staff

STATIC: Final = Path(__file__).with_name("static")
STAFF_PAGES: Final = "/staff/"
AN_HOUR: Final = "public, max-age=3600"

PAGES = Blueprint("layout", __name__)


@dataclass(frozen=True, slots=True)
class MenuEntry:
    """One entry of a menu: its page, its word, and the role that it needs; None = everybody's.

    It is marked on every page of its Blueprint, and on those of the other ones that it names.
    """

    endpoint: str
    word: str
    role: StaffRole | None = None
    others: tuple[str, ...] = ()

    @property
    def shown(self) -> tuple[str, str, bool]:
        """Return the entry's address, its word, and whether it is marked on this page."""
        blueprints = (self.endpoint.partition(".")[0], *self.others)
        return url_for(self.endpoint), self.word, request.blueprint in blueprints


# fmt: off
MENU: Final = (
    MenuEntry("dashboard.dashboard",   N_("Today"),      StaffRole.VIEWER),
    MenuEntry("scan.scan",             N_("Scan"),       StaffRole.CLERK),
    MenuEntry("lists.first",           N_("Lists"),      StaffRole.VIEWER),
    MenuEntry("slips.slips",           N_("Slips"),      StaffRole.CLERK),
    MenuEntry("requests.find",         N_("Requests"),   StaffRole.VIEWER),
    MenuEntry("patrons.search",        N_("Patrons"),    StaffRole.CLERK),
    MenuEntry("unsent.page",           N_("Unsent"),     StaffRole.SUPERVISOR),
    MenuEntry("closures.page",         N_("Closures"),   StaffRole.SUPERVISOR),
    MenuEntry("partners.partners",     N_("Partners"),   StaffRole.VIEWER),
    MenuEntry("terminals.terminals",   N_("Terminals"),  StaffRole.VIEWER),
    MenuEntry("statistics.page",       N_("Statistics"), StaffRole.VIEWER),
    MenuEntry("explain.form",          N_("Explain"),    StaffRole.VIEWER),
    MenuEntry("help.rules",            N_("Rules")),
)
PUBLIC_MENU: Final = (
    MenuEntry("home.page",   N_("Search"), others=("search", "title")),
    MenuEntry("record.page", N_("My record")),
    MenuEntry("help.rules",  N_("Rules")),
)
# fmt: on
"""In the order of the header. Staff see all that their role may, everybody else the public menu."""


def install(app: Flask) -> None:
    """Give every template the variables of the layout."""
    app.register_blueprint(PAGES)
    app.context_processor(_layout_variables)
    app.jinja_env.globals["asset"] = asset


def asset(name: str) -> str:
    """Return the address of a file in `static/`, which changes with its content, so that browsers may keep it."""
    return url_for("static", filename=name, v=_file_version(name))


@PAGES.get("/brand.css")
def brand() -> Response:
    """Serve the site's colour as variables of a style sheet, since pages have no inline style."""
    light = services().settings().brand
    dark = readable_on(light, DARK_PAPER)
    text = (
        f":root{{--brand:{light};--on-brand:#fff}}\n"
        f"@media (prefers-color-scheme:dark){{:root{{--brand:{dark};--on-brand:#10161a}}}}\n"
        f"@media print{{:root{{--brand:{light}}}}}\n"
    )
    return Response(text, mimetype="text/css", headers={"Cache-Control": AN_HOUR})


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
        "menu": [entry.shown for entry in (MENU if found else PUBLIC_MENU) if entry.role is None or may(entry.role)],
        "person": found,
        "reader": patron(),
        "login": "" if request.path.startswith(STAFF_PAGES) else "/login?" + urlencode({"next": back}),
        "role": StaffRole.of(found.role) if found else None,
        "home": url_for("dashboard.dashboard") if found else "/",
    }


@cache
def _file_version(name: str) -> str:
    return sha256((STATIC / name).read_bytes()).hexdigest()[:12]
