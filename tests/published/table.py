"""The published table of categories: the only place in the tests that states it."""

from __future__ import annotations

from typing import Final

QUOTA, DAYS = 0, 1
# fmt: off
CATEGORIES: Final = {
    "non_academic_staff":       (15, 15),
    "space_cdp":                (15, 15),
    "space_community_college":  (15, 15),
    "space_non_academic_staff": (15, 15),
    "technicians":              (15, 15),
    "undergraduates":           (15, 15),
    "centennial_college":       (15, 15),
    "honorary_staff":           (15, 15),
    "academic_staff":           (30, 30),
    "visiting_scholars":        (15, 30),
    "postgraduates":            (15, 30),
    "space_academic_staff":     (15, 30),
}
"""Eligible users, maximum number of books, and loan period in days, as on the page."""
# fmt: on
