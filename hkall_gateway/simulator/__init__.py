"""Simulated partners and terminals, the demo and the scenario runner."""

from typing import Final

AGENCIES: Final = ("HKU", "CUHK", "HKUST", "POLYU", "CITYU", "HKBU", "LU", "EDUHK")
"""The eight libraries of the simulated consortium."""
