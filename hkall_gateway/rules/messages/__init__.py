"""Messages that the rules cause, as records: to partners, to patrons, to the library's own system."""
