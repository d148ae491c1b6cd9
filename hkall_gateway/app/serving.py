"""Which parts of the configuration one process serves."""

from __future__ import annotations

from enum import StrEnum


class Serving(StrEnum):
    """The parts of the configuration that `serve` starts: all, the pages alone, or all but the pages."""

    ALL = "all"
    WEB_ALONE = "web alone"
    WITHOUT_WEB = "without web"

    @property
    def protocols(self) -> bool:
        """Whether terminals and partners are answered here, and messages and rounds leave from here."""
        return self is not Serving.WEB_ALONE

    @property
    def web(self) -> bool:
        """Whether the pages are served here."""
        return self is not Serving.WITHOUT_WEB
