"""Clients of a gateway, for the command line and the tests: blocking lines, posted documents, documents in one line."""
