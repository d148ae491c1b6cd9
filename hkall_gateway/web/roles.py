"""The roles of staff, which the desk's table of actions names too."""

from __future__ import annotations

from hkall_gateway.rules.staff_roles import StaffRole as StaffRole
