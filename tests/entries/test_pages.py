"""Every page route and every field of its forms and queries, with invalid and with random values."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlencode

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import given as examples
from hypothesis import strategies as st
from sqlalchemy import Engine

from hkall_gateway.rules.vocabulary import Position
from hkall_gateway.simulator.scenario.world import World
from tests.entries.bad_values import BAD, FORBIDDEN
from tests.examples import example_count
from tests.web.conftest import WORLD, Browser, Site
from tests.web.given import given

FORM: Final = "application/x-www-form-urlencoded"
PLACE: Final = re.compile(r"<(?:\w+:)?(\w+)>")
READ: Final = re.compile(
    r"""(?:args|form|values|fields|said|typed)\.(?:get|getlist)\(\s*"(\w+)"|_typed\("(\w+)"|"(\w+)" (?:not )?in request\."""
)
"""A field name in the source of a page."""
SHOWN: Final = re.compile(r"""<(?:input|select|textarea|button)\b[^>]*?\bname="(\w+)\"""")
PLACES: Final = {"name": "pull", "number": "R-1", "kind": "dead", "chosen": "en", "filename": "site.css", "bib_id": "b-dream"}
USUAL: Final = {
    "q": "UG1", "barcode": "UG1", "pin": "1234", "reason": "damaged", "bib_id": "b-dream", "amount": "12.50",
    "day": "2017-03-02",
    "first": "2017-03-02", "last": "2017-03-03", "to": "2017-03-04", "action": "cancel", "how": "retry", "row": "1",
    "request": "R-1", "item": "HKU/B-R-1", "patron": "UG1", "bib": "b-dream", "question": "request", "transaction": "t1",
}  # fmt: skip
"""Valid values for the other fields, so that the page gets as far as reading the tested field."""
ODD: Final = st.one_of(
    st.text(max_size=40),
    st.text("\t\n0123456789.,-+:eTZ/", max_size=24),
    st.sampled_from(["1e999999999", "-1e999999999", "1e-999999999", "NaN", "0001-01-01", "9999-12-31", "0001-01-01T00:00"]),
    st.sampled_from(["9999-12-31T23:59+14:00", "9999-12-31T23:59-14:00", str(2**31), str(2**63), "²", "٣", "//x", "a" * 3000]),
    st.datetimes().map(str),
    st.integers().map(str),
)

A_FEW: Final = settings(max_examples=example_count(25), derandomize=True, database=None, phases=(Phase.generate,))


@dataclass
class Walk:
    """The pages of a world, and every route with its fields."""

    site: Site

    @cached_property
    def browsers(self) -> dict[str, Browser]:
        return {"staff": self.site.staff("sysadmin"), "patron": self.site.patron()}

    @cached_property
    def patron_number(self) -> str:
        """Return the page number of UG1 in URLs of staff pages."""
        found = self.browsers["staff"].send("/staff/patrons", q="UG1")
        return found.location.rpartition("/")[2]

    @property
    def routes(self) -> Iterator[tuple[str, str, str]]:
        """Verb, rule and endpoint of every page except those that end the session."""
        for rule in self.site.app.url_map.iter_rules():
            for verb in sorted((rule.methods or set()) & {"GET", "POST"}):
                if not rule.rule.endswith("logout"):
                    yield verb, rule.rule, rule.endpoint

    def browser(self, rule: str) -> Browser:
        return self.browsers["staff" if rule.startswith("/staff") else "patron"]

    def address(self, rule: str, **other: str) -> str:
        usual = PLACES | ({"number": self.patron_number} if "/patrons/" in rule else {})
        return PLACE.sub(lambda found: other.get(found[1]) or usual.get(found[1], "R-1"), rule)

    def fields(self, verb: str, rule: str, endpoint: str) -> list[str]:
        """Return the field names that the endpoint's module reads, and those on its page."""
        module = sys.modules[self.site.app.view_functions[endpoint].__module__]
        read = {name for found in READ.findall(inspect.getsource(module)) for name in found if name}
        page = self.address(rule if verb == "GET" else rule.rpartition("/")[0] or "/")
        shown = SHOWN.findall(self.browser(rule).get(page).text)
        constants: Any = getattr(module, "FIELDS", ())
        return sorted((read | set(constants) | set(shown)) - {"csrf_token", "apply"})

    def ask(self, verb: str, rule: str, address: str, fields: Mapping[str, str]) -> int:
        """Return the status of a response; 599 for an error while it was sent."""
        data = urlencode(fields, errors="surrogatepass")
        path = {"PATH_INFO": unquote_to_bytes(address).decode("latin-1"), "REMOTE_ADDR": "192.0.2.7"}
        sent: dict[str, Any] = {"query_string": data} if verb == "GET" else {"data": data, "content_type": FORM}
        try:
            return self.browser(rule).client.open("/", method=verb, environ_overrides=path, **sent).status_code
        except Exception:  # noqa: BLE001  # whatever it is, the page has failed
            return 599


@pytest.fixture
def walk(engine: Engine) -> Iterator[Walk]:
    world = World.open(WORLD, engine)
    site = Site(world, own_routes=True)
    site.app.config["WTF_CSRF_ENABLED"] = False  # test the pages behind the CSRF check
    given(site, Position.PAGED, "R-1")
    yield Walk(site)
    world.close()


def encoded(value: str) -> str:
    return quote_from_bytes(value.encode("utf-8", "surrogatepass"), safe="")


@pytest.mark.long
def test_every_page_refuses_invalid_field_values(walk: Walk, capsys: pytest.CaptureFixture[str]) -> None:
    asked, wrong = 0, []
    for verb, rule, endpoint in walk.routes:
        names = walk.fields(verb, rule, endpoint)
        usual = {name: USUAL[name] for name in names if name in USUAL}
        for kind, value in BAD.items():
            tried: list[tuple[str, str, dict[str, str]]]
            tried = [(place, walk.address(rule, **{place: encoded(value)}), {}) for place in PLACE.findall(rule)]
            tried += [(name, walk.address(rule), {**usual, name: value}) for name in names]
            for what, address, fields in tried:
                status = walk.ask(verb, rule, address, fields)
                asked += 1
                if status >= 500 or (kind in FORBIDDEN and status < 400):
                    wrong.append(f"{verb} {rule} {what}, {kind}: {status}")
    log = capsys.readouterr().out
    assert wrong == []
    assert "Traceback" not in log
    assert asked > 1200


def broken(walk: Walk, verb: str, rule: str, names: Sequence[str]) -> list[str]:
    """Failed responses to queries or forms with arbitrary values."""
    found: list[str] = []
    values = {name: st.one_of(st.just(USUAL.get(name, "")), ODD) for name in names}

    @settings(A_FEW, suppress_health_check=list(HealthCheck))
    @examples(sent=st.fixed_dictionaries({}, optional=values))
    def send(sent: dict[str, str]) -> None:
        status = walk.ask(verb, rule, walk.address(rule), sent)
        if status >= 500:
            found.append(f"{verb} {rule} {sent}: {status}")

    send()
    return found


@pytest.mark.long
@pytest.mark.thorough
@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_no_form_or_query_value_causes_an_internal_error(walk: Walk, capsys: pytest.CaptureFixture[str]) -> None:
    found = [broken(walk, verb, rule, walk.fields(verb, rule, endpoint)) for verb, rule, endpoint in walk.routes]
    assert [one for several in found for one in several] == []
    assert "Traceback" not in capsys.readouterr().out


@pytest.mark.parametrize("header", ["User-Agent", "Cookie", "Accept-Language", "Referer", "X-Refresh"])
@pytest.mark.parametrize("value", ["a\0b", "a\x1b[31mb"])
def test_header_with_a_control_character_is_refused(walk: Walk, header: str, value: str) -> None:
    key = "HTTP_" + header.upper().replace("-", "_")
    assert walk.site.app.test_client(use_cookies=False).get("/help", environ_overrides={key: value}).status_code == 400
