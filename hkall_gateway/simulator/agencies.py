"""The eight libraries of the simulated consortium."""

from __future__ import annotations

from typing import Final

AGENCIES: Final = ("HKU", "CUHK", "HKUST", "POLYU", "CITYU", "HKBU", "LU", "EDUHK")
