"""Sphinx's configuration of the documentation site (`make site`): README.md is its first page, every other page a chapter.

Its source is the whole checkout, so that the links between pages of docs/ and beside it work here too.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.search.en import SearchEnglish

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from hkall_gateway import __version__  # noqa: E402  # after the path

CHAPTERS = {
    "Tutorial": ["docs/first-site"],
    "Tasks": [
        "docs/packages",
        "docs/containers",
        "docs/upgrade",
        "docs/callers",
        "docs/ils",
        "docs/terminals",
        "docs/web",
        "docs/loading",
        "docs/operations",
        "docs/monitoring",
        "docs/runbook",
        "docs/backup",
        "docs/point-in-time",
        "docs/gateways",
        "docs/privacy",
        "ops/README",
    ],
    "Reference": [
        "docs/config",
        "docs/policy",
        "docs/files",
        "docs/systems",
        "docs/rules",
        "docs/lifecycle",
        "docs/profile",
        "docs/letters",
        "docs/logs",
        "docs/doctor",
        "CHANGELOG",
    ],
    "Explanation": ["ARCHITECTURE", "docs/decisions", "docs/performance", "SECURITY", "CONTRIBUTING", "CODE_OF_CONDUCT"],
}

project, release = "hkall_gateway", __version__
extensions = ["myst_parser"]
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "ops/README.md"]
myst_heading_anchors = 6
myst_enable_extensions = ["attrs_inline"]
html_theme = "furo"
html_title = f"hkall_gateway {release}"
html_copy_source = False
html_show_sourcelink = False
html_show_search_summary = False  # a browser may not fetch the excerpts of a site that is only a folder
html_search_language = "en_zh"
nitpicky = True
suppress_warnings = [
    "misc.highlighting_failure",  # SIP2 and HAProxy have no lexer
    "myst.header",  # letters.md shows headings of letters
]


class SearchEnglishAndChinese(SearchEnglish):
    """English words by their stems; of Chinese text, which has no spaces, every character and every pair of neighbours.

    Pairs find any Traditional or Simplified text without a dictionary. A query is split in the same way, in the browser.
    """

    lang = "en_zh"  # `language_name` stays English: the name of the stemmer in the browser
    js_splitter_code = r"""
function splitQuery(query) {
  return query
    .split(/([\u3400-\u9fff\uf900-\ufaff]+)|[^\p{Letter}\p{Number}_]+/gu)
    .filter((part) => part)
    .flatMap((part) => {
      if (!/^[\u3400-\u9fff\uf900-\ufaff]{2,}$/u.test(part)) return [part];
      return [...part].slice(1).map((character, place) => part[place] + character);
    });
}
"""
    _parts = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]+|[^\W\u3400-\u9fff\uf900-\ufaff]+")

    def split(self, input: str) -> list[str]:  # noqa: A002  # Sphinx's own name
        """The words of a text, as they are indexed."""
        words: list[str] = []
        for part in self._parts.findall(input):
            if not "\u3400" <= part[0] <= "\ufaff":
                words.append(part)
                continue
            words += [*part, *(part[place : place + 2] for place in range(len(part) - 1))]
        return words


def _add_chapters(_app: Sphinx, page: str, content: list[str]) -> None:
    """The chapters of the site, behind the first page."""
    if page == root_doc:
        trees = (
            f"```{{toctree}}\n:hidden:\n:caption: {name}\n\n" + "\n".join(pages) + "\n```\n" for name, pages in CHAPTERS.items()
        )
        content[0] += "\n" + "\n".join(trees)


def _begin_at_the_first_page(app: Sphinx, error: Exception | None) -> None:
    """The address of the folder alone leads to README.html."""
    if error is None:
        text = f'<!DOCTYPE html><title>{html_title}</title><meta http-equiv="refresh" content="0; url={root_doc}.html">'
        (app.outdir / "index.html").write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> None:
    """What Sphinx calls first."""
    app.add_search_language(SearchEnglishAndChinese)
    app.connect("source-read", _add_chapters)
    app.connect("build-finished", _begin_at_the_first_page)
