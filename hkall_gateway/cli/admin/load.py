"""Command load: check the whole file first, then write it in short transactions while the gateway runs."""

from __future__ import annotations

import codecs
import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click

from hkall_gateway.cli.options import WRONG, CliError, Site, by_staff, combine_options, with_site
from hkall_gateway.cli.show import echo, progress, working
from hkall_gateway.db import bind
from hkall_gateway.rules.dates import civil
from hkall_gateway.rules.eligibility import category_of
from hkall_gateway.rules.policy import pickup_last
from hkall_gateway.rules.replaced_cards import PatronRow, Replacements
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.vendor_words.availability import is_known
from hkall_gateway.rules.vendor_words.study_modes import study_mode_of
from hkall_gateway.rules.vocabulary import Actor, Borrower, Position, Title

if TYPE_CHECKING:
    from hkall_gateway.db.loads.loading import LoadReport, StagedCopies, Withdrawals
    from hkall_gateway.db.unit_of_work import UnitOfWork
    from hkall_gateway.ils.columns import CsvFormat, Places

T = TypeVar("T")


def _write(site: Site, work: Callable[[UnitOfWork], T]) -> T:
    """Run one transaction of a load. Two loads at the same time take turns; `replace_cards` also locks the cards."""
    from hkall_gateway.db.engine.locks import LockSet

    return site.store.write_now(work, LockSet(document=("", "load")))


REPLACING: Final = 50
"""Rows per transaction when cards are replaced, since each replacement moves all data of one person."""

FILE = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))


@click.group()
def load() -> None:
    """Load patrons, holdings, closures, partners or open requests from a CSV file; patrons also from Alma's XML.

    Example: hkall-gateway load patrons patrons.csv --full --dry-run
    """


def _check_encoding(_context: click.Context, _option: click.Parameter, name: str) -> str:
    try:
        codecs.lookup(name)
    except LookupError:
        raise CliError(f"--encoding: {name!r} is not known; try utf-8, big5hkscs, gb18030, utf-16 or cp1252", WRONG) from None
    return name


def _with_format(command: Callable[..., object]) -> Callable[..., object]:
    """Add the options for encoding and delimiter, which become the argument `written` of the command."""

    @click.option(
        "--encoding", default="utf-8-sig", callback=_check_encoding, help="CSV: its encoding, such as big5hkscs; else UTF-8."
    )
    @click.option(
        "--delimiter", type=click.Choice([",", ";", "tab", "|"]), default=",", help="CSV: what separates its columns."
    )
    @functools.wraps(command)
    def formatted(*args: object, encoding: str, delimiter: str, **options: object) -> object:
        from hkall_gateway.ils.exports import CsvFormat

        written = CsvFormat(encoding, delimiter=delimiter.replace("tab", "\t"))
        return command(*args, written=written, **options)

    return formatted


@contextmanager
def _refusals_recorded(site: Site, kind: str, *, dry_run: bool) -> Iterator[None]:
    """Record in the database that a file was refused, for `doctor` and the metrics."""
    try:
        yield
    except CliError:
        if not dry_run:
            from hkall_gateway.db import instances

            _write(site, bind(instances.record_refused_load, kind, site.now()))
        raise


_options = combine_options(
    with_site,
    _with_format,
    FILE,
    click.option("--dry-run", is_flag=True, help="Show what would change, without changing it."),
    click.option("--full", is_flag=True, help="Treat the file as complete: rows that it does not name vanish."),
    click.option("--force", is_flag=True, help="Load the file although more than 20 % would vanish."),
)
_checked_options = combine_options(
    FILE, click.option("--dry-run", is_flag=True, help="Check the file, without loading it."), with_site, _with_format
)


