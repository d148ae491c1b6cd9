"""Commands about messages to the library's own system: those that it missed, and the transactions of its own."""

from __future__ import annotations

from dataclasses import dataclass

from hkall_gateway.circulation.command import Command
from hkall_gateway.rules.messages.outbox_messages import LocalMessage
from hkall_gateway.rules.vocabulary import Actor


@dataclass(frozen=True, slots=True)
class EnqueueLocal(Command[None, int | None]):
    """Queues a message. The result is the outbox row to confirm, or None if it must wait for earlier rows."""

    message: LocalMessage
    by: Actor


@dataclass(frozen=True, slots=True)
class BeginTransaction(Command[None, int | None]):
    """Records a transaction of the local system's own before it is sent. The result is its row; None: not to be sent now."""

    message: LocalMessage
    by: Actor


@dataclass(frozen=True, slots=True)
class EndTransaction(Command[None, None]):
    """Forgets the record of a transaction that was answered, or never sent; `done`: the local system did it."""

    number: int
    message: LocalMessage
    by: Actor
    done: bool


@dataclass(frozen=True, slots=True)
class MarkDelivered(Command[None, None]):
    """Marks a message as delivered by its caller."""

    number: int
    message: LocalMessage
    by: Actor


@dataclass(frozen=True, slots=True)
class MarkUndelivered(Command[None, None]):
    """Leaves a message to the courier; `unsure`: it was sent and not answered."""

    number: int
    message: LocalMessage
    by: Actor
    unsure: bool


@dataclass(frozen=True, slots=True)
class MarkRefused(Command[None, None]):
    """Marks a message as refused by the local system; `number` None: it has no row."""

    number: int | None
    message: LocalMessage
    by: Actor
