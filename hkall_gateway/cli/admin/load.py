"""Command load: check the whole file first, then let it take effect while the gateway runs.

Every kind of file is loaded as a whole or not at all, and a file that is not loaded is recorded.
"""

from __future__ import annotations

import codecs
import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click

from hkall_gateway.cli.options import REFUSED, WRONG, CliError, Site, by_staff, combine_options
from hkall_gateway.cli.show import echo, progress, working
from hkall_gateway.cli.with_site import with_site
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
    from hkall_gateway.db.loads.whole_files import LoadOptions, Step
    from hkall_gateway.db.unit_of_work import UnitOfWork
    from hkall_gateway.ils.columns import CsvFormat, Places

T = TypeVar("T")


def _write(site: Site, work: Callable[[UnitOfWork], T]) -> T:
    """Run one transaction of a load. Two loads at the same time take turns; `replace_cards` also locks the cards."""
    from hkall_gateway.db.loads.whole_files import LOCK

    return site.store.write_now(work, LOCK)


PATRONS_AT_ONCE: Final = 500
COPIES_AT_ONCE: Final = 4
"""Steps of a file that one transaction stores. A step of holdings has many copies."""

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


class _FileRefused(CliError):
    """A file that is not loaded. `facts` are those of its line in the journal, and name no person."""

    def __init__(self, message: str, exit_code: int, **facts: object) -> None:
        super().__init__(message, exit_code)
        self.facts = facts


@contextmanager
def _refusals_recorded(site: Site, kind: str, file: Path, *, dry_run: bool) -> Iterator[None]:
    """Record that a file was not loaded: in the journal, for `doctor` and for the metrics."""
    try:
        yield
    except CliError as error:
        if not dry_run:
            facts = error.facts if isinstance(error, _FileRefused) else {}
            _record_refusal(site, kind, {"file": file.name, **facts})
        raise


def _record_refusal(site: Site, kind: str, facts: Mapping[str, object]) -> None:
    from hkall_gateway.db import instances

    by = Actor(who=by_staff("load").who, channel="cli", message="load")
    _write(site, bind(instances.record_refused_load, kind, facts, site.now(), by))


