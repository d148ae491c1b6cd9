"""Adapters for the library's own system (ILS)."""
