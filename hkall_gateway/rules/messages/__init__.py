"""Records for messages to partners, patrons and the library's own system."""
