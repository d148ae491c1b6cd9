"""The examination of the gateway and its peers by `doctor`, whose result the monitoring shows."""

from __future__ import annotations

from dataclasses import dataclass

from hkall_gateway.circulation.command import Command, Context
from hkall_gateway.circulation.results import Noted
from hkall_gateway.db import instances


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordExamination(Command[None, Noted]):
    """Record that everything was examined now, and how many checks failed."""

    failed: int


def record_examination(context: Context, command: RecordExamination) -> Noted:
    """Replace the time and the result of the last examination."""
    instances.record(context.unit, instances.DOCTOR, context.now, command.failed)
    return Noted(request="")
