"""Back up the database while gateways run, and restore it."""
