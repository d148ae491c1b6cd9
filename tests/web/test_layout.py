"""The page layout: one heading, a main part, a skip link, the site's name and colour."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from lxml import html

from hkall_gateway.net.contrast import DARK_PAPER, ENOUGH, GROUND, PAPER, contrast
from hkall_gateway.rules.vocabulary import Position
from hkall_gateway.web.layout import MENU, PUBLIC_MENU, STATIC
from tests.web.conftest import Browser, Site
from tests.web.given import given

LISTS = ["/staff/lists/pull", "/staff/lists/stuck", "/staff/slips"]
PAGES = ["/help", "/staff/login", "/staff/", "/nowhere", *LISTS, "/staff/partners", "/staff/terminals", "/staff/statistics"]
PAGES += ["/staff/unsent", "/staff/closures", "/staff/patrons"]
PAGES += ["/", "/help/api", "/search", "/search?q=dune", "/search?q=%21", "/title/b-dune", "/title/b-home"]
PAGES += ["/login", "/record", "/record/history", "/title/b-dune/request", "/title/b-home/request"]
PAGES += ["/staff/scan", "/staff/requests", "/staff/explain", "/staff/keys", "/staff/unsent?kind=letters"]


def reader(site: Site, path: str) -> Browser:
    """A browser that may see this page, logged in for staff pages and for the record."""
    if path.startswith("/record"):
        return site.patron()
    return site.staff("supervisor") if path.startswith("/staff/") and path != "/staff/login" else site.browser()


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("language", ["en", "zh-Hant"])
def test_every_page_has_one_heading_one_main_part_and_a_skip_link(site: Site, path: str, language: str) -> None:
    browser = reader(site, path)
    page = html.fromstring(browser.get(path, headers={"Accept-Language": language}).text)

    assert len(page.xpath("//h1")) == len(page.xpath("//main")) == 1
    assert page.xpath("//main//h1")
    assert page.xpath("//body/a[1]/@href") == ["#main"]
    assert page.xpath("//main/@id") == ["main"]
    assert page.get("lang") == language
    assert page.xpath("string(//title)").strip()
    assert [a.text for a in page.xpath("//header//a[@hreflang]")] == ["English", "繁體中文"]


@pytest.mark.parametrize("path", PAGES)
def test_no_page_has_inline_script_or_style(site: Site, path: str) -> None:
    page = html.fromstring(reader(site, path).get(path).text)
    assert page.xpath("//style | //*[@style] | //script[not(@src)] | //*[@onclick or @onsubmit or @onload]") == []
    addresses = page.xpath("//@src | //link/@href | //form/@action")
    assert [a for a in addresses if not a.startswith("/") or a.startswith("//")] == []


@pytest.mark.parametrize("path", PAGES)
def test_every_field_has_a_label(site: Site, path: str) -> None:
    given(site, Position.PAGED, "R-1")
    page = html.fromstring(reader(site, path).get(path).text)
    fields = page.xpath("//input[not(@type='hidden')] | //select | //textarea")
    assert [field.get("name") for field in fields if not page.xpath(f"//label[@for='{field.get('id')}']")] == []


def test_menu_shows_the_entries_of_the_role(site: Site) -> None:
    def words(path: str) -> list[str]:
        page = html.fromstring((site.staff("viewer") if path == "/staff/" else site.browser()).get(path).text)
        return [a.text for a in page.xpath("//nav//a")]

    assert words("/help") == [entry.word for entry in PUBLIC_MENU]
    assert words("/staff/") == [entry.word for entry in MENU if entry.role is None or entry.role <= 1]


@pytest.mark.parametrize(
    ("path", "offered"), [("/help", True), ("/nowhere", True), ("/staff/login", False), ("/staff/no", False)]
)
def test_patron_login_is_offered_to_visitors_except_on_staff_pages(site: Site, path: str, offered: bool) -> None:
    page = html.fromstring(site.browser().get(path).text)
    assert bool(page.xpath("//header//a[starts-with(@href, '/login')]")) is offered


def test_current_page_is_marked_in_the_menu(site: Site) -> None:
    page = html.fromstring(site.staff().get("/staff/").text)
    assert [a.text for a in page.xpath("//nav//a[@aria-current='page']")] == ["Today"]


def test_header_shows_site_name_and_logo(site: Site, tmp_path: Path) -> None:
    logo = tmp_path / "logo.svg"
    logo.write_text('<svg xmlns="http://www.w3.org/2000/svg"/>', encoding="utf-8")
    assert site.browser().get("/logo").status_code == 404

    site.settings = replace(site.settings, logo=logo)
    page = site.browser().get("/help", headers={"Accept-Language": "zh-Hant"}).text
    shown = site.browser().get("/logo")
    assert "香港大學圖書館" in page
    assert 'src="/logo"' in page
    assert shown.mimetype == "image/svg+xml"
    assert "default-src 'none'" in shown.headers["Content-Security-Policy"]


@pytest.mark.parametrize("colour", ["#0f5c4a", "#000000", "#6b1f5e", "#003d7a"])
def test_site_colour_is_readable_in_both_colour_schemes(site: Site, colour: str) -> None:
    site.settings = replace(site.settings, brand=colour)
    light, dark = (line.split("--brand:")[1].split(";")[0] for line in site.browser().get("/brand.css").text.splitlines()[:2])
    assert light == colour
    assert contrast(light, GROUND) >= ENOUGH
    assert contrast(dark, DARK_PAPER) >= ENOUGH
    assert contrast("#10161a", dark) >= ENOUGH


def tokens(scheme: str) -> dict[str, str]:
    """The colours of the style sheet, for the light or the dark scheme."""
    light, _, rest = (STATIC / "style.css").read_text(encoding="utf-8").partition("@media (prefers-color-scheme: dark)")
    text = light if scheme == "light" else rest.partition("}\n}")[0]
    pairs = (line.strip().rstrip(";").split(": ") for line in text.splitlines() if line.strip().startswith("--"))
    found = {name: value for name, value in pairs if value.startswith("#")}
    return {name: "#" + "".join(c * 2 for c in v[1:]) if len(v) == 4 else v for name, v in found.items()}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_colour_is_readable_on_its_background(scheme: str) -> None:
    found = tokens(scheme)
    grounds = ("--paper", "--ground", "--head")
    pairs = [(text, ground) for text in ("--ink", "--soft", "--brand") for ground in grounds]
    pairs += [(f"--{tone}", f"--{tone}-ground") for tone in ("done", "look", "no")]
    pairs += [("--ink", "--quiet-ground"), ("--on-brand", "--brand")]

    assert [(t, g, round(contrast(found[t], found[g]), 2)) for t, g in pairs if contrast(found[t], found[g]) < ENOUGH] == []
    assert contrast(found["--field"], found["--paper"]) >= 3  # the edge of a field. Source: WCAG 2.2, 1.4.11


def test_style_sheet_uses_the_backgrounds_that_the_brand_is_checked_against() -> None:
    assert (tokens("light")["--paper"], tokens("light")["--ground"]) == (PAPER, GROUND)
    assert tokens("dark")["--paper"] == DARK_PAPER


@pytest.mark.parametrize("sheet", sorted(STATIC.glob("*.css")), ids=lambda sheet: sheet.stem)
def test_style_sheet_sections_start_outside_blocks(sheet: Path) -> None:
    open_blocks = 0
    for line in sheet.read_text(encoding="utf-8").splitlines():
        assert open_blocks == 0 or not line.startswith(("/*", "@")), line
        open_blocks += line.count("{") - line.count("}")
    assert open_blocks == 0


def test_script_is_short() -> None:
    assert len((STATIC / "script.js").read_text(encoding="utf-8").splitlines()) < 200