@load.command()
@_options
def patrons(site: Site, file: Path, dry_run: bool, full: bool, force: bool, written: CsvFormat) -> None:
    """Load patrons.csv, or Alma's user XML: a <users> file, or a zip archive of several.

    \b
    Example: hkall-gateway load patrons patrons.csv --full
    Example: hkall-gateway load patrons users_20261125.zip --full --dry-run
    """  # noqa: D301  # click interprets \b
    from hkall_gateway.db.loads import former_cards, loading
    from hkall_gateway.ils import exports

    with _refusals_recorded(site, "patrons", dry_run=dry_run):
        export = _read_file(lambda path: exports.read_patron_rows(path, written), file)
    rows = export.rows
    _warn_of_words(rows, site.library.policy)
    _warn_of_addresses(rows)
    if "language" in export.columns:
        ours = site.languages
        languages = _places_of_unknown(rows, lambda borrower: "" if borrower.language in ours else borrower.language)
        for word, places in languages.items():
            _warn_at(places, f"language {word!r} is not written here: {len(places)} patrons get letters in {ours[0]}")
    cards = site.store.read_now(former_cards.judge, rows)
    _warn_of_refused(cards)
    taken = tuple(row.borrower for row in rows if row.where not in cards.refused)
    spared = [row.card for row in rows if row.where in cards.refused]
    report = site.store.read_now(loading.compare, "patrons", taken, cards.present, spared, export.columns)
    with _refusals_recorded(site, "patrons", dry_run=dry_run):
        summary = _judge_report("patrons", report, full=full, force=force)
    if dry_run:
        echo(summary)
    else:
        number = _write(site, bind(loading.begin, "patrons"))
        # Each chunk is a short transaction. A card is replaced in the transaction that writes its row.
        step = REPLACING if cards.present else loading.CHUNK
        for start in progress(range(0, len(taken), step), "patrons"):
            chunk = taken[start : start + step]
            by = by_staff("load")
            _write(site, bind(loading.write_patrons, chunk, number, cards.present, site.now(), by, export.columns))
        if spared:
            _write(site, bind(loading.spare, spared, number))
        _finish_load(site, "patrons", number, summary, full=full)
    if spared:
        raise CliError(f"{len(spared)} of {len(rows)} rows were left out")


@load.command()
@_options
@click.option(
    "--agency",
    default="",
    help="The library whose copies these are; else a MARC file's records say it. With --full only its copies vanish.",
)
@click.option(
    "--bad-records",
    type=click.Choice(["refuse", "skip"]),
    default="refuse",
    show_default=True,
    help="Refuse a file with bad records, or leave these out; then no copy is removed.",
)
def holdings(
    site: Site, file: Path, dry_run: bool, full: bool, force: bool, agency: str, bad_records: str, written: CsvFormat
) -> None:
    """Load holdings.csv, MARC21 (.mrc) or MARCXML (.xml).

    Warnings name agencies that are not partners, and item statuses that are not known.

    \b
    Example: hkall-gateway load holdings holdings.csv
    Example: hkall-gateway load holdings cuhk.mrc --agency CUHK --bad-records skip
    """  # noqa: D301  # click interprets \b
    with working(f"reading {file.name}"), _refusals_recorded(site, "holdings", dry_run=dry_run):
        found = _read_holdings(site, file, agency, written, skip=bad_records == "skip")
    _warn_of_copies(found.rows, site)
    for mistake in found.mistakes:
        echo(f"{mistake}; it is left out", err=True)
    _load_holdings(site, found, agency, dry_run=dry_run, full=full and not found.mistakes, force=force)
    if found.mistakes:
        raise CliError(f"{len(found.mistakes)} records were left out, so that no copy was removed")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Holdings:
    """Contents of a holdings file, in any format that `load holdings` reads. `columns` is None if the file has all columns."""

    rows: StagedCopies
    mistakes: tuple[str, ...]
    withdrawals: Withdrawals
    columns: frozenset[str] | None = None
    titles: Mapping[str, Title] = field(default_factory=dict)


def _read_holdings(site: Site, file: Path, agency: str, written: CsvFormat, *, skip: bool) -> _Holdings:
    from hkall_gateway.db.loads.loading import StagedCopies, Withdrawals
    from hkall_gateway.ils import exports, marc, marc_records

    staged = StagedCopies()
    if not marc_records.is_marc(file):
        table = _read_file(lambda path: exports.read_holdings_file(path, staged, written, skip=skip), file)
        return _Holdings(
            rows=staged, mistakes=table.mistakes, withdrawals=Withdrawals(copies=table.deleted), columns=table.columns
        )
    if not marc.installed():
        raise CliError("MARC files need the extra `web`: pip install 'hkall-gateway[web]'", WRONG)
    found = _read_file(lambda path: marc.read(path, site.marc, staged, agency, skip=skip), file)
    return _Holdings(rows=staged, mistakes=found.mistakes, withdrawals=Withdrawals(titles=found.complete), titles=found.titles)


