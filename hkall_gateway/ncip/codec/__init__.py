"""Decodes NCIP documents of versions 1 and 2 to messages, and encodes messages to documents. Does no I/O."""
