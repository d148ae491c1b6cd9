"""The desk for messages about the library's own system: whose copy it is, and the messages to it."""

from __future__ import annotations

from hkall_gateway.desk.ils import local_messages, routing
from hkall_gateway.desk.messages.results import CopySystem
from hkall_gateway.desk.services import DeskServices, locks_for
from hkall_gateway.rules.messages.local_messages import LocalMessage
from hkall_gateway.rules.vocabulary import Actor
from hkall_gateway.store.engine.locks import LockSet


class IlsDesk:
    """Routing between HKALL and the library's own system, and the messages that it missed."""

    def __init__(self, services: DeskServices) -> None:
        self._services = services

    async def whose_copy(self, barcode: str, card: str = "", institution: str = "", *, arriving: bool) -> CopySystem:
        """Which system holds a copy: HKALL or the library's own. `card` is the patron that wants to borrow or renew it.

        `institution` is the library that the terminal names as the copy's owner, where it is not ours.
        """
        return await self._services.store.read_inline(
            routing.copy, barcode, card, institution, arriving, self._services.library
        )

    async def enqueue(self, message: LocalMessage, by: Actor) -> int | None:
        """Queue a message; return the outbox row to confirm, or None if it must wait for earlier rows."""
        return await self._services.store.run(local_messages.enqueue, message, self._services.now(), by, locks=_about(message))

    async def begin_transaction(self, check: LocalMessage, by: Actor) -> int | None:
        """Record a transaction of the local system's own before it is sent; None: it may not be sent now."""
        return await self._services.store.run(
            local_messages.begin_transaction, check, self._services.now(), by, locks=_about(check)
        )

    async def end_transaction(self, number: int, check: LocalMessage, by: Actor, *, done: bool) -> None:
        """Forget the record of a transaction that was answered, or never sent; `done`: the local system did it."""
        await self._services.store.run(
            local_messages.end_transaction, number, check, done, self._services.now(), by, locks=_about(check)
        )

    async def mark_delivered(self, number: int, message: LocalMessage, by: Actor) -> None:
        """Mark a message as delivered by its caller."""
        await self._services.store.run(
            local_messages.mark_delivered, number, message, self._services.now(), by, locks=_about(message)
        )

    async def mark_undelivered(self, number: int, message: LocalMessage, by: Actor, *, unsure: bool) -> None:
        """Leave a message to the courier; `unsure`: it was sent and not answered."""
        await self._services.store.run(
            local_messages.mark_undelivered, number, message, unsure, self._services.now(), by, locks=_about(message)
        )

    async def mark_refused(self, number: int | None, message: LocalMessage, by: Actor) -> None:
        """Mark a message as refused by the local system; None: it has no row."""
        await self._services.store.run(
            local_messages.mark_refused, number, message, self._services.now(), by, locks=_about(message)
        )


def _about(message: LocalMessage) -> LockSet:
    return locks_for(patron="" if message.barcode else message.patron, request=message.request, item=message.barcode)