def _load_holdings(site: Site, found: _Holdings, agency: str, *, dry_run: bool, full: bool, force: bool) -> None:
    from hkall_gateway.db.loads import catalogue, loading

    gone = loading.NOTHING if found.mistakes else found.withdrawals
    with working("comparing it with what is loaded"):
        report = site.store.read_now(loading.compare_copies, found.rows, found.columns, gone, agency)
    with _refusals_recorded(site, "holdings", dry_run=dry_run):
        summary = _judge_report("holdings", report, full=full, force=force)
    if dry_run:
        echo(summary)
        return
    number = _write(site, bind(loading.begin, "holdings"))
    chunks = found.rows.chunks(loading.CHUNK)
    for _ in progress(range(0, len(found.rows), loading.CHUNK), "holdings"):
        _write(site, bind(loading.write_copies, next(chunks), number, found.columns, found.titles))
    with working("removing copies"):
        for part in () if full else gone.parts():
            _write(site, bind(loading.withdraw, part, number))
        while full and _write(site, bind(loading.remove_unnamed, number, agency)):
            pass
    with working("bringing the search up to date"):
        _write(site, lambda unit: catalogue.settle(unit.connection))
    _finish_load(site, "holdings", number, summary, full=False)


@load.command()
@_checked_options
def closures(site: Site, file: Path, dry_run: bool, written: CsvFormat) -> None:
    """Load closures.csv, which replaces the closed days of the libraries that it names.

    Example: hkall-gateway load closures closures.csv
    """
    from hkall_gateway.db.loads import loading
    from hkall_gateway.ils import exports

    days = _read_file(lambda path: exports.read_closures(path, written), file)
    if not dry_run:
        _write(site, bind(loading.write_closures, days))
    echo(f"closures: {len(days)} closed days of {len({agency for agency, _, _ in days})} libraries")


@load.command()
@_checked_options
def partners(site: Site, file: Path, dry_run: bool, written: CsvFormat) -> None:
    """Load partners.csv into the directory; rows of the configuration file take precedence at the next start.

    Example: hkall-gateway load partners partners.csv
    """
    from hkall_gateway.db.loads import loading
    from hkall_gateway.ils import exports

    rows = _read_file(lambda path: exports.read_partners(path, written), file)
    for start in range(0, 0 if dry_run else len(rows), loading.CHUNK):
        _write(site, bind(loading.write_partners, rows[start : start + loading.CHUNK]))
    echo(f"partners: {len(rows)} rows")


@load.command("requests")
@_checked_options
def requests_(site: Site, file: Path, dry_run: bool, written: CsvFormat) -> None:
    """Load requests.csv: the requests that were open when the gateway took over. Existing requests are not changed.

    Example: hkall-gateway load requests requests.csv --dry-run
    """
    from hkall_gateway.circulation import queries
    from hkall_gateway.db.loads import loading
    from hkall_gateway.ils import exports

    rows = _read_file(lambda path: exports.read_requests(path, written), file)
    # The old system's last day to collect is not in the file: the patrons have the whole period from today on (R14).
    closures = site.execute(queries.own_closed_days())
    last = pickup_last(civil(site.now()), site.library.policy, closures)
    rows = tuple(replace(row, pickup_last=last) if row.position is Position.RECEIVED else row for row in rows)
    by = Actor(who=by_staff("load").who, channel="import", message="load")
    new = 0 if dry_run else _write(site, bind(loading.write_opening, rows, site.library.agency, site.now(), by))
    echo(f"requests: {len(rows)} rows, {new} new")


def _read_file(read: Callable[[Path], T], file: Path) -> T:
    from hkall_gateway.ils import exports

    try:
        return read(file)
    except exports.BadFile as error:
        raise CliError(f"{error}\nnothing was loaded", WRONG) from None


def _warn_of_words(rows: Sequence[PatronRow], policy: Policy) -> None:
    """Warn about categories and study modes that the policy does not know: such patrons may not borrow (R2)."""
    categories = _places_of_unknown(rows, lambda borrower: "" if category_of(borrower, policy) else borrower.category)
    for word, places in categories.items():
        _warn_at(places, f"category {word!r} is not in the policy: {len(places)} patrons are not eligible (R2)")
    known = policy.study_modes
    modes = _places_of_unknown(rows, lambda row: row.study_mode if study_mode_of(row.study_mode, known) is None else "")
    for word, places in modes.items():
        _warn_at(places, f"study_mode {word!r} is not in the policy: unknown for {len(places)} patrons (R2)")


