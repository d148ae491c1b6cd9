"""A checkout as bare statements, for baselines without a gateway: the reads and writes, without any decision."""

from __future__ import annotations

from typing import Final

from hkall_gateway.store.tables import IS_OPEN

_AT: Final = "'2017-03-01T04:00:00.000000Z'"

# fmt: off
STATEMENTS: Final = (
    "SELECT p.category, p.study_mode, p.blocked, p.expires, p.total_quota, p.local_loans,"
    f" (SELECT count(*) FROM requests WHERE patron = :card AND {IS_OPEN.text}) AS taken"
    " FROM patrons AS p WHERE p.barcode = :card",
    f"SELECT * FROM requests WHERE item_barcode = :barcode AND {IS_OPEN.text}",
    "UPDATE requests SET position = 'ON_LOAN', due = '2017-03-16', first_checkout = '2017-03-01', loan_days = 15,"
    f" used = true, moved_at = {_AT} WHERE id = :id AND position = 'RECEIVED'",
    "INSERT INTO journal (at, request, patron, who, channel, message, corr, event, source, target, rule, outcome, detail)"
    f" VALUES ({_AT}, :id, :card, 'counter-1', 'sip2', '11', 'bench', 'CHECK_OUT', 'RECEIVED', 'ON_LOAN', 'R19', 'ok', '{{}}')",
    "INSERT INTO outbox (kind, send, recipient, request, payload, corr, state, made_at, next_at)"
    f" VALUES ('ncip', 'tell_lender_on_loan', 'CUHK', :id, '{{}}', 'bench', 'waiting', {_AT}, {_AT})",
)
"""Run in this order between BEGIN and COMMIT: with those two, seven round trips. Each reads or writes one row."""
# fmt: on


def for_pgbench(books_each: int) -> str:
    """The same as a script of pgbench. Client c takes book c first and then every `clients`th one.

    A variable of pgbench is a number; cards, barcodes and identities are made from it as the world makes them.
    """
    number = "(:book)::bigint"
    made = {
        ":card": f"('P' || lpad(({number} / {books_each})::text, 6, '0'))",
        ":barcode": f"('C' || lpad({number}::text, 7, '0'))",
        ":id": f"('R' || lpad({number}::text, 7, '0'))",
    }
    lines = list(STATEMENTS)
    for name, text in made.items():
        lines = [line.replace(name, text) for line in lines]
    counted = [r"\set book :turn * :clients + :client_id", r"\set turn :turn + 1"]
    return "\n".join([*counted, "BEGIN;", *(f"{line};" for line in lines), "COMMIT;"])
