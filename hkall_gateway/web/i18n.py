"""Chooses English or Traditional Chinese for a request, and formats texts, dates and amounts in that language."""

from __future__ import annotations

from calendar import day_name, month_name
from collections.abc import Mapping
from datetime import date, datetime
from functools import cache
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Final

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations
from flask import Blueprint, Flask, g, has_request_context, redirect, request
from jinja2 import pass_eval_context
from jinja2.nodes import EvalContext
from markupsafe import Markup
from werkzeug.wrappers import Response

from hkall_gateway.rules.dates import HONG_KONG
from hkall_gateway.rules.vendor_words.languages import CHINESE, ENGLISH, filled, marked, without_blanks
from hkall_gateway.web.paths import local_path, set_own_cookie
from hkall_gateway.web.services import services

COOKIE: Final = "__Host-hkall-language"
A_YEAR_S: Final = 365 * 24 * 3600
CATALOGUES: Final = Path(__file__).with_name("translations")
LANGUAGES: Final[Mapping[str, str]] = MappingProxyType({ENGLISH: "English", CHINESE: "繁體中文"})
"""The name of each language, written in the language itself, for the page header."""

_FOLDERS: Final = {CHINESE: "zh_Hant"}
_MONTHS: Final = tuple(month_name)
_DAYS: Final = tuple(day_name)
_DAYS_ZH: Final = "一二三四五六日"

PAGES = Blueprint("language", __name__)


def N_(text: str) -> str:  # noqa: N802  # gettext's own name for texts that are translated later, where they are shown
    """Mark a text for the translation catalogue, and return it unchanged."""
    return text


def language() -> str:
    """Return the language of this request, taken from the cookie, else the browser, else the library's first language."""
    if not has_request_context():
        return ENGLISH
    if "language" not in g:
        kept = request.cookies.get(COOKIE, "")
        wanted = [tag.lower() for tag, _ in request.accept_languages]
        known = (CHINESE if tag.startswith("zh") else ENGLISH for tag in wanted if tag.startswith(("zh", "en")))
        g.language = kept if kept in LANGUAGES else next(known, services().settings().languages[0])
    return str(g.language)


def library_name(agency: str, name: str = "") -> str:
    """Return the name of a partner library in the language of this request.

    `name` is the name in the directory, if the caller has it. If `name` is "", use the configured name, or else the agency.
    """
    settings = services().settings()
    chinese = settings.partner_names_zh.get(agency, "") if language() == CHINESE else ""
    return chinese or name or next((one.name for one in settings.partners if one.agency == agency), agency)


def gettext(text: str, /, **values: object) -> str:
    """Translate a text into the language of this request, and substitute placeholders such as `%(library)s`."""
    words = str(catalogue(language()).gettext(text))
    return filled(words, **values) if values else words


def ngettext(one: str, many: str, number: int) -> str:
    """Return the singular or plural translation for a number, in the language of this request."""
    return str(catalogue(language()).ngettext(one, many, number))


def day(when: date | None) -> str:
    """Format a date: "16 March 2017 (Thursday)" or "2017年3月16日（星期四）"; "" for None."""
    if when is None:
        return ""
    if language() == CHINESE:
        return f"{when.year}年{when.month}月{when.day}日（星期{_DAYS_ZH[when.weekday()]}）"
    return f"{when.day} {_MONTHS[when.month]} {when.year} ({_DAYS[when.weekday()]})"


def moment(when: datetime | None) -> str:
    """Format a date and time in Hong Kong time: "16 March 2017 (Thursday), 10:12"."""
    if when is None:
        return ""
    here = when.astimezone(HONG_KONG)
    return f"{day(here.date())}{'' if language() == CHINESE else ', '}{here:%H:%M}"


def short(when: date | None) -> Markup:
    """Format a date, or a time in Hong Kong, briefly for a table: "16 Mar 2017, 10:12", with the long form as its title."""
    if when is None:
        return Markup("")
    here = when.astimezone(HONG_KONG) if isinstance(when, datetime) else None
    on = here or when
    text = f"{on.year}年{on.month}月{on.day}日" if language() == CHINESE else f"{on.day} {_MONTHS[on.month][:3]} {on.year}"
    if here:
        text += f"{' ' if language() == CHINESE else ', '}{here:%H:%M}"
    return Markup('<span title="{}">{}</span>').format(moment(here) if here else day(on), text)


def place_name(code: str) -> str:
    """Return the name of a pickup location in the language of this request, or its code if it has no name."""
    return services().settings().places.get(language(), {}).get(code, code)


def clock(when: datetime | None) -> str:
    """Format a time of day in Hong Kong time: "10:12:07"."""
    return "" if when is None else f"{when.astimezone(HONG_KONG):%H:%M:%S}"


def money(cents: int) -> str:
    """Format an amount: "HK$12.50"."""
    return f"HK${cents / 100:,.2f}"


def install(app: Flask) -> None:
    """Register the translation functions and filters for templates, and the language page."""
    app.jinja_env.add_extension("jinja2.ext.i18n")
    app.jinja_env.install_gettext_callables(gettext, ngettext, newstyle=True)  # type: ignore[attr-defined]  # Jinja's extension
    app.jinja_env.globals |= {"gettext": _in_template, "library_name": library_name, "place_name": place_name}
    app.jinja_env.filters.update(day=day, moment=moment, short=short, clock=clock, money=money, marked=_marked)
    app.jinja_env.tests["a_day"] = lambda value: isinstance(value, date)
    app.register_blueprint(PAGES)


@PAGES.get("/language/<chosen>")
def choose(chosen: str) -> Response:
    """Store the chosen language in the cookie, and redirect back to the page."""
    answer = redirect(local_path(request.args.get("next", ""), "/"), 303)
    if chosen in LANGUAGES:
        set_own_cookie(answer, COOKIE, chosen, max_age=A_YEAR_S)
    return answer


@pass_eval_context
def _in_template(context: EvalContext, text: str, /, **values: object) -> str:
    """Translate a text for a template, and escape the substituted values as Jinja's own newstyle function does."""
    words = without_blanks(gettext(text), values)
    return (Markup(words) if context.autoescape else words) % values  # noqa: S704  # nosec B704: our catalogue's text


def _marked(text: object, marc: str = "") -> Markup:
    return marked(text, marc, language())


@cache
def catalogue(tongue: str) -> NullTranslations:
    """Return the translations into a language. English has none, since its texts are the keys."""
    if tongue not in _FOLDERS:
        return NullTranslations()
    with (CATALOGUES / _FOLDERS[tongue] / "LC_MESSAGES" / "messages.po").open("rb") as file:
        compiled = BytesIO()
        write_mo(compiled, read_po(file, locale=_FOLDERS[tongue]))
    compiled.seek(0)
    return Translations(compiled)
