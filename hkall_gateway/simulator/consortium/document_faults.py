"""Network faults on documents: wraps a `Post`, and injects the faults of FAULTS, driven by a seeded random generator.

A late delivery is handed to `later`, which schedules it, so that it never overtakes documents sent after it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from hkall_gateway.ncip.http_post import HttpReply, NoReply, NotSent, Post
from hkall_gateway.simulator.consortium.network_faults import FaultSource, NetworkFault, Reply, damaged

Later = Callable[[float, Callable[[], Awaitable[None]]], None]
"""(seconds, the work to do then)."""

NOTHING: Final = HttpReply(0, "", b"")


class LossyChannel:
    """A `Post` that injects the faults of `trouble`."""

    def __init__(self, post: Post, trouble: FaultSource, later: Later) -> None:
        self._post, self.trouble, self._later = post, trouble, later

    async def __call__(self, url: str, body: bytes, timeout_s: float) -> HttpReply:
        fault = self.trouble.next()
        if fault is None:
            return await self._post(url, body, timeout_s)
        return await self.suffer(fault, url, body, timeout_s)

    async def suffer(self, fault: NetworkFault, url: str, body: bytes, timeout_s: float) -> HttpReply:
        """Sends one document with one fault."""
        if fault.reply == "unconnected":
            raise NotSent(f"lossy: {fault.name}")
        posted = await self._arrive(fault, url, damaged(body) if fault.damaged else body, timeout_s)
        return _REPLIES[fault.reply](self, fault, posted)

    async def _arrive(self, fault: NetworkFault, url: str, body: bytes, timeout_s: float) -> HttpReply:
        """Delivers the document as often as the fault demands; returns the last reply to an immediate delivery."""
        posted = NOTHING
        for when in fault.arrives:
            if when == "later":
                self._arrive_later(url, body, timeout_s)
            elif when == "now" or self.trouble.even():
                posted = await self._post(url, body, timeout_s)
        return posted

    def _arrive_later(self, url: str, body: bytes, timeout_s: float) -> None:
        async def arrive() -> None:
            await self._post(url, body, timeout_s)

        self._later(self.trouble.latest_s(), arrive)

    # ---- replies

    def _whole(self, _fault: NetworkFault, posted: HttpReply) -> HttpReply:
        return posted

    def _damaged(self, _fault: NetworkFault, posted: HttpReply) -> HttpReply:
        return HttpReply(posted.status, posted.content_type, damaged(posted.body))

    def _late(self, fault: NetworkFault, posted: HttpReply) -> HttpReply:
        if self.trouble.even():
            raise NoReply(f"lossy: {fault.name}")
        return posted

    def _none(self, fault: NetworkFault, _posted: HttpReply) -> HttpReply:
        raise NoReply(f"lossy: {fault.name}")

    def _page(self, fault: NetworkFault, _posted: HttpReply) -> HttpReply:
        assert fault.page is not None
        return HttpReply(fault.page.status, "text/html", fault.page.body, self.trouble.busy_s(fault.page))


_REPLIES: Final[Mapping[Reply, Callable[[LossyChannel, NetworkFault, HttpReply], HttpReply]]] = {
    "whole": LossyChannel._whole,
    "damaged": LossyChannel._damaged,
    "late": LossyChannel._late,
    "none": LossyChannel._none,
    "page": LossyChannel._page,
}
