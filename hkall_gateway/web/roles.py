"""The roles of staff, which the desk's table of actions names too."""

from __future__ import annotations

from hkall_gateway.rules.stored_words import StaffRole as StaffRole
