"""`make catalogue`: updates the Chinese translation catalogue from the pages; new texts stay empty until translated.

A text is the argument of `_()`, `gettext()`, `ngettext()` or `N_()` in a Python file or a template, a text of a code, or what a
key of the policy means.
"""

from __future__ import annotations

import dataclasses
from datetime import date
from pathlib import Path
from typing import Final

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

from hkall_gateway.rules.published_rules import meanings_of
from hkall_gateway.rules.settings import FineFree, Policy
from hkall_gateway.web.labels import WORDS

ROOM: Final = Path(__file__).parents[2] / "hkall_gateway" / "web"
CHINESE: Final = ROOM / "translations" / "zh_Hant" / "LC_MESSAGES" / "messages.po"
METHODS: Final = [("**.py", "python"), ("templates/**.html", "jinja2.ext:babel_extract")]
OPTIONS: Final = {"templates/**.html": {"trimmed": "true", "silent": "false"}}
KEYWORDS: Final = {"_": None, "N_": None, "gettext": None, "ngettext": (1, 2)}


HEAD: Final = """msgid ""
msgstr ""
"Language: zh_Hant\\n"
"Plural-Forms: nplurals=1; plural=0;\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"

"""
"""Without the dates of gettext's own header, which would change with every run."""


def texts() -> Catalog:
    """Return every text of the pages, in file order."""
    found = Catalog(charset="utf-8")
    for file, _line, message, comments, context in extract_from_dir(ROOM, METHODS, OPTIONS, keywords=KEYWORDS):
        found.add(message, locations=[(f"web/{file}", 0)], auto_comments=comments, context=context)
    for message in {text for subject, rows in WORDS.items() if subject != "tones" for text in rows.values()}:
        found.add(message, locations=[("web/words.toml", 0)])
    for message in meanings():
        found.add(message, locations=[("rules/settings.py", 0)])
    return found


def meanings() -> set[str]:
    """Return what each key and each table of a policy means, except tables that are named by a category or a role."""
    policy = dataclasses.replace(Policy(), fine_free=(FineFree(start=date.min, end=date.max),))
    known = meanings_of(policy)
    subjects = {subject for key, (subject, _) in known.items() if not key.startswith(("categories[", "roles["))}
    return {*subjects, *(meaning for _, meaning in known.values())} - {""}


def chinese() -> Catalog:
    """Return the catalogue as stored in the package."""
    with CHINESE.open("rb") as file:
        return read_po(file, locale="zh_Hant")


def main() -> None:
    """Update the catalogue, in the order of its texts."""
    known = chinese()
    known.update(texts(), no_fuzzy_matching=True)
    known.obsolete.clear()
    with CHINESE.open("wb") as file:
        file.write(HEAD.encode())
        write_po(file, known, include_lineno=False, sort_output=True, width=128, omit_header=True)


if __name__ == "__main__":
    main()
