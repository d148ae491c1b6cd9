"""Parsing and writing of SIP2 lines, and the state of a session, without any I/O."""
