"""Simulated partners, terminals and library systems, and a runner for scenario files."""

from typing import Final

AGENCIES: Final = ("HKU", "CUHK", "HKUST", "POLYU", "CITYU", "HKBU", "LU", "EDUHK")
"""The eight libraries of the simulated consortium."""
