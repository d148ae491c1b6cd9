"""The library's own system (ILS), as the desk uses it."""
