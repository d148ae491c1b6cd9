"""Contrast ratios of colours, and lighter variants of brand colours for dark pages.

Source: WCAG 2.2, relative luminance and contrast ratio; success criterion 1.4.3 requires 4.5:1.
"""

from __future__ import annotations

from typing import Final

ENOUGH: Final = 4.5
EASY: Final = 6.0
"""The contrast for a light colour on a dark page. At the standard's minimum (ENOUGH), colours would look dull."""
PAPER: Final = "#ffffff"
GROUND: Final = "#f6f7f8"
DARK_PAPER: Final = "#1b2126"
"""Background colours of the light and dark pages, as in web/static/style.css."""


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio, from 1 to 21, of two colours such as "#0f5c4a"."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def readable_on(colour: str, ground: str) -> str:
    """Mix `colour` with just enough white for EASY contrast on the dark background `ground`."""
    for tenths in range(11):
        mixed = _mix_white(colour, tenths / 10)
        if contrast(mixed, ground) >= EASY:
            return mixed
    return PAPER


def _mix_white(colour: str, white: float) -> str:
    return "#" + "".join(f"{round(part + (255 - part) * white):02x}" for part in _channels(colour))


def _channels(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour.removeprefix("#")))


def _luminance(colour: str) -> float:
    red, green, blue = (_linear_channel(part / 255) for part in _channels(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear_channel(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
