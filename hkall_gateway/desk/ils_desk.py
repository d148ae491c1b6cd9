"""The desk for messages about the library's own system: whose copy it is, and what is told there."""

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

    async def tell_local_system(self, message: LocalMessage, by: Actor) -> int | None:
        """What was done here is to be told there. The number to say how that went with; None: it waits for its turn."""
        return await self._services.store.run(local_messages.tell, message, self._services.now(), by, locks=_about(message))

    async def local_system_told(self, number: int, message: LocalMessage, by: Actor) -> None:
        """It was told at once."""
        await self._services.store.run(local_messages.told, number, message, self._services.now(), by, locks=_about(message))

    async def local_system_not_told(self, number: int, message: LocalMessage, by: Actor, *, unsure: bool) -> None:
        """It could not be told at once, and is later; `unsure`: it was sent and not answered."""
        await self._services.store.run(
            local_messages.not_told, number, message, unsure, self._services.now(), by, locks=_about(message)
        )

    async def tell_local_system_later(self, message: LocalMessage, by: Actor) -> None:
        """What was asked there and not answered waits in the outbox."""
        await self._services.store.run(local_messages.tell_later, message, self._services.now(), by, locks=_about(message))

    async def local_system_differs(self, number: int | None, message: LocalMessage, by: Actor) -> None:
        """The local system refused what was done here."""
        await self._services.store.run(local_messages.differs, number, message, self._services.now(), by, locks=_about(message))

    async def copy_waits(self, barcode: str) -> bool:
        """Whether the local system is still to hear something about a copy, or to say what it did with it."""
        return await self._services.store.read_inline(local_messages.waits, barcode)

    async def put_off(self, barcode: str) -> bool:
        """It is about to be asked about a copy: what waits about it waits on. False if that is under way."""
        return await self._services.store.run(
            local_messages.put_off, barcode, self._services.now(), locks=locks_for(item=barcode)
        )

    async def local_system_answered(self, barcode: str, by: Actor) -> None:
        """It has done something new with a copy: what waited about it is overtaken."""
        await self._services.store.run(
            local_messages.answered_again, barcode, self._services.now(), by, locks=locks_for(item=barcode)
        )


def _about(message: LocalMessage) -> LockSet:
    return locks_for(patron="" if message.barcode else message.patron, request=message.request, item=message.barcode)
