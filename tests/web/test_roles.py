"""Every page and command of the console for every role, as a table of permissions."""

from __future__ import annotations

import itertools
from typing import Final

import pytest

from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.rules.vocabulary import Position
from hkall_gateway.web.staff.requests import _ROWS as COMMANDS
from tests.web.conftest import TOKEN, Browser, Site
from tests.web.given import given

V, C, S = StaffRole.VIEWER, StaffRole.CLERK, StaffRole.SUPERVISOR
NOBODY: Final = None
"""The role of a browser that is not logged in."""

# fmt: off
ROUTES: Final[dict[tuple[str, str], StaffRole | None]] = {
    ("GET",  "/"):                                   NOBODY,
    ("GET",  "/help"):                               NOBODY,
    ("GET",  "/brand.css"):                          NOBODY,
    ("GET",  "/logo"):                               NOBODY,
    ("GET",  "/language/<chosen>"):                  NOBODY,
    ("GET",  "/static/<path:filename>"):             NOBODY,
    ("GET",  "/staff/login"):                        NOBODY,
    ("POST", "/staff/login"):                        NOBODY,
    ("POST", "/staff/logout"):                       NOBODY,
    ("GET",  "/staff/login/sso"):                    NOBODY,
    ("GET",  "/staff/login/sso/back"):               NOBODY,
    ("GET",  "/staff/logout/sso"):                   NOBODY,
    ("GET",  "/staff/"):                             V,
    ("GET",  "/staff/lists/"):                       V,
    ("GET",  "/staff/lists/<name>"):                 V,
    ("GET",  "/staff/lists/<name>.csv"):             V,
    ("POST", "/staff/lists/<name>/selected"):        C,
    ("POST", "/staff/lists/<name>/act"):             C,
    ("GET",  "/staff/requests"):                     V,
    ("POST", "/staff/requests"):                     V,
    ("GET",  "/staff/requests/<number>"):            V,
    ("POST", "/staff/requests/<number>/<name>"):     C,
    ("GET",  "/staff/explain"):                      V,
    ("POST", "/staff/explain"):                      V,
    ("GET",  "/staff/keys"):                         V,
    ("POST", "/staff/keys"):                         V,
    ("GET",  "/staff/partners"):                     V,
    ("GET",  "/staff/terminals"):                    V,
    ("GET",  "/staff/statistics"):                   V,
    ("GET",  "/staff/statistics/<name>.csv"):        V,
    ("GET",  "/staff/statistics/<name>.svg"):        V,
    ("GET",  "/staff/scan"):                         C,
    ("POST", "/staff/scan"):                         C,
    ("POST", "/staff/scan/place"):                   C,
    ("POST", "/staff/scan/take"):                    C,
    ("GET",  "/staff/slips"):                        C,
    ("POST", "/staff/slips"):                        C,
    ("GET",  "/staff/barcode/<path:text>"):          C,
    ("GET",  "/staff/patrons"):                      C,
    ("POST", "/staff/patrons"):                      C,
    ("GET",  "/staff/patrons/<number>"):             C,
    ("POST", "/staff/patrons/<number>/request"):     C,
    ("POST", "/staff/patrons/<number>/pay"):         C,
    ("POST", "/staff/patrons/<number>/refund"):      C,
    ("POST", "/staff/patrons/<number>/act"):         C,
    ("POST", "/staff/patrons/<number>/export"):      S,
    ("POST", "/staff/patrons/<number>/erase"):       S,
    ("GET",  "/staff/unsent"):                       S,
    ("POST", "/staff/unsent/<kind>"):                S,
    ("GET",  "/staff/closures"):                     S,
    ("POST", "/staff/closures/close"):               S,
    ("POST", "/staff/closures/due-dates"):           S,
}
# fmt: on
STAFFED: Final = {route: role for route, role in ROUTES.items() if role is not None}
PARTS: Final = {"<number>": "R-1", "<kind>": "dead", "<path:text>": "R-1"}


def address(path: str) -> str:
    """A path of the table with ids filled in: existing ones if a role decides more than the page."""
    named = "turnaround" if "statistics" in path else "pull" if "lists" in path else "cancel"
    for place, value in {**PARTS, "<name>": named}.items():
        path = path.replace(place, value)
    return path


def ask(browser: Browser, verb: str, path: str) -> int:
    """The response status, with the CSRF token of this browser."""
    if verb == "GET":
        return browser.get(path).status_code
    secret = TOKEN.search(browser.get("/staff/requests").text) or TOKEN.search(browser.get("/staff/login").text)
    assert secret
    return browser.send(path, csrf_token=secret[1], action="decline").status_code


def test_every_route_is_in_the_role_table(site: Site) -> None:
    there = {(verb, rule.rule) for rule in site.app.url_map.iter_rules() for verb in (rule.methods or set()) & {"GET", "POST"}}
    staffs = {route for route in there if route[1].startswith("/staff")}
    assert staffs == {route for route in ROUTES if route[1].startswith("/staff")}
    assert ROUTES.keys() <= there


@pytest.mark.parametrize(("verb", "path"), STAFFED)
def test_route_is_restricted_to_its_role_and_higher_roles(site: Site, verb: str, path: str) -> None:
    given(site, Position.PAGED, "R-1")
    needed, there = STAFFED[verb, path], address(path)
    for role in StaffRole:
        status = ask(site.staff(role.word), verb, there)
        assert (status == 403) == (role < needed), (role, status)
        assert status < 500, (role, status)


@pytest.mark.parametrize(("verb", "path"), STAFFED)
def test_visitor_is_redirected_to_the_login_and_changes_nothing(site: Site, verb: str, path: str) -> None:
    given(site, Position.PAGED, "R-1")
    stranger = site.browser()
    if verb == "GET":
        answer = stranger.get(address(path))
    else:
        answer = stranger.post(address(path), at="/staff/login")
    assert (answer.status_code, answer.location.split("?")[0]) == (303, "/staff/login")
    assert site.world.request("R-1").position is Position.PAGED


@pytest.mark.parametrize(("verb", "path"), [route for route in ROUTES if route[0] == "POST"])
def test_forms_require_the_csrf_token(site: Site, verb: str, path: str) -> None:
    given(site, Position.PAGED, "R-1")
    browser = site.staff("sysadmin")
    assert browser.send(address(path), login="sysadmin").status_code == 400, verb
    assert browser.get("/staff/").status_code == 200
    assert site.world.request("R-1").position is Position.PAGED


@pytest.mark.parametrize(("name", "role"), [*itertools.product(COMMANDS, StaffRole)])
def test_command_is_restricted_to_its_role_and_higher_roles(site: Site, name: str, role: StaffRole) -> None:
    given(site, Position.PAGED, "R-1")
    status = ask(site.staff(role.word), "POST", f"/staff/requests/R-1/{name}")
    assert (status == 403) == (role < max(COMMANDS[name].role, C)), status
    assert status < 500
