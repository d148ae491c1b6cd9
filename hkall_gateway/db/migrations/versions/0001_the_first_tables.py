"""the first tables"""

import sqlalchemy as sa
from alembic import op

from hkall_gateway.db.tables import dates, flags, instants, keys, maybe_instants, numbers, partial_index, texts

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "attempts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("row", sa.Integer(), nullable=False),
        *instants("at"),
        *texts("kind", "problem", "detail"),
        sa.Index("ix_attempts_row", "row"),
        comment="Every try to tell a row of the outbox and how it went, so that a person can judge a dead letter.",
    )
    op.create_table(
        "candidates",
        *keys("request"),
        sa.Column("rank", sa.Integer, primary_key=True, autoincrement=False),
        *texts("agency", "barcode", "local_bib_id", "skip", "wire_id", "outcome", "reason"),
        partial_index("ix_candidates_asked_barcode", "barcode", where=sa.text("wire_id <> ''")),
        sa.Index("ix_candidates_wire_id", "wire_id"),
        comment="The copies that could fill a request, ranked when it was placed; the one asked last is the active lender.",
    )
    op.create_table(
        "card_blocks",
        *keys("card"),
        *texts("who"),
        *instants("at"),
        *texts("reason"),
        *flags("retained"),
        comment="Cards that a terminal blocked here; the local library system knows nothing of it, and a terminal lifts it again.",
    )
    op.create_table(
        "closures",
        *keys("agency"),
        sa.Column("day", sa.Date, primary_key=True),
        *texts("reason"),
        comment="Days on which a library is closed, one row a day.",
    )
    op.create_table(
        "fines",
        sa.Column("id", sa.Integer, primary_key=True),
        *texts("request", "patron", "kind"),
        *numbers("cents", "paid_cents", "waived_cents"),
        *texts("currency"),
        *instants("at"),
        *texts("reason"),
        *dates("due"),
        sa.Index("ix_fines_patron", "patron"),
        sa.Index("ix_fines_request", "request"),
        partial_index("ix_fines_unpaid", "id", where=sa.text("cents > paid_cents + waived_cents")),
        comment="What a patron owes for a request, in integer cents; `due` is the date that an overdue fine counts from.",
    )
    op.create_table(
        "holdings",
        *keys("agency", "barcode"),
        *texts("bib_id", "local_bib_id", "isbn", "title", "author", "volume", "call_number", "status"),
        sa.Column("lendable", sa.Boolean(), server_default=sa.text("(true)"), nullable=False),
        *texts("material"),
        *numbers("load"),
        sa.Index("ix_holdings_agency_local_bib_id", "agency", "local_bib_id"),
        sa.Index("ix_holdings_barcode", "barcode"),
        sa.Index("ix_holdings_bib_id", "bib_id"),
        sa.Index("ix_holdings_title", "title"),
        comment="Copies of all libraries; (agency, barcode) is an item's identity.",
    )
    op.create_table(
        "inbox",
        *keys("agency", "digest"),
        *texts("outcome"),
        *instants("made_at", "keep_until"),
        sa.Index("ix_inbox_keep_until", "keep_until"),
        sa.Index("ix_inbox_made_at", "made_at"),
        comment="Outcomes of documents that changed something, by (agency, digest): the same document gets the same reply.",
    )
    op.create_table(
        "instances",
        *keys("name"),
        *texts("host"),
        *numbers("pid"),
        *texts("version"),
        *instants("since", "seen_at"),
        *maybe_instants("left_at"),
        comment="The gateways that work on this database, and when each was heard of last.",
    )
    op.create_table(
        "item_properties",
        *keys("agency", "barcode"),
        *texts("text", "who"),
        *instants("at"),
        comment="What a terminal noted of a copy's make: size, colour, a tag's number.",
    )
    op.create_table(
        "jobs",
        *keys("name"),
        *maybe_instants("last_run", "next_run"),
        *numbers("count"),
        *texts("cursor", "claimed_by"),
        *maybe_instants("lease_until"),
        comment="What time alone does: when each round ran last and how far it came; also the number of the current imports.",
    )
    op.create_table(
        "journal",
        sa.Column("id", sa.Integer, primary_key=True),
        *instants("at"),
        *texts(
            "request", "patron", "who", "channel", "message", "corr", "event", "source", "target", "rule", "outcome", "detail"
        ),
        partial_index("ix_journal_alone", "at", where=sa.text("request = ''")),
        partial_index("ix_journal_alone_of", "patron", "request", where=sa.text("request = '' AND patron <> ''")),
        partial_index("ix_journal_alone_patron", "at", where=sa.text("request = '' AND patron <> ''")),
        partial_index("ix_journal_forced", "id", where=sa.text("event = 'FORCE'")),
        sa.Index("ix_journal_request", "request"),
        comment="Every transition and every refusal: who, by which channel and message, from where to where, by which rule.",
    )
    op.create_table(
        "links",
        *keys("agency"),
        *texts("partner", "card", "state"),
        *maybe_instants("down_since", "heard_at", "rests_until"),
        *numbers("failures"),
        partial_index("ix_links_card", "card", where=sa.text("card <> ''")),
        partial_index("ix_links_used", "agency", where=sa.text("state <> ''")),
        comment="One row a partner: its directory entry as a record, the card that stands for it here, and how the line to it is; there may be millions, of which few are ever used.",
    )
    op.create_table(
        "notices",
        sa.Column("id", sa.Integer, primary_key=True),
        *texts("request", "kind", "about", "patron", "state"),
        *instants("made_at"),
        *maybe_instants("sent_at"),
        *texts("error"),
        sa.UniqueConstraint("request", "kind", "about"),
        sa.Index("ix_notices_patron", "patron"),
        comment="One row a letter; (request, kind, about) is unique, so that one event never sends two.",
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.Integer, primary_key=True),
        *texts("kind", "send", "recipient"),
        sa.Column(
            "line",
            sa.Text(),
            sa.Computed("CASE kind WHEN 'mail' THEN kind ELSE recipient END", persisted=True),
            nullable=False,
        ),
        *texts("request", "payload", "corr", "state"),
        *instants("made_at", "next_at"),
        *maybe_instants("sent_at"),
        *numbers("attempts"),
        *texts("last_error", "claimed_by"),
        *maybe_instants("lease_until"),
        partial_index("ix_outbox_dead", "line", where=sa.text("state = 'dead'")),
        partial_index("ix_outbox_leased", "lease_until", where=sa.text("lease_until IS NOT NULL")),
        sa.Index("ix_outbox_request", "request"),
        partial_index("ix_outbox_waiting", "line", "next_at", "id", where=sa.text("state IN ('waiting', 'unsure')")),
        comment="What must be told to others, in our words; a lane (one request, one recipient) leaves in order. "
        "`line` is what it travels on, one to each partner and one for all letters.",
    )
    op.create_table(
        "patrons",
        *keys("barcode"),
        *texts("name", "name_zh", "category", "study_mode"),
        *dates("expires"),
        *texts("email", "language"),
        *flags("blocked"),
        sa.Column("local_loans", sa.Integer(), nullable=True),
        sa.Column("total_quota", sa.Integer(), nullable=True),
        *texts("pin_hash"),
        *numbers("load"),
        comment="Our patrons as the local library system last told us; `load` is the import that wrote the row.",
    )
    op.create_table(
        "payments",
        sa.Column("id", sa.Integer, primary_key=True),
        *texts("patron", "who", "transaction_id"),
        *numbers("cents"),
        *texts("currency"),
        *instants("at"),
        *texts("outcome"),
        partial_index("ix_payments_named", "at", where=sa.text("patron <> ''")),
        sa.Index("ix_payments_patron", "patron"),
        partial_index(
            "uq_payments_transaction", "patron", "who", "transaction_id", unique=True, where=sa.text("transaction_id <> ''")
        ),
        comment="Money taken, with its outcome: the same transaction of the same device for the same patron is taken once.",
    )
    op.create_table(
        "quarantine",
        sa.Column("id", sa.Integer, primary_key=True),
        *texts("agency", "digest", "service", "document", "why", "state"),
        *numbers("times"),
        *instants("first_at", "last_at"),
        *texts("settled_by", "reason"),
        sa.Index("ix_quarantine_document", "agency", "digest", unique=True),
        sa.Index("ix_quarantine_last_at", "last_at"),
        comment="News of partners about requests and copies that we did not know, without its secrets, until somebody judges it.",
    )
    op.create_table(
        "requests",
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
        *dates("overdue_notice_for", "need_before"),
        *texts("reopened_from", "reason", "flags"),
        *flags("anonymised"),
        sa.CheckConstraint(
            "stage = CASE position WHEN 'AT_BORROWER' THEN 'in_hand' WHEN 'CANCELLED' THEN 'ended' WHEN 'CANCELLING' THEN 'wish' WHEN 'CLOSED' THEN 'ended' WHEN 'DECLINED' THEN 'ended' WHEN 'IN_TRANSIT' THEN 'in_hand' WHEN 'NEW' THEN 'wish' WHEN 'ON_LOAN' THEN 'in_hand' WHEN 'PAGED' THEN 'in_hand' WHEN 'RECEIVED' THEN 'in_hand' WHEN 'REQUESTED' THEN 'wish' WHEN 'RETURN_TRANSIT' THEN 'in_hand' WHEN 'SHIPPED' THEN 'in_hand' WHEN 'TO_RETURN' THEN 'in_hand' WHEN 'UNFILLED' THEN 'ended' WHEN 'WITHDRAWN' THEN 'ended' ELSE '?' END",
            name=op.f("ck_requests_stage"),
        ),
        partial_index("ix_requests_closed", "moved_at", "id", where=sa.text("stage = 'ended'")),
        partial_index("ix_requests_closed_patron", "patron", where=sa.text("stage = 'ended' AND patron <> ''")),
        sa.Index("ix_requests_item", "item_barcode", "item_agency"),
        partial_index("ix_requests_open_barcode", "item_barcode", "placed_at", "id", where=sa.text("stage <> 'ended'")),
        partial_index("ix_requests_open_due", "due", where=sa.text("stage <> 'ended' AND due IS NOT NULL")),
        partial_index("ix_requests_open_flagged", "id", where=sa.text("stage <> 'ended' AND flags <> ''")),
        partial_index("ix_requests_open_patron", "patron", where=sa.text("stage <> 'ended'")),
        partial_index("ix_requests_open_position", "position", "moved_at", where=sa.text("stage <> 'ended'")),
        partial_index("ix_requests_personal", "moved_at", "id", where=sa.text("stage = 'ended' AND NOT anonymised")),
        sa.Index("ix_requests_placed", "placed_by", "placed_id"),
        sa.Index("ix_requests_placed_at", "placed_at", "side", "partner", "position"),
        sa.Index("ix_requests_wire", "wire_agency", "wire_id"),
        partial_index(
            "uq_requests_item_in_hand",
            "item_agency",
            "item_barcode",
            unique=True,
            where=sa.text("stage = 'in_hand' AND item_barcode <> ''"),
        ),
        comment="One book for one borrower, either side: a position and the facts about it. One active row per physical item. `stage` follows from the position.",
    )
    op.create_table(
        "set_aside",
        *keys("round", "request"),
        *instants("at"),
        *texts("error"),
        comment="What a round could not do when it was there last: it is tried again when the round comes next.",
    )