def _warn_of_addresses(rows: Sequence[PatronRow]) -> None:
    """Warn about e-mail addresses to which no letter can go."""
    from hkall_gateway.ils.columns import Places

    places = Places()
    for row in rows:
        address = row.borrower.email.reveal()
        if address and "@" not in address.strip("@"):
            places.add(row.where)
    if places:
        _warn_at(places, f"email has no @ between two parts: {len(places)} patrons get no letter")


def _warn_of_refused(cards: Replacements) -> None:
    """Warn about the rows that are left out, with one line for each reason and its places."""
    for why, places in _by_word((why, where) for where, why in cards.refused.items()).items():
        _warn_at(places, f"{why}; {'the row is' if len(places) == 1 else f'{len(places)} rows are'} left out")


def _places_of_unknown(rows: Sequence[PatronRow], unknown: Callable[[Borrower], str]) -> dict[str, Places]:
    """Return the places of each unknown word, sorted by word. `unknown` returns "" for a known word."""
    found = _by_word((unknown(row.borrower), row.where) for row in rows)
    return {word: places for word, places in sorted(found.items()) if word}


def _by_word(placed: Iterable[tuple[T, str]]) -> dict[T, Places]:
    """Group the places in a file by the word found there."""
    from hkall_gateway.ils.columns import Places

    found: defaultdict[T, Places] = defaultdict(Places)
    for word, where in placed:
        found[word].add(where)
    return found


def _warn_of_copies(staged: StagedCopies, site: Site) -> None:
    """Warn about unknown agencies and item statuses, with their lines.

    An agency may join later, so its items are kept (R3). A status is known if the availability table or the policy lists it
    (R6, R7).
    """
    found = _by_word(((copy.agency, copy.status), where) for where, copy in staged)
    agencies = _join_places((agency, places) for (agency, _), places in found.items())
    ours, policy = site.library.agency, site.library.policy
    from hkall_gateway.circulation import queries

    loaded = site.execute(queries.find_partners(agencies))
    partners = {partner.agency for partner in site.partners} | loaded.keys()
    for agency in sorted(agencies.keys() - partners - {ours}):
        copies = len(agencies[agency])
        _warn_at(agencies[agency], f"agency {agency!r} is no partner: {copies} copies are kept and cannot be requested (R3)")
    states = _join_places(((agency == ours, word), places) for (agency, word), places in found.items())
    for (own, word), places in sorted(states.items(), key=itemgetter(0)):
        if is_known(word, (*policy.lendable_statuses, *(policy.local_available_statuses if own else ()))):
            continue
        means = "of ours, not known to be available or not (R6)" if own else "count as not available (R7)"
        _warn_at(places, f"status {word!r} is not known: {len(places)} copies {means}")


def _join_places(found: Iterable[tuple[T, Places]]) -> dict[T, Places]:
    """Merge the places of entries with the same word."""
    joined: dict[T, Places] = {}
    for word, places in found:
        joined[word] = joined[word] + places if word in joined else places
    return joined


def _warn_at(places: Places, what: str) -> None:
    echo(f"{places}: {what}", err=True)


def _judge_report(kind: str, report: LoadReport, *, full: bool, force: bool) -> str:
    """Return a one-line summary of what the load changes. Raise CliError with that line if too many rows would vanish."""
    gone = report.gone(full=full)
    counts = f"{kind}: {report.new} new, {report.changed} changed, {report.same} as before, {gone} vanish"
    summary = counts + (f", {report.replaced} cards replaced" if report.replaced else "")
    for loss in report.losses:
        if loss.gone(full=full):
            summary += f"; {loss.library} loses {loss.gone(full=full)} of {loss.before} copies"
    if report.too_many_vanish(full=full) and not force:
        whose = ", ".join(loss.library for loss in report.losses if loss.is_too_much(full=full)) or f"{gone} of {report.before}"
        raise CliError(f"{summary}; {whose} would vanish, more than 20 %: nothing loaded; --force loads it")
    return summary


def _finish_load(site: Site, kind: str, number: int, summary: str, *, full: bool) -> None:
    from hkall_gateway.db.loads import loading

    _write(site, bind(loading.finish, kind, number, full, site.now()))
    echo(f"{summary}; import {number} is current")
