"""Checks whether the tables of the database agree with each other, and names the command that settles each disagreement."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from hkall_gateway.app.start_checks.database import open_to_read
from hkall_gateway.cli.doctor.findings import ExaminationTools, Sheet, TooLong, within
from hkall_gateway.config.library import library_of, make_unit
from hkall_gateway.db.database import Immediate
from hkall_gateway.db.queries.consistency import Disagreement, Mismatch, find_disagreements

CHECK: Final = "consistency"
MOST_LISTED: Final = 20
"""Maximum number of disagreements in one run of doctor. The last finding counts the rest."""

# What is wrong, and the command that settles it.
_SETTLE_CHARGE: Final = "`hkall-gateway fines settle charge {row} --reason 'as the journal says'`"
_FORCE: Final = "`hkall-gateway request force {request} --to {stands} --reason"
_WORDS: Final[Mapping[Mismatch, tuple[str, str]]] = {
    Mismatch.CREDIT_MISSING: (
        "charge {row} of {request} counts {stands} cents as paid, the journal {expected}",
        _SETTLE_CHARGE,
    ),
    Mismatch.CREDIT_UNPROVEN: (
        "charge {row} of {request} counts {stands} cents as paid and waived, the journal {expected}",
        f"{_SETTLE_CHARGE}; then waive what the patron does not owe.",
    ),
    Mismatch.OVERPAID: (
        "charge {row} of {request} is {expected} cents, and {stands} were taken or waived",
        f"{_SETTLE_CHARGE}; then pay back what `hkall-gateway fines list` shows as a refund.",
    ),
    Mismatch.PAYMENT_UNUSED: (
        "payment {row} is {stands} cents, and {expected} went to charges at that moment",
        "`hkall-gateway fines settle payment {row} --reason 'it was taken'`",
    ),
    Mismatch.POSITION_UNPROVEN: (
        "{request} is {stands}, and its last move in the journal leads to {expected}",
        f"If the book is where the request says: {_FORCE} 'seen there'`; else force it to where the book is.",
    ),
    Mismatch.MESSAGE_ORPHANED: (
        "message {row} ({expected}) is about {request}, which does not exist",
        "`hkall-gateway outbox drop {row} --reason 'no such request'`",
    ),
    Mismatch.MESSAGE_OVERTAKEN: (
        "message {row} ({expected}) is not sent, and {request} is {stands}",
        "`hkall-gateway outbox drop {row} --reason 'the request has ended'`",
    ),
    Mismatch.MESSAGE_MISSING: (
        "{request} is {stands}, and its message {expected} was never queued",
        f"Tell the partner, then {_FORCE} 'the partner was told'`",
    ),
}


async def check_records(sheet: Sheet, tools: ExaminationTools, now: datetime) -> None:
    """Add the finding `consistency`. The database is at the revision of this program."""
    config = tools.means.config()
    engine = open_to_read(config.database)
    unit_factory = make_unit(library_of(config))

    def compare() -> tuple[Disagreement, ...]:
        with closing(Immediate(engine, unit_factory)) as store:
            return store.read_now(lambda unit: tuple(find_disagreements(unit, now)))

    try:
        found = await within(tools.reactor, sheet.left_s(), tools.in_thread(compare))
    except TooLong as late:
        sheet.warn(CHECK, f"not compared: {late}", "In a quiet hour: `hkall-gateway doctor gateway`.")
        return
    except SQLAlchemyError as error:
        sheet.fail(CHECK, f"cannot be read: {' '.join(str(getattr(error, 'orig', None) or error).split())}"[:300])
        return
    finally:
        engine.dispose()
    judge_records(sheet, found)


def judge_records(sheet: Sheet, found: tuple[Disagreement, ...]) -> None:
    """Add a finding for each disagreement, up to MOST_LISTED, or the finding that there is none."""
    for one in found[:MOST_LISTED]:
        detail, command = describe(one)
        sheet.fail(CHECK, detail, command, about=one.request or str(one.row))
    if len(found) > MOST_LISTED:
        sheet.fail(CHECK, f"{len(found) - MOST_LISTED:,} more", "Settle those above, and run doctor again.")


def describe(one: Disagreement) -> tuple[str, str]:
    """Return what is wrong, and the advice with the command that settles it."""
    facts = {"request": one.request, "row": one.row, "stands": one.stands, "expected": one.expected}
    detail, command = _WORDS[one.kind]
    return detail.format(**facts), command.format(**facts)
