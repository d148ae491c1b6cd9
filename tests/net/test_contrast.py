"""Contrast of colours. Source: WCAG 2.2; the ratios are those of its examples and of common checkers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hkall_gateway.net.contrast import DARK_PAPER, ENOUGH, contrast, readable_on

COLOURS = st.binary(min_size=3, max_size=3).map(lambda parts: f"#{parts.hex()}")


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    [("#000000", "#ffffff", 21.0), ("#777777", "#ffffff", 4.48), ("#0000ff", "#ffffff", 8.59), ("#ff0000", "#ffffff", 4.0)],
)
def test_contrast_ratio_matches_known_values(one: str, other: str, ratio: float) -> None:
    assert contrast(one, other) == pytest.approx(ratio, abs=0.005)


@given(COLOURS, COLOURS)
def test_contrast_ratio_is_symmetric(one: str, other: str) -> None:
    assert contrast(one, other) == contrast(other, one) >= 1


@given(COLOURS)
def test_every_brand_colour_gets_a_readable_variant_for_dark_backgrounds(brand: str) -> None:
    assert contrast(readable_on(brand, DARK_PAPER), DARK_PAPER) >= ENOUGH


def test_light_enough_colour_is_unchanged() -> None:
    assert readable_on("#7fb3a5", DARK_PAPER) == "#7fb3a5"
