"""All tables, defined with SQLAlchemy Core. The comment of each table explains its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Final, TypeVar

from sqlalchemy import (
    DDL,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Computed,
    Date,
    Dialect,
    Engine,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TextClause,
    TypeDecorator,
    UniqueConstraint,
    event,
    inspect,
    text,
)
from sqlalchemy.types import UserDefinedType

from hkall_gateway.rules.positions import STAGES, Stage
from hkall_gateway.rules.stored_words import NoticeState, OutboxState
from hkall_gateway.rules.vocabulary import Position

T = TypeVar("T")
Condition = ColumnElement[bool] | TextClause
"""A condition of a WHERE clause."""

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime, stored as ISO text of fixed width, so that every database sorts and compares it correctly.

    SQLite would silently drop the UTC offset of a datetime. A naive value is a bug and is refused.
    """

    impl = String(32)
    cache_ok = True

    # SQLAlchemy would wrap process_bind_param and process_result_value, which costs time for every timestamp.
    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], str | None]:  # noqa: ARG002, D102
        return _instant_text

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[str | None], datetime | None]:  # noqa: ARG002, D102
        return _stored_instant


def _stored_instant(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


@lru_cache(maxsize=256)
def _instant_text(value: datetime | None) -> str | None:
    # Cached, because one unit of work writes the same timestamp into several rows.
    if value is None:
        return None
    if value.tzinfo is None:
        raise ValueError(f"naive datetime {value!r}: instants are aware UTC")
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class SearchVector(UserDefinedType[str]):
    """PostgreSQL's tsvector in its text form. SQLAlchemy's own type takes long to import."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:  # noqa: D102
        return "TSVECTOR"


# The columns of one kind that stand together in a table. The revisions use these functions too, so they never change.


def keys(*names: str) -> list[Column[str]]:
    """Create the text columns of a primary key."""
    return [Column(name, Text, primary_key=True) for name in names]


def texts(*names: str, index: bool = False) -> list[Column[str]]:
    """Create text columns, "" by default."""
    return [Column(name, Text, nullable=False, server_default="", index=index or None) for name in names]


def sort_keys(*names: str) -> list[Column[str]]:
    """Create text columns that sort by code point in every database, as SQLite does by default."""
    kind = Text().with_variant(Text(collation="C"), "postgresql")
    return [Column(name, kind, nullable=False, server_default="") for name in names]


def flags(*names: str) -> list[Column[bool]]:
    """Create columns for true or false, false by default."""
    return [Column(name, Boolean, nullable=False, server_default=text("(false)")) for name in names]


def numbers(*names: str) -> list[Column[int]]:
    """Create integer columns, 0 by default."""
    return [Column(name, Integer, nullable=False, server_default="0") for name in names]


def dates(*names: str) -> list[Column[date]]:
    """Create columns for days, which may be null."""
    return [Column(name, Date) for name in names]


def instants(*names: str) -> list[Column[datetime]]:
    """Create columns for timestamps."""
    return [Column(name, UtcDateTime, nullable=False) for name in names]


def maybe_instants(*names: str) -> list[Column[datetime]]:
    """Create columns for timestamps, which may be null."""
    return [Column(name, UtcDateTime) for name in names]


def partial_index(name: str, *columns: str, where: TextClause, unique: bool = False) -> Index:
    """Create an index of the rows that satisfy a condition."""
    return Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


def any_of(positions: frozenset[Position]) -> str:
    """Return an SQL condition that selects requests in these positions."""
    return "position IN (" + ", ".join(f"'{p}'" for p in sorted(positions)) + ")"


# The stage follows from the position. With IN and lists of positions, SQLite would build a table of each list for every step.
def stage_condition(stages: Iterable[tuple[str, str]]) -> str:
    """Return the SQL condition that each request has the stage of its position."""
    cases = " ".join(f"WHEN '{position}' THEN '{stage}'" for position, stage in sorted(stages))
    return f"stage = CASE position {cases} ELSE '?' END"


# The database uses a partial index only for a query with the same condition text, so queries use these clauses.
# The clauses name the stage and not the position, so that a step within a stage does not update the indexes.
IS_OPEN = text(f"stage <> '{Stage.ENDED}'")
IS_FORCED = text("event = 'FORCE'")
IS_REFUSED = text("event = 'REFUSED'")
IS_UNDELIVERABLE = text(f"state = '{NoticeState.UNDELIVERABLE}'")
IS_UNPAID = text("cents > paid_cents + waived_cents")
IS_REFUND_OWED = text("cents < paid_cents + waived_cents")
IS_CLOSED = text(f"stage = '{Stage.ENDED}'")
IS_PERSONAL = text(f"{IS_CLOSED} AND NOT anonymised")
STANDS_ALONE = text("request = ''")
NAMES_ALONE = text("request = '' AND patron <> ''")
HAS_PATRON = text("patron <> ''")
_WAITING = f"state IN ('{OutboxState.WAITING}', '{OutboxState.UNSURE}')"
_DEAD = f"state = '{OutboxState.DEAD}'"
_IS_LEASED = text("lease_until IS NOT NULL")
IS_WAITING = text("outbox." + _WAITING)
IS_DEAD = text("outbox." + _DEAD)
# Worded unlike the partial indexes, so that an earlier message is found by its request, not by a scan of all unsent messages.
EARLIER_UNSETTLED = text(f"earlier.state NOT IN ('{OutboxState.SENT}', '{OutboxState.DONE}', '{OutboxState.DROPPED}')")
HAS_CARD = text("card <> ''")
IS_USED = text("state <> ''")
IS_FLAGGED = text("flags <> ''")
IS_CLOSED_OF = text(f"{IS_CLOSED} AND {HAS_PATRON}")
_OPEN_FLAGGED = text(f"{IS_OPEN} AND {IS_FLAGGED}")
_OPEN_DUE = text(f"{IS_OPEN} AND due IS NOT NULL")
_WAS_ASKED = text("wire_id <> ''")
IS_IN_HAND = text(f"stage = '{Stage.IN_HAND}' AND item_barcode <> ''")

PATRONS = Table(
    "patrons",
    METADATA,
    *keys("barcode"),
    *texts("name", "name_zh", "category", "study_mode"),
    *dates("expires"),
    *texts("email", "language"),
    *flags("blocked"),
    Column("local_loans", Integer),
    Column("total_quota", Integer),
    *texts("pin_hash"),
    *numbers("load"),
    comment="Our patrons as the local library system last told us; `load` is the import that wrote the row.",
)

_LINKED = text("linked_key <> ''")

HOLDINGS = Table(
    "holdings",
    METADATA,
    *keys("agency", "barcode"),
    *texts("bib_id", index=True),
    *texts("local_bib_id", "isbn", "title", "author", "volume", "call_number", "status"),
    Column("lendable", Boolean, nullable=False, server_default=text("true")),
    *texts("material"),
    *numbers("load"),
    *sort_keys("shelving_key"),  # sorts the call number
    Index(None, "agency", "local_bib_id"),
    Index(None, "barcode"),
    Index(None, "title"),
    comment="Copies of all libraries; (agency, barcode) is an item's identity.",
)

TITLES = Table(
    "titles",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("bib_id", Text, nullable=False, unique=True),
    *texts("title", "author"),
    *texts("linked_title"),  # in the original script, field 880 of MARC
    *texts("linked_author"),
    *texts("isbns"),  # ISBN-13s with blanks between them
    *texts("language"),  # ISO 639-2 code, as in MARC
    *texts("published"),
    *sort_keys("title_key", "linked_key", "author_key"),
    *numbers("year"),  # of publication; 0 if it is unknown
    *texts("facets"),  # language, decade, and agencies, with tabs between them
    *texts("digest"),  # covers all fields from which the keys and words are computed
    Column("words", Text().with_variant(SearchVector(), "postgresql")),  # PostgreSQL's index; SQLite has `title_words`
    Index("ix_titles_title_key", "title_key", "author_key", "bib_id"),
    partial_index("ix_titles_linked_key", "linked_key", "author_key", "bib_id", where=_LINKED),
    Index("ix_titles_year", "year", "id"),
    comment="Titles of the union catalogue with their search words: one row for each `bib_id` of the holdings.",
)
SEARCH_INDEX: Final = (
    # The tokenizer only splits at blanks, because `search/folding.py` computes the words for both databases.
    ("sqlite", "CREATE VIRTUAL TABLE IF NOT EXISTS title_words USING fts5(title, author, isbn, call, tokenize = 'ascii')"),
    ("sqlite", "CREATE TABLE IF NOT EXISTS title_facet_sets (code INTEGER PRIMARY KEY, facets TEXT NOT NULL UNIQUE)"),
    ("sqlite", "CREATE TABLE IF NOT EXISTS title_facets (chunk INTEGER PRIMARY KEY, codes BLOB NOT NULL)"),
    ("postgresql", "CREATE INDEX ix_titles_words ON titles USING gin (words)"),
)
"""The statements that create the search index, each with its database."""
for _name, _ddl in SEARCH_INDEX:
    event.listen(TITLES, "after_create", DDL(_ddl).execute_if(dialect=_name))  # type: ignore[no-untyped-call]
for _name in ("title_words", "title_facet_sets", "title_facets"):
    event.listen(TITLES, "before_drop", DDL(f"DROP TABLE IF EXISTS {_name}").execute_if(dialect="sqlite"))  # type: ignore[no-untyped-call]

SHORTEST_WORD: Final = 4
"""Minimum length of a word in the vocabulary: shorter words are not corrected."""
VOCABULARY = Table(
    "vocabulary",
    METADATA,
    Column("word", Text().with_variant(Text(collation="C"), "postgresql"), primary_key=True),
    comment="Words of titles and authors, among which a search looks for the right spelling. Words are not deleted.",
)

CLOSURES = Table(
    "closures",
    METADATA,
    *keys("agency"),
    Column("day", Date, primary_key=True),
    *texts("reason"),
    comment="Days on which a library is closed, one row a day.",
)

REQUESTS = Table(
    "requests",
    METADATA,
    *keys("id"),
    *texts("side", "position", "stage", "kind", "patron", "partner", "wire_agency", "wire_id"),
    *numbers("attempt"),
    *texts("item_agency", "item_barcode", "title", "bib_id", "volume", "pickup_location", "placed_by", "placed_id"),
    *instants("placed_at", "moved_at"),
    *dates("received_on", "notified_on", "pickup_last", "first_checkout"),
    *numbers("loan_days"),
    *dates("due", "due_before_recall", "due_before_renewal", "due_asked", "lender_due", "returned_on"),
    *numbers("renewals"),
    *maybe_instants("renewed_at"),
    *texts("renewal_sync"),
    *dates("recalled_on", "recall_was_on", "recall_cancelled_on"),
    *flags("unwanted", "used", "expired_pickup", "unannounced"),
    *texts("skipped"),
    *dates("claimed_on", "lost_on"),
    *flags("damaged"),
    *dates("dropped_on", "overdue_notice_for", "need_before"),
    *texts("reopened_from", "reason", "flags"),
    *flags("anonymised"),
    *texts("linked_title"),  # in the original script, from the union catalogue
    CheckConstraint(stage_condition(STAGES.items()), "stage"),
    partial_index("uq_requests_item_in_hand", "item_agency", "item_barcode", unique=True, where=IS_IN_HAND),
    # Includes the sort columns, so that SQLite prefers this index to ix_requests_item, which includes closed requests.
    partial_index("ix_requests_open_barcode", "item_barcode", "placed_at", "id", where=IS_OPEN),
    partial_index("ix_requests_open_patron", "patron", where=IS_OPEN),
    partial_index("ix_requests_open_position", "position", "moved_at", where=IS_OPEN),
    partial_index("ix_requests_open_due", "due", where=_OPEN_DUE),
    partial_index("ix_requests_open_flagged", "id", where=_OPEN_FLAGGED),
    partial_index("ix_requests_closed_patron", "patron", where=IS_CLOSED_OF),
    partial_index("ix_requests_closed", "moved_at", "id", where=IS_CLOSED),
    partial_index("ix_requests_personal", "moved_at", "id", where=IS_PERSONAL),
    Index("ix_requests_placed_at", "placed_at", "side", "partner", "position"),
    Index("ix_requests_item", "item_barcode", "item_agency"),
    Index("ix_requests_placed", "placed_by", "placed_id"),
    Index("ix_requests_wire", "wire_agency", "wire_id"),
    comment="One book for one borrower, either side: a position and the facts about it. One active row per physical item. "
    "`stage` follows from the position.",
)

CANDIDATES = Table(
    "candidates",
    METADATA,
    *keys("request"),
    Column("rank", Integer, primary_key=True, autoincrement=False),
    *texts("agency", "barcode", "local_bib_id", "skip"),
    *texts("wire_id", index=True),
    *texts("outcome", "reason"),
    *texts("their_number", index=True),
    partial_index("ix_candidates_asked_barcode", "barcode", where=_WAS_ASKED),
    comment="The copies that could fill a request, ranked when it was placed; the one asked last is the active lender.",
)

JOURNAL = Table(
    "journal",
    METADATA,
    Column("id", Integer, primary_key=True),
    *instants("at"),
    *texts("request", index=True),
    *texts("patron", "who", "channel", "message", "corr", "event", "source", "target", "rule", "outcome", "detail"),
    partial_index("ix_journal_refused", "at", where=IS_REFUSED),
    partial_index("ix_journal_forced", "id", where=IS_FORCED),
    partial_index("ix_journal_alone", "at", where=STANDS_ALONE),
    partial_index("ix_journal_alone_patron", "at", where=NAMES_ALONE),
    # Lines about a request are found by the request's patron, which is stored once and not in every line.
    partial_index("ix_journal_alone_of", "patron", "request", where=NAMES_ALONE),
    comment="Every transition and every refusal: who, by which channel and message, from where to where, by which rule.",
)

OUTBOX = Table(
    "outbox",
    METADATA,
    Column("id", Integer, primary_key=True),
    *texts("kind", "send", "recipient"),
    Column("line", Text, Computed("CASE kind WHEN 'mail' THEN kind ELSE recipient END", persisted=True), nullable=False),
    *texts("request", index=True),
    *texts("payload", "corr", "state"),
    *instants("made_at", "next_at"),
    *maybe_instants("sent_at"),
    *numbers("attempts"),
    *texts("last_error", "claimed_by"),
    *maybe_instants("lease_until"),
    partial_index("ix_outbox_waiting", "line", "next_at", "id", where=text(_WAITING)),
    partial_index("ix_outbox_dead", "line", where=text(_DEAD)),
    partial_index("ix_outbox_leased", "lease_until", where=_IS_LEASED),
    comment="What must be told to others, in our words; a lane (one request, one recipient) leaves in order. "
    "`line` is what it travels on, one to each partner and one for all letters.",
)

ATTEMPTS = Table(
    "attempts",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("row", Integer, nullable=False, index=True),
    *instants("at"),
    *texts("kind", "problem", "detail"),
    comment="Every try to tell a row of the outbox and how it went, so that a person can judge a dead letter.",
)

INBOX = Table(
    "inbox",
    METADATA,
    *keys("agency", "digest"),
    *texts("outcome"),
    *instants("made_at", "keep_until"),
    Index("ix_inbox_made_at", "made_at"),
    Index("ix_inbox_keep_until", "keep_until"),
    comment="Outcomes of documents that changed something, by (agency, digest): the same document gets the same reply.",
)

QUARANTINE = Table(
    "quarantine",
    METADATA,
    Column("id", Integer, primary_key=True),
    *texts("agency", "digest", "service", "document", "why", "state"),
    *numbers("times"),
    *instants("first_at", "last_at"),
    *texts("settled_by", "reason"),
    Index("ix_quarantine_document", "agency", "digest", unique=True),
    Index("ix_quarantine_last_at", "last_at"),
    comment="News of partners about requests and copies that we did not know, without its secrets, until somebody judges it.",
)

NOTICES = Table(
    "notices",
    METADATA,
    Column("id", Integer, primary_key=True),
    *texts("request", "kind", "about"),
    *texts("patron", index=True),
    *texts("state"),
    *instants("made_at"),
    *maybe_instants("sent_at"),
    *texts("error", "text"),
    UniqueConstraint("request", "kind", "about"),
    partial_index("ix_notices_undeliverable", "id", where=IS_UNDELIVERABLE),
    comment="One row a letter; (request, kind, about) is unique, so that one event never sends two.",
)

FINES = Table(
    "fines",
    METADATA,
    Column("id", Integer, primary_key=True),
    *texts("request", index=True),
    *texts("patron", index=True),
    *texts("kind"),
    *numbers("cents", "paid_cents", "waived_cents"),
    *texts("currency"),
    *instants("at"),
    *texts("reason"),
    *dates("due"),
    partial_index("ix_fines_unpaid", "id", where=IS_UNPAID),
    partial_index("ix_fines_refund_owed", "id", where=IS_REFUND_OWED),
    comment="What a patron owes for a request, in integer cents; `due` is the date that an overdue fine counts from.",
)

PAYMENTS = Table(
    "payments",
    METADATA,
    Column("id", Integer, primary_key=True),
    *texts("patron", index=True),
    *texts("who", "transaction_id"),
    *numbers("cents"),
    *texts("currency"),
    *instants("at"),
    *texts("outcome"),
    partial_index("ix_payments_named", "at", where=HAS_PATRON),
    partial_index(
        "uq_payments_transaction", "patron", "who", "transaction_id", unique=True, where=text("transaction_id <> ''")
    ),
    comment="Money taken, with its outcome: the same transaction of the same device for the same patron is taken once.",
)

CARD_BLOCKS = Table(
    "card_blocks",
    METADATA,
    *keys("card"),
    *texts("who"),
    *instants("at"),
    *texts("reason"),
    *flags("retained"),
    comment="Cards that a terminal blocked here; the local library system knows nothing of it, and a terminal lifts it again.",
)

CARD_LOCKS = Table(
    "card_locks",
    METADATA,
    *keys("card"),
    *instants("ends_at"),
    comment="Cards that wrong PINs locked at a terminal or over NCIP, until `ends_at`, so that the pages refuse them in any "
    "process.",
)

FORMER_CARDS = Table(
    "former_cards",
    METADATA,
    *keys("card"),
    *texts("present", index=True),
    *instants("at"),
    *texts("who"),
    comment="Cards that were replaced; `present` is the card that their owner has now, the same for all former ones.",
)

PROPERTIES = Table(
    "item_properties",
    METADATA,
    *keys("agency", "barcode"),
    *texts("text", "who"),
    *instants("at"),
    comment="What a terminal noted of a copy's make: size, colour, a tag's number.",
)

LINKS = Table(
    "links",
    METADATA,
    *keys("agency"),
    *texts("partner", "card", "state"),
    *maybe_instants("down_since", "heard_at", "rests_until"),
    *numbers("failures"),
    *texts("fault"),
    partial_index("ix_links_card", "card", where=HAS_CARD),
    partial_index("ix_links_used", "agency", where=IS_USED),
    comment="One row a partner: its directory entry as a record, the card that stands for it here, and how the line to it is; "
    "there may be millions, of which few are ever used.",
)

JOBS = Table(
    "jobs",
    METADATA,
    *keys("name"),
    *maybe_instants("last_run", "next_run"),
    *numbers("count"),
    *texts("cursor", "claimed_by"),
    *maybe_instants("lease_until"),
    comment="What time alone does: when each round ran last and how far it came; also the number of the current imports.",
)

SET_ASIDE = Table(
    "set_aside",
    METADATA,
    *keys("round", "request"),
    *instants("at"),
    *texts("error"),
    comment="What a round could not do when it was there last: it is tried again when the round comes next.",
)


STAGED_LOADS = Table(
    "staged_loads",
    METADATA,
    Column("load", Integer, primary_key=True, autoincrement=False),
    Column("place", Integer, primary_key=True, autoincrement=False),
    *texts("kind", "work", "card", "body"),
    *instants("at"),
    comment="The file of a `load` until all of it is in effect: a header at place 0, then its rows as steps. A step is deleted "
    "when it was carried out. `card` is the card of a patron's row.",
)

INSTANCES = Table(
    "instances",
    METADATA,
    *keys("name"),
    *texts("host"),
    *numbers("pid"),
    *texts("version"),
    *instants("since", "seen_at"),
    *maybe_instants("left_at"),
    *texts("ports"),
    comment="The gateways that work on this database, and when each was heard of last.",
)

HELD_CONFIGURATIONS = Table(
    "held_configurations",
    METADATA,
    *keys("instance"),
    *instants("at"),
    *texts("fingerprints"),
    comment="What configuration each gateway holds since `at`, as keyed fingerprints by key, without any value.",
)

SECRET_USES = Table(
    "secret_uses",
    METADATA,
    *keys("agency", "variable"),
    *instants("at"),
    comment="When a partner or client last sent the secret in this variable, written with the gateways' heartbeat.",
)

TERMINAL_ACTIVITY = Table(
    "terminal_activity",
    METADATA,
    *keys("instance", "login"),
    *texts("role", "location"),
    *numbers("connections"),
    *texts("last_code"),
    *maybe_instants("last_at"),
    *numbers("refused"),
    *texts("refused_why"),
    *maybe_instants("refused_at"),
    *instants("seen_at"),
    comment="Each terminal at each gateway, written with the gateway's heartbeat: its open connections, its last message, and "
    "its refused logins since the gateway's start.",
)

ARCHIVES = Table(
    "archives",
    METADATA,
    *keys("path"),
    *instants("written_at"),
    comment="The archive files that `purge` wrote, with the time of the last write, so that an erasure reads all of them.",
)

ERASED = Table(
    "erased",
    METADATA,
    *keys("mark"),
    *texts("salt", "key"),
    *instants("at"),
    comment="One mark for each erased card: a slow hash of the card under `salt` and the key with the fingerprint `key`. "
    "A restore compares its cards with the marks and erases those that match again.",
)

WEB_SESSIONS = Table(
    "web_sessions",
    METADATA,
    *keys("token_hash"),
    *texts("kind", "login", "patron", "name", "role", "source", "csrf"),
    *instants("created_at", "seen_at", "ends_at"),
    *texts("credential"),
    Index("ix_web_sessions_patron", "patron"),
    Index("ix_web_sessions_ends_at", "ends_at"),
    comment="Who is logged in by a browser: a member of staff or a patron. `token_hash` is the SHA-256 of the cookie's token, "
    "so that a copy of the database opens no session.",
)


WEB_SCANS = Table(
    "web_scans",
    METADATA,
    *keys("token_hash"),
    Column("number", Integer, primary_key=True, autoincrement=False),
    *instants("at"),
    *texts("answer"),
    comment="The latest scans of a session at the scan station, numbered from 1, so that a page that is loaded again shows its "
    "answer and sends nothing. `answer` is JSON in the words that were shown.",
)


API_TOKENS = Table(
    "api_tokens",
    METADATA,
    *keys("name"),
    Column("token_hash", Text, nullable=False),
    *texts("role", "made_by"),
    *instants("made_at"),
    *maybe_instants("ends_at", "revoked_at", "used_at"),
    Index("ix_api_tokens_token_hash", "token_hash", unique=True),
    comment="Programs that may use the API. `token_hash` is the SHA-256 of the token, so that a copy of the database opens "
    "nothing; a revoked token keeps its row, since the journal names it.",
)

PATRON_CHOICES = Table(
    "patron_choices",
    METADATA,
    *keys("patron"),
    *instants("history_since"),
    comment="Patrons who asked us to keep their past loans and the letters to them.",
)


PATRON_NUMBERS = Table(
    "patron_numbers",
    METADATA,
    *keys("number"),
    *texts("card"),
    *instants("at"),
    Index("ix_patron_numbers_card", "card", unique=True),
    comment="The random number by which a page about a patron is addressed, so that no card is in an address or a log.",
)


def create_all(engine: Engine) -> None:
    """Create all tables of a test database in memory. Migrations create the tables of a real database."""
    if not inspect(engine).has_table(OUTBOX.name):
        METADATA.create_all(engine)
