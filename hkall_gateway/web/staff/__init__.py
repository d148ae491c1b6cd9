"""Pages for the library's staff."""