_options = combine_options(
    with_site,
    _with_format,
    FILE,
    click.option("--dry-run", is_flag=True, help="Show what would change, without changing it."),
    click.option("--full", is_flag=True, help="Treat the file as complete: rows that it does not name vanish."),
    click.option(
        "--force",
        is_flag=True,
        help="Load the file although more than 20 % would vanish, and give up an earlier file whose load was interrupted.",
    ),
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
    from hkall_gateway.db.loads import former_cards, loading, whole_files
    from hkall_gateway.ils import exports

    with _refusals_recorded(site, "patrons", file, dry_run=dry_run):
        export = _read_file(lambda path: exports.read_patron_rows(path, written), file)
    rows = export.rows
    _warn_of_words(rows, site.library.policy)
    _warn_of_addresses(rows)
    if "language" in export.columns:
        ours = site.languages
        languages = _places_of_unknown(rows, lambda borrower: "" if borrower.language in ours else borrower.language)
        for word, places in languages.items():
            _warn_at(places, f"language {word!r} is not written here: {len(places)} patrons get letters in {ours[0]}")
    if not dry_run:
        _finish_earlier(site, "patrons", force=force)
    cards = site.store.read_now(former_cards.judge, rows)
    _warn_of_refused(cards)
    taken = tuple(row.borrower for row in rows if row.where not in cards.refused)
    spared = [row.card for row in rows if row.where in cards.refused]
    report = site.store.read_now(loading.compare, "patrons", taken, cards.present, spared, export.columns)
    with _refusals_recorded(site, "patrons", file, dry_run=dry_run):
        summary = _judge_report("patrons", report, full=full, force=force)
    if dry_run:
        echo(summary)
    else:
        steps = whole_files.patron_steps(taken, cards.present, spared)
        options = whole_files.LoadOptions(full=full, by=by_staff("load"), columns=export.columns)
        with _refusals_recorded(site, "patrons", file, dry_run=dry_run):
            _store_file(site, "patrons", options, steps, at_once=PATRONS_AT_ONCE)
        _carry_out(site, "patrons", len(taken))
        echo(f"{summary}; import {site.store.read_now(loading.current, 'patrons')} is current")
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
    from hkall_gateway.db.loads import loading

    with working(f"reading {file.name}"), _refusals_recorded(site, "holdings", file, dry_run=dry_run):
        found = _read_holdings(site, file, agency, written, skip=bad_records == "skip")
    _warn_of_copies(found.rows, site)
    for mistake in found.mistakes:
        echo(f"{mistake}; it is left out", err=True)
    full = full and not found.mistakes
    with _refusals_recorded(site, "holdings", file, dry_run=dry_run):
        summary = _compare_and_store(site, found, agency, dry_run=dry_run, full=full, force=force)
    if dry_run:
        echo(summary)
    else:
        _carry_out(site, "holdings", len(found.rows))
        echo(f"{summary}; import {site.store.read_now(loading.current, 'holdings')} is current")
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


def _compare_and_store(site: Site, found: _Holdings, agency: str, *, dry_run: bool, full: bool, force: bool) -> str:
    """Compare the copies with those that are loaded, and store them unless it is a dry run.

    Returns:
        A line that says what the load changes.
    """
    from hkall_gateway.db.loads import loading, whole_files

    if not dry_run:
        _finish_earlier(site, "holdings", force=force)
    gone = loading.NOTHING if found.mistakes else found.withdrawals
    with working("comparing it with what is loaded"):
        report = site.store.read_now(loading.compare_copies, found.rows, found.columns, gone, agency)
    summary = _judge_report("holdings", report, full=full, force=force)
    if not dry_run:
        steps = whole_files.copy_steps(found.rows, found.titles, gone, full=full)
        options = whole_files.LoadOptions(full=full, by=by_staff("load"), columns=found.columns, agency=agency)
        _store_file(site, "holdings", options, steps, at_once=COPIES_AT_ONCE)
    return summary


def _store_file(site: Site, kind: str, options: LoadOptions, steps: Iterator[Step], *, at_once: int) -> None:
    """Store a whole file in the database, before any of its rows takes effect.

    Raises:
        _FileRefused: The database did not take it. Nothing has changed.
    """
    from hkall_gateway.cli.endings import ending_of
    from hkall_gateway.db.loads import whole_files

    load = _write(site, bind(whole_files.begin, kind, options, site.now()))
    try:
        place = 1
        with working(f"storing the file of {kind}"):
            while batch := list(islice(steps, at_once)):
                _write(site, bind(whole_files.add_steps, load, place, batch, site.now()))
                place += len(batch)
            _write(site, bind(whole_files.seal, load, site.now()))
    except BaseException as error:
        with suppress(Exception):  # if the database is away, a later load deletes the rows
            _write(site, bind(whole_files.discard, load))
        ending = ending_of(error) if isinstance(error, Exception) else None
        if ending is None:
            raise
        raise _FileRefused(f"{ending.message}\nnothing was loaded", ending.exit_code, why="the database") from error


def _carry_out(site: Site, kind: str, rows: int) -> None:
    """Let a stored file take effect in short transactions.

    Raises:
        CliError: The database fails. The gateway will carry on with the file.
    """
    from hkall_gateway.cli.endings import ending_of
    from hkall_gateway.db.loads import loading, whole_files

    try:
        for _ in progress(range(0, rows, loading.CHUNK), kind):
            _write(site, bind(whole_files.take_step, kind, site.now()))
        with working("finishing"):
            while _write(site, bind(whole_files.take_step, kind, site.now())):
                pass
    except Exception as error:
        ending = ending_of(error)
        if ending is None:
            raise
        raise CliError(
            f"{ending.message}\n{kind}: the whole file is stored and a part of it is in effect; "
            "the gateway carries on with it every five minutes, and so does the next load",
            ending.exit_code,
        ) from error


def _finish_earlier(site: Site, kind: str, *, force: bool) -> None:
    """Carry out an earlier file whose load was interrupted, or with `force` delete it."""
    from hkall_gateway.db.loads import whole_files

    if force:
        _write(site, bind(whole_files.discard_kind, kind))
    elif site.store.read_now(lambda unit: kind in whole_files.unfinished(unit.connection)):
        echo(f"{kind}: an earlier load was interrupted; it is finished first", err=True)
        _carry_out(site, kind, 0)


@load.command()
@_checked_options
def closures(site: Site, file: Path, dry_run: bool, written: CsvFormat) -> None:
    """Load closures.csv, which replaces the closed days of the libraries that it names.

    Example: hkall-gateway load closures closures.csv
    """
    from hkall_gateway.db.loads import loading
    from hkall_gateway.ils import exports

    with _refusals_recorded(site, "closures", file, dry_run=dry_run):
        days = _read_file(lambda path: exports.read_closures(path, written), file)
        if not dry_run:
            _write_at_once(site, "closures", bind(loading.write_closures, days))
    echo(f"closures: {len(days)} closed days of {len({agency for agency, _, _ in days})} libraries")


@load.command()
@_checked_options
def partners(site: Site, file: Path, dry_run: bool, written: CsvFormat) -> None:
    """Load partners.csv into the directory; rows of the configuration file take precedence at the next start.

    Example: hkall-gateway load partners partners.csv
    """
    from hkall_gateway.db.loads import loading
    from hkall_gateway.ils import exports

    with _refusals_recorded(site, "partners", file, dry_run=dry_run):
        rows = _read_file(lambda path: exports.read_partners(path, written), file)
        if not dry_run:
            _write_at_once(site, "partners", bind(loading.write_partners, rows))
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

    with _refusals_recorded(site, "requests", file, dry_run=dry_run):
        rows = _read_file(lambda path: exports.read_requests(path, written), file)
    # The old system's last day to collect is not in the file: the patrons have the whole period from today on (R14).
    closures = site.execute(queries.own_closed_days())
    last = pickup_last(civil(site.now()), site.library.policy, closures)
    rows = tuple(replace(row, pickup_last=last) if row.position is Position.RECEIVED else row for row in rows)
    by = Actor(who=by_staff("load").who, channel="import", message="load")
    new = 0
    if not dry_run:
        write = bind(loading.write_opening, rows, site.library.agency, site.now(), by)
        with _refusals_recorded(site, "requests", file, dry_run=dry_run):
            new = _write_at_once(site, "requests", write)
    echo(f"requests: {len(rows)} rows, {new} new")


def _read_file(read: Callable[[Path], T], file: Path) -> T:
    from hkall_gateway.ils import exports

    try:
        return read(file)
    except exports.BadFile as error:
        first_place = Path(error.mistakes[0].partition(": ")[0]).name
        raise _FileRefused(f"{error}\nnothing was loaded", WRONG, where=first_place, mistakes=len(error.mistakes)) from None


def _write_at_once(site: Site, kind: str, work: Callable[[UnitOfWork], T]) -> T:
    """Write a short file in one transaction, and record that it was loaded."""
    from hkall_gateway.cli.endings import ending_of
    from hkall_gateway.db import instances

    def write(unit: UnitOfWork) -> T:
        result = work(unit)
        instances.record_load(unit, kind, site.now())
        return result

    try:
        return _write(site, write)
    except Exception as error:
        ending = ending_of(error)
        if ending is None:
            raise
        raise _FileRefused(f"{ending.message}\nnothing was loaded", ending.exit_code, why="the database") from error


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
        raise _FileRefused(
            f"{summary}; {whose} would vanish, more than 20 %: nothing loaded; --force loads it",
            REFUSED,
            why="too many rows would vanish",
            gone=gone,
            before=report.before,
        )
    return summary
