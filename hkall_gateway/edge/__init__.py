"""What both doors share: allow lists, secrets, limits, counters."""
