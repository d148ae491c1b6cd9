"""The rules of the consortium, as pure functions and tables."""
