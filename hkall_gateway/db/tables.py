"""All tables, defined with SQLAlchemy Core. The comment of each table explains its rows."""

from __future__ import annotations

from collections.abc import Callable
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

from hkall_gateway.rules.lifecycle import STAGES, Stage
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


def _text(name: str, *, index: bool = False) -> Column[str]:
    return Column(name, Text, nullable=False, server_default="", index=index or None)


class SearchVector(UserDefinedType[str]):
    """PostgreSQL's tsvector in its text form. SQLAlchemy's own type takes long to import."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:  # noqa: D102
        return "TSVECTOR"


def _sort_key(name: str) -> Column[str]:
    """Create a text column that sorts by code point in every database, as SQLite does by default."""
    return Column(name, Text().with_variant(Text(collation="C"), "postgresql"), nullable=False, server_default="")


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False, server_default=text("false"))


def _number(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default="0")


def _date(name: str) -> Column[date]:
    return Column(name, Date)


def _instant(name: str) -> Column[datetime]:
    return Column(name, UtcDateTime, nullable=False)


def _maybe_instant(name: str) -> Column[datetime]:
    return Column(name, UtcDateTime)


def _each(make: Callable[[str], Column[T]], *names: str) -> list[Column[T]]:
    """Create columns of one kind, in this order."""
    return [make(name) for name in names]


def _partial_index(name: str, *columns: str, where: TextClause, unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


def any_of(positions: frozenset[Position]) -> str:
    """Return an SQL condition that selects requests in these positions."""
    return "position IN (" + ", ".join(f"'{p}'" for p in sorted(positions)) + ")"


# The stage follows from the position. With IN and lists of positions, SQLite would build a table of each list for every step.
_STAGES = " ".join(f"WHEN '{p}' THEN '{STAGES[p]}'" for p in sorted(Position))
_AT_ITS_STAGE = f"stage = CASE position {_STAGES} ELSE '?' END"

# The database uses a partial index only for a query with the same condition text, so queries use these clauses.
# The clauses name the stage and not the position, so that a step within a stage does not update the indexes.
IS_OPEN = text(f"stage <> '{Stage.ENDED}'")
IS_FORCED = text("event = 'FORCE'")
IS_REFUSED = text("event = 'REFUSED'")
IS_UNDELIVERABLE = text(f"state = '{NoticeState.UNDELIVERABLE}'")
IS_UNPAID = text("cents > paid_cents + waived_cents")
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
    Column("barcode", Text, primary_key=True),
    *_each(_text, "name", "name_zh", "category", "study_mode"),
    _date("expires"),
    *_each(_text, "email", "language"),
    _flag("blocked"),
    Column("local_loans", Integer),
    Column("total_quota", Integer),
    _text("pin_hash"),
    _number("load"),
    comment="Our patrons as the local library system last told us; `load` is the import that wrote the row.",
)

_LINKED = text("linked_key <> ''")

HOLDINGS = Table(
    "holdings",
    METADATA,
    Column("agency", Text, primary_key=True),
    Column("barcode", Text, primary_key=True),
    _text("bib_id", index=True),
    *_each(_text, "local_bib_id", "isbn", "title", "author", "volume", "call_number", "status"),
    Column("lendable", Boolean, nullable=False, server_default=text("true")),
    _text("material"),
    _number("load"),
    _sort_key("shelving_key"),  # sorts the call number
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
    *_each(_text, "title", "author"),
    _text("linked_title"),  # in the original script, field 880 of MARC
    _text("linked_author"),
    _text("isbns"),  # ISBN-13s with blanks between them
    _text("language"),  # ISO 639-2 code, as in MARC
    _text("published"),
    _sort_key("title_key"),
    _sort_key("linked_key"),
    _sort_key("author_key"),
    _number("year"),  # of publication; 0 if it is unknown
    _text("facets"),  # language, decade, and agencies, with tabs between them
    _text("digest"),  # covers all fields from which the keys and words are computed
    Column("words", Text().with_variant(SearchVector(), "postgresql")),  # PostgreSQL's index; SQLite has `title_words`
    Index("ix_titles_title_key", "title_key", "author_key", "bib_id"),
    _partial_index("ix_titles_linked_key", "linked_key", "author_key", "bib_id", where=_LINKED),
    Index("ix_titles_year", "year", "id"),
    Index("ix_titles_facets", "id", "facets"),  # read for each hit, and much smaller than the rows
    comment="Titles of the union catalogue with their search words: one row for each `bib_id` of the holdings.",
)
SEARCH_INDEX: Final = {
    # The tokenizer only splits at blanks, because `search/folding.py` computes the words for both databases.
    "sqlite": "CREATE VIRTUAL TABLE IF NOT EXISTS title_words USING fts5(title, author, isbn, call, tokenize = 'ascii')",
    "postgresql": "CREATE INDEX ix_titles_words ON titles USING gin (words)",
}
"""The statement that creates the search index, by database."""
for _name, _ddl in SEARCH_INDEX.items():
    event.listen(TITLES, "after_create", DDL(_ddl).execute_if(dialect=_name))  # type: ignore[no-untyped-call]
event.listen(TITLES, "before_drop", DDL("DROP TABLE IF EXISTS title_words").execute_if(dialect="sqlite"))  # type: ignore[no-untyped-call]

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
    Column("agency", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    _text("reason"),
    comment="Days on which a library is closed, one row a day.",
)

REQUESTS = Table(
    "requests",
    METADATA,
    Column("id", Text, primary_key=True),
    *_each(_text, "side", "position", "stage", "kind", "patron", "partner", "wire_agency", "wire_id"),
    _number("attempt"),
    *_each(_text, "item_agency", "item_barcode", "title", "bib_id", "volume", "pickup_location", "placed_by", "placed_id"),
    *_each(_instant, "placed_at", "moved_at"),
    *_each(_date, "received_on", "notified_on", "pickup_last", "first_checkout"),
    _number("loan_days"),
    *_each(_date, "due", "due_before_recall", "due_before_renewal", "due_asked", "lender_due", "returned_on"),
    _number("renewals"),
    _maybe_instant("renewed_at"),
    _text("renewal_sync"),
    *_each(_date, "recalled_on", "recall_was_on", "recall_cancelled_on"),
    *_each(_flag, "unwanted", "used", "expired_pickup", "unannounced"),
    _text("skipped"),
    *_each(_date, "claimed_on", "lost_on"),
    _flag("damaged"),
    *_each(_date, "dropped_on", "overdue_notice_for", "need_before"),
    *_each(_text, "reopened_from", "reason", "flags"),
    _flag("anonymised"),
    _text("linked_title"),  # in the original script, from the union catalogue
    CheckConstraint(_AT_ITS_STAGE, "stage"),
    _partial_index("uq_requests_item_in_hand", "item_agency", "item_barcode", unique=True, where=IS_IN_HAND),
    # Includes the sort columns, so that SQLite prefers this index to ix_requests_item, which includes closed requests.
    _partial_index("ix_requests_open_barcode", "item_barcode", "placed_at", "id", where=IS_OPEN),
    _partial_index("ix_requests_open_patron", "patron", where=IS_OPEN),
    _partial_index("ix_requests_open_position", "position", "moved_at", where=IS_OPEN),
    _partial_index("ix_requests_open_due", "due", where=_OPEN_DUE),
    _partial_index("ix_requests_open_flagged", "id", where=_OPEN_FLAGGED),
    _partial_index("ix_requests_closed_patron", "patron", where=IS_CLOSED_OF),
    _partial_index("ix_requests_closed", "moved_at", "id", where=IS_CLOSED),
    _partial_index("ix_requests_personal", "moved_at", "id", where=IS_PERSONAL),
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
    Column("request", Text, primary_key=True),
    Column("rank", Integer, primary_key=True, autoincrement=False),
    *_each(_text, "agency", "barcode", "local_bib_id", "skip"),
    _text("wire_id", index=True),
    *_each(_text, "outcome", "reason"),
    _text("their_number", index=True),
    _partial_index("ix_candidates_asked_barcode", "barcode", where=_WAS_ASKED),
    comment="The copies that could fill a request, ranked when it was placed; the one asked last is the active lender.",
)

JOURNAL = Table(
    "journal",
    METADATA,
    Column("id", Integer, primary_key=True),
    _instant("at"),
    _text("request", index=True),
    *_each(_text, "patron", "who", "channel", "message", "corr", "event", "source", "target", "rule", "outcome", "detail"),
    _partial_index("ix_journal_refused", "at", where=IS_REFUSED),
    _partial_index("ix_journal_forced", "id", where=IS_FORCED),
    _partial_index("ix_journal_alone", "at", where=STANDS_ALONE),
    _partial_index("ix_journal_alone_patron", "at", where=NAMES_ALONE),
    # Lines about a request are found by the request's patron, which is stored once and not in every line.
    _partial_index("ix_journal_alone_of", "patron", "request", where=NAMES_ALONE),
    comment="Every transition and every refusal: who, by which channel and message, from where to where, by which rule.",
)

OUTBOX = Table(
    "outbox",
    METADATA,
    Column("id", Integer, primary_key=True),
    *_each(_text, "kind", "send", "recipient"),
    Column("line", Text, Computed("CASE kind WHEN 'mail' THEN kind ELSE recipient END", persisted=True), nullable=False),
    _text("request", index=True),
    *_each(_text, "payload", "corr", "state"),
    *_each(_instant, "made_at", "next_at"),
    _maybe_instant("sent_at"),
    _number("attempts"),
    *_each(_text, "last_error", "claimed_by"),
    _maybe_instant("lease_until"),
    _partial_index("ix_outbox_waiting", "line", "next_at", "id", where=text(_WAITING)),
    _partial_index("ix_outbox_dead", "line", where=text(_DEAD)),
    _partial_index("ix_outbox_leased", "lease_until", where=_IS_LEASED),
    comment="What must be told to others, in our words; a lane (one request, one recipient) leaves in order. "
    "`line` is what it travels on, one to each partner and one for all letters.",
)

ATTEMPTS = Table(
    "attempts",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("row", Integer, nullable=False, index=True),
    _instant("at"),
    *_each(_text, "kind", "problem", "detail"),
    comment="Every try to tell a row of the outbox and how it went, so that a person can judge a dead letter.",
)

INBOX = Table(
    "inbox",
    METADATA,
    Column("agency", Text, primary_key=True),
    Column("digest", Text, primary_key=True),
    _text("outcome"),
    *_each(_instant, "made_at", "keep_until"),
    Index("ix_inbox_made_at", "made_at"),
    Index("ix_inbox_keep_until", "keep_until"),
    comment="Outcomes of documents that changed something, by (agency, digest): the same document gets the same reply.",
)

QUARANTINE = Table(
    "quarantine",
    METADATA,
    Column("id", Integer, primary_key=True),
    *_each(_text, "agency", "digest", "service", "document", "why", "state"),
    _number("times"),
    *_each(_instant, "first_at", "last_at"),
    *_each(_text, "settled_by", "reason"),
    Index("ix_quarantine_document", "agency", "digest", unique=True),
    Index("ix_quarantine_last_at", "last_at"),
    comment="News of partners about requests and copies that we did not know, without its secrets, until somebody judges it.",
)

NOTICES = Table(
    "notices",
    METADATA,
    Column("id", Integer, primary_key=True),
    *_each(_text, "request", "kind", "about"),
    _text("patron", index=True),
    _text("state"),
    _instant("made_at"),
    _maybe_instant("sent_at"),
    _text("error"),
    _text("text"),
    UniqueConstraint("request", "kind", "about"),
    _partial_index("ix_notices_undeliverable", "id", where=IS_UNDELIVERABLE),
    comment="One row a letter; (request, kind, about) is unique, so that one event never sends two.",
)

FINES = Table(
    "fines",
    METADATA,
    Column("id", Integer, primary_key=True),
    _text("request", index=True),
    _text("patron", index=True),
    _text("kind"),
    *_each(_number, "cents", "paid_cents", "waived_cents"),
    _text("currency"),
    _instant("at"),
    _text("reason"),
    _date("due"),
    _partial_index("ix_fines_unpaid", "id", where=IS_UNPAID),
    comment="What a patron owes for a request, in integer cents; `due` is the date that an overdue fine counts from.",
)

PAYMENTS = Table(
    "payments",
    METADATA,
    Column("id", Integer, primary_key=True),
    _text("patron", index=True),
    *_each(_text, "who", "transaction_id"),
    _number("cents"),
    _text("currency"),
    _instant("at"),
    _text("outcome"),
    _partial_index("ix_payments_named", "at", where=HAS_PATRON),
    _partial_index(
        "uq_payments_transaction", "patron", "who", "transaction_id", unique=True, where=text("transaction_id <> ''")
    ),
    comment="Money taken, with its outcome: the same transaction of the same device for the same patron is taken once.",
)

CARD_BLOCKS = Table(
    "card_blocks",
    METADATA,
    Column("card", Text, primary_key=True),
    _text("who"),
    _instant("at"),
    _text("reason"),
    _flag("retained"),
    comment="Cards that a terminal blocked here; the local library system knows nothing of it, and a terminal lifts it again.",
)

CARD_LOCKS = Table(
    "card_locks",
    METADATA,
    Column("card", Text, primary_key=True),
    _instant("ends_at"),
    comment="Cards that wrong PINs locked at a terminal or over NCIP, until `ends_at`, so that the pages refuse them in any "
    "process.",
)

FORMER_CARDS = Table(
    "former_cards",
    METADATA,
    Column("card", Text, primary_key=True),
    _text("present", index=True),
    _instant("at"),
    _text("who"),
    comment="Cards that were replaced; `present` is the card that their owner has now, the same for all former ones.",
)

PROPERTIES = Table(
    "item_properties",
    METADATA,
    Column("agency", Text, primary_key=True),
    Column("barcode", Text, primary_key=True),
    *_each(_text, "text", "who"),
    _instant("at"),
    comment="What a terminal noted of a copy's make: size, colour, a tag's number.",
)

LINKS = Table(
    "links",
    METADATA,
    Column("agency", Text, primary_key=True),
    *_each(_text, "partner", "card", "state"),
    *_each(_maybe_instant, "down_since", "heard_at", "rests_until"),
    _number("failures"),
    _text("fault"),
    _partial_index("ix_links_card", "card", where=HAS_CARD),
    _partial_index("ix_links_used", "agency", where=IS_USED),
    comment="One row a partner: its directory entry as a record, the card that stands for it here, and how the line to it is; "
    "there may be millions, of which few are ever used.",
)

JOBS = Table(
    "jobs",
    METADATA,
    Column("name", Text, primary_key=True),
    *_each(_maybe_instant, "last_run", "next_run"),
    _number("count"),
    *_each(_text, "cursor", "claimed_by"),
    _maybe_instant("lease_until"),
    comment="What time alone does: when each round ran last and how far it came; also the number of the current imports.",
)

SET_ASIDE = Table(
    "set_aside",
    METADATA,
    Column("round", Text, primary_key=True),
    Column("request", Text, primary_key=True),
    _instant("at"),
    _text("error"),
    comment="What a round could not do when it was there last: it is tried again when the round comes next.",
)


INSTANCES = Table(
    "instances",
    METADATA,
    Column("name", Text, primary_key=True),
    _text("host"),
    _number("pid"),
    _text("version"),
    *_each(_instant, "since", "seen_at"),
    _maybe_instant("left_at"),
    comment="The gateways that work on this database, and when each was heard of last.",
)

TERMINAL_ACTIVITY = Table(
    "terminal_activity",
    METADATA,
    Column("instance", Text, primary_key=True),
    Column("login", Text, primary_key=True),
    *_each(_text, "role", "location"),
    _number("connections"),
    _text("last_code"),
    _maybe_instant("last_at"),
    _number("refused"),
    _text("refused_why"),
    _maybe_instant("refused_at"),
    _instant("seen_at"),
    comment="Each terminal at each gateway, written with the gateway's heartbeat: its open connections, its last message, and "
    "its refused logins since the gateway's start.",
)

ARCHIVES = Table(
    "archives",
    METADATA,
    Column("path", Text, primary_key=True),
    _instant("written_at"),
    comment="The archive files that `purge` wrote, with the time of the last write, so that an erasure reads all of them.",
)

ERASED = Table(
    "erased",
    METADATA,
    Column("mark", Text, primary_key=True),
    *_each(_text, "salt", "key"),
    _instant("at"),
    comment="One mark for each erased card: a slow hash of the card under `salt` and the key with the fingerprint `key`. "
    "A restore compares its cards with the marks and erases those that match again.",
)

WEB_SESSIONS = Table(
    "web_sessions",
    METADATA,
    Column("token_hash", Text, primary_key=True),
    *_each(_text, "kind", "login", "patron", "name", "role", "source", "csrf"),
    *_each(_instant, "created_at", "seen_at", "ends_at"),
    _text("credential"),
    Index("ix_web_sessions_patron", "patron"),
    Index("ix_web_sessions_ends_at", "ends_at"),
    comment="Who is logged in by a browser: a member of staff or a patron. `token_hash` is the SHA-256 of the cookie's token, "
    "so that a copy of the database opens no session.",
)


WEB_SCANS = Table(
    "web_scans",
    METADATA,
    Column("token_hash", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    _instant("at"),
    _text("answer"),
    comment="The latest scans of a session at the scan station, numbered from 1, so that a page that is loaded again shows its "
    "answer and sends nothing. `answer` is JSON in the words that were shown.",
)


API_TOKENS = Table(
    "api_tokens",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("token_hash", Text, nullable=False),
    *_each(_text, "role", "made_by"),
    _instant("made_at"),
    *_each(_maybe_instant, "ends_at", "revoked_at", "used_at"),
    Index("ix_api_tokens_token_hash", "token_hash", unique=True),
    comment="Programs that may use the API. `token_hash` is the SHA-256 of the token, so that a copy of the database opens "
    "nothing; a revoked token keeps its row, since the journal names it.",
)

PATRON_CHOICES = Table(
    "patron_choices",
    METADATA,
    Column("patron", Text, primary_key=True),
    _instant("history_since"),
    comment="Patrons who asked us to keep their past loans and the letters to them.",
)


PATRON_NUMBERS = Table(
    "patron_numbers",
    METADATA,
    Column("number", Text, primary_key=True),
    _text("card"),
    _instant("at"),
    Index("ix_patron_numbers_card", "card", unique=True),
    comment="The random number by which a page about a patron is addressed, so that no card is in an address or a log.",
)


def create_all(engine: Engine) -> None:
    """Create all tables of a test database in memory. Migrations create the tables of a real database."""
    if not inspect(engine).has_table(OUTBOX.name):
        METADATA.create_all(engine)
