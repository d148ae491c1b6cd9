"""What the installed package brings with it: templates, rules and migrations, not only the checkout's own copy of them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hkall_gateway"


def test_every_file_that_is_not_python_is_named_as_package_data() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]
    named = {path for pattern in settings["hkall_gateway"] for path in PACKAGE.glob(pattern)}
    there = {path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}}

    assert there <= named
    assert all(any(PACKAGE.glob(pattern)) for pattern in settings["hkall_gateway"])


def test_the_licence_is_in_the_package_s_metadata_and_is_the_one_that_is_named() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (file,) = project["license-files"]
    assert (ROOT / file).read_text(encoding="utf-8").startswith(f"{project['license']} License\n")


def test_every_page_that_a_project_page_links_to_is_there() -> None:
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "ops" / "README.md"):
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            assert "://" in link or (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_anchor_that_a_project_page_links_to_is_a_heading() -> None:
    pages = (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "ops" / "README.md")
    for page in pages:
        for link, anchor in re.findall(r"\]\(([^)#:\s]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
            target = page.parent / link if link else page
            assert anchor in _anchors(target), f"{page.name}: {link}#{anchor}"


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
