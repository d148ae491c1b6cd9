"""A line that loses things: a wrapper around a `Post`, driven by a seeded random and somebody's clock.

Each way to fail is a row of FAULTS. What is delivered late is handed to `later`, so that it overtakes nothing that was sent
after it: that is how documents arrive in another order than they left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Final

from hkall_gateway.ncip.transport import NoReply, NotSent, Post, Posted

Later = Callable[[float, Callable[[], Awaitable[None]]], None]
"""(seconds, what to do then)."""

LATEST_S: Final = 4 * 3600.0
BUSY_S: Final = 300


class LossyLine:
    """A `Post` that goes wrong with probability `loss`. `met` counts what it did, by name."""

    def __init__(self, post: Post, loss: float, draw: Random, later: Later) -> None:
        self._post, self.loss, self._draw, self._later = post, loss, draw, later
        self.met: Counter[str] = Counter()

    async def __call__(self, url: str, body: bytes, timeout_s: float) -> Posted:
        if self._draw.random() >= self.loss:
            return await self._post(url, body, timeout_s)
        name = self._draw.choice(_NAMES)
        self.met[name] += 1
        return await FAULTS[name](self, url, body, timeout_s)

    # ---- ways to fail

    async def not_sent(self, _url: str, _body: bytes, _timeout_s: float) -> Posted:
        """No connection: nothing leaves."""
        raise NotSent("lossy: nobody listens")

    async def cut_before(self, _url: str, _body: bytes, _timeout_s: float) -> Posted:
        """It leaves and never arrives."""
        raise NoReply("lossy: cut before it arrived")

    async def cut_after(self, url: str, body: bytes, timeout_s: float) -> Posted:
        """It takes effect there, and the reply is lost."""
        await self._post(url, body, timeout_s)
        raise NoReply("lossy: cut before the reply")

    async def delayed(self, url: str, body: bytes, timeout_s: float) -> Posted:
        """We give up waiting; then it arrives, perhaps after what we say next."""
        self._deliver_later(url, body, timeout_s)
        raise NoReply("lossy: delayed")

    async def slow(self, url: str, body: bytes, timeout_s: float) -> Posted:
        """The reply takes up to twice the time that we wait for it."""
        posted = await self._post(url, body, timeout_s)
        if self._draw.random() * 2 > 1:
            raise NoReply(f"lossy: no answer within {timeout_s:g} s")
        return posted

    async def duplicated(self, url: str, body: bytes, timeout_s: float) -> Posted:
        """It arrives twice at once; the second reply is what we see."""
        await self._post(url, body, timeout_s)
        return await self._post(url, body, timeout_s)

    async def echoed(self, url: str, body: bytes, timeout_s: float) -> Posted:
        """It arrives, and once more much later."""
        posted = await self._post(url, body, timeout_s)
        self._deliver_later(url, body, timeout_s)
        return posted

    async def garbled(self, url: str, body: bytes, timeout_s: float) -> Posted:
        """Half of it arrives."""
        return await self._post(url, body[: len(body) // 2], timeout_s)

    async def garbled_reply(self, url: str, body: bytes, timeout_s: float) -> Posted:
        """Half of the reply comes back."""
        posted = await self._post(url, body, timeout_s)
        return Posted(posted.status, posted.content_type, posted.body[: len(posted.body) // 2], 0)

    async def failing(self, url: str, body: bytes, timeout_s: float) -> Posted:
        """Something in front of the peer answers with an error page of its own, after or instead of the peer."""
        if self._draw.random() * 2 > 1:
            await self._post(url, body, timeout_s)
        return Posted(500, "text/html", b"<html><body>Internal Server Error</body></html>", 0)

    async def busy(self, _url: str, _body: bytes, _timeout_s: float) -> Posted:
        """The peer takes nothing now, and says until when."""
        return Posted(503, "text/plain", b"busy", self._draw.randrange(BUSY_S))

    def _deliver_later(self, url: str, body: bytes, timeout_s: float) -> None:
        async def arrive() -> None:
            await self._post(url, body, timeout_s)

        self._later(self._draw.random() * LATEST_S, arrive)


FAULTS: Final[Mapping[str, Callable[[LossyLine, str, bytes, float], Awaitable[Posted]]]] = {
    "not_sent": LossyLine.not_sent,
    "cut_before": LossyLine.cut_before,
    "cut_after": LossyLine.cut_after,
    "delayed": LossyLine.delayed,
    "slow": LossyLine.slow,
    "duplicated": LossyLine.duplicated,
    "echoed": LossyLine.echoed,
    "garbled": LossyLine.garbled,
    "garbled_reply": LossyLine.garbled_reply,
    "failing": LossyLine.failing,
    "busy": LossyLine.busy,
}
_NAMES: Final = tuple(FAULTS)
