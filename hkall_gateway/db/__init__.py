"""Persistence: tables, the unit of work, the outbox, and the only commit in the program."""
