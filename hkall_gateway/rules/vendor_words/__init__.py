"""Tables that map words used by other systems to our own."""
