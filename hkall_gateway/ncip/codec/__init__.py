"""Converts NCIP documents, versions 1 and 2, to messages and back by their content models. Does no I/O."""
